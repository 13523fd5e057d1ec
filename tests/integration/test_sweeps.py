"""A sweep on this machine, from plan to the last result: only what is missing is run, and all of it is one thing."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import shutil
import sys
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from job import cpus
from job.plan import SweepPlan
from job.report.read.holes import describe_unfinished
from job.report.read.load import read_runs
from job.runs import AttemptRecord, RunKeys, judge_unfinished
from job.storage import FolderStore, open_store
from job.submit.backend import Child, Ended
from job.submit.estimate import read_prices
from job.submit.processes import run_processes
from job.submit.status import RunStatus, SweepStatus, judge_run, observe_sweep
from tests.conftest import TINY, Answer
from tests.models.faulty_s3 import FaultyS3
from tests.records import made_by, make_result, store_results

Job = Callable[..., Answer]
SWEEP: dict[str, Any] = {
    "name": "small",
    "defaults": {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {"epochs": 1},
    "blocks": [{"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": [0.01, 0.1]}}],
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small sweep, with top-level fields replaced, and gives its path."""

    def write(**fields: object) -> Path:
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps(SWEEP | fields))
        return path

    return write


def counts(job: Job, output: object) -> dict[str, int]:
    answer = job("status", output, "--json")
    assert answer.exit_code == 0, answer.stderr
    return {state: number for state, number in json.loads(answer.stdout)["counts"].items() if number}


def run_ids(output: Path) -> list[str]:
    plan = SweepPlan.model_validate_json((output / "small/sweep.json").read_bytes())
    return [run.run_id for run in plan.runs]


def test_plan_shows_configurations_work_time_and_cost(job: Job, sweep: Callable[..., Path]) -> None:
    answer = job("plan", "--manifest", sweep(seeds=[0, 1]))
    assert answer.exit_code == 0, answer.stderr
    assert "small: 4 runs, 2 configurations" in answer.stdout
    assert "lr 0.1" in answer.stdout
    assert "160 training images in 8 steps, 80 evaluated" in answer.stdout
    assert "4 containers on g5.xlarge" in answer.stdout
    assert "$" in answer.stdout


