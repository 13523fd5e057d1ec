"""One arithmetic in one comparison and in one run, whichever machines the attempts get."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from job.manifest import Manifest
from job.plan import build_plan, build_submission, parse_document, read_auto_precision
from job.runs import CheckpointDigest, RunResult
from job.storage import FolderStore
from job.training.record.checkpoints import checkpoint_artefacts
from tests.conftest import TINY, Answer
from tests.results import metrics, result_in
from tests.unit.test_model import zip_file

Job = Callable[..., Answer]
Cpu = Callable[..., None]
LARGER = {"dataset": TINY["dataset"] | {"size": 32}, "optimizer": {"name": "sgd", "lr": 0.001}}
"""Images for which `auto` takes bf16 on a CPU that has it."""


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Cpu:
    """Says of the CPU which instructions it has; what it has not, torch emulates."""

    def become(*precisions: str) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "bf16" in precisions)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_fp16_supported", lambda: "fp16" in precisions)

    return become


@pytest.fixture
def run(job: Job, tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Answer]:
    def call(*options: object, output: str = "out", **fields: object) -> Answer:
        manifest = tiny(**(LARGER | fields))
        return job("run", "--manifest", manifest, "--output", tmp_path / output, "--device", "cpu", *options)

    return call


def events(answer: Answer, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in answer.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def result(output: Path) -> RunResult:
    return result_in(FolderStore(output))


def precision_of(output: Path) -> str:
    environment = result(output).environment
    assert environment is not None
    return environment.precision


STOPPED = ("--time-budget", "0.001")
"""After one step."""


# What `auto` means


@pytest.mark.parametrize(("own", "said"), [("bf16", "fp32"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_auto_is_what_the_option_says_whatever_the_machine_is_best_at(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path, own: str, said: str
) -> None:
    cpu(own)
    told = run("--auto-precision", said, epochs=1)
    assert told.exit_code == 0, told.stderr
    assert precision_of(tmp_path / "out") == said


def test_auto_is_what_the_variable_says(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu("bf16")
    monkeypatch.setenv("JOB_AUTO_PRECISION", "fp32")
    assert run(epochs=1).exit_code == 0
    assert precision_of(tmp_path / "out") == "fp32"


def test_manifest_that_names_its_precision_keeps_it(run: Callable[..., Answer], cpu: Cpu, tmp_path: Path) -> None:
    cpu("bf16")
    assert run("--auto-precision", "bf16", epochs=1, precision="fp32").exit_code == 0
    assert precision_of(tmp_path / "out") == "fp32"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_machine_without_it_ends_with_71_and_says_what_it_lacks(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path, precision: str
) -> None:
    cpu()
    told = run("--auto-precision", precision)
    assert told.exit_code == 71
    said = f"precision auto means {precision} in all runs of this comparison, and this CPU has no {precision}"
    assert said in told.stderr
    assert "--auto-precision" in told.stderr
    assert not list(tmp_path.rglob("result.json"))


def test_images_that_are_too_small_for_bf16_on_a_cpu_are_fp32_on_every_cpu(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path
) -> None:
    for number, own in enumerate(("bf16", "fp32")):
        cpu(own)
        told = run("--auto-precision", "bf16", output=f"out-{number}", epochs=1, dataset=TINY["dataset"])
        assert told.exit_code == 0, told.stderr
        assert len(events(told, "precision_replaced")) == 1
        assert precision_of(tmp_path / f"out-{number}") == "fp32"


@pytest.mark.parametrize(("options", "expected"), [((), "fp32"), (("--auto-precision", "bf16"), "bf16")])
def test_submission_says_what_auto_means_and_the_option_counts_before_it(
    job: Job, cpu: Cpu, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    cpu("bf16")
    fields = {name: value for name, value in (TINY | LARGER).items() if name not in ("name", "optimizer", "epochs")}
    sweep = {"name": "arms", "defaults": fields | {"epochs": 1}, "blocks": [{"base": {"optimizer": {"name": "sgd"}}}]}
    document = parse_document(json.dumps(sweep).encode(), source="arms")
    assert not isinstance(document, Manifest)
    runs = build_plan(document, source="arms").run_ids  # type: ignore[arg-type]
    submission = build_submission(document, runs, per_container=1, auto_precision="fp32")  # type: ignore[arg-type]
    path, output = tmp_path / "submission.json", tmp_path / "out"
    path.write_text(submission.as_json())
    told = job("run", "-m", path, "-o", output, "--index", "0", "--device", "cpu", *options)
    assert told.exit_code == 0, told.stderr
    assert precision_of(output) == expected
    assert read_auto_precision((output / "arms/sweep.json").read_bytes()) == expected


# A run that goes on


@pytest.mark.parametrize(("first", "second"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_run_goes_on_in_the_precision_of_its_checkpoint_or_on_another_machine(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path, first: str, second: str
) -> None:
    cpu(first)
    assert run(output="whole").exit_code == 0
    assert run(*STOPPED).exit_code == 75
    (digest,) = tmp_path.glob("out/*/runs/*/checkpoints/*.json")
    assert CheckpointDigest.model_validate_json(digest.read_bytes()).precision == first
    cpu(second)
    told = run()
    if first == "bf16":  # which this machine has not
        assert told.exit_code == 71
        assert "checkpoint was trained in bf16, and this CPU has no usable bf16" in told.stderr
        assert "take another machine" in told.stderr
        cpu(first)
        told = run()
    else:
        (event,) = events(told, "precision_continued")
        assert (event["wanted"], event["used"]) == ("bf16", "fp32")
    assert told.exit_code == 0, told.stderr
    assert len(events(told, "checkpoint_restored")) == 1
    assert metrics(result(tmp_path / "out")) == metrics(result(tmp_path / "whole"))


def test_checkpoint_counts_before_what_a_later_submission_says(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path
) -> None:
    cpu("bf16")
    assert run("--auto-precision", "fp32", *STOPPED).exit_code == 75
    told = run("--auto-precision", "bf16")
    assert told.exit_code == 0, told.stderr
    assert precision_of(tmp_path / "out") == "fp32"


def test_run_whose_tf32_was_replaced_goes_on_in_what_replaced_it(run: Callable[..., Answer], tmp_path: Path) -> None:
    assert run(*STOPPED, precision="tf32").exit_code == 75
    told = run(precision="tf32")
    assert told.exit_code == 0, told.stderr
    (event,) = events(told, "precision_continued")
    assert (event["wanted"], event["used"]) == ("tf32", "fp32")
    assert events(told, "precision_replaced") == []


def forget_precision(output: Path) -> None:
    """Make of the checkpoint what an earlier version would have stored."""
    (path,) = output.rglob("*.pt")
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    del content["precision"]
    digest = CheckpointDigest.model_validate_json(path.with_suffix(".json").read_bytes())
    files = checkpoint_artefacts("x.pt", zip_file(content), configuration=digest.configuration)
    for key, forged in files.items():
        path.with_suffix(Path(key).suffix).write_bytes(forged)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_of_an_earlier_versions_checkpoint_is_that_of_the_attempt_before(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path, precision: str
) -> None:
    cpu("bf16")
    assert run("--auto-precision", precision, *STOPPED).exit_code == 75
    forget_precision(tmp_path / "out")
    told = run("--auto-precision", "fp32" if precision == "bf16" else "bf16")
    assert told.exit_code == 0, told.stderr
    assert len(events(told, "checkpoint_restored")) == 1
    assert precision_of(tmp_path / "out") == precision


def test_earlier_versions_checkpoint_with_a_scaler_is_fp16_whatever_the_attempt_before_was(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path
) -> None:
    """An earlier version that met it in bf16 wrote bf16 into environment.json, and mixed the two."""
    cpu("fp16", "bf16")
    assert run("--auto-precision", "fp16", output="whole").exit_code == 0
    assert run("--auto-precision", "fp16", *STOPPED).exit_code == 75
    forget_precision(tmp_path / "out")
    (environment,) = tmp_path.glob("out/*/runs/*/environment.json")
    environment.write_text(environment.read_text().replace('"precision": "fp16"', '"precision": "bf16"'))
    told = run()
    assert told.exit_code == 0, told.stderr
    assert len(events(told, "checkpoint_restored")) == 1
    assert metrics(result(tmp_path / "out"))["history"] == metrics(result(tmp_path / "whole"))["history"]


def test_checkpoint_without_scaler_is_not_gone_on_from_in_fp16(
    run: Callable[..., Answer], cpu: Cpu, tmp_path: Path
) -> None:
    """It was overtaken by an attempt in fp16 that left no checkpoint. The training begins anew, in one precision."""
    cpu("fp16", "bf16")
    assert run("--auto-precision", "bf16", *STOPPED).exit_code == 75
    forget_precision(tmp_path / "out")
    (environment,) = tmp_path.glob("out/*/runs/*/environment.json")
    environment.write_text(environment.read_text().replace('"precision": "bf16"', '"precision": "fp16"'))
    told = run()
    assert told.exit_code == 0, told.stderr
    (event,) = events(told, "checkpoint_ignored")
    assert "was trained in another precision, not fp16" in event["reason"]
    assert precision_of(tmp_path / "out") == "fp16"
