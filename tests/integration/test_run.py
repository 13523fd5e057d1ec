"""`job run` from manifest to artefacts, in a folder and in S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from job.runs import RunResult
from tests.conftest import Answer

Job = Callable[..., Answer]
Tiny = Callable[..., Path]


def result_of(output: Path) -> RunResult:
    (path,) = output.glob("*/runs/*/result.json")
    return RunResult.model_validate_json(path.read_bytes())


def test_run_writes_every_artefact_of_the_design(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    answer = job("run", "--manifest", tiny(), "--output", tmp_path / "out", "--checkpoint-interval", "0")
    assert answer.exit_code == 0, answer.stderr
    (run,) = (tmp_path / "out/default/runs").iterdir()
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()) == [
        "checkpoints/epoch-0001.json",
        "checkpoints/epoch-0001.pt",
        "checkpoints/epoch-0002.json",
        "checkpoints/epoch-0002.pt",
        "environment.json",
        "history.jsonl",
        "log.jsonl",
        "manifest.json",
        "model.safetensors",
        "plots/accuracy.png",
        "plots/class_accuracy.png",
        "plots/confusion.png",
        "plots/loss.png",
        "plots/samples.png",
        "progress.json",
        "result.json",
    ]
    assert json.loads((run / "progress.json").read_text())["state"] == "completed"


def test_finished_run_is_not_run_again(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out")
    assert job(*arguments).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = job(*arguments)
    assert again.exit_code == 0
    assert "run_already_complete" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
