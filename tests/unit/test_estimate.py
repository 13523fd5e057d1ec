"""What a plan is said to take, against sums by hand."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from job.cli.tables import describe_speeds
from job.errors import ManifestError, UsageError
from job.manifest import Manifest, Sweep
from job.plan import build_plan
from job.submit.estimate import RUN_OVERHEAD_SECONDS, Prices, estimate, measure_work, read_prices
from job.submit.measured import Speeds, workload_of
from job.training.engine.batches import batch_bounds

PRICES = Prices.model_validate(
    {
        "region": "r", "as_of": "2026-01", "startup_seconds": 100.0,
        "instances": [{"name": "box", "gpu": "G", "on_demand_usd_per_hour": 3.6, "spot_usd_per_hour": 1.8,
                       "train_images_per_second": 1000.0, "evaluate_images_per_second": 4000.0, "speed": "measured"}],
    }
)  # fmt: skip


def manifest(**fields: Any) -> Manifest:
    return Manifest.model_validate_json(json.dumps({"name": "adam", "optimizer": {"name": "adam"}} | fields))


def test_reference_task_is_fifty_thousand_training_images_and_eighty_thousand_evaluations() -> None:
    work = measure_work(manifest())
    assert work is not None
    assert (work.num_train_images, work.num_evaluated_images, work.num_steps) == (50_000, 80_000, 1000)
    assert work.relative_image_cost == 1.0


@pytest.mark.parametrize("num_train", [100, 101, 149, 20])
def test_steps_are_those_that_the_training_makes(num_train: int) -> None:
    dataset = {"name": "synthetic", "num_train": num_train}
    work = measure_work(manifest(dataset=dataset, batch_size=50, epochs=3))
    assert work is not None
    assert work.num_steps == 3 * len(batch_bounds(num_train, 50))


def test_held_out_images_are_evaluated_instead_of_trained_on() -> None:
    work = measure_work(manifest(dataset={"name": "stl10", "validation_fraction": 0.1}, epochs=1))
    assert work is not None
    assert (work.num_train_images, work.num_evaluated_images) == (4500, 8500)


def test_time_and_cost_are_the_sum_over_containers_runs_and_images() -> None:
    sweep = Sweep.model_validate(
        {"name": "s", "seeds": [0, 1, 2], "blocks": [{"base": {"optimizer": {"name": "adam"}}}]}
    )
    seen = estimate(build_plan(sweep, source=""), PRICES, instance="box", per_container=2)
    assert seen is not None
    assert seen.num_containers == 2
    seconds = 2 * 100 + 3 * (RUN_OVERHEAD_SECONDS + 50_000 / 1000 + 80_000 / 4000)
    assert seen.hours == pytest.approx(seconds / 3600)
    assert seen.on_demand_usd == pytest.approx(seconds / 1000)
    assert seen.spot_usd == pytest.approx(seconds / 2000)


def test_runs_like_finished_ones_count_with_their_speed_and_the_others_with_the_table_s() -> None:
    sweep = Sweep.model_validate(
        {"name": "s", "blocks": [{"base": {"optimizer": {"name": "adam"}}, "vary": {"image_size": [96, 48]}}]}
    )
    plan = build_plan(sweep, source="")
    measured = {workload_of(plan.runs[0].manifest): Speeds(500.0, 800.0, overhead_seconds=7.0, num_results=5)}
    seen = estimate(plan, PRICES, instance="box", per_container=1, measured=measured)
    assert seen is not None
    assert (seen.num_measured, seen.num_results) == (1, 5)
    slow = 7 + 50_000 / 500 + 80_000 / 800
    quick = RUN_OVERHEAD_SECONDS + (50_000 / 1000 + 80_000 / 4000) / 4
    assert seen.hours == pytest.approx((2 * 100 + slow + quick) / 3600)
    assert describe_speeds(seen, output="study") == (
        "speeds and overhead of 1 runs measured here: the medians of 5 finished runs of study; of the other 1 measured"
    )
    assert describe_speeds(seen, output=None) == "speeds measured"


def test_folder_is_unknown_before_it_is_seen() -> None:
    sweep = Sweep.model_validate(
        {"name": "s", "blocks": [{"base": {"optimizer": {"name": "adam"}, "dataset": {"name": "folder"}}}]}
    )
    assert estimate(build_plan(sweep, source=""), PRICES, instance="box", per_container=1) is None


def test_unknown_instance_is_answered_with_those_there_are() -> None:
    sweep = Sweep.model_validate({"name": "s", "blocks": [{"base": {"optimizer": {"name": "adam"}}}]})
    with pytest.raises(UsageError, match="there are: box"):
        estimate(build_plan(sweep, source=""), PRICES, instance="p5", per_container=1)


def test_bundled_table_says_which_speeds_were_measured() -> None:
    prices = read_prices(None)
    assert {one.speed for one in prices.instances} <= {"measured", "estimated"}
    assert all(one.spot_usd_per_hour <= one.on_demand_usd_per_hour for one in prices.instances)


@pytest.mark.parametrize(("as_of", "months"), [("2026-11", 0), ("2026-05", 6), ("2025-11", 12), ("2025-12", 11)])
def test_age_of_prices_is_in_calendar_months(as_of: str, months: int) -> None:
    prices = PRICES.model_copy(update={"as_of": as_of})
    assert prices.age_in_months(today=date(2026, 11, 1)) == months
    assert prices.age_in_months(today=date(2026, 11, 30)) == months


@pytest.mark.parametrize("as_of", ["now", "2026", "2026-13", "2026-1", "11/2026", ""])
def test_prices_without_their_month_are_refused(as_of: str, tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    own.write_text(PRICES.model_copy(update={"as_of": as_of}).model_dump_json())
    with pytest.raises(ManifestError, match=f"as_of: {as_of!r} is no month; must be year and month, such as 2025-11"):
        read_prices(str(own))


def test_table_of_one_s_own_replaces_it_and_its_faults_are_named(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    own.write_text(PRICES.model_dump_json())
    assert read_prices(str(own)) == PRICES
    own.write_text(PRICES.model_dump_json().replace("1000.0", "-1"))
    with pytest.raises(ManifestError, match=r"instances\[0\].train_images_per_second is -1"):
        read_prices(str(own))
