"""How fast the finished runs of an output were and what they paid, for what a plan will take: their median says more
than a table.

A planned run is compared with results of the same network at the same image size, on the same kind of machine.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from job.errors import ObjectMissing
from job.manifest import Manifest
from job.runs import AttemptRecord, RunResult, is_result_key
from job.storage import Store

MAX_RESULTS = 400
"""Results that are read at most. Of more, as many are taken, evenly spread over all: a median needs no more."""
NUM_READERS = 16


@dataclass(frozen=True)
class Workload:
    """What the time for one image depends on, besides the machine."""

    network: str
    freeze_backbone: bool
    image_size: int
    """Pixels, as the network sees them."""


@dataclass(frozen=True)
class Measurement:
    """What one finished run took, and on what."""

    workload: Workload
    device: str
    """`cpu` or the GPU's name."""
    num_threads: int
    instance_type: str | None
    train_images_per_second: float
    evaluate_images_per_second: float
    overhead_seconds: float
    """Start-up, staging, preflight and the last uploads."""
    attempts: tuple[AttemptRecord, ...] = ()
    """What machines it had, and what they cost, as far as that is known."""


@dataclass(frozen=True)
class Speeds:
    """How fast one kind of machine is at one workload."""

    train_images_per_second: float
    evaluate_images_per_second: float
    overhead_seconds: float
    """What one run takes besides training and evaluation."""
    num_results: int
    """How many results these are the medians of."""


def workload_of(manifest: Manifest) -> Workload:
    """What the runs of `manifest` are compared by."""
    model = manifest.model
    return Workload(model.name, model.freeze_backbone, manifest.image_size or manifest.dataset.size)


def read_measurements(store: Store) -> list[Measurement]:
    """What the finished runs of all experiments in `store` took. Results that say too little of it are passed over."""
    keys = [key for key in store.list_keys("") if is_result_key(key)]
    chosen = keys[:: -(-len(keys) // MAX_RESULTS) or 1]
    with ThreadPoolExecutor(NUM_READERS) as readers:
        return [seen for seen in readers.map(lambda key: _read(store, key), chosen) if seen]


def find_speeds(measurements: Iterable[Measurement], *, instance: str, gpu: str | None) -> dict[Workload, Speeds]:
    """The medians over what ran on the type `instance`, by workload.

    Where a result does not name its instance type, its GPU must be `gpu`. Without a GPU a machine is one CPU thread.
    """
    groups: dict[Workload, list[Measurement]] = defaultdict(list)
    for seen in measurements:
        if seen.instance_type == instance or (seen.instance_type is None and _is_of_kind(seen, gpu)):
            groups[seen.workload].append(seen)
    return {workload: _summarise(group) for workload, group in groups.items()}


def find_prices(measurements: Iterable[Measurement], *, instance: str) -> dict[str, float]:
    """The median price of an hour that attempts paid for the type `instance`, by market; none where none is known."""
    prices: dict[str, list[float]] = defaultdict(list)
    for attempt in (each for seen in measurements for each in seen.attempts):
        if attempt.instance_type == instance and attempt.market and attempt.usd_per_hour is not None:
            prices[attempt.market].append(attempt.usd_per_hour)
    return {market: median(paid) for market, paid in prices.items()}


def _read(store: Store, key: str) -> Measurement | None:
    try:
        result = RunResult.model_validate_json(store.read(key))
    except (ObjectMissing, ValueError):  # it was put aside a moment ago, or is of a version with other manifests
        return None
    made, timings = result.environment, result.timings
    speeds = [epoch.evaluate_images_per_second for epoch in result.history if epoch.evaluate_images_per_second > 0]
    if made is None or not result.train_images_per_second or not speeds:
        return None
    return Measurement(
        workload=workload_of(result.manifest),
        device=made.device,
        num_threads=made.num_threads,
        instance_type=made.instance_type,
        train_images_per_second=result.train_images_per_second,
        evaluate_images_per_second=median(speeds),
        overhead_seconds=timings.startup + timings.staging + timings.preflight + timings.upload,
        attempts=tuple(result.attempt_records),
    )


def _is_of_kind(seen: Measurement, gpu: str | None) -> bool:
    if gpu is None:
        return seen.device == "cpu" and seen.num_threads == 1
    return re.search(rf"\b{re.escape(gpu)}\b", seen.device) is not None


def _summarise(group: list[Measurement]) -> Speeds:
    return Speeds(
        train_images_per_second=median(seen.train_images_per_second for seen in group),
        evaluate_images_per_second=median(seen.evaluate_images_per_second for seen in group),
        overhead_seconds=median(seen.overhead_seconds for seen in group),
        num_results=len(group),
    )
