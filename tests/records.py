"""Results as real runs would have left them, made in microseconds: what the report is tested and measured with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from job.manifest import Manifest
from job.report.analysis.study import Study, build_studies
from job.report.read.load import read_runs
from job.runs import (
    BestEpoch,
    Diagnostics,
    Divergence,
    Efficiency,
    Environment,
    EpochRecord,
    GroupDiagnostics,
    RunKeys,
    RunResult,
    Scores,
    Timings,
    pack_right,
    run_id,
)
from job.storage import FolderStore, Store

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
ACCURACY = {"adagrad": 0.89, "adam": 0.80, "rmsprop": 0.70, "adadelta": 0.60}
FIRST_STEP = {"adagrad": 0.055, "adam": 0.055, "rmsprop": 0.55, "adadelta": 0.00013}
"""update_to_weight of the first step at lr 0.001, as measured on a pretrained ResNet18."""
NUM_STEPS, NUM_TEST, NUM_WEIGHTS = 100, 1000, 11_176_512


def make_manifest(optimizer: str = "adam", *, seed: int = 0, name: str | None = None, **fields: Any) -> Manifest:
    """`fields` go to the manifest where it has them, else to the optimizer: `lr=0.01, epochs=3`."""
    own = {key: fields.pop(key) for key in list(fields) if key in Manifest.model_fields}
    content = {"name": name or optimizer, "optimizer": {"name": optimizer, "lr": 0.001} | fields, "epochs": 4} | own
    return Manifest.model_validate(content | {"seed": seed})


def make_result(
    manifest: Manifest,
    *,
    accuracy: float | None = None,
    top1: list[float] | None = None,
    train_top1: list[float] | None = None,
    test_loss: list[float] | None = None,
    first_step: float | None = None,
    shrink: float = 1.0,
    gradient_fall: float = 1.0,
    weight_norm: tuple[float, float] = (60.0, 60.0),
    distances: list[float] | None = None,
    noise: float = 0.004,
    experiment: str = "default",
    **changes: Any,
) -> RunResult:
    """The result of `manifest`; what is not given follows from optimizer and seed.

    `shrink` is by how much update/weight falls from the first epoch to the last, `gradient_fall` the same of the
    gradient's norm; `weight_norm` is the backbone's at the start and at the end, `distances` its distance from the
    start after each epoch, not recorded without; seeds share the noise that makes them paired.
    """
    optimizer, num_epochs = manifest.optimizer.name, manifest.epochs
    digest = hashlib.sha256(run_id(manifest).encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    final = ACCURACY.get(optimizer, 0.75) if accuracy is None else accuracy
    if accuracy is None:
        final += 0.01 * np.random.default_rng(manifest.seed).standard_normal() + noise * random.standard_normal()
    passed = np.arange(1, num_epochs + 1) / num_epochs
    tests = list(final - 0.3 * (1 - passed)) if top1 is None else top1
    tests = [round(NUM_TEST * float(np.clip(value, 0, 1))) / NUM_TEST for value in tests]
    trains = [min(1.0, value + 0.08) for value in tests] if train_top1 is None else train_top1
    losses = [2.3 * (1.02 - value) for value in tests] if test_loss is None else test_loss
    step = FIRST_STEP.get(optimizer, 0.05) * manifest.optimizer.lr / 0.001 if first_step is None else first_step
    history = [
        _epoch(
            number,
            train=Scores(loss=2.3 * (1.02 - trains[number - 1]), top1=trains[number - 1]),
            test=Scores(loss=losses[number - 1], top1=tests[number - 1], top5=min(1.0, tests[number - 1] + 0.15)),
            learning_rate=manifest.optimizer.lr,
            diagnostics=_diagnostics(
                number,
                num_epochs,
                step,
                (shrink, gradient_fall),
                weight_norm,
                random,
                distance=distances[number - 1] if distances else None,
            ),
        )
        for number in range(1, num_epochs + 1)
    ]
    confusion = _confusion(tests[-1], random)
    values: dict[str, Any] = {
        "run_id": run_id(manifest),
        "experiment": experiment,
        "attempt_id": "a",
        "manifest": manifest,
        "status": "completed",
        "divergence": None,
        "classes": list(CLASSES),
        "num_train": 5000,
        "num_validation": 0,
        "num_test": NUM_TEST,
        "num_parameters": NUM_WEIGHTS + 5130,
        "final": history[-1].test,
        "best": BestEpoch(epoch=num_epochs, chosen_on="test", test=history[-1].test),
        "class_accuracy": [row[index] / sum(row) for index, row in enumerate(confusion)],
        "confusion": confusion,
        "history": history,
        "timings": Timings(
            startup=2, staging=5, train=20.0 * num_epochs, evaluate=5.0 * num_epochs, upload=1, total=30.0 * num_epochs
        ),
        "train_images_per_second": 250.0,
        "peak_memory_bytes": 2 * 2**30,
        "attempts": 1,
        "lost_seconds": 0.0,
        "estimated_cost_usd": 0.01 * num_epochs,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return RunResult.model_validate(values | changes)


def make_environment(**facts: Any) -> Environment:
    """What made a run; `torch` and `torchvision` are versions among `packages`."""
    packages = {"torch": "2.15.0", "torchvision": "0.30.0"}
    packages |= {name: facts.pop(name) for name in list(facts) if name in packages}
    values = {
        "package_version": "1", "python": "3.12", "platform": "Linux", "packages": packages, "device": "cpu",
        "driver": None, "cuda": None, "cpu_capability": "AVX2", "num_threads": 1, "precision": "fp32",
        "git_sha": "a" * 40, "image_digest": None, "instance_type": None, "data_sha256": "d" * 64,
        "weights_sha256": "e" * 64,
    }  # fmt: skip
    return Environment.model_validate(values | facts)


def made_by(result: RunResult, **facts: Any) -> RunResult:
    """`result` with its environment recorded."""
    return result.model_copy(update={"environment": make_environment(**facts)})


def on_device(result: RunResult, device: str, *, utilisation: float | None, joules: float | None) -> RunResult:
    """`result` as a run on `device` in bf16 would have left it."""
    environment = make_environment(device=device, precision="bf16", git_sha=None)
    efficiency = Efficiency(
        flop_per_image=1, achieved_flops=1.0, peak_flops=None, utilisation_fraction=utilisation, energy_joules=joules
    )
    return result.model_copy(update={"environment": environment, "efficiency": efficiency})


def diverged(result: RunResult, *, epoch: int = 1, step: int = 3) -> RunResult:
    """`result` as it would be had the loss stopped being finite in that step."""
    history = result.history[: epoch - 1]
    last = history[-1].test if history else None
    changes: Mapping[str, Any] = {
        "status": "diverged",
        "divergence": Divergence(epoch=epoch, step=step),
        "history": history,
        "final": last,
        "best": BestEpoch(epoch=len(history), chosen_on="test", test=last) if last else None,
        "class_accuracy": [],
        "confusion": [],
        "test_right": None,
    }
    return result.model_copy(update=changes)


def with_right(result: RunResult, *, test_sha256: str = "f" * 64) -> RunResult:
    """`result` with the test images that were right after its last epoch: as many as its confusion matrix says."""
    random = np.random.default_rng(result.manifest.seed)
    right = random.permutation(result.num_test) < np.trace(result.confusion)
    images = pack_right(right, epoch=len(result.history), test_sha256=test_sha256)
    return result.model_copy(update={"test_right": images})


def store_results(store: Store, *results: RunResult) -> None:
    """Put every result where its run would have."""
    for result in results:
        store.write(RunKeys(result.experiment, result.run_id).result, result.model_dump_json().encode())


def build_study(folder: Path, *results: RunResult, **options: Any) -> Study:
    """The one study over `results`, by way of files in `folder`."""
    store = FolderStore(folder)
    store_results(store, *results)
    (study,) = build_studies(read_runs(store), **options)
    return study


def _epoch(number: int, **fields: Any) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        train_seconds=20.0,
        evaluate_seconds=5.0,
        train_images_per_second=250.0,
        evaluate_images_per_second=800.0,
        **fields,
    )


def _diagnostics(
    epoch: int,
    num_epochs: int,
    first: float,
    falls: tuple[float, float],
    norms: tuple[float, float],
    random: np.random.Generator,
    *,
    distance: float | None,
) -> Diagnostics:
    """Over the first ten steps the update falls to half; after that its mean of an epoch falls by the first of `falls`,
    and the gradient from the first epoch on by the second.
    """
    begin = (epoch - 1) * NUM_STEPS
    steps = [step for step in range(begin, begin + NUM_STEPS) if step < 10 or step % 10 == 0]
    shrunk, gradient = (fall ** (-(epoch - 1) / max(1, num_epochs - 1)) for fall in falls)
    late = 0.1 * first * shrunk
    ratio = [first * (1 - step / 20) if step < 10 else late * random.uniform(0.98, 1.02) for step in steps]
    if epoch == 1:  # what the formula says of an epoch holds of the first one as well
        ratio[0] = first
    part = [step / (num_epochs * NUM_STEPS - 1) for step in steps]
    weight = [norms[0] + (norms[1] - norms[0]) * min(1.0, each * 1.1) for each in part]
    return Diagnostics(
        steps=steps,
        backbone=_group(NUM_WEIGHTS, ratio, weight, 20.0 * gradient, distance),
        fc=_group(5130, [0.7 * value for value in ratio], [1.84] * len(ratio), 2.0 * gradient, None),
    )


def _group(
    num_weights: int, ratio: list[float], weight: list[float], gradient: float, distance: float | None
) -> GroupDiagnostics:
    update = [part * norm for part, norm in zip(ratio, weight, strict=True)]
    return GroupDiagnostics(
        num_weights=num_weights,
        gradient_norm=[gradient] * len(ratio),
        update_norm=[*update],
        weight_norm=[*weight],
        update_to_weight=[*ratio],
        update_rms=[norm / num_weights**0.5 for norm in update],
        distance_from_start=distance,
    )


def _confusion(accuracy: float, random: np.random.Generator) -> list[list[int]]:
    num_classes = len(CLASSES)
    parts = np.full((num_classes, num_classes), (1 - accuracy) / (num_classes - 1))
    np.fill_diagonal(parts, accuracy)
    return [random.multinomial(NUM_TEST // num_classes, row).tolist() for row in parts / parts.sum(1, keepdims=True)]


def make_study(*, seeds: int = 5) -> list[RunResult]:
    """Four optimizers at their baseline, Adam's attributes one at a time, two of RMSprop's crossed, SGD diverging."""
    results = []
    for seed in range(seeds):
        for name in ACCURACY:
            shrink = 20.0 if name == "adagrad" else 1.0
            norms = (60.0, 85.0) if name == "rmsprop" else (60.0, 61.0)
            results.append(make_result(make_manifest(name, seed=seed, epochs=6), shrink=shrink, weight_norm=norms))
        for fields, change in (
            ({"lr": 0.0001}, 0.06), ({"lr": 0.01}, -0.2), ({"betas": (0.5, 0.999)}, 0.0),
            ({"betas": (0.99, 0.999)}, -0.01), ({"weight_decay": 0.1}, 0.02), ({"eps": 0.001}, 0.001),
        ):  # fmt: skip
            manifest = make_manifest("adam", seed=seed, epochs=6, **fields)
            accuracy = make_result(make_manifest("adam", seed=seed, epochs=6)).history[-1].test.top1 + change
            noise = 0.004 * np.random.default_rng((seed, len(str(fields)))).standard_normal()
            norms = (60.0, 40.0) if "weight_decay" in fields else (60.0, 61.0)
            results.append(make_result(manifest, accuracy=accuracy + noise, weight_norm=norms))
        for lr in (0.0001, 0.001):
            for alpha in (0.9, 0.99):
                accuracy = 0.7 + 0.1 * (lr < 0.001) + 0.05 * (alpha < 0.99)
                accuracy += 0.01 * np.random.default_rng((seed, round(1 / lr), round(100 * alpha))).standard_normal()
                if (lr, alpha) != (0.001, 0.99):
                    manifest = make_manifest("rmsprop", seed=seed, epochs=6, lr=lr, alpha=alpha)
                    results.append(make_result(manifest, accuracy=accuracy))
        results.append(diverged(make_result(make_manifest("sgd", seed=seed, epochs=6, lr=10.0)), epoch=1 + seed % 2))
    return results
