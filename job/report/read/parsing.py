"""One result.json to compact rows, or the reason why it cannot be used. What lies in a bucket may be anything."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from job.manifest import later_defaults
from job.report.analysis.origins import read_origin
from job.report.read.frames import EPOCH_COLUMNS, QUANTITIES
from job.runs import (
    FIRST_STEPS,
    GROUPS,
    MEASURED_EVERY,
    SCHEMA_VERSION,
    Environment,
    EpochRecord,
    GroupDiagnostics,
    RunKeys,
    RunResult,
    Scores,
    configuration_digest,
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


def parse_result(content: bytes, *, key: str) -> RunResult:
    """The result under `key`. Raises `ValueError` whose text is the reason why it cannot be used."""
    try:
        result = RunResult.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(_reason(error, content)) from error
    _check(result, key)
    return result


def parse_environment(content: bytes) -> Environment | None:
    """An environment.json, None where it is none: then what made the run is unknown, and its result as good."""
    try:
        return Environment.model_validate_json(content)
    except ValidationError:
        return None


def build_rows(result: RunResult) -> RunRows:
    """What `result` adds to the tables."""
    return RunRows(
        _run_row(result),
        np.array([_epoch_row(record) for record in result.history]).reshape(-1, len(EPOCH_COLUMNS)),
        {name: _number(value) for name, value in zip(result.classes, result.class_accuracy, strict=False)},
        {group: _first_steps(result.history, group) for group in GROUPS},
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
        **{f"{part}_seconds": seconds for part, seconds in times.model_dump().items()},
        "lost_seconds": result.lost_seconds,
        "train_images_per_second": _number(result.train_images_per_second),
        "peak_memory_bytes": result.peak_memory_bytes,
        "utilisation_fraction": _number(efficiency.utilisation_fraction if efficiency else None),
        "energy_joules": _number(efficiency.energy_joules if efficiency else None),
        "device": environment.device if environment else None,
        "num_threads": _number(environment.num_threads if environment else None),
        "instance_type": environment.instance_type if environment else None,
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
    """The data set with a digest of what makes two scores on it comparable."""
    dataset = result.manifest.dataset.model_dump(mode="json", exclude=later_defaults(result.manifest.dataset))
    content = json.dumps([dataset, result.classes, result.num_train, result.num_test], sort_keys=True)
    return f"{result.manifest.dataset.name}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"


def _scores(prefix: str, scores: Scores | None) -> dict[str, float]:
    return {
        f"{prefix}_{quantity}": _number(getattr(scores, quantity) if scores else None)
        for quantity in ("top1", "top5", "loss")
    }


def _epoch_row(record: EpochRecord) -> list[float]:
    validation = record.validation
    values: list[float | None] = [
        record.epoch, record.learning_rate, record.train.loss, record.train.top1,
        validation.loss if validation else None, validation.top1 if validation else None,
        record.test.loss, record.test.top1, record.test.top5, record.train_seconds, record.evaluate_seconds,
    ]  # fmt: skip
    steps = record.diagnostics.steps  # all of the first ones would have half the weight in the epoch's mean
    even = [index for index, step in enumerate(steps) if step % MEASURED_EVERY == 0] or list(range(len(steps)))
    groups = (record.diagnostics.backbone, record.diagnostics.fc)
    for group in groups:
        values += [_mean([getattr(group, name)[index] for index in even]) if group else None for name in QUANTITIES]
    values += [group.distance_from_start if group else None for group in groups]
    return [_number(value) for value in values]


def _first_steps(history: Sequence[EpochRecord], group: str) -> Floats:
    rows: list[list[float]] = []
    for record in history:
        measured: GroupDiagnostics | None = getattr(record.diagnostics, group)
        if measured is None:
            continue
        for index, step in enumerate(record.diagnostics.steps):
            if step >= FIRST_STEPS:
                return np.array(rows).reshape(-1, 1 + len(QUANTITIES))
            rows.append([step, *(_number(getattr(measured, quantity)[index]) for quantity in QUANTITIES)])
    return np.array(rows).reshape(-1, 1 + len(QUANTITIES))


def _check(result: RunResult, key: str) -> None:
    """Raise `ValueError` for what the schema allows and no run writes."""
    if RunKeys(result.experiment, result.run_id).result != key:
        raise ValueError(f"belongs to {result.experiment}/{result.run_id}")
    scores = [result.final, result.best.test if result.best else None]
    scores += [part for record in result.history for part in (record.train, record.test, record.validation)]
    fractions = [each.top1 for each in scores if each] + [
        each.top5 for each in scores if each and each.top5 is not None
    ]
    if not all(0 <= value <= 1 for value in fractions):
        raise ValueError("has an accuracy that is no fraction of one")
    _check_epochs(result)
    num_classes = len(result.classes)
    if len(result.class_accuracy) not in (0, num_classes) or any(
        len(row) != len(result.confusion) for row in result.confusion
    ):
        raise ValueError(f"has class-wise numbers that do not fit its {num_classes} classes")
    if len(result.confusion) not in (0, num_classes):
        raise ValueError(f"has a confusion matrix that does not fit its {num_classes} classes")
    for record in result.history:
        for group in (record.diagnostics.backbone, record.diagnostics.fc):
            if group and any(len(getattr(group, name)) != len(record.diagnostics.steps) for name in QUANTITIES):
                raise ValueError(f"has diagnostics of epoch {record.epoch} that do not fit its steps")


def _check_epochs(result: RunResult) -> None:
    if [record.epoch for record in result.history] != list(range(1, len(result.history) + 1)):
        raise ValueError("has a history whose epochs are not 1, 2, 3, …")
    if result.status == "completed" and not result.history:
        raise ValueError("says that it completed, and has no epoch")
    best = result.best
    if best is not None and best.chosen_on == "validation" and not 1 <= best.epoch <= len(result.history):
        raise ValueError(f"has a best epoch {best.epoch} that is not among the {len(result.history)} of its history")


def _reason(error: ValidationError, content: bytes) -> str:
    try:
        version = json.loads(content).get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError, RecursionError):
        version = SCHEMA_VERSION
    faults = error.errors(include_url=False, include_input=False)
    where = ".".join(str(part) for part in faults[0]["loc"])
    more = f", and {len(faults) - 1} more faults" if len(faults) > 1 else ""
    what = "is no result"
    if version != SCHEMA_VERSION:
        what = f"was written with schema version {version!r:.20}, which this program ({SCHEMA_VERSION}) cannot read"
    return f"{what}: {where + ': ' if where else ''}{faults[0]['msg']}{more}"[:300]


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(measured) / len(measured) if measured else None


def _number(value: float | None) -> float:
    """`value`, or NaN where it is missing or infinite."""
    return float(value) if value is not None and math.isfinite(value) else math.nan
