"""A finished run as trackers want it: flat parameters, metrics by epoch with their time, pictures and weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from job.errors import DataError, ObjectMissing, UsageError
from job.logs import get_logger
from job.runs import GROUPS, QUANTITIES, EpochRecord, RunKeys, RunResult, is_result_key, runs_prefix
from job.storage import Store, read_ahead

Scalar = str | int | float | bool


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch measured."""

    epoch: int
    """From 1; trackers call it the step."""
    at: datetime
    """When it ended, counted back from the end of the run by the times of the later epochs."""
    values: dict[str, float]
    """By name, such as `test/top1`; what was not measured or was not finite is left out."""


@dataclass(frozen=True)
class RecordedRun:
    """A finished run in a store."""

    store: Store
    keys: RunKeys
    result: RunResult

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return self.store.locate(self.keys.prefix)

    @property
    def stamp(self) -> str:
        """Tells this result from another one of the same run id, as `job submit --stale` makes it."""
        return self.result.attempt_id

    @cached_property
    def parameters(self) -> dict[str, Scalar | None]:
        """The manifest's fields by dotted name; what is neither a number nor a text is JSON text."""
        return dict(_flatten(self.result.manifest.model_dump(mode="json")))

    @cached_property
    def facts(self) -> dict[str, str]:
        """What made the run and where it lies, as texts."""
        made = self.result.environment
        known: dict[str, str | None] = {
            "run_id": self.keys.run_id,
            "experiment": self.keys.experiment,
            "attempt_id": self.result.attempt_id,
            "status": self.result.status,
            "finished_at": self.result.finished_at.isoformat(),
            "place": self.place,
            "model": self.store.locate(self.keys.model),
        }
        if made is not None:
            known |= {
                "device": made.device, "precision": made.precision, "git_sha": made.git_sha,
                "package_version": made.package_version, "image_digest": made.image_digest,
                "instance_type": made.instance_type, "data_sha256": made.data_sha256,
                "weights_sha256": made.weights_sha256, "torch": made.packages.get("torch"),
            }  # fmt: skip
        return {name: value for name, value in known.items() if value}

    @cached_property
    def epochs(self) -> list[EpochMetrics]:
        """The metrics of every epoch, in order. A run that was preempted has each epoch once, as its records have."""
        at, found = self.result.finished_at, list[EpochMetrics]()
        for record in reversed(self.result.history):
            found.append(EpochMetrics(record.epoch, at, _measured(record)))
            at -= timedelta(seconds=record.train_seconds + record.evaluate_seconds)
        return found[::-1]

    @cached_property
    def started_at(self) -> datetime:
        """Before its first epoch, by the same count."""
        history = self.result.history
        return self.result.finished_at - timedelta(
            seconds=sum(one.train_seconds + one.evaluate_seconds for one in history)
        )

    @cached_property
    def final(self) -> dict[str, float]:
        """The numbers that stand for the whole run."""
        result = self.result
        values: dict[str, float | None] = {
            **_scores("final", result.final),
            **_scores("best", result.best.test if result.best else None),
            "best/epoch": result.best.epoch if result.best else None,
            "num_parameters": result.num_parameters,
            "total_seconds": result.timings.total,
            "train_images_per_second": result.train_images_per_second,
            "peak_memory_bytes": result.peak_memory_bytes,
            "attempts": result.attempts,
            "lost_seconds": result.lost_seconds,
            "estimated_cost_usd": result.estimated_cost_usd,
        }
        return _finite(values)

    def read_plots(self) -> dict[str, bytes]:
        """The run's pictures as PNG files, by name without the ending."""
        prefix = self.keys.plot("").removesuffix(".png")
        keys = [key for key in self.store.list_keys(prefix) if key.endswith(".png")]
        return {key.removeprefix(prefix).removesuffix(".png"): self.store.read(key) for key in keys}

    def read_weights(self) -> bytes:
        """model.safetensors. Raises `DataError` if it is gone."""
        try:
            return self.store.read(self.keys.model)
        except ObjectMissing as error:
            raise DataError(
                f"{self.store.locate(self.keys.model)}: missing; --no-models exports the runs without their weights"
            ) from error


@dataclass(frozen=True)
class Found:
    """The runs of an output, by whether they can be exported."""

    finished: list[RunKeys]
    num_unfinished: int


def find_runs(store: Store, *, experiment: str | None = None) -> Found:
    """The runs in `store`, of one experiment or of all. Raises `UsageError` where none has ever run."""
    keys = store.list_keys(runs_prefix(experiment) if experiment else "")
    parts = [key.split("/") for key in keys]
    runs = {(part[0], part[2]) for part in parts if len(part) >= 4 and part[1] == "runs"}
    finished = [RunKeys(part[0], part[2]) for key, part in zip(keys, parts, strict=True) if is_result_key(key)]
    if not runs:
        what = f"no run of the experiment {experiment!r} is here" if experiment else "no run is here"
        raise UsageError(
            f"{store.uri}: {what}; name the folder or s3:// URI that runs had as --output: it holds "
            "<experiment>/runs/<run id>/"
        )
    return Found(finished, len(runs) - len(finished))


def open_recorded(store: Store, runs: Sequence[RunKeys]) -> Iterator[RecordedRun]:
    """The runs, one after the other, so that ten thousand do not lie in memory; with a warning instead of each whose
    result cannot be read."""
    contents = read_ahead(store, [keys.result for keys in runs])
    for keys, (_, content) in zip(runs, contents, strict=True):
        if content is None:
            reason = "vanished meanwhile"
        else:
            try:
                yield RecordedRun(store, keys, RunResult.model_validate_json(content))
            except ValidationError as error:
                reason = f"is no result: {error.errors(include_url=False, include_input=False)[0]['msg']}"
            else:
                continue
        get_logger().warning("result_ignored", result=store.locate(keys.result), reason=reason)


def _flatten(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar | None]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value


def _measured(record: EpochRecord) -> dict[str, float]:
    values: dict[str, float | None] = {"learning_rate": record.learning_rate}
    for part in ("train", "validation", "test"):
        values |= _scores(part, getattr(record, part))
    for name in ("train_seconds", "evaluate_seconds", "train_images_per_second", "evaluate_images_per_second"):
        values[f"time/{name}"] = getattr(record, name)
    for group in GROUPS:
        values |= {f"{group}/{name}": record.diagnostics.mean(group, name) for name in QUANTITIES}
    return _finite(values)


def _scores(prefix: str, scores: Any) -> dict[str, float | None]:
    return {f"{prefix}/{name}": getattr(scores, name, None) for name in ("loss", "top1", "top5")}


def _finite(values: dict[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
