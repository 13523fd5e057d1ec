"""The statistics of a race: what it drops, what it keeps, and that a look is the same whenever it is taken."""

from __future__ import annotations

import numpy as np
import pytest

from job.errors import UsageError
from job.manifest import Sweep as Document
from job.plan import SweepPlan, build_plan
from job.report.analysis.inference.model import fit
from job.report.analysis.inference.pairs import find_pairs
from job.report.analysis.inference.race import find_within_reach, plan_rungs, run_race
from job.report.analysis.inference.sweep import Sweep
from job.report.analysis.race import lay_course
from tests import races
from tests.simulation import NUM_IMAGES, UNEQUAL, Case, draw

DRAWS = 1000


def sweep_of(accuracies: tuple[float, ...], num_seeds: int, *, seed: int = 0) -> Sweep:
    found, failed, _ = next(draw(Case(accuracies, num_seeds), 1, seed))
    return Sweep(found, NUM_IMAGES, failed=failed)


def cut(sweep: Sweep, present: np.ndarray) -> Sweep:
    return Sweep(np.where(present, sweep.accuracies, np.nan), NUM_IMAGES, failed=sweep.failed)


def test_rungs_begin_with_two_seeds_and_end_with_all() -> None:
    assert plan_rungs(3) == [2, 3]
    assert plan_rungs(5) == [2, 3, 5]
    assert plan_rungs(10) == [2, 3, 5, 8, 10]
    assert plan_rungs(20) == [2, 3, 5, 8, 12, 18, 20]


def test_race_asks_seed_by_seed_and_drops_what_is_far_behind() -> None:
    whole = sweep_of((0.8, 0.79, 0.3, 0.5), 8)
    nothing = run_race(cut(whole, np.zeros((4, 8), dtype=bool)), num_draws=DRAWS)
    assert nothing.end is None
    assert nothing.asked.sum() == 8
    assert nothing.asked[:, :2].all()
    second = run_race(cut(whole, nothing.asked), num_draws=DRAWS)
    assert second.running.tolist() == [True, True, False, False]
    assert second.asked.sum(axis=1).tolist() == [3, 3, 2, 2]
    end = run_race(whole, num_draws=DRAWS)
    assert end.end is not None
    assert end.running[0]
    assert not end.running[2:].any()


def test_look_is_the_same_whatever_has_finished_since() -> None:
    """Another machine may compute it later, when somebody has run the whole sweep."""
    whole = sweep_of((0.8, 0.79, 0.78, 0.77, 0.5), 10)
    steps, asked = [], np.zeros((5, 10), dtype=bool)
    while True:
        race = run_race(cut(whole, asked), num_draws=DRAWS)
        steps.append(race)
        if race.end is not None:
            break
        assert race.asked.sum() > asked.sum()
        asked = race.asked
    at_once = run_race(whole, num_draws=DRAWS)
    assert at_once.end == steps[-1].end
    assert (at_once.asked == steps[-1].asked).all()
    assert [look.num_seeds for look in at_once.looks] == [look.num_seeds for look in steps[-1].looks]
    assert all(
        (ours.running == theirs.running).all() for ours, theirs in zip(at_once.looks, steps[-1].looks, strict=True)
    )
    for step in steps:
        for ours, theirs in zip(step.looks, at_once.looks, strict=False):
            assert (ours.running == theirs.running).all()


def test_race_is_over_once_those_left_are_practically_equal() -> None:
    rng = np.random.default_rng(0)
    close = np.array([0.8, 0.8, 0.4])[:, None] + 0.0002 * rng.standard_normal((3, 12))
    race = run_race(Sweep(close, 1_000_000), num_draws=DRAWS)
    assert race.end == "equal"
    assert race.running.tolist() == [True, True, False]
    assert not race.asked.all(axis=1).any()
    assert run_race(Sweep(close, 1_000_000), margin=0.0, num_draws=DRAWS).end == "seeds"


