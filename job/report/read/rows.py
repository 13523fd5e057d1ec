"""What one result adds to the tables: a row of its run, and rows of its epochs, classes and first steps."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from job.manifest import later_defaults
from job.report.read.frames import EPOCH_COLUMNS, FACTS
from job.runs import (
    FIRST_STEPS,
    GROUPS,
    QUANTITIES,
    Environment,
    EpochRecord,
    GroupDiagnostics,
    RunResult,
    Scores,
    configuration_digest,
    describe_origin,
    unpack_right,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunRows:
    """What one run adds to the tables."""

    run: dict[str, Any]
    epochs: Floats
    """(num_epochs, len(EPOCH_COLUMNS))"""
    classes: dict[str, float]
    diagnostics: dict[str, Floats]
    """By group: (up to FIRST_STEPS, len(DIAGNOSTIC_COLUMNS))."""
    test_right: npt.NDArray[np.bool_] | None
    """(num_test,) which test images were right; None where it was not recorded, and where the run diverged."""


def build_rows(result: RunResult) -> RunRows:
    """What `result` adds to the tables."""
    return RunRows(
        _run_row(result),
        _numbers([_epoch_row(record) for record in result.history], len(EPOCH_COLUMNS)),
        {name: _number(value) for name, value in zip(result.classes, result.class_accuracy, strict=False)},
        {group: _first_steps(result.history, group) for group in GROUPS},
        unpack_right(result.test_right) if result.test_right and result.status == "completed" else None,
    )


def _run_row(result: RunResult) -> dict[str, Any]:
    manifest, times = result.manifest, result.timings
    efficiency, environment = result.efficiency, result.environment
    is_finished = result.status == "completed"
    on_validation = result.best is not None and result.best.chosen_on == "validation"
    scored = _scored_epoch(result) if is_finished else None
    final, best = (result.final, result.best) if is_finished else (None, None)
    return {
        "run": f"{result.experiment}/{result.run_id}",
        "experiment": result.experiment,
        "run_id": result.run_id,
        "name": manifest.name,
        "optimizer": manifest.optimizer.name,
        "seed": manifest.seed,
        "configuration": configuration_digest(manifest, ignore=frozenset({"name", "seed"})),
        "task": _task(result),
        "status": result.status,
        "score": _number(scored.test.top1 if scored else None),
        "score_on": ("best on validation" if on_validation else "last epoch") if scored else None,
        "score_epoch": _number(scored.epoch if scored else None),
        "score_top5": _number(scored.test.top5 if scored else None),
        "score_loss": _number(scored.test.loss if scored else None),
        "train_top1": _number(scored.train.top1 if scored else None),
        "train_loss": _number(scored.train.loss if scored else None),
        "validation_top1": _number(scored.validation.top1 if scored and scored.validation else None),
        **_scores("final", final),
        "best_epoch": _number(best.epoch if best else None),
        **_scores("best", best.test if best else None),
        "best_chosen_on": best.chosen_on if best else None,
        "diverged_epoch": _number(result.divergence.epoch if result.divergence else None),
        "diverged_step": _number(result.divergence.step if result.divergence else None),
        "num_epochs": len(result.history),
        "num_train": result.num_train,
        "num_validation": result.num_validation,
        "num_test": result.num_test,
        "num_classes": len(result.classes),
        "num_parameters": result.num_parameters,
        "test_sha256": result.test_right.test_sha256 if result.test_right else None,
        **{f"{part}_seconds": seconds for part, seconds in times.model_dump().items()},
        "lost_seconds": result.lost_seconds,
        "train_images_per_second": _number(result.train_images_per_second),
        "peak_memory_bytes": result.peak_memory_bytes,
        "utilisation_fraction": _number(efficiency.utilisation_fraction if efficiency else None),
        "energy_joules": _number(efficiency.energy_joules if efficiency else None),
        "device": environment.device if environment else None,
        "num_threads": _number(environment.num_threads if environment else None),
        "instance_type": environment.instance_type if environment else None,
        "python": environment.python if environment else None,
        **read_origin(environment),
        "attempts": result.attempts,
        "estimated_cost_usd": _number(result.estimated_cost_usd),
        "finished_at": result.finished_at,
        "manifest": manifest.model_dump_json(),
    }


def _scored_epoch(result: RunResult) -> EpochRecord | None:
    """The epoch whose numbers stand for the run: chosen on validation images where there were some, else the last."""
    if result.best is not None and result.best.chosen_on == "validation":
        return result.history[result.best.epoch - 1]
    return result.history[-1] if result.history else None


def _task(result: RunResult) -> str:
    """The data set's name, and a digest of all that two runs must share for their scores to be comparable."""
    dataset = result.manifest.dataset.model_dump(mode="json", exclude=later_defaults(result.manifest.dataset))
    content = json.dumps([dataset, result.classes, result.num_train, result.num_test], sort_keys=True)
    return f"{result.manifest.dataset.name}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def _scores(prefix: str, scores: Scores | None) -> dict[str, float]:
    return {
        f"{prefix}_{quantity}": _number(getattr(scores, quantity) if scores else None)
        for quantity in ("top1", "top5", "loss")
    }


def _epoch_row(record: EpochRecord) -> list[float | None]:
    validation = record.validation
    values: list[float | None] = [
        record.epoch, record.learning_rate, record.train.loss, record.train.top1,
        validation.loss if validation else None, validation.top1 if validation else None,
        record.test.loss, record.test.top1, record.test.top5, record.train_seconds, record.evaluate_seconds,
    ]  # fmt: skip
    groups = (record.diagnostics.backbone, record.diagnostics.fc)
    values += [mean for group in GROUPS for mean in record.diagnostics.means(group, QUANTITIES)]
    values += [group.distance_from_start if group else None for group in groups]
    return values


def _first_steps(history: Sequence[EpochRecord], group: str) -> Floats:
    rows: list[tuple[float | None, ...]] = []
    for record in history:
        measured: GroupDiagnostics | None = getattr(record.diagnostics, group)
        if measured is None:
            continue
        steps = record.diagnostics.steps
        num_first = next((index for index, step in enumerate(steps) if step >= FIRST_STEPS), len(steps))
        columns = (getattr(measured, quantity)[:num_first] for quantity in QUANTITIES)
        rows += zip(steps[:num_first], *columns, strict=True)
        if num_first < len(steps):
            break
    return _numbers(rows, 1 + len(QUANTITIES))


def read_origin(environment: Environment | None) -> dict[str, str | None]:
    """What made a run, by the names of FACTS; None for what was not recorded."""
    if environment is None:
        return dict.fromkeys(FACTS)
    made = describe_origin(environment)
    return {
        "package_version": made.get("version"),
        "git_sha": made.get("code"),
        "torch": made.get("torch"),
        "torchvision": made.get("torchvision"),
        "image_digest": made.get("image"),
        "used_precision": environment.precision,
        "device_kind": "CPU" if environment.device == "cpu" else "GPU",
        "data_sha256": environment.data_sha256,
        "weights_sha256": environment.weights_sha256,
    }


def _numbers(rows: Sequence[Sequence[float | None]], num_columns: int) -> Floats:
    """(rows, columns), NaN where a value is missing or infinite."""
    table = np.array(rows, dtype=float).reshape(-1, num_columns)
    table[~np.isfinite(table)] = np.nan
    return table


def _number(value: float | None) -> float:
    """`value`, or NaN where it is missing or infinite."""
    return float(value) if value is not None and math.isfinite(value) else math.nan
