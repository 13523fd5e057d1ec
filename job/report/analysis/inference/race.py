"""A sweep that is looked at after every few seeds: which configurations may still be the best, and which are out.

A configuration is out where, were it the best, some other one would lie so far above it by chance in too few sweeps: a
comparison of the best with all others (Hsu 1984, Annals of Statistics 12; Gupta 1965, Technometrics 7, for the set that
remains). Only the truly best one has to be safe, and from all others at once, so the error is not split over the
configurations. It is split over the looks (Bonferroni; Pocock 1977, Biometrika 64, for equal parts): the best one is
lost in at most 1 - LEVEL of races, however often it was looked at. O'Brien and Fleming's boundaries, which keep nearly
all of the error for the last look, would save little: what is dropped early is what saves most.

A look takes only the runs that the race had asked for by then. So it gives the same answer whenever and wherever it is
computed again, and whatever has finished since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from job.report.analysis.inference.comparisons import MARGIN, compare_all
from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.model import Model, choose_draws, fit
from job.report.analysis.inference.noise import Bools, Floats
from job.report.analysis.inference.optimizers import bound_each
from job.report.analysis.inference.pairs import find_pairs
from job.report.analysis.inference.sweep import Sweep

FEWEST_SEEDS = 2
"""Of the first look: one seed tells nothing about the noise."""

End = Literal["one", "equal", "seeds"]
"""Why a race is over: one configuration is left, those left are practically equal, or there are no more seeds."""


@dataclass(frozen=True)
class Look:
    """What was seen after one rung."""

    num_seeds: int
    running: Bools
    """(configurations,) which ones may still be the best."""
    estimates: Floats
    """(configurations,) mean accuracies over all seeds."""


@dataclass(frozen=True)
class Race:
    """How far a race has come."""

    asked: Bools
    """(configurations, seeds) the runs that it needed so far, the present rung's included."""
    running: Bools
    """(configurations,) which ones may still be the best."""
    looks: tuple[Look, ...]
    """Of the rungs that are complete."""
    end: End | None
    """None while runs of the present rung are missing."""


def plan_rungs(num_seeds: int) -> list[int]:
    """How many seeds each look has: two, then half as many again each time, and at last all."""
    rungs, seeds = [], FEWEST_SEEDS
    while seeds < num_seeds:
        rungs.append(seeds)
        seeds += -(-seeds // 2)
    return [*rungs, num_seeds]


def run_race(
    sweep: Sweep,
    *,
    margin: float = MARGIN,
    comparable: Bools | None = None,
    num_draws: int | None = None,
) -> Race:
    """The race as far as the runs in `sweep` tell it; a configuration without runs has a row without numbers.

    `comparable` (configurations, configurations) says which pairs may be compared at all.
    """
    num, total = sweep.accuracies.shape
    rungs = plan_rungs(total)
    asked, running = np.zeros((num, total), dtype=bool), np.ones(num, dtype=bool)
    looks: list[Look] = []
    for num_seeds in rungs:
        asked[running, :num_seeds] = True
        if not sweep.present[asked].all():
            return Race(asked, running, tuple(looks), None)
        model = fit(_restrict(sweep, asked), num_draws=num_draws or choose_draws(num))
        error = (1 - LEVEL) / len(rungs)
        running = find_within_reach(model, error=error, comparable=comparable, running=running)
        looks.append(Look(num_seeds, running, model.accuracies))
        if running.sum() == 1:
            return Race(asked, running, tuple(looks), "one")
        if are_equal(model, np.flatnonzero(running).tolist(), error=error, margin=margin):
            return Race(asked, running, tuple(looks), "equal")
    return Race(asked, running, tuple(looks), "seeds")


def find_within_reach(
    model: Model, *, error: float, comparable: Bools | None = None, running: Bools | None = None
) -> Bools:
    """(configurations,) which ones of `running` nothing is shown to be better than; the best is missing in at most
    `error`. By default all are running.

    A configuration that diverged in some seeds shows nothing about others: its rate of success is hardly known.
    """
    known = np.isfinite(model.logits)
    wanted = np.ones((len(known), len(known)), dtype=bool) if comparable is None else comparable
    pairs = find_pairs(model, "these", wanted, level=1 - error)
    candidates = np.ones(len(known), dtype=bool) if running is None else running
    if pairs is None:
        return known & candidates
    bounds, _, _ = bound_each(pairs.draw_only(candidates), error=error)
    beaten = (bounds > 0) & ~model.failures.some[:, None]
    return np.asarray(known & candidates & ~beaten.any(axis=0))


def are_equal(model: Model, members: Sequence[int], *, error: float, margin: float = MARGIN) -> bool:
    """Whether all differences among the members are shown to be smaller than `margin`."""
    found = model.accuracies[list(members)]
    if found.max() - found.min() > margin and not model.failures.some[list(members)].any():
        return False  # an interval holds its estimate
    pairs = [(a, b) for place, a in enumerate(members) for b in members[:place]]
    family = compare_all(model, margin=margin, beforehand=pairs, level=1 - error)
    return all(family.compare(a, b).answer == "equal" for a, b in pairs)


def _restrict(sweep: Sweep, asked: Bools) -> Sweep:
    failed = None if sweep.failed is None else sweep.failed & asked
    return replace(sweep, accuracies=np.where(asked, sweep.accuracies, np.nan), failed=failed)
