"""`job run` from manifest to artefacts, in a folder and in S3."""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from torchvision.models import resnet18

from job.runs import Progress, RunResult
from job.storage import open_store
from job.training.inputs.datasets.synthetic import load_synthetic
from tests.conftest import ROOT, SHARED, TINY, Answer
from tests.narrow import build

Job = Callable[..., Answer]
Tiny = Callable[..., Path]


def result_of(output: Path) -> RunResult:
    (path,) = output.glob("*/runs/*/result.json")
    return RunResult.model_validate_json(path.read_bytes())


@pytest.mark.real_figures
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
        "predictions.npz",
        "progress.json",
        "result.json",
        "samples.npz",
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


@pytest.mark.usefixtures("blank_report")
def test_run_into_s3_writes_the_same_artefacts_and_is_found_done(job: Job, tiny: Tiny, bucket: str) -> None:
    arguments = ("run", "--manifest", tiny(), "--output", f"{bucket}/study")
    answer = job(*arguments)
    assert answer.exit_code == 0, answer.stderr
    store = open_store(f"{bucket}/study")
    keys = [key.partition("/runs/")[2].partition("/")[2] for key in store.list_keys("")]
    assert {"result.json", "model.safetensors", "plots/loss.png", "checkpoints/epoch-0002.pt"} <= set(keys)
    assert not any(key.startswith(".") for key in keys)
    before = store.list_keys("")
    again = job(*arguments)
    assert again.exit_code == 0
    assert "run_already_complete" in again.stderr
    assert store.list_keys("") == before
    assert job("report", f"{bucket}/study").exit_code == 0


def test_manifest_may_lie_in_s3(job: Job, tiny: Tiny, bucket: str) -> None:
    open_store(bucket).write("manifests/tiny.json", tiny().read_bytes())
    assert "valid" in job("validate", f"{bucket}/manifests/tiny.json").stdout
    missing = job("validate", f"{bucket}/manifests/other.json")
    assert missing.exit_code == 65
    assert f"{bucket}/manifests/other.json" in missing.stderr


