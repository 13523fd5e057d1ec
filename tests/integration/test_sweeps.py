"""A sweep on this machine, from plan to the last result: only what is missing is run, and all of it is one thing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from job import cpus
from job.plan import SweepPlan
from job.runs import LOST_AFTER_SECONDS, Progress
from job.storage import open_store
from job.submit.estimate import read_prices
from job.submit.processes import Ended, run_processes
from job.submit.status import judge_run
from tests.conftest import TINY, Answer
from tests.faulty_s3 import FaultyS3, delay

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
    assert (f"{months} months old: --prices FILE takes newer ones" in said) == (months >= 6)


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


def test_sweep_is_run_locally_and_only_what_is_missing_again(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments = ("submit", "--manifest", sweep(), "--to", "local", "--output", output)
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


def test_bad_configuration_fails_alone_and_says_why(job: Job, sweep: Callable[..., Path], tmp_path: Path) -> None:
    """All in one process: the data's or weights' fault in one configuration does not end the others."""
    blocks = [{"base": {"optimizer": {"name": "adam"}, "model": {"weights": "/absent.pth"}}}, *SWEEP["blocks"]]
    output = tmp_path / "out"
    arguments = ("--manifest", sweep(blocks=blocks), "--to", "local", "--output", output, "--per-container", "3")
    answer = job("submit", *arguments)
    assert answer.exit_code == 66
    assert "exit code 66: adam-s0-" in answer.stdout
    assert counts(job, output) == {"done": 2, "failed": 1}
    shown = job("status", output).stdout
    assert "exit code 66" in shown
    assert "/absent.pth" in shown.replace("\n", "")
    assert '"exit_code": 66' in job("logs", output, run_ids(output)[0]).stdout


def test_next_run_trains_while_the_last_artefacts_of_one_are_stored(
    job: Job, sweep: Callable[..., Path], wire: FaultyS3, bucket: str
) -> None:
    """And each of the two logs tells of its own run alone."""
    slow = wire.spoil("PUT", r"/plots/loss\.png", delay(3), times=1)
    answer = job("run", "--manifest", sweep(), "--output", f"{bucket}/study")
    assert answer.exit_code == 0, answer.stderr
    assert slow.times == 0
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
    arguments = ("--manifest", sweep(), "--output", output, "--dry-run", "--image", "job:x", "--data", tmp_path)
    local = job("submit", "--to", "local", *arguments).stdout.splitlines()
    assert len(local) == 2
    assert local[1].startswith(f"{sys.executable} -m job run --manifest {output}/small/submissions/")
    assert local[1].endswith("--index 1")
    docker = job("submit", "--to", "docker", "--gpus", "all", *arguments).stdout.splitlines()
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
    answer = job("submit", "--to", to, *arguments, "--output", tmp_path, "--image", "job:x", "--jobs", jobs)
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


@pytest.mark.parametrize("gpus", ["two", "-1"])
def test_number_of_gpus_must_be_one(gpus: str, job: Job, sweep: Callable[..., Path]) -> None:
    answer = job("submit", "-m", sweep(), "--to", "batch", "--output", "s3://bucket/x", f"--gpus={gpus}")
    assert answer.exit_code == 2
    assert f"--gpus {gpus}: must be a number" in answer.stderr


def progress(**fields: Any) -> Progress:
    return Progress.model_validate(
        {
            "run_id": "r", "state": "running", "attempt": 1, "epoch": 2, "step": 5, "num_epochs": 4, "num_steps": 10,
            "updated_at": NOW, "trained_seconds": 50.0,
        } | fields
    )  # fmt: skip


def test_progress_and_time_left_come_from_the_run_s_own_word() -> None:
    status = judge_run("r", progress(), None, now=NOW + timedelta(seconds=20))
    assert status.state == "running"
    assert status.done_fraction == pytest.approx(2.5 / 4)
    assert status.seconds_left == pytest.approx(50 * 1.5 / 2.5)


@pytest.mark.parametrize(
    ("fields", "silent_seconds", "state"),
    [
        ({}, LOST_AFTER_SECONDS - 1, "running"),
        ({}, LOST_AFTER_SECONDS + 1, "lost"),
        ({"state": "starting"}, LOST_AFTER_SECONDS + 1, "lost"),
        ({"state": "interrupted", "exit_code": 143}, 10 * LOST_AFTER_SECONDS, "interrupted"),
        ({"state": "failed", "exit_code": 66, "error": "no data"}, 0, "failed"),
    ],
)
def test_silence_and_last_words_decide_over_the_state(
    fields: dict[str, Any], silent_seconds: float, state: str
) -> None:
    status = judge_run("r", progress(**fields), None, now=NOW + timedelta(seconds=silent_seconds))
    assert status.state == state
    if state != "running":
        assert status.seconds_left is None
    if state == "failed":
        assert (status.exit_code, status.reason) == (66, "no data")


def test_sweep_is_found_without_its_name_where_it_is_the_only_one(
    job: Job, sweep: Callable[..., Path], tmp_path: Path
) -> None:
    nothing = job("status", tmp_path / "nothing")
    assert nothing.exit_code == 2
    assert "sweeps: none" in nothing.stderr
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
    assert run_processes(commands, jobs=2) == [Ended(0, 0, 3), Ended(1, 66, 1), Ended(2, 0, 1), Ended(3, 71, 5)]
