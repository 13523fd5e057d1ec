"""`make gpu-check` on a machine without a card: what it would send back can be read, whatever becomes of a section."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from job.training.engine import graphs
from job.training.engine.device import Device
from tests.benchmarks import card, gpu_check, short_trainings
from tests.benchmarks.findings import Findings, judge
from tests.benchmarks.lab_report import NAMES
from tests.benchmarks.tables import GRAPHED, PRODUCT
from tests.benchmarks.targets import COLD, judge_targets
from tests.conftest import ROOT
from tests.narrow import use_narrow_network

SMALL = ["--device", "cpu", "--optimizers", "adam"]
without_card = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def check(output: Path, *options: object) -> tuple[int, dict[str, Any]]:
    """The exit code and the file."""
    with pytest.raises(SystemExit) as end:
        gpu_check.main([*SMALL, "--output", str(output), *map(str, options)])
    assert isinstance(end.value.code, int)
    return end.value.code, json.loads((output / gpu_check.FILE).read_text())


@without_card
def test_section_that_fails_is_in_the_file_with_its_reason_and_loses_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    code, found = check(tmp_path, "--only", "tests", "optimizers", "lab-report", "--data", missing)
    assert code == 1
    assert found["is_whole"]
    sections = found["sections"]
    assert sections.keys() == gpu_check.SECTIONS.keys()
    assert sections["machine"]["status"] == "passed"
    assert sections["machine"]["environment"]["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert sections["lab-report"]["status"] == "failed"
    assert str(missing) in sections["lab-report"]["reason"]
    assert (sections["tests"]["status"], sections["tests"]["reason"]) == ("not tried", "needs a CUDA device")
    assert len(sections["tests"]["rows"]) > 90
    assert "--only" in sections["speed"]["reason"]
    assert sections["optimizers"]["status"] == "not tried"
    assert "GPU" in sections["optimizers"]["reason"]
    first, second = sections["optimizers"]["rows"]
    assert first["eager"]["losses"] == second["eager"]["losses"]  # on a CPU both modes are fp32
    assert len(first["eager"]["train_seconds"]) == short_trainings.NUM_EPOCHS
    assert {target["verdict"] for target in found["targets"]} == {"not measured"}
    said = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{said}" for name in sections)
    assert str(tmp_path / gpu_check.FILE) in said


@without_card
def test_machine_without_a_card_ends_at_once_and_says_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="71"):
        gpu_check.main(["--output", str(tmp_path)])
    said = capsys.readouterr().err
    for needed in ("sees no GPU", "NVIDIA card", "driver", "--device cpu"):
        assert needed in said
    assert not (tmp_path / gpu_check.FILE).exists()


def test_check_that_is_killed_leaves_what_it_had(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check", *SMALL, "--output", str(tmp_path)]
    with subprocess.Popen([*command, "--only", "lab-report"], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not ((tmp_path / gpu_check.FILE).exists() and (tmp_path / "lab-report.log").exists()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    found = json.loads((tmp_path / gpu_check.FILE).read_text())
    assert not found["is_whole"]
    assert found["sections"]["machine"]["status"] == "passed"
    assert found["sections"]["lab-report"]["reason"] == "the check was stopped before its end"


def test_section_that_takes_too_long_has_failed_with_the_rows_that_it_had(tmp_path: Path) -> None:
    options = gpu_check.parse([*SMALL, "--output", str(tmp_path), "--limit", "0.01"])
    options.output.mkdir(exist_ok=True)
    section = gpu_check.run_apart("preflight", options)
    assert section["status"] == "failed"
    assert section["reason"].startswith("more than 0.01 s")
    assert section["rows"] == []


@pytest.fixture
def graphs_on_cpu(monkeypatch: pytest.MonkeyPatch, capturable_on_cpu: None) -> None:
    """A CPU in a card's place, whose graphs are the calls themselves; the network is the narrow one."""
    use_narrow_network(monkeypatch)
    monkeypatch.setattr(graphs, "warm_up", lambda function: function())
    monkeypatch.setattr(graphs, "capture", lambda function: function)

    def open_device(options: argparse.Namespace, *, graphs: bool = False, **settings: Any) -> Device:
        return replace(card.open_device(argparse.Namespace(device="cpu"), **settings), graphs=graphs)

    monkeypatch.setattr(short_trainings, "open_device", open_device)


def measure(measured: Callable[[argparse.Namespace, Findings], None], folder: Path, *optimizers: str) -> Findings:
    options = gpu_check.parse(["--device", "cpu", "--optimizers", *optimizers])
    options.device, findings = "cuda", Findings(folder / "section.json")
    measured(options, findings)
    return findings


@pytest.mark.usefixtures("graphs_on_cpu")
def test_graphs_that_train_as_eager_steps_do_pass(tmp_path: Path) -> None:
    found = measure(short_trainings.measure_optimizers, tmp_path, "sgd")
    for row in found.document["rows"]:
        assert (row["status"], row["equal"], row["difference"]) == ("passed", True, 0.0)
        assert row["speedup"] > 0
    assert judge(found.document["rows"])["status"] == "passed"
    assert json.loads((tmp_path / "section.json").read_text()) == found.document


@pytest.mark.usefixtures("graphs_on_cpu")
def test_step_that_no_graph_could_hold_is_a_failure_with_torchs_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", refuse)
    verdict = judge(measure(short_trainings.measure_optimizers, tmp_path, "sgd").document["rows"])
    assert verdict["status"] == "failed"
    assert verdict["reason"].startswith("2 of 2: sgd, fp32, deterministic: no CUDA graph")
    assert "not permitted when stream is capturing" in verdict["reason"]


def test_targets_are_met_or_missed_on_a_card_alone_and_the_first_run_does_not_count() -> None:
    def row(name: str, *, graphs: bool, loop: float, job: float) -> dict[str, Any]:
        return {"name": name, "graphs": graphs, "num_epochs": 10, "loop_seconds": loop, "job_seconds": job}

    rows = [row(COLD, graphs=False, loop=9, job=30)]
    rows += [row(name, graphs=False, loop=2.0, job=5.0) for name in NAMES]
    rows += [row(name, graphs=True, loop=1.0 + (name == "adam"), job=6.5) for name in NAMES]
    speed = [{"name": PRODUCT, "epoch": {"ratio_to_batch_1": 40}}, {"name": GRAPHED, "epoch": {"ratio_to_batch_1": 60}}]
    sections: dict[str, dict[str, Any]] = {
        "machine": {"card": "a card"},
        "lab-report": {"rows": rows},
        "speed": {"rows": speed},
    }
    found = {target["name"]: (target["seen"], target["verdict"]) for target in judge_targets(sections)}
    assert list(found.values()) == [
        (2.0, "missed"), (5.0, "met"), (40, "missed"), (2.0, "missed"), (6.5, "missed"), (60, "met"),
    ]  # fmt: skip
    assert {target["verdict"] for target in judge_targets(sections | {"machine": {}})} == {"not measured"}