def test_configuration_that_diverged_drops_no_other_but_may_be_dropped() -> None:
    accuracies = np.array([[0.95, 0.1, 0.95], [0.9, 0.9, 0.9], [0.2, 0.1, 0.2]]) + 0.001 * np.arange(3)
    failed = np.array([[False, True, False], [False] * 3, [False, True, False]])
    running = find_within_reach(fit(Sweep(accuracies, 8000, failed=failed), num_draws=DRAWS), error=0.05)
    assert running.tolist() == [True, True, False]


def test_what_is_out_already_needs_no_draws_of_its_own() -> None:
    """They change nothing for the others: these are compared with all as before, to the bit."""
    model = fit(sweep_of((0.8, 0.79, 0.78, 0.5, 0.45), 5), num_draws=DRAWS)
    running = np.array([True, False, True, True, False])
    pairs = find_pairs(model, "these", np.ones((5, 5), dtype=bool), level=0.95)
    assert pairs is not None
    [whole], [part] = pairs.draws, pairs.draw_only(running).draws
    assert (part.maxima[running] == whole.maxima[running]).all()
    assert part.tested.sum() == whole.tested.sum() - 2
    found = find_within_reach(model, error=0.05, running=running)
    assert (found == (find_within_reach(model, error=0.05) & running)).all()
    assert found.any()
    assert not found.all()


def test_what_was_made_otherwise_drops_nobody() -> None:
    whole = sweep_of((0.8, 0.3, 0.3), 4)
    alike = np.array([[True, True, False], [True, True, False], [False, False, True]])
    race = run_race(whole, comparable=alike, num_draws=DRAWS)
    assert race.running.tolist() == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [5, 10])
def test_race_hardly_ever_loses_the_best_where_nothing_differs(num_seeds: int) -> None:
    """Every one of the configurations is a best one, so each may be lost in 5 % of the races at most."""
    case = Case((0.8,) * 6, num_seeds, UNEQUAL)
    lost = [~run_race(sweep, num_draws=DRAWS).running for sweep in races.draw_case(case, 100)]
    assert np.mean(lost, axis=0).max() <= 0.05


@pytest.mark.slow
def test_race_over_sweeps_like_the_recorded_ones_ends_as_they_do_for_less() -> None:
    recorded = races.read_recorded("attributes")
    best = [int(np.argmax(recorded.logits))]
    found = races.measure(races.draw_recorded(recorded, 20, 15), best=best)
    assert found["the same best"] >= 0.9
    assert found["nothing lost that the sweep has within reach"] >= 0.9
    assert found["part of the image-epochs"] < 0.4


def plan(seeds: list[int], *rates: float, **fields: object) -> SweepPlan:
    block = {"base": {"optimizer": {"name": "adam"}} | fields, "vary": {"optimizer.lr": list(rates)}}
    return build_plan(Document.model_validate({"name": "rates", "seeds": seeds, "blocks": [block]}), source="s.json")


def test_course_has_a_row_for_each_configuration_with_what_it_varies() -> None:
    course = lay_course(plan([4, 2, 7], 0.1, 0.01))
    assert course.labels == ["Adam lr 0.1", "Adam lr 0.01"]
    assert course.seeds == (4, 2, 7)
    assert [run.manifest.seed for run in course.rows[1]] == [4, 2, 7]


@pytest.mark.parametrize(
    ("seeds", "rates", "seen"),
    [([0, 1], (0.1, 0.2), "2 configurations with 2 seeds"), ([0, 1, 2], (0.1,), "1 configuration with 3 seeds")],
)
def test_sweep_without_anything_to_stop_is_refused(seeds: list[int], rates: tuple[float, ...], seen: str) -> None:
    with pytest.raises(UsageError, match=seen):
        lay_course(plan(seeds, *rates))


def test_several_data_sets_are_no_race() -> None:
    both = plan([0, 1, 2], 0.1, 0.2).runs + plan([0, 1, 2], 0.1, dataset={"name": "cifar10"}).runs
    with pytest.raises(UsageError, match="several data sets"):
        lay_course(SweepPlan(name="rates", runs=both))