def test_credentials_without_access_are_told_before_training(
    job: Job, tiny: Tiny, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    answer = job("run", "--manifest", tiny(), "--output", bucket)
    assert answer.exit_code == 67
    assert "training_started" not in answer.stderr


def test_environment_tells_what_the_numbers_depend_on_and_no_secret(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-token")
    monkeypatch.setenv("JOB_GIT_SHA", "abc123")
    assert job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out").exit_code == 0
    (path,) = tmp_path.rglob("environment.json")
    environment = json.loads(path.read_text())
    assert environment["git_sha"] == "abc123"
    assert environment["packages"]["torch"]
    assert environment["num_threads"] == 1
    assert environment["graphs"] is False
    assert len(environment["data_sha256"]) == 64
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"planted" not in file.read_bytes(), file


@pytest.mark.real_network
def test_weights_load_into_a_plain_torchvision_network(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    assert job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out").exit_code == 0
    (path,) = tmp_path.rglob("model.safetensors")
    resnet18(num_classes=10).load_state_dict(load_file(path))


def test_without_normalization_train_and_test_images_stay_between_0_and_1(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    """Training, evaluation and the check of gradients: against the network with the weights that were stored.
    With a rate of next to nothing they are those of the beginning."""
    manifest = tiny(epochs=1, optimizer={"name": "sgd", "lr": 1e-12}, batch_size=40, normalization="none")
    assert job("run", "--manifest", manifest, "--output", tmp_path / "out").exit_code == 0
    result = result_of(tmp_path / "out")
    (path,) = tmp_path.rglob("model.safetensors")
    network = build(10)
    network.load_state_dict(load_file(path))
    data = load_synthetic(size=16, num_train=40, num_test=20)
    parts = {"test": (data.test_images, data.test_labels), "train": (data.train_images, data.train_labels)}
    losses = {}
    for part, (images, labels) in parts.items():
        network.train(part == "train")
        logits = network(torch.from_numpy(images).float() / 255)
        losses[part] = cross_entropy(logits, torch.from_numpy(labels)).item()
    (epoch,) = result.history
    assert epoch.train.loss == pytest.approx(losses["train"], abs=1e-5)
    assert epoch.test.loss == pytest.approx(losses["test"], abs=1e-5)


def test_price_per_hour_gives_a_cost(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out", "--price-per-hour", "3.6")
    assert job(*arguments).exit_code == 0
    result = result_of(tmp_path / "out")
    assert result.estimated_cost_usd is not None
    assert 0 < result.estimated_cost_usd <= result.timings.total * 0.001 * 1.01


def test_every_attempt_is_recorded_with_its_machine_and_all_are_paid_for(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt used its time budget on a machine at 3.6 USD, the second had another one at 7.2 USD."""
    arguments = ("run", "--manifest", tiny(), "--output", tmp_path / "out")
    machine = tmp_path / "machine.json"
    monkeypatch.setenv("JOB_MACHINE_FILE", str(machine))
    for instance_type, price, *options in (("g5.xlarge", "3.6", "--time-budget", "0.001"), ("g6.xlarge", "7.2")):
        machine.write_text(json.dumps({"instance_type": instance_type, "zone": "eu-west-1a", "market": "spot"}))
        assert job(*arguments, "--price-per-hour", price, *options).exit_code == (75 if options else 0)
        (path,) = tmp_path.rglob("progress.json")
        told = Progress.model_validate_json(path.read_bytes())
        assert told.attempt_records[-1].instance_type == instance_type
        assert told.attempt_records[-1].ended_at <= told.updated_at
    result = result_of(tmp_path / "out")
    first, second = result.attempt_records
    assert (first.number, first.instance_type, first.usd_per_hour) == (1, "g5.xlarge", 3.6)
    assert (second.number, second.instance_type, second.usd_per_hour) == (2, "g6.xlarge", 7.2)
    assert {(attempt.zone, attempt.market) for attempt in (first, second)} == {("eu-west-1a", "spot")}
    assert first.started_at < first.ended_at < second.ended_at <= result.finished_at
    assert result.estimated_cost_usd == pytest.approx((3.6 * first.seconds + 7.2 * second.seconds) / 3600)
    assert result.environment is not None
    assert result.environment.instance_type == "g6.xlarge"


def test_runs_of_one_process_do_not_pay_for_the_same_seconds(job: Job, tmp_path: Path) -> None:
    fields = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")}
    blocks = [{"base": {"optimizer": {"name": name}}} for name in ("adam", "sgd")]
    (tmp_path / "sweep.json").write_text(json.dumps({"name": "two", "defaults": fields, "blocks": blocks}))
    assert job("run", "--manifest", tmp_path / "sweep.json", "--output", tmp_path / "out").exit_code == 0
    results = [RunResult.model_validate_json(path.read_bytes()) for path in tmp_path.rglob("result.json")]
    (first,), (second,) = sorted(
        (result.attempt_records for result in results), key=lambda records: records[0].started_at
    )
    assert first.ended_at <= second.started_at


def test_gpu_demanded_and_absent_is_a_host_fault_that_leaves_word(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    answer = job("run", "--manifest", tiny(), "--output", tmp_path / "out", "--device", "cuda")
    assert answer.exit_code == 71
    assert "--gpus all" in answer.stderr
    (path,) = tmp_path.rglob("progress.json")
    assert json.loads(path.read_text())["exit_code"] == 71


@pytest.mark.real_figures
def test_hundred_classes_of_another_size_train(job: Job, tmp_path: Path) -> None:
    """The number of classes and the size of the images are nowhere fixed."""
    random = np.random.default_rng(0)
    for part, each in (("train", 2), ("test", 1)):
        for index in range(100):
            folder = tmp_path / "data" / part / f"class{index:02}"
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = random.integers(0, 256, (40, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    manifest = tmp_path / "hundred.json"
    manifest.write_text(
        json.dumps(TINY | {"name": "hundred", "epochs": 1, "batch_size": 100, "image_size": 48}
                   | {"dataset": {"name": "folder", "size": 32}})
    )  # fmt: skip
    answer = job("run", "--manifest", manifest, "--data", tmp_path / "data", "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    result = result_of(tmp_path / "out")
    assert len(result.class_accuracy) == len(result.confusion) == 100


@pytest.mark.real_network
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "photos").is_dir(), reason="the photographs are on the development machines only")
def test_pretrained_weights_learn_real_photographs(job: Job, tmp_path: Path) -> None:
    """A hundred photographs of two classes, a few steps from ImageNet weights: well above chance."""
    for part, each in (("train", 50), ("test", 25)):
        for name in ("church", "parachute"):
            target = tmp_path / "data" / part / name
            target.mkdir(parents=True)
            for path in sorted((SHARED / "photos" / part / name).iterdir())[:each]:
                shutil.copy(path, target)
    weights = SHARED / "weights/resnet18-imagenet.pth"
    answer = job(
        "run", "--manifest", ROOT / "manifests/jobs/adam.json",
        "--data", tmp_path / "data", "--output", tmp_path / "out",
        "--set", "dataset.name=folder", "--set", f"model.weights={weights}",
        "--set", "optimizer.lr=0.0001", "--set", "epochs=2", "--set", "batch_size=20",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.stderr
    final = result_of(tmp_path / "out").final
    assert final is not None
    assert final.top1 >= 0.9


@pytest.mark.real_network
@pytest.mark.slow
def test_smoke_manifest_shows_a_rising_curve(job: Job, tmp_path: Path) -> None:
    """It ended with 62 to 72 of 100 images right in five seeds; 10 is chance."""
    answer = job("run", "--manifest", ROOT / "manifests/jobs/smoke.json", "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    history = result_of(tmp_path / "out").history
    losses = np.array([record.train.loss for record in history], dtype=float)
    assert (np.diff(losses) < 0).all()
    assert 0.4 <= history[-1].test.top1 > history[0].test.top1


def test_training_step_is_seven_frames_from_the_command(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/architecture.md tells it: who debugs a run reads no more than these."""
    frames: list[list[str]] = []

    def follow(*arguments: Any, **options: Any) -> torch.Tensor:
        own = [entry for entry in traceback.extract_stack() if "/job/" in entry.filename]
        frames.append([entry.name for entry in own])
        return cross_entropy(*arguments, **options)

    cross_entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", follow)
    assert job("run", "-m", tiny(epochs=1), "-o", tmp_path / "out").exit_code == 0
    story = ["main", "run", "run_manifest", "train", "train_epochs", "__call__", "_take"]
    assert [names for names in frames if names[-1] == "_take"] == [story] * 2
    assert " → ".join(story[:5]) in (ROOT / "docs/architecture.md").read_text()
