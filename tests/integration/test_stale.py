"""`job submit --stale`: what other code, another torch or another image made is run again, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from job.errors import ObjectMissing
from job.report.read.load import read_runs
from job.runs import Environment, RunKeys, RunResult
from job.storage import FolderStore, Store, open_store
from job.submit.stale import describe_stale, find_stale, put_aside, read_image_origin, read_local_origin
from tests.conftest import TINY, Answer
from tests.models.faulty_s3 import FaultyS3, answer
from tests.records import make_manifest, make_result, store_results
from tests.unit.test_origins import COMMIT, OTHER, environment

Job = Callable[..., Answer]
DEFAULTS = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {"epochs": 1}


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/study"


def write_sweep(folder: Path, *rates: float) -> Path:
    block = {"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": rates}}
    path = folder / f"sweep-{len(rates)}.json"
    path.write_text(json.dumps({"name": "small", "defaults": DEFAULTS, "blocks": [block]}))
    return path


def results(store: Store) -> dict[str, RunResult]:
    keys = [key for key in store.list_keys("small/runs/") if key.endswith("/result.json")]
    return {key.split("/")[2]: RunResult.model_validate_json(store.read(key)) for key in keys}


def code_of(result: RunResult) -> str | None:
    assert result.environment is not None
    return result.environment.git_sha


def leave(store: Store, *, git_sha: str | None = COMMIT, in_result: bool = False, **fields: Any) -> RunKeys:
    """A finished run with every kind of file, made by this code."""
    made = environment(git_sha=git_sha, **fields)
    result = make_result(make_manifest("adam", epochs=1)).model_copy(
        update={"environment": made if in_result else None}
    )
    keys = RunKeys(result.experiment, result.run_id)
    store_results(store, result)
    if not in_result:
        store.write(keys.environment, made.model_dump_json().encode())
    for key in (keys.manifest, keys.model, keys.plot("loss"), keys.log, keys.checkpoint(epoch=1, step=0)):
        store.write(key, key.encode())
    return keys


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("forked_children")
def test_results_of_other_code_are_made_again_and_the_old_ones_kept(
    output: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three runs by one commit, the third by the next one: --stale under the next one makes two anew."""
    store = open_store(output)
    arguments = ("--to", "local", "--output", output, "--per-container", 3)
    monkeypatch.setenv("JOB_GIT_SHA", COMMIT)
    assert job("submit", "-m", write_sweep(tmp_path, 0.01, 0.02), *arguments).exit_code == 0
    monkeypatch.setenv("JOB_GIT_SHA", OTHER)
    sweep = write_sweep(tmp_path, 0.01, 0.02, 0.03)
    assert "1 runs in 1 containers" in job("submit", "-m", sweep, *arguments).stdout
    before, files = results(store), {key: store.read(key) for key in store.list_keys("small/runs/")}
    old = sorted(run_id for run_id, result in before.items() if code_of(result) == COMMIT)
    assert (len(before), len(old)) == (3, 2)

    dry = job("submit", "-m", sweep, *arguments, "--stale", "--dry-run")
    said = "small: 2 of the finished runs are stale and run again\n"
    said += f"  2 made by code {COMMIT[:12]}, now {OTHER[:12]}: such as "
    assert said in dry.stderr
    assert len(dry.stdout.splitlines()) == 1  # the request alone
    assert {key: store.read(key) for key in store.list_keys("small/runs/")} == files

    again = job("submit", "-m", sweep, *arguments, "--stale")
    assert again.exit_code == 0, again.stderr
    assert said in again.stderr
    assert "2 runs in 1 containers" in again.stdout
    after = results(store)
    assert {run_id: code_of(result) for run_id, result in after.items()} == dict.fromkeys(before, OTHER)
    assert {run_id for run_id in before if before[run_id].attempt_id != after[run_id].attempt_id} == set(old)
    for run_id in old:
        assert after[run_id].attempts == 1  # anew, not from the old checkpoint
        place = f"small/superseded/{run_id}/{before[run_id].finished_at:%Y%m%dT%H%M%SZ}/"
        kept = {key.removeprefix(place): store.read(key) for key in store.list_keys(place)}
        own = f"small/runs/{run_id}/"
        assert kept == {
            key.removeprefix(own): content
            for key, content in files.items()
            if key.startswith(own) and "/checkpoints/" not in key
        }
        assert {"result.json", "model.safetensors", "predictions.npz", "history.jsonl", "plots/loss.png"} <= kept.keys()

    assert json.loads(job("status", output, "--json").stdout)["counts"]["done"] == 3
    runs = read_runs(store)
    assert (len(runs.runs), len(runs.holes)) == (3, 0)
    done = job("submit", "-m", sweep, *arguments, "--stale")
    assert "nothing to do; 3 runs are done" in done.stdout
    assert "0 of the finished runs are stale" in done.stderr


