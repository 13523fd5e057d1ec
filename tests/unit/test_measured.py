"""Speeds of finished runs: their medians, over what is like the runs that are planned."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.runs import AttemptRecord, RunKeys, RunResult, Timings
from job.storage import FolderStore
from job.submit import measured
from job.submit.measured import Speeds, find_prices, find_speeds, read_measurements, workload_of
from tests.records import made_by, make_manifest, make_result, store_results

NOW = datetime(2026, 11, 29, tzinfo=UTC)
A10G = {"device": "NVIDIA A10G"}


def result(
    seed: int, speed: float, *, startup: float = 3.0, fields: dict[str, Any] | None = None, **made: Any
) -> RunResult:
    """A run at so many training images a second, and four times as many evaluated."""
    run = make_result(make_manifest(seed=seed, **fields or {}))
    history = [epoch.model_copy(update={"evaluate_images_per_second": 4 * speed}) for epoch in run.history]
    timings = Timings(startup=startup, staging=5, preflight=1, train=80, evaluate=20, upload=2, total=120)
    changes = {"train_images_per_second": speed, "timings": timings, "history": history}
    return made_by(run.model_copy(update=changes), **A10G | made)


def find(folder: Path, *results: RunResult, instance: str = "g5.xlarge", gpu: str | None = "A10G") -> Any:
    store = FolderStore(folder)
    store_results(store, *results)
    return find_speeds(read_measurements(store), instance=instance, gpu=gpu)


def test_speeds_and_overhead_are_medians_over_the_runs_of_a_workload(tmp_path: Path) -> None:
    runs = [result(0, 1000.0), result(1, 5000.0, startup=9.0), result(2, 1200.0, startup=4.0)]
    assert find(tmp_path, *runs) == {workload_of(make_manifest()): Speeds(1200.0, 4800.0, 4 + 5 + 1 + 2, 3)}


def test_other_network_or_image_size_is_another_workload(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"image_size": 64},
        {"model": {"name": "resnet34"}},
        {"model": {"freeze_backbone": True}},
        {},
    ]
    speeds = find(tmp_path, *(result(at, 1000.0 + at, fields=each) for at, each in enumerate(fields)))
    assert {workload.image_size for workload in speeds} == {64, 96}
    assert sorted(each.train_images_per_second for each in speeds.values()) == [1000.0, 1001.0, 1002.0, 1003.0]


def test_named_instance_type_decides_and_without_one_the_gpu_does(tmp_path: Path) -> None:
    runs = [
        result(0, 1.0, instance_type="g5.xlarge"),
        result(1, 10.0, instance_type="g5.2xlarge"),
        result(2, 3.0),
        result(3, 100.0, device="NVIDIA L40S"),
        result(4, 1000.0, device="cpu"),
    ]
    (speeds,) = find(tmp_path, *runs).values()
    assert (speeds.train_images_per_second, speeds.num_results) == (2.0, 2)
    assert find(tmp_path, instance="g6.xlarge", gpu="L4") == {}


def test_machine_without_gpu_is_one_thread_of_a_cpu(tmp_path: Path) -> None:
    runs = [result(0, 20.0, device="cpu", num_threads=1), result(1, 90.0, device="cpu", num_threads=8)]
    (speeds,) = find(tmp_path, *runs, instance="cpu-thread", gpu=None).values()
    assert speeds.train_images_per_second == 20.0


def test_results_that_say_too_little_are_passed_over(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store_results(store, make_result(make_manifest(seed=1)))  # of before environments were recorded
    store.write(RunKeys("default", "damaged").result, b"{")
    assert read_measurements(store) == []
    assert read_measurements(FolderStore(tmp_path / "nothing")) == []


def test_prices_are_medians_of_what_attempts_paid_for_the_type_by_market(tmp_path: Path) -> None:
    store, run = FolderStore(tmp_path), result(0, 1000.0)
    paid = [
        ("g5.xlarge", "spot", 0.4), ("g5.xlarge", "spot", 0.5), ("g5.xlarge", "spot", 0.45),
        ("g5.xlarge", "on-demand", 1.1), ("g5.xlarge", None, 9.0), ("g6.xlarge", "spot", 0.1),
        ("g5.xlarge", "spot", None),
    ]  # fmt: skip
    first = AttemptRecord(number=1, started_at=NOW, ended_at=NOW, seconds=1)
    attempts = [
        first.model_copy(update={"instance_type": kind, "market": market, "usd_per_hour": usd})
        for kind, market, usd in paid
    ]
    store_results(store, run.model_copy(update={"attempt_records": attempts}))
    assert find_prices(read_measurements(store), instance="g5.xlarge") == {"spot": 0.45, "on-demand": 1.1}
    assert find_prices(read_measurements(store), instance="p5") == {}


def test_of_many_results_some_are_read_spread_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MAX_RESULTS", 4)
    runs = [result(seed, 1000.0 + seed) for seed in range(10)]
    store = FolderStore(tmp_path)
    store_results(store, *runs)
    seen = {measurement.train_images_per_second for measurement in read_measurements(store)}
    assert len(seen) == 4
