"""Back ends are one axis: a new one is a module and its line in the registry, and only the chosen one is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from job.cli.backend_options import EVERYWHERE, OPTIONS
from job.errors import Terminated
from job.submit.backend import Ended
from job.submit.options import Options
from job.submit.registry import BACKENDS, describe_option
from tests import spool_backend
from tests.conftest import TINY, Answer

Job = Callable[..., Answer]
ARGUMENTS = ("--image", "job:x", "--queue", "night")
IMPORTED = """
import sys
from job.cli import main
try:
    main()
finally:
    print("imported:", *sorted({"boto3", "botocore", "kubernetes", "yaml", "torch"} & sys.modules.keys()))
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    block = {"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": [0.01, 0.1]}}
    defaults = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {
        "precision": "fp32"
    }
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"name": "small", "defaults": defaults, "blocks": [block]}))
    return path


def test_new_back_end_is_driven_by_the_command_line_from_submit_to_cancel(
    job: Job, spool: Path, sweep: Path, bucket: str
) -> None:
    submit = ("submit", "-m", sweep, "--to", "spool", "--output", bucket, *ARGUMENTS)
    dry = job(*submit, "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    request = json.loads(dry.stdout)
    assert (request["queue"], request["image"], request["size"]) == ("night", "job:x", 2)
    assert request["arguments"][-2:] == ["--device", "cuda"]
    assert list(spool.iterdir()) == []

    assert "2 runs in 2 containers" in job(*submit).stdout
    assert "nothing to do; 0 runs are done, 2 under way" in job(*submit).stdout
    seen = json.loads(job("status", bucket, "--json").stdout)
    assert {(run["state"], run["reason"]) for run in seen["runs"]} == {("waiting", "queue night is closed")}

    (path,) = spool.iterdir()
    ended = {"state": "failed", "exit_code": 66, "reason": "no data", "log": ["one", "two", "three"]}
    path.write_text(json.dumps([ended, {"state": "waiting", "reason": "", "log": []}]))
    first = seen["runs"][0]["run_id"]
    assert job("logs", bucket, first, "--lines", "2").stdout.split() == ["two", "three"]
    assert "exit code 66  no data" in job("status", bucket).stdout

    assert job("cancel", bucket).stdout == f"cancelled: spool {path.stem}\n"
    after = json.loads(job("status", bucket, "--json").stdout)
    assert {(run["state"], run["exit_code"], run["reason"]) for run in after["runs"]} == {
        ("failed", 143, "job cancel small")
    }
    assert "2 runs in 2 containers" in job(*submit).stdout


def test_what_ends_submit_closes_the_containers_that_it_follows(
    job: Job, spool: Path, sweep: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the error is told: a generator that is only forgotten lives as long as the error's traceback."""

    def submit_here(request: dict[str, Any], settings: spool_backend.SpoolSettings) -> Iterator[Ended]:
        try:
            yield Ended(0, 0, 1)
        finally:
            print("closed", file=sys.stderr)

    def end(*arguments: object, err: bool = False, **options: object) -> None:
        if not err:  # what submit decides is told there, before it sends anything
            raise Terminated("SIGTERM")

    here = SimpleNamespace(**vars(spool_backend) | {"submit": submit_here})
    monkeypatch.setitem(BACKENDS, "spool", replace(spool_backend.ENTRY, load=lambda: here))
    monkeypatch.setattr(typer, "echo", end)
    answer = job("submit", "-m", sweep, "--to", "spool", "--output", bucket, *ARGUMENTS)
    assert answer.exit_code == 143
    assert [line for line in answer.stderr.splitlines() if line[:1] != "{"] == ["closed", "error: SIGTERM"]


def test_messages_name_a_new_back_end(job: Job, spool: Path, sweep: Path, tmp_path: Path) -> None:
    submit = ("submit", "-m", sweep, *ARGUMENTS)
    unknown = job(*submit, "--to", "slurm")
    assert unknown.exit_code == 2
    assert "--to slurm: no such back end; must be local, docker, batch, kubernetes or spool" in unknown.stderr
    claim = job(*submit, "--to", "batch", "--output", "pvc://claim")
    assert "a PersistentVolumeClaim is for --to kubernetes or spool" in claim.stderr
    folder = job(*submit, "--to", "spool", "--output", tmp_path / "out")
    assert "containers of --to spool cannot reach a folder of this machine" in folder.stderr
    data = job(*submit, "--to", "spool", "--output", "s3://bucket/x", "--data", tmp_path)
    assert "containers of --to spool cannot read a folder of this machine" in data.stderr
    stale = job(*submit, "--to", "spool", "--output", "s3://bucket/x", "--stale")
    assert "nothing is known of what --image job:x holds" in stale.stderr
    (tmp_path / "out/small").mkdir(parents=True)
    (tmp_path / "out/small/sweep.json").write_text('{"runs": []}')
    nothing = job("cancel", tmp_path / "out")
    assert nothing.stdout == "small: nothing of it was sent to batch, kubernetes or spool\n"


def test_help_describes_a_new_back_end(tmp_path: Path) -> None:
    """In a process of its own, because options are read when the command line is imported."""
    program = (
        "from job.submit.registry import BACKENDS; from tests.spool_backend import ENTRY; BACKENDS['spool'] = ENTRY; "
        "from job.cli import main; main()"
    )
    answer = subprocess.run([sys.executable, "-c", program, "submit", "--help"], capture_output=True, text=True)
    said = " ".join(answer.stdout.split())
    assert "--to [local|docker|batch|kubernetes|spool]" in said
    assert "kubernetes: one Indexed Job; spool: a file in a spool folder." in said
    assert "kubernetes: a LocalQueue of Kueue; spool: a spool." in said
    assert "docker, batch, kubernetes, spool: the container image." in said
    assert "kubernetes, spool: also pvc://CLAIM" in said


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (("--to", "local", "--output", "out", "--dry-run"), ""),
        (("--to", "docker", "--output", "out", "--dry-run", "--image", "job:x"), ""),
        (("--to", "kubernetes", "--output", "pvc://claim", "--dry-run", *ARGUMENTS), "yaml"),
        (("--to", "batch", "--output", "s3://bucket/x", "--dry-run", *ARGUMENTS), "boto3 botocore"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_only_the_chosen_back_end_is_imported(
    arguments: tuple[str, ...], imported: str, sweep: Path, bucket: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", IMPORTED, "submit", "-m", str(sweep), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == f"imported: {imported}".strip()


def test_sweep_that_runs_here_never_imports_a_client_of_a_cloud(sweep: Path, tmp_path: Path) -> None:
    """From the first run to the last word, and again when all is done: torch is left to the processes too."""
    command = [sys.executable, "-c", IMPORTED, "submit", "-m", str(sweep), "--to", "local", "--output", "out"]
    for said in ("2 runs in 1 containers", "nothing to do; 2 runs are done"):
        answer = subprocess.run([*command, "--per-container", "2"], capture_output=True, text=True, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert said in answer.stdout
        assert answer.stdout.splitlines()[-1] == "imported:"


def test_every_option_is_described_by_a_back_end() -> None:
    """But for those that `job submit` reads itself, whatever the back end."""
    options = set(Options.model_fields) - set(EVERYWHERE)
    described = {option for entry in BACKENDS.values() for option in entry.options}
    assert described == options
    assert set(OPTIONS) == {*Options.model_fields, "settings"}
    assert describe_option("gpus").count(": ") == 3


def test_submission_to_a_back_end_of_another_version_is_named(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "out/small"
    (folder / "submissions").mkdir(parents=True)
    (folder / "sweep.json").write_text('{"runs": []}')
    (folder / "submissions/0123456789.job.json").write_text('{"backend": "slurm", "job": "17"}')
    for command in ("status", "cancel"):
        answer = job(command, tmp_path / "out")
        assert answer.exit_code == 2
        assert "submissions/0123456789.job.json: slurm: no such back end; must be local" in answer.stderr


def test_missing_client_of_kubernetes_is_named_with_its_extra(
    job: Job, sweep: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    answer = job("submit", "-m", sweep, "--to", "kubernetes", "--output", bucket, *ARGUMENTS)
    assert answer.exit_code == 2
    assert "kubernetes is not installed; it belongs to the extra 'kubernetes': run `make install`" in answer.stderr


def test_plan_of_a_version_with_other_manifests_is_watched(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "out/small"
    (folder / "runs").mkdir(parents=True)
    runs = [{"run_id": "later-s0-0123456789", "manifest": {"optimizer": {"name": "of-tomorrow"}}, "varied": {}}]
    (folder / "sweep.json").write_text(json.dumps({"name": "small", "runs": runs}))
    answer = job("status", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    assert "1 runs, 0% trained: 1 waiting" in answer.stdout