@pytest.mark.parametrize("in_result", [False, True])
def test_what_differs_is_found_in_either_record(tmp_path: Path, in_result: bool) -> None:
    store = FolderStore(tmp_path)
    keys = leave(store, in_result=in_result)
    assert find_stale(store, "default", [keys.run_id], {"code": COMMIT, "torch": "2.11.0"}) == []
    (stale,) = find_stale(store, "default", [keys.run_id], {"code": OTHER, "torch": "2.12.0", "image": "sha256:1"})
    assert stale.differences == {"code": (COMMIT, OTHER), "torch": ("2.11.0", "2.12.0")}
    assert describe_stale([stale]) == [
        f"1 made by code {COMMIT[:12]}, now {OTHER[:12]}; torch 2.11.0, now 2.12.0: such as {keys.run_id}"
    ]


def test_what_is_not_known_is_not_stale(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    keys = leave(store, git_sha=None, image_digest=None, packages={})
    assert find_stale(store, "default", [keys.run_id], {"code": OTHER, "torch": "2.12.0", "image": "sha256:2"}) == []
    store.delete([keys.environment])
    assert find_stale(store, "default", [keys.run_id], {"version": "9"}) == []
    store.write(keys.result, b"no result")
    assert find_stale(store, "default", [keys.run_id], {"version": "9"}) == []


def test_run_that_was_half_put_aside_is_still_stale(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is removed first: the result goes last, and the copies are whole."""
    store = open_store(output)
    keys = leave(store)
    origin = {"code": OTHER}
    stale = find_stale(store, "default", [keys.run_id], origin)
    there = {key: store.read(key) for key in store.list_keys(keys.prefix)}
    remove, calls = store.delete, []

    def stop(names: list[str]) -> None:
        calls.append(names)
        if len(calls) == 2:
            raise KeyboardInterrupt
        remove(names)

    monkeypatch.setattr(store, "delete", stop)
    with pytest.raises(KeyboardInterrupt):
        put_aside(store, "default", stale)
    monkeypatch.setattr(store, "delete", remove)
    assert find_stale(store, "default", [keys.run_id], origin) == stale
    put_aside(store, "default", stale)
    assert store.list_keys(keys.prefix) == []
    place = f"default/superseded/{keys.run_id}/{stale[0].finished_at:%Y%m%dT%H%M%SZ}/"
    assert {f"{keys.prefix}/{key.removeprefix(place)}": store.read(key) for key in store.list_keys(place)} == {
        key: content for key, content in there.items() if "/checkpoints/" not in key
    }


def test_without_the_right_to_delete_the_results_stay(job: Job, tmp_path: Path, wire: FaultyS3, bucket: str) -> None:
    """S3 refuses, 67: the old checkpoint would carry the old training on."""
    store = open_store(bucket)
    keys = leave(store)
    result = RunResult.model_validate_json(store.read(keys.result))
    path = tmp_path / "manifest.json"
    path.write_text(result.manifest.model_dump_json())
    wire.spoil("POST", r"\?delete", answer("403 Forbidden", "AccessDenied"), times=99)
    arguments = ("--to", "local", "--output", bucket, "--experiment", "default", "--stale")
    refused = job("submit", "-m", path, *arguments)
    assert refused.exit_code == 67
    assert "use credentials that may delete there" in refused.stderr
    assert keys.result in store.list_keys(keys.prefix)


def test_copy_is_what_was_copied_and_replaces_what_was_there(output: str) -> None:
    store = open_store(output)
    store.write("a/b.json", b"new")
    store.write("c/d.json", b"old")
    store.copy("a/b.json", "c/d.json")
    assert (store.read("a/b.json"), store.read("c/d.json")) == (b"new", b"new")
    with pytest.raises(ObjectMissing):
        store.copy("a/absent.json", "c/e.json")


@pytest.mark.parametrize(
    ("image", "origin"),
    [
        ("registry:5000/job:222684c56dd0", {"code": "222684c56dd0"}),
        ("registry/job:222684c56dd0-dirty", {"code": "222684c56dd0-dirty"}),
        (f"registry/job@sha256:{64 * 'a'}", {"image": f"sha256:{64 * 'a'}"}),
        (f"registry/job:222684c56dd0@sha256:{64 * 'a'}", {"code": "222684c56dd0", "image": f"sha256:{64 * 'a'}"}),
        ("registry/job:latest", {}),
        ("registry/job:202611251030", {}),  # a date
        ("registry:5000/job", {}),
        ("", {}),
    ],
)
def test_name_of_an_image_tells_its_digest_and_its_commit(image: str, origin: dict[str, str]) -> None:
    assert read_image_origin(image) == origin


def test_this_machine_s_origin_is_what_a_run_here_records(
    job: Job, tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_GIT_SHA", COMMIT)
    assert job("run", "-m", tiny(), "--output", tmp_path / "out").exit_code == 0
    (path,) = (tmp_path / "out").glob("default/runs/*/environment.json")
    recorded = Environment.model_validate_json(path.read_bytes())
    assert read_local_origin() == {
        "version": recorded.package_version, "code": COMMIT, "torch": recorded.packages["torch"],
        "torchvision": recorded.packages["torchvision"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("to", "image", "place", "message"),
    [
        (
            "kubernetes",
            "registry/job:latest",
            "s3://bucket/x",
            "nothing is known of what --image registry/job:latest holds",
        ),
        ("batch", "registry/job:latest", "s3://bucket/x", "by a tag that is a commit"),
        ("docker", "absent:latest", "out", "nothing is known of what --image absent:latest holds"),
        ("kubernetes", "registry/job:222684c56dd0", "pvc://claim", "only containers reach pvc://claim"),
    ],
)
def test_stale_is_refused_where_nothing_can_be_compared(
    to: str, image: str, place: str, message: str, job: Job, tmp_path: Path, bucket: str
) -> None:
    answered = job("submit", "-m", write_sweep(tmp_path, 0.1), "--to", to, "--image", image, "-o", place, "--stale")
    assert answered.exit_code == 2
    assert message in answered.stderr


def test_image_of_this_machine_says_which_commit_it_is_of(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker is asked; here a program of its name answers."""
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\necho PATH=/usr/bin\necho JOB_GIT_SHA={OTHER}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(docker.parent), prepend=":")
    keys = leave(FolderStore(tmp_path / "out"))
    result = RunResult.model_validate_json(FolderStore(tmp_path / "out").read(keys.result))
    path = tmp_path / "manifest.json"
    path.write_text(result.manifest.model_dump_json())
    arguments = ("--to", "docker", "--image", "job:local", "--output", tmp_path / "out", "--experiment", "default")
    assert "nothing to do" in job("submit", "-m", path, *arguments).stdout
    dry = job("submit", "-m", path, *arguments, "--stale", "--dry-run")
    assert f"1 made by code {COMMIT[:12]}, now {OTHER[:12]}" in dry.stderr


def test_kubernetes_takes_what_is_made_again_for_another_job(job: Job, tmp_path: Path, bucket: str) -> None:
    """A Job of the same content is there for days, and creating it once more would do nothing."""
    store = open_store(bucket)
    path = tmp_path / "manifest.json"
    path.write_text(make_manifest("adam", epochs=1).model_dump_json())
    arguments = ("submit", "-m", path, "--to", "kubernetes", "--image", f"job:{OTHER[:12]}", "--experiment", "default")

    def name() -> str:
        lines = job(*arguments, "--output", bucket, "--data", "download", "--dry-run", "--stale").stdout.splitlines()
        return next(line for line in lines if line.startswith("  name: default-"))

    first = name()
    keys = leave(store)
    again = name()
    assert first != again == name()
    result = RunResult.model_validate_json(store.read(keys.result))
    later = result.model_copy(update={"finished_at": result.finished_at + timedelta(days=1)})
    store.write(keys.result, later.model_dump_json().encode())
    assert name() not in (first, again)
