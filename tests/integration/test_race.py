"""`job race`: rung after rung from the records in storage alone, whoever calls it and however often."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from job.cli.options import read_sweep
from job.plan import SubmittedJob, SweepPlan, build_plan, is_submission_key, read_sent
from job.report.read.load import read_runs
from job.runs import is_result_key
from job.storage import FolderStore, open_store
from job.submit.registry import BACKENDS
from tests import spool_backend
from tests.conftest import NARROW_PATH, TINY, Answer
from tests.models.stub_batch import stub_batch
from tests.records import made_by, make_result, store_results

Job = Callable[..., Answer]
ACCURACY = {0.001: 0.84, 0.002: 0.83, 0.1: 0.30, 0.2: 0.20}
SEEDS = [0, 1, 2, 3, 4, 5]
TO_SPOOL = ("--to", "spool", "--image", "r/job:1", "--queue", "night")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write(tmp_path, list(ACCURACY))


@pytest.fixture
def race(job: Job, sweep: Path, spool: Path, bucket: str) -> Callable[..., Answer]:
    def call(*options: str) -> Answer:
        return job("race", "-m", sweep, *TO_SPOOL, "--output", bucket, *options)

    return call


def write(folder: Path, rates: list[float], **fields: Any) -> Path:
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": rates}}
    defaults = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")}
    path = folder / "sweep.json"
    path.write_text(json.dumps({"name": "rates", "seeds": SEEDS, "defaults": defaults, "blocks": [block]} | fields))
    return path


def run_containers(spool: Path, output: str, *, but: int = 0) -> int:
    """Let all runs that were sent, but the last `but`, end with a result. Returns how many there are by now."""
    store = open_store(output)
    plan = SweepPlan.model_validate_json(store.read("rates/sweep.json"))
    manifests = {run.run_id: run.manifest for run in plan.runs}
    sent = [run for key in store.list_keys("rates/submissions/") if is_submission_key(key)
            for run in read_sent(store.read(key))]  # fmt: skip
    done = finished(output)
    left = [run for run in sent if run not in done]
    for run in left[: len(left) - but]:
        accuracy = ACCURACY[manifests[run].optimizer.lr] + 0.02 * (
            (manifests[run].seed + round(1000 * manifests[run].optimizer.lr)) % 2
        )
        store_results(store, made_by(make_result(manifests[run], top1=[accuracy] * 2, experiment="rates")))
    if not but:
        for path in spool.glob("*.json"):
            ended = {"state": "succeeded", "reason": "", "log": []}
            path.write_text(json.dumps([ended for _ in json.loads(path.read_text())]))
    return len(done) + len(left) - but


def finished(output: str) -> set[str]:
    return {key.split("/")[2] for key in open_store(output).list_keys("rates/runs/") if is_result_key(key)}


def counts(job: Job, output: str) -> dict[str, int]:
    return {state: num for state, num in json.loads(job("status", output, "--json").stdout)["counts"].items() if num}


def test_race_sends_rung_after_rung_and_stops_with_who_is_within_reach(
    race: Job, job: Job, spool: Path, bucket: str
) -> None:
    first = race()
    assert first.exit_code == 0, first.stderr
    assert "rates: rung 1 of 4: 4 configurations with 2 seeds; 8 runs of it have no result" in first.stdout
    assert "rates: 8 runs in 8 containers" in first.stdout
    assert counts(job, bucket) == {"waiting": 8, "held": 16}
    assert run_containers(spool, bucket) == 8

    second = race()
    assert (
        "rung 2 of 4: 2 configurations with 3 seeds; 2 runs of it have no result (10 of 24 runs, 42 %" in second.stdout
    )
    assert "Adam lr 0.2  out after 2 seeds" in second.stdout
    assert "Adam lr 0.001  within reach" in second.stdout
    assert "rates: 2 runs in 2 containers" in second.stdout

    for _ in range(3):
        run_containers(spool, bucket)
        last = race()
    assert "over after" in last.stdout
    assert counts(job, bucket)["held"] >= 8
    assert len(finished(bucket)) <= 16
    assert race().stdout == last.stdout  # and sends nothing


def test_rung_under_way_is_sent_once_and_waited_for(race: Job, spool: Path, bucket: str) -> None:
    race()
    run_containers(spool, bucket, but=3)
    again = race()
    assert "3 runs of it have no result" in again.stdout
    assert "nothing to do; 5 runs are done, 3 under way" in again.stdout
    assert len(list(spool.glob("*.json"))) == 1


def test_report_and_status_call_no_run_missing_that_the_race_never_asked_for(
    race: Job, job: Job, spool: Path, sweep: Path, bucket: str
) -> None:
    race()
    run_containers(spool, bucket)
    assert len(read_runs(open_store(bucket)).holes) == 0
    assert "16 held" in job("status", bucket).stdout
    assert job("status", bucket, "--watch").exit_code == 0
    race()
    assert read_runs(open_store(bucket)).holes["kind"].tolist() == ["missing"] * 2
    submitted = job("submit", "-m", sweep, *TO_SPOOL, "--output", bucket)
    assert "14 runs in 14 containers" in submitted.stdout  # the whole sweep after all, from where the race was
    assert counts(job, bucket) == {"done": 8, "waiting": 16}


def test_whole_sweep_that_was_run_is_raced_without_sending_anything(
    race: Job, job: Job, spool: Path, sweep: Path, bucket: str
) -> None:
    job("submit", "-m", sweep, *TO_SPOOL, "--output", bucket)
    run_containers(spool, bucket)
    before = len(list(spool.glob("*.json")))
    answer = race()
    assert "over after" in answer.stdout
    assert len(list(spool.glob("*.json"))) == before


def test_dry_run_prints_the_request_of_the_rung_alone_and_writes_nothing(race: Job, spool: Path, bucket: str) -> None:
    answer = race("--dry-run")
    assert json.loads(answer.stdout)["size"] == 8
    assert "rung 1 of 4" in answer.stderr
    assert not list(spool.iterdir())
    assert open_store(bucket).list_keys("") == []


def test_watched_race_ends_where_runs_ended_without_a_result(
    race: Job, spool: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    race()
    run_containers(spool, bucket, but=1)
    for path in spool.glob("*.json"):
        path.write_text(json.dumps([{"state": "failed", "exit_code": 66, "reason": "no data", "log": []}] * 8))

    def submit(request: dict[str, Any], settings: spool_backend.SpoolSettings) -> SubmittedJob:
        failed = {"state": "failed", "exit_code": 66, "reason": "no data", "log": []}
        (spool / f"{request['name']}.json").write_text(json.dumps([failed] * request["size"]))
        return SubmittedJob(backend="spool", job=request["name"])

    failing = SimpleNamespace(**vars(spool_backend) | {"submit": submit})
    monkeypatch.setitem(BACKENDS, "spool", replace(spool_backend.ENTRY, load=lambda: failing))
    answer = race("--watch")
    assert answer.exit_code == 3
    assert "rates: 1 runs in 1 containers" in answer.stdout
    assert "1 runs of this rung ended without a result, such as adam-s" in answer.stderr
    assert "(failed: no data); the same command tries them again" in answer.stderr


@pytest.mark.parametrize("options", [(), ("--watch",)], ids=["once", "watched"])
def test_result_that_cannot_be_used_ends_the_race_until_it_is_deleted(
    race: Job, spool: Path, bucket: str, options: tuple[str, ...]
) -> None:
    """Whoever sends runs takes this one for done, so the race would wait for it for ever."""
    race()
    run_containers(spool, bucket)
    store = open_store(bucket)
    key = next(key for key in store.list_keys("rates/runs/") if is_result_key(key))
    store.write(key, b"{}")
    answer = race(*options)
    assert answer.exit_code == 3
    assert f"rates: 1 result of this rung cannot be used, such as {store.locate(key)} (result.json " in answer.stderr
    assert "delete what cannot be used, and the same command runs it again" in answer.stderr
    store.delete([key])
    assert "rates: 1 runs in 1 containers" in race().stdout


@pytest.mark.parametrize("content", ["", '{"run_id"'], ids=["empty", "half written"])
def test_result_in_a_folder_that_cannot_be_used_is_named_by_its_path(
    job: Job, sweep: Path, tmp_path: Path, content: str
) -> None:
    folder = tmp_path / "out"
    runs = [run for run in build_plan(read_sweep(str(sweep), []), source="sweep.json").runs if run.manifest.seed < 2]
    store_results(FolderStore(folder), *(make_result(run.manifest, experiment="rates") for run in runs))
    broken = folder / f"rates/runs/{runs[0].run_id}/result.json"
    broken.write_text(content)
    command = ("race", "-m", sweep, "--to", "local", "--output", folder)
    answer = job(*command)
    assert answer.exit_code == 3
    assert f"such as {broken} (result.json " in answer.stderr
    broken.unlink()
    again = job(*command, "--dry-run")
    assert again.exit_code == 0, again.stderr
    assert "1 run of it has no result" in again.stderr


@pytest.mark.parametrize("options", [("--dry-run",), ("--max-usd", "5")])
def test_option_about_one_submission_does_not_go_with_a_watched_race(race: Job, options: tuple[str, ...]) -> None:
    answer = race("--watch", *options)
    assert answer.exit_code == 2
    assert f"--watch and {options[0]}" in answer.stderr


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"seeds": [0, 1]}, "4 configurations with 2 seeds; a race must have at least 2 with 3"), ({}, "a race reads")],
)
def test_race_that_cannot_be_is_refused(
    job: Job, spool: Path, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    path = write(tmp_path, list(ACCURACY), **fields)
    answer = job("race", "-m", path, *TO_SPOOL, "--output", "pvc://claim")
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert not list(spool.iterdir())


def test_race_sends_a_rung_to_batch_as_one_array_job(
    job: Job, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stub_batch() as account:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", account.url)
        path = write(tmp_path, list(ACCURACY))
        options = ("--to", "batch", "--queue", "jobs", "--job-role", "arn:aws:iam::1:role/job", "--image", "r/job:1")
        answer = job("race", "-m", path, *options, "--output", f"{bucket}/runs", "--data", f"{bucket}/data")
        assert answer.exit_code == 0, answer.stderr
        assert account.asked.count("/v1/submitjob") == 1
        account.add_array(*[{}] * 8)
        again = job("race", "-m", path, *options, "--output", f"{bucket}/runs", "--data", f"{bucket}/data")
        assert "nothing to do; 0 runs are done, 8 under way" in again.stdout, again.stderr
        assert account.asked.count("/v1/submitjob") == 1


@pytest.mark.slow
def test_race_whose_controller_is_killed_is_carried_on_by_another_process(tmp_path: Path) -> None:
    path = write(tmp_path, [0.001, 0.01], seeds=[0, 1, 2])
    output = tmp_path / "out"
    place = ("--to", "local", "--output", str(output), "--per-container", "6")
    command = [sys.executable, "-m", "job", "race", "-m", str(path), *place, "--watch"]
    environment = os.environ | {"PYTHONPATH": NARROW_PATH}
    first = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(output.glob("rates/runs/*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    num_before = len(list(output.glob("rates/runs/*/result.json")))
    assert 1 <= num_before < 6
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "over after" in done.stdout
    assert len(list(output.glob("rates/runs/*/result.json"))) in (4, 6)