@pytest.mark.parametrize("months", [0, 5, 6, 30])
def test_plan_says_of_when_its_prices_are_and_how_old_where_that_matters(
    months: int, job: Job, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    today = datetime.now(UTC).date()
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    table = read_prices(None).model_copy(update={"as_of": f"{year}-{month + 1:02}"})
    (tmp_path / "prices.json").write_text(table.model_dump_json())
    said = " ".join(job("plan", "--manifest", tiny(), "--prices", tmp_path / "prices.json").stdout.split())
    assert f"prices of us-east-1 in {table.as_of}" in said
    assert (f"{months} months old: --prices aws takes today's" in said) == (months >= 6)


def test_plan_takes_the_speed_of_finished_runs_where_it_is_told_of_them(
    job: Job, sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, output, table = ("plan", "--manifest", sweep()), tmp_path / "out", tmp_path / "prices.json"
    table.write_text(read_prices(None).model_dump_json())
    without = job(*plan).stdout
    assert "measured here" not in without
    assert "has no finished run of this network and image size" in job(*plan, "--output", output).stdout
    manifests = [run.manifest for run in SweepPlan.model_validate_json(job(*plan, "--json").stdout).runs]
    results = [made_by(make_result(each), instance_type="g5.xlarge") for each in manifests]
    store_results(FolderStore(output), *results)
    said = job(*plan, "--output", output).stdout
    assert f"speeds and overhead measured here: the medians of 2 finished runs of {output}" in said
    attempt = AttemptRecord(
        number=1,
        started_at=NOW,
        ended_at=NOW,
        seconds=60,
        instance_type="g5.xlarge",
        market="spot",
        usd_per_hour=0.0125,
    )
    store_results(FolderStore(output), *(each.model_copy(update={"attempt_records": [attempt]}) for each in results))
    priced = job(*plan, "--output", output).stdout
    assert "; $0.013 an hour on spot as paid here, other prices of us-east-1 in " in priced
    assert "as paid here" not in job(*plan, "--output", output, "--prices", table).stdout
    monkeypatch.setenv("JOB_OUTPUT", str(output))
    assert job(*plan).stdout == without  # an answer that changed with a variable for runs would be a surprise


def test_plan_of_one_manifest_is_a_sweep_of_one(job: Job, tiny: Callable[..., Path]) -> None:
    assert "tiny: 1 runs, 1 configurations" in job("plan", "--manifest", tiny()).stdout


def test_plan_as_json_is_the_resolved_plan(job: Job, sweep: Callable[..., Path]) -> None:
    plan = SweepPlan.model_validate_json(job("plan", "--manifest", sweep(), "--json").stdout)
    assert [run.manifest.optimizer.lr for run in plan.runs] == [0.01, 0.1]


@pytest.mark.parametrize("command", ["plan", "validate", "submit"])
def test_faults_of_a_sweep_end_with_65_and_write_nothing(
    command: str, job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    path = sweep(seeds=[0, 0])
    arguments = {
        "plan": ("--manifest", path),
        "validate": (path,),
        "submit": ("--manifest", path, "--to", "local", "--output", tmp_path / "out"),
    }[command]
    answer = job(command, *arguments)
    assert answer.exit_code == 65
    assert "sweep.json: seeds [0, 0] must differ" in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("forked_children")
def test_sweep_is_run_locally_and_only_what_is_missing_again(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    output, settings = tmp_path / "out", tmp_path / "settings.yaml"
    settings.write_text(f"to: local\noutput: {output}\njobs: 1\ntimeout: 600\nattempts: 2\nmemory: 4Gi\n")
    arguments = ("submit", "--manifest", sweep(), "--settings", settings)
    answer = job(*arguments)
    assert answer.exit_code == 0, answer.stderr
    assert "2 runs in 2 containers" in answer.stdout
    assert counts(job, output) == {"done": 2}
    assert "nothing to do; 2 runs are done" in job(*arguments).stdout

    first, second = run_ids(output)
    kept = (output / "small/runs" / first / "result.json").stat().st_mtime_ns
    shutil.rmtree(output / "small/runs" / second)
    assert counts(job, output) == {"done": 1, "waiting": 1}
    assert "1 runs in 1 containers" in job(*arguments).stdout
    assert counts(job, output) == {"done": 2}
    assert (output / "small/runs" / first / "result.json").stat().st_mtime_ns == kept


@pytest.mark.usefixtures("forked_children")
def test_bad_configuration_fails_alone_and_says_why(job: Job, sweep: Callable[..., Path], tmp_path: Path) -> None:
    """All in one process: the data's or weights' fault in one configuration does not end the others."""
    weights = tmp_path / "damaged.pth"
    weights.write_bytes(b"no weights")
    blocks = [{"base": {"optimizer": {"name": "adam"}, "model": {"weights": str(weights)}}}, *SWEEP["blocks"]]
    output = tmp_path / "out"
    arguments = ("--manifest", sweep(blocks=blocks), "--to", "local", "--output", output, "--per-container", "3")
    answer = job("submit", *arguments)
    assert answer.exit_code == 66
    assert "exit code 66: adam-s0-" in answer.stdout
    assert counts(job, output) == {"done": 2, "failed": 1}
    shown = job("status", output).stdout
    assert "exit code 66" in shown
    bad = run_ids(output)[0]
    (line,) = (line for line in shown.splitlines() if line.startswith("  failed "))
    assert re.fullmatch(rf"  failed +{bad}  0%  exit code 66  .*/damaged\.pth.*", line)
    assert re.search(r"^  \S+Z \[info +\] run_stopped .* exit_code=66 .*/damaged\.pth", shown, re.MULTILINE)
    assert '"event"' not in shown
    assert "exit_code=66" in job("logs", output, bad).stdout
    raw = [json.loads(text) for text in job("logs", output, bad, "--json").stdout.splitlines()]
    assert raw[-1]["exit_code"] == 66
    assert len(raw) == len(job("logs", output, bad).stdout.splitlines())


def test_every_configuration_that_failed_in_a_process_is_told(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    """The first is the command's error; who mends it must not meet the next one only then."""
    output = tmp_path / "out"
    plan = SweepPlan.model_validate_json(job("plan", "--manifest", sweep(), "--json").stdout)
    for run in plan.run_ids:
        (output / "small/runs" / run).mkdir(parents=True)
        (output / "small/runs" / run / "result.json").write_text("{}")
    answer = job("run", "--manifest", sweep(), "--output", output)
    assert answer.exit_code == 68
    first, second = plan.run_ids
    error = answer.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert f"{first}/result.json: not a result" in error
    (told,) = (line for line in answer.stderr.splitlines() if "run_failed_too" in line)
    assert f"{second}/result.json: not a result" in told
    assert "68" in told


def test_configuration_that_ran_out_of_memory_leaves_it_to_the_next(
    job: Job, sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one batch size that is too large makes every later run of the process fail with it."""
    backward = torch.Tensor.backward
    losses: list[weakref.ref[torch.Tensor]] = []
    left: list[torch.Tensor | None] = []

    def run_out(loss: torch.Tensor) -> None:
        if not losses:
            losses.append(weakref.ref(loss))
            raise torch.OutOfMemoryError("CUDA out of memory")
        gc.collect()
        left.append(losses[0]())
        backward(loss)

    monkeypatch.setattr(torch.Tensor, "backward", run_out)
    answer = job("run", "--manifest", sweep(), "--output", tmp_path / "out")
    assert answer.exit_code == 69
    assert "CUDA out of memory; lower batch_size or image_size" in answer.stderr
    assert counts(job, tmp_path / "out") == {"done": 1, "failed": 1}
    assert left
    assert {loss is None for loss in left} == {True}


def test_next_run_trains_while_the_last_artefacts_of_one_are_stored(
    job: Job, sweep: Callable[..., Path], wire: FaultyS3, bucket: str
) -> None:
    """And each of the two logs tells of its own run alone."""

    def is_next_one_trained() -> bool:
        """Each has one epoch."""
        return sum(re.match(r"PUT .*/history\.jsonl", request) is not None for request in wire.requests) == 2

    held = wire.hold("PUT", r"/plots/loss\.png", until=is_next_one_trained)
    answer = job("run", "--manifest", sweep(), "--output", f"{bucket}/study")
    assert answer.exit_code == 0, answer.stderr
    assert held.times == 0
    events = [json.loads(line) for line in answer.stderr.splitlines()]
    order = [(event["event"], event.get("run")) for event in events]
    store = open_store(f"{bucket}/study")
    first, second = (run for event, run in order if event == "training_started")
    assert order.index(("training_started", str(second))) < order.index(("run_finished", str(first)))
    for run in (first, second):
        log = [json.loads(line) for line in store.read(f"small/runs/{run}/log.jsonl").splitlines()]
        assert {event["run"] for event in log} == {run}
        assert log[-1]["event"] == "run_finished"
        assert log == [event for event in events if event.get("run") == run][: len(log)]


def test_run_takes_one_of_a_sweep_by_index_or_all(
    job: Job, sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    arguments = ("run", "--manifest", sweep(), "--output", output)
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "1")
    assert job(*arguments).exit_code == 0
    second = run_ids(output)[1]
    assert [path.name for path in (output / "small/runs").iterdir()] == [second]
    monkeypatch.delenv("AWS_BATCH_JOB_ARRAY_INDEX")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    beyond = job(*arguments)
    assert beyond.exit_code == 65
    assert "index 2 is beyond its 2 parts" in beyond.stderr
    monkeypatch.delenv("JOB_COMPLETION_INDEX")
    assert job(*arguments).exit_code == 0
    assert counts(job, output) == {"done": 2}


def test_sweep_that_grew_is_counted_whole_and_one_that_shrank_too(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    """Who trains one run of a larger sweep for a try must not be told that the sweep is complete."""
    output = tmp_path / "out"
    arguments = ("--output", output, "--index", "0")
    assert job("run", "--manifest", sweep(), *arguments).exit_code == 0
    for seeds in ([0, 1, 2], [0]):
        assert job("run", "--manifest", sweep(seeds=seeds), *arguments).exit_code == 0
        assert counts(job, output) == {"done": 1, "waiting": 5}


def test_several_runs_of_one_process_have_logs_of_their_own(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert job("run", "--manifest", sweep(), "--output", output).exit_code == 0
    startup = []
    for run_id in run_ids(output):
        events = [json.loads(line) for line in (output / "small/runs" / run_id / "log.jsonl").read_text().splitlines()]
        assert {event["run"] for event in events if "run" in event} == {run_id}
        assert [event["event"] for event in events].count("run_started") == 1
        result = json.loads((output / "small/runs" / run_id / "result.json").read_text())
        startup.append(result["timings"]["startup"])
    assert startup[0] > startup[1] > 0


def test_dry_run_prints_the_commands_and_writes_nothing(job: Job, sweep: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ("--manifest", sweep(), "--output", output, "--dry-run", "--data", tmp_path)
    local = job("submit", "--to", "local", *arguments).stdout.splitlines()
    assert len(local) == 2
    assert local[1].startswith(f"{sys.executable} -m job run --manifest {output}/small/submissions/")
    assert local[1].endswith("--index 1")
    docker = job("submit", "--to", "docker", "--image", "job:x", "--gpus", "all", *arguments).stdout.splitlines()
    assert "--read-only" in docker[0]
    assert f"--volume {output}:/output" in docker[0]
    assert f"--volume {tmp_path}:/data" in docker[0]
    assert "--gpus all" in docker[0]
    assert " job:x --manifest /output/small/submissions/" in docker[0]
    assert docker[0].endswith("--output /output --experiment small --data /data --device cuda --index 0")
    assert not output.exists()


@pytest.mark.parametrize(
    ("jobs", "given", "threads"),
    [(1, None, []), (2, None, ["4"]), (3, None, ["2"]), (16, None, ["2"]), (2, "3", ["3"])],
)
@pytest.mark.parametrize("to", ["local", "docker"])
def test_processes_that_run_at_once_share_the_cores(
    to: str, jobs: int, given: str | None, threads: list[str],
    job: Job, sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Three containers on eight cores, unless the user says how many threads each shall have."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "CGROUP_V2_QUOTA", tmp_path / "none")
    monkeypatch.setattr(cpus, "CGROUP_V1_FOLDER", tmp_path / "none")
    monkeypatch.delenv("JOB_THREADS")
    if given:
        monkeypatch.setenv("JOB_THREADS", given)
    arguments = ("--manifest", sweep(blocks=[*SWEEP["blocks"], {"base": {"optimizer": {"name": "adam"}}}]), "--dry-run")
    image = ("--image", "job:x") if to == "docker" else ()
    answer = job("submit", "--to", to, *arguments, "--output", tmp_path, *image, "--jobs", jobs)
    commands = [shlex.split(line) for line in answer.stdout.splitlines()]
    assert len(commands) == 3
    assert [command[command.index("--threads") + 1] for command in commands if "--threads" in command] == threads * 3


def test_local_containers_get_credentials_by_name_alone(
    job: Job, sweep: Callable[..., Path], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    arguments = ("--manifest", sweep(), "--output", bucket, "--dry-run", "--image", "job:x")
    answer = job("submit", "--to", "docker", *arguments)
    assert "--env AWS_SECRET_ACCESS_KEY " in answer.stdout
    assert "planted-secret" not in answer.stdout + answer.stderr


def test_thousand_configurations_are_submitted_with_as_few_calls_as_ten(
    job: Job, sweep: Callable[..., Path], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on botocore's own event, before the wire."""
    import boto3

    calls: list[str] = []
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    session = boto3.session.Session()
    session.events.register("before-call", lambda model, **_: calls.append(model.name))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    seen = []
    for number in (10, 1000):
        calls.clear()
        rates = [0.001 * (1 + i) for i in range(number)]
        blocks = [{"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": rates}}]
        path = sweep(name=f"size-{number}", blocks=blocks)
        answer = job("submit", "-m", path, "--to", "batch", "--output", bucket, "--queue", "absent", "--image", "job:x")
        assert "absent" in answer.stderr  # moto has no such queue; everything before it is written
        seen.append(sorted(name for name in calls if name != "RegisterJobDefinition"))  # the first time alone
    assert seen[0] == seen[1]
    assert len(seen[0]) < 10


@pytest.mark.parametrize(
    ("to", "output", "message"),
    [("local", "pvc://claim", "is for --to kubernetes"), ("docker", "pvc://claim", "is for --to kubernetes"),
     ("batch", "runs", "cannot reach a folder"), ("kubernetes", "runs", "cannot reach a folder"),
     ("batch", "s3://bucket/x", "--queue and --image, or --stack"), ("kubernetes", "s3://bucket/x", "needs --image"),
     ("docker", "runs", "needs --image")],
)  # fmt: skip
def test_what_cannot_be_submitted_is_refused_before_anything_is_sent(
    to: str, output: str, message: str, job: Job, sweep: Callable[..., Path], bucket: str
) -> None:
    answer = job("submit", "-m", sweep(), "--to", to, "--output", output)
    assert answer.exit_code == 2
    assert message in answer.stderr


def test_sweep_whose_list_no_container_would_read_is_refused_before_anything_is_written(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    """Else each would end with 65, on a machine that is paid for."""
    ranges = {f"optimizer.{name}": {"uniform": [0.0, 0.9]} for name in ("lr", "momentum", "weight_decay")}
    blocks = [{"base": {"optimizer": {"name": "sgd"}}, "design": "random", "num_samples": 10_000, "ranges": ranges}]
    answer = job("submit", "-m", sweep(blocks=blocks), "--to", "local", "--output", tmp_path / "out")
    assert answer.exit_code == 2
    assert re.search(r"the list of its runs has [\d,]+ bytes, and a container reads at most 1,048,576", answer.stderr)
    assert not (tmp_path / "out").exists()


PHOTOS = {"defaults": {"dataset": {"name": "folder"}}, "blocks": [{"base": {"optimizer": {"name": "sgd"}}}]}
NEVER_READ: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {
    # by name: back end, fields of the sweep, arguments, what is said
    **{
        f"folder without data, {to}": (to, PHOTOS, (), "folder in sgd-s0-")
        for to in ("local", "docker", "batch", "kubernetes")
    },
    **{
        f"folder in S3, {to}": (to, PHOTOS, ("--data", "s3://bucket/photos"), "holds no images of 96 pixels")
        for to in ("local", "docker", "batch", "kubernetes")
    },
    "folder of this machine, batch": (
        "batch", PHOTOS, ("--data", "photos"), "copy the folder into the image and name its absolute path"
    ),
    "folder of this machine, kubernetes": (
        "kubernetes", PHOTOS, ("--data", "photos"), "write --data /output/FOLDER"
    ),
    "absolute folder of this machine": ("batch", PHOTOS, ("--data", "HERE/photos"), "of this machine"),
    "other data": ("batch", {}, ("--data", "HERE/photos"), "put the data set in S3 with `job stage s3://BUCKET/data`"),
    "mistyped folder": ("docker", PHOTOS, ("--data", "fotos"), "--data fotos: no such folder"),
    **{
        f"no such data {data}": ("local", {}, ("--data", data), f"--data {data}: no such folder")
        for data in ("nope", "/nope")
    },
    **{
        f"file as data, {to}": (to, {}, ("--data", "w.pth"), "--data w.pth: must be a folder, is a file")
        for to in ("local", "docker")
    },
    **{
        f"no such weights {weights}": ("local", {}, ("--set", f"model.weights={weights}"), f"{weights}: no such file")
        for weights in ("nope.pth", "~/nope.pth", "/nope.pth")
    },
    **{
        f"folder as weights, {to}": (
            to, {}, ("--set", "model.weights=HERE/photos"), "photos: must be a file, is a folder"
        )
        for to in ("local", "docker")
    },
    **{
        f"file as output, {to}": (to, {}, ("--output", "w.pth"), "--output w.pth: must be a folder, is a file")
        for to in ("local", "docker")
    },
    "colon in output": ("docker", {}, ("--output", "HERE/o:8"), "docker cannot mount HERE/o:8, for its name holds a"),
    "colon in data": ("docker", {}, ("--data", "a:b"), "--data a:b: docker cannot mount HERE/a:b, for its name"),
    "colon in weights": ("docker", {}, ("--set", "model.weights=HERE/a:b/w.pth"), "docker cannot mount HERE/a:b/w.pth"),
    **{
        f"weights {weights}, {to}": (to, {}, ("--set", f"model.weights={weights}"), "copy it to S3 and write s3://BUCKET")
        for weights in ("w.pth", "~/w.pth", "HERE/w.pth")
        for to in ("batch", "kubernetes")
    },
    "relative weights, docker": ("docker", {}, ("--set", "model.weights=w.pth"), "of their own; write HERE/w"),
}  # fmt: skip
CLOUD = ("--image", "job:x", "--queue", "queue")


@pytest.mark.parametrize("name", NEVER_READ)
def test_what_containers_could_never_read_is_refused_before_anything_is_sent(
    name: str, job: Job, sweep: Callable[..., Path], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, fields, arguments, said = NEVER_READ[name]
    (tmp_path / "photos").mkdir()
    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b/w.pth").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    output = tmp_path / "out" if to in ("local", "docker") else bucket
    given = [argument.replace("HERE", str(tmp_path)) for argument in arguments]
    cloud = CLOUD if to in ("batch", "kubernetes") else ()
    answer = job("submit", "-m", sweep(**fields), "--to", to, "--output", output, *cloud, *given)
    assert answer.exit_code == 2
    assert said.replace("HERE", str(tmp_path)) in answer.stderr.splitlines()[-1]
    assert open_store(bucket).list_keys("") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a:b", "photos", "sweep.json", "w.pth"]


def test_local_processes_are_given_what_is_here(
    job: Job, sweep: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colon disturbs Docker alone, and what lies below the home folder is found."""
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b/w.pth").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ("submit", "-m", sweep(), "--to", "local", "--output", tmp_path / "o:8", "--dry-run")
    answer = job(*arguments, "--data", "~/a:b", "--set", "model.weights=~/a:b/w.pth")
    assert answer.exit_code == 0, answer.stderr
    assert f"--data {tmp_path}/a:b" in answer.stdout


def test_every_reason_is_told_at_once(job: Job, sweep: Callable[..., Path]) -> None:
    blocks = [{"base": {"optimizer": {"name": "sgd"}}, "vary": {"model.weights": ["a.pth", "b.pth", "none"]}}]
    answer = job(
        "submit", "-m", sweep(**PHOTOS | {"blocks": blocks}), "--to", "batch", "--output", "s3://bucket/x", *CLOUD
    )
    assert answer.exit_code == 2
    assert [line.split(" ")[1:3] for line in answer.stderr.splitlines()] == [
        ["dataset.name", "is"], ["model.weights", "a.pth:"], ["model.weights", "b.pth:"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "data"),
    [("s3://bucket/x", "/photos-of-the-image"), ("pvc://claim/study", "/output/photos"), ("s3://bucket/x", None)],
)
def test_what_only_the_container_sees_is_believed(
    output: str, data: str | None, job: Job, sweep: Callable[..., Path], bucket: str
) -> None:
    fields = {} if data is None else PHOTOS
    settings = ("--set", "model.weights=/weights-of-the-image/w.pth")
    arguments = ("-m", sweep(**fields), "--to", "kubernetes", "--output", output, "--dry-run", *CLOUD, *settings)
    answer = job("submit", *arguments, *(("--data", data) if data else ()))
    assert answer.exit_code == 0, answer.stderr
    assert (f"- {data}\n" in answer.stdout) == (data is not None)


def test_docker_is_given_the_weights_and_the_data_that_are_here(
    job: Job, sweep: Callable[..., Path], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not here is the image's: mounted, Docker would make an empty one of it here."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    arguments = ("submit", "--to", "docker", "--image", "job:x", "--output", "out", "--dry-run", "-m")
    weights = ("--set", f"model.weights={tmp_path}/w.pth")
    here = job(*arguments, sweep(**PHOTOS), "--data", "photos", *weights).stdout
    assert f"--volume {tmp_path}/photos:/data" in here
    assert f"--volume {tmp_path}/w.pth:{tmp_path}/w.pth:ro" in here
    assert "--data /data" in here
    inside = job(*arguments, sweep(**PHOTOS), "--data", "/photos-of-the-image").stdout
    assert "--data /photos-of-the-image" in inside
    assert "/data" not in inside
    assert "--env AWS_SECRET_ACCESS_KEY" not in inside
    assert "--env AWS_SECRET_ACCESS_KEY" in job(*arguments, sweep(), "--data", f"{bucket}/data").stdout


def test_claim_without_a_name_is_refused(job: Job, sweep: Callable[..., Path]) -> None:
    answer = job("submit", "-m", sweep(), "--to", "kubernetes", "--output", "pvc:///study", *CLOUD)
    assert answer.exit_code == 2
    assert "must be pvc://CLAIM or pvc://CLAIM/FOLDER" in answer.stderr


@pytest.mark.parametrize("gpus", ["two", "-1"])
def test_number_of_gpus_must_be_one(gpus: str, job: Job, sweep: Callable[..., Path]) -> None:
    answer = job("submit", "-m", sweep(), "--to", "batch", "--output", "s3://bucket/x", f"--gpus={gpus}")
    assert answer.exit_code == 2
    assert f"--gpus {gpus}: must be a number" in answer.stderr


def progress(**fields: Any) -> bytes:
    """progress.json with these fields; a field that is None is missing."""
    record = {
        "run_id": "r", "state": "running", "attempt": 1, "epoch": 2, "step": 5, "num_epochs": 4, "num_steps": 10,
        "updated_at": NOW.isoformat(), "trained_seconds": 50.0,
    } | fields  # fmt: skip
    return json.dumps({name: value for name, value in record.items() if value is not None}).encode()


def judge(content: bytes, *, silent_seconds: float = 0.0, child: Child | None = None) -> RunStatus:
    return judge_run("r", judge_unfinished(content, now=NOW + timedelta(seconds=silent_seconds)), child)


SILENT = "says that it is running, silent for 20 minutes"


def test_progress_and_time_left_come_from_the_run_s_own_word() -> None:
    status = judge(progress(), silent_seconds=20)
    assert status.state == "running"
    assert status.done_fraction == pytest.approx(2.5 / 4)
    assert status.seconds_left == pytest.approx(50 * 1.5 / 2.5)


@pytest.mark.parametrize(
    ("child", "state", "reason"),
    [
        (None, "lost", SILENT),
        (
            Child(0, "waiting", None, "Host EC2 (instance i-1) terminated"),
            "waiting",
            "Host EC2 (instance i-1) terminated",
        ),
        (Child(0, "running", None, ""), "running", f"{SILENT}; its container runs"),
        (Child(0, "failed", 137, "OOMKilled"), "failed", "OOMKilled"),
        (Child(0, "succeeded", 0, ""), "lost", SILENT),
        (Child(0, "gone", None, "spool no longer knows it"), "gone", f"{SILENT}; spool no longer knows it"),
        (Child(0, "unknown", None, "spool does not answer"), "lost", f"{SILENT}; spool does not answer"),
    ],
)
def test_back_end_knows_of_a_silent_run_whether_it_goes_on(child: Child | None, state: str, reason: str) -> None:
    status = judge(progress(), silent_seconds=1200, child=child)
    assert (status.state, status.reason) == (state, reason)


ENDED: dict[str, bytes] = {
    "failed": progress(state="failed", exit_code=74, error="no bucket"),
    "interrupted": progress(state="interrupted", exit_code=143),
    "lost": progress(updated_at="2025-12-31T00:00:00Z"),
    "corrupt": b"{",
}
"""What an attempt left, by what became of it."""


@pytest.mark.parametrize("ended", ENDED)
@pytest.mark.parametrize("child", [Child(0, "waiting", 74, "Error with exit code 74"), Child(0, "running", None, "")])
def test_container_that_waits_or_runs_wins_over_what_the_last_attempt_left(child: Child, ended: str) -> None:
    """Because the scheduler will try again, or has begun to, whoever watches goes on watching."""
    status = judge(ENDED[ended], child=child)
    assert status.state == child.state
    assert not SweepStatus("small", [status], None).is_over
    assert status.reason


@pytest.mark.parametrize("ended", [*ENDED, None])
def test_run_that_its_back_end_has_forgotten_is_gone_unless_it_had_ended(ended: str | None) -> None:
    child = Child(0, "gone", None, "spool no longer knows it")
    status = judge(ENDED[ended], child=child) if ended else judge_run("r", None, child)
    assert status.state == (ended if ended in ("failed", "corrupt") else "gone")
    assert SweepStatus("small", [status], None).is_over


def test_run_that_speaks_is_running_whatever_its_back_end_has_forgotten() -> None:
    assert judge(progress(), child=Child(0, "gone", None, "spool no longer knows it")).state == "running"


@pytest.mark.parametrize("child", [None, Child(0, "failed", 66, "Error")])
def test_long_error_is_shown_as_far_as_the_report_shows_it(child: Child | None) -> None:
    content = progress(state="failed", exit_code=66, error="x" * 1000)
    reason = judge(content, child=child).reason
    assert reason == "x" * 300
    assert describe_unfinished("small", "r", content, now=NOW).reason.startswith(f"{reason} (exit code 66)")


WORDS = {
    "alive": (progress(updated_at="2025-12-31T23:50:00Z"), "running"),
    "silent": (progress(updated_at="2025-12-31T23:40:00Z"), "lost"),
    "alive-without-zone": (progress(updated_at="2025-12-31T23:50:00"), "running"),
    "silent-without-zone": (progress(updated_at="2025-12-31T23:40:00"), "lost"),
    "alive-in-another-zone": (progress(updated_at="2026-01-01T04:20:00+04:30"), "running"),
    "just-done": (progress(state="completed", updated_at="2025-12-31T23:59:59Z"), "running"),
    "just-diverged": (progress(state="diverged", updated_at="2025-12-31T23:59:59Z"), "running"),
    "done-long-ago": (progress(state="completed", updated_at="2025-12-31T23:40:00Z"), "lost"),
    "diverged-long-ago": (progress(state="diverged", updated_at="2025-12-31T23:40:00"), "lost"),
    "starting": (progress(state="starting", epoch=0, step=0, num_steps=0), "running"),
    "stopped": (progress(state="interrupted", exit_code=143, updated_at="2025-12-01T00:00:00Z"), "interrupted"),
    "failed": (progress(state="failed", exit_code=66, error="no data", updated_at="2025-12-01T00:00:00"), "failed"),
    "failed-without-a-word": (progress(state="failed"), "failed"),
    "mute": (None, "lost"),
    "torn": (b'{"run_id"', "corrupt"),
    "empty": (b"", "corrupt"),
    "binary": (b"\xff\xfe", "corrupt"),
    "deep": (b"[" * 100_000, "corrupt"),
    "no-time": (progress(updated_at=None), "corrupt"),
    "no-epochs": (progress(num_epochs=0), "corrupt"),
    "endless": (progress(trained_seconds=float("inf")), "corrupt"),
    "beyond": (progress(epoch=9, step=9), "running"),
    "of-tomorrow": (progress(updated_at="2026-01-02T00:00:00Z"), "running"),
}
"""What lies under a run without result, and what became of it."""


def test_status_and_report_say_the_same_of_every_run_without_result(tmp_path: Path) -> None:
    """Whatever lies there; with the same reason, to which the report adds how far the run had come."""
    store = FolderStore(tmp_path)
    runs = [{"run_id": run_id, "manifest": TINY, "varied": {}} for run_id in WORDS]
    store.write("small/sweep.json", json.dumps({"name": "small", "runs": runs}).encode())
    for run_id, (content, _) in WORDS.items():
        store.write(RunKeys("small", run_id).manifest, b"{}")
        if content is not None:
            store.write(RunKeys("small", run_id).progress, content)
    seen = {run.run_id: run for run in observe_sweep(store, "small", now=NOW).runs}
    holes = {hole.run_id: hole for hole in read_runs(store, now=NOW).holes.itertuples()}
    assert {run_id: run.state for run_id, run in seen.items()} == {name: state for name, (_, state) in WORDS.items()}
    assert {run_id: hole.kind for run_id, hole in holes.items()} == {name: state for name, (_, state) in WORDS.items()}
    for run_id, run in seen.items():
        assert holes[run_id].reason.startswith(run.reason)
        assert 0 <= run.done_fraction <= 1
    assert seen["failed"].reason == "no data"
    assert holes["failed"].reason == "no data (exit code 66); 2 of 4 epochs done"
    assert seen["just-done"].reason == "completed, its result is being stored"
    assert "there is no result.json" in seen["done-long-ago"].reason


def test_status_of_odd_progress_is_shown_and_is_json(job: Job, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    runs = [{"run_id": run_id, "manifest": TINY, "varied": {}} for run_id in WORDS]
    store.write("small/sweep.json", json.dumps({"name": "small", "runs": runs}).encode())
    for run_id, (content, _) in WORDS.items():
        if content is not None:
            store.write(RunKeys("small", run_id).progress, content)
    shown = job("status", tmp_path)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "7 corrupt" in shown.stdout
    assert json.loads(job("status", tmp_path, "--json").stdout)["counts"]["corrupt"] == 7


def test_sweep_is_found_without_its_name_where_it_is_the_only_one(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    nothing = job("status", tmp_path / "nothing")
    assert nothing.exit_code == 2
    assert "nothing is here" in nothing.stderr
    (tmp_path / "single/default/runs").mkdir(parents=True)
    single = job("status", tmp_path / "single")
    assert single.exit_code == 2
    assert "no sweep is here" in single.stderr
    for name in ("one", "two"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "sweep.json").write_text('{"name": "x", "runs": []}')
    several = job("status", tmp_path / "out")
    assert several.exit_code == 2
    assert "name one with --experiment; sweeps: one, two" in several.stderr
    assert job("status", tmp_path / "out", "--experiment", "two").exit_code == 0
    (tmp_path / "out/two/sweep.json").write_text("{")
    assert "not a plan" in job("status", tmp_path / "out", "--experiment", "two").stderr


def test_retryable_exit_codes_are_tried_again_and_others_are_not(tmp_path: Path) -> None:
    """A process that counts its attempts in a file and fails as it is told."""
    script = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1]); n = len(p.read_text()) if p.exists() else 0; "
        "p.write_text('x' * (n + 1)); sys.exit([int(c) for c in sys.argv[2].split(',')][n])"
    )
    commands = [
        [sys.executable, "-c", script, str(tmp_path / str(number)), codes]
        for number, codes in enumerate(["75,74,0", "66,0", "0", "71,71,71,71,71,0"])
    ]
    ended = sorted(run_processes(commands, jobs=2), key=lambda container: container.index)
    assert ended == [Ended(0, 0, 3), Ended(1, 66, 1), Ended(2, 0, 1), Ended(3, 71, 5)]
