"""`job race`: which runs of a plan a race needs next, and what it has found, from the results that are there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.errors import UsageError
from job.plan import PlannedRun, SweepPlan
from job.report.analysis.configurations import Configuration, tell_unlike
from job.report.analysis.grouping import group_runs
from job.report.analysis.inference.comparisons import MARGIN
from job.report.analysis.inference.noise import Bools
from job.report.analysis.inference.race import Race, plan_rungs, run_race
from job.report.analysis.inference.sweep import Sweep
from job.report.analysis.judgement import gather_images
from job.report.analysis.wording import count, name_optimizer, percent, show_attribute, show_value
from job.report.read.frames import Runs

FEWEST_SEEDS, FEWEST_CONFIGURATIONS = 3, 2
"""With fewer there is nothing to stop: the first look takes two seeds of every configuration."""


@dataclass(frozen=True)
class Course:
    """A plan as a race runs it."""

    seeds: tuple[int, ...]
    """In the order in which the race asks for them."""
    rows: tuple[tuple[PlannedRun, ...], ...]
    """The runs of each configuration, in the order of `seeds`."""

    @property
    def labels(self) -> list[str]:
        """The name of every configuration, with what its block varied."""
        return [_label(row[0]) for row in self.rows]


@dataclass(frozen=True)
class Standing:
    """How far a race has come."""

    course: Course
    race: Race
    missing: frozenset[str]
    """The ids of the runs that the present rung needs and that have no result."""

    @property
    def is_over(self) -> bool:
        return self.race.end is not None

    @property
    def epochs_fraction(self) -> float:
        """The part of the whole sweep's epochs that the race has asked for."""
        epochs = np.array([[run.manifest.epochs for run in row] for row in self.course.rows])
        return float(epochs[self.race.asked].sum() / epochs.sum())


def lay_course(plan: SweepPlan) -> Course:
    """The configurations and seeds of `plan`. Raises `UsageError` where they are too few, or of several data sets."""
    rows: dict[object, list[PlannedRun]] = {}
    for run in plan.runs:
        rows.setdefault(run.manifest.model_copy(update={"name": "", "seed": 0}), []).append(run)
    seeds = tuple(dict.fromkeys(run.manifest.seed for run in plan.runs))
    if len(rows) < FEWEST_CONFIGURATIONS or len(seeds) < FEWEST_SEEDS:
        raise UsageError(
            f"{plan.name}: {count(len(rows), 'configuration')} with {count(len(seeds), 'seed')}; a race must have at "
            f"least {FEWEST_CONFIGURATIONS} with {FEWEST_SEEDS}: give it more, such as --set seeds=[0,1,2,3,4,5,6,7], "
            "or use `job submit`"
        )
    if len({run.manifest.dataset for run in plan.runs}) > 1:
        raise UsageError(f"{plan.name}: has several data sets, which do not compare; a race must have one")
    return Course(seeds, tuple(map(tuple, rows.values())))


def judge_race(course: Course, runs: Runs | None, *, margin: float = MARGIN) -> Standing:
    """The race as far as the results of its experiment, if there are any, tell it."""
    sweep, comparable = _gather(course, runs)
    race = run_race(sweep, margin=margin, comparable=comparable)
    needed = race.asked & ~sweep.present
    missing = frozenset(course.rows[row][column].run_id for row, column in np.argwhere(needed))
    return Standing(course, race, missing)


def tell_race(standing: Standing, *, margin: float = MARGIN) -> list[str]:
    """What is known so far, and who is within reach, best first."""
    race, labels = standing.race, standing.course.labels
    rungs = plan_rungs(len(standing.course.seeds))
    lines = []
    if race.looks:
        last = race.looks[-1]
        order = sorted(range(len(labels)), key=lambda place: -np.nan_to_num(last.estimates[place], nan=-1.0))
        lines += [
            f"  {percent(float(last.estimates[place]))}  {labels[place]}  {_tell_place(race, place)}" for place in order
        ]
    asked, total = int(race.asked.sum()), race.asked.size
    spent = f"{asked:,} of {total:,} runs, {percent(standing.epochs_fraction, 0)} of the sweep's epochs"
    return [f"{_tell_state(standing, rungs, margin)} ({spent})", *lines]


def _tell_state(standing: Standing, rungs: Sequence[int], margin: float) -> str:
    race, labels = standing.race, standing.course.labels
    left = [labels[place] for place in np.flatnonzero(race.running)]
    named = "; ".join(left)  # a label may hold a comma
    if race.end is None:
        number = len(race.looks)
        return (
            f"rung {number + 1} of {len(rungs)}: {count(len(left), 'configuration')} with {rungs[number]} seeds; "
            f"{count(len(standing.missing), 'run')} of it {'has' if len(standing.missing) == 1 else 'have'} no result"
        )
    after = f"over after {race.looks[-1].num_seeds} of {len(standing.course.seeds)} seeds"
    match race.end:
        case "one":
            return f"{after}: {left[0]} is the best"
        case "equal":
            alike = f"practically equal, within {100 * margin:g} points"
            return f"{after}: the best is one of {len(left)} that are {alike}: {named}"
        case "seeds":
            return f"{after}: {len(left)} are within reach of the best and not told apart: {named}"


def _tell_place(race: Race, place: int) -> str:
    if race.running[place]:
        return "within reach"
    seen = next(look.num_seeds for look in race.looks if not look.running[place])
    return f"out after {seen} seeds"


def _label(run: PlannedRun) -> str:
    details = [f"{show_attribute(key)} {show_value(value)}" for key, value in run.varied.items()]
    return " ".join([name_optimizer(run.manifest.optimizer.name), ", ".join(details)]).strip()


def _gather(course: Course, runs: Runs | None) -> tuple[Sweep, Bools | None]:
    """What was measured, a row for each configuration of the course; and which rows may be compared, if not all."""
    shape = len(course.rows), len(course.seeds)
    accuracies, failed = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    row_of = {run.run_id: row for row, own in enumerate(course.rows) for run in own}
    table = None if runs is None else runs.runs[runs.runs["run_id"].isin(row_of)]
    if runs is None or table is None or table.empty:
        return Sweep(accuracies, 1, failed=failed), None
    known = group_runs(table)
    places = [row_of[configuration.runs[0].rpartition("/")[2]] for configuration in known]
    for row, configuration in zip(places, known, strict=True):
        for seed, outcome in configuration.outcomes.items():
            column = course.seeds.index(seed)
            accuracies[row, column] = outcome
            failed[row, column] = seed not in configuration.scores
    seen = gather_images(known, course.seeds, runs.select(table))
    right = None
    if seen is not None:
        right = np.zeros((*shape, seen.shape[-1]), dtype=bool)
        right[places] = seen
    return Sweep(accuracies, int(table["num_test"].iloc[0]), right, failed), _compare_origins(known, places, shape[0])


def _compare_origins(known: Sequence[Configuration], places: Sequence[int], num: int) -> Bools | None:
    """Which pairs of rows were made alike, seed by seed: by the same code, torch, data and so on. None if all were."""
    origins = [origin for configuration in known for origin in configuration.origins.values()]
    if all(origin == origins[0] for origin in origins):
        return None
    alike = np.ones((num, num), dtype=bool)
    for one, ours in zip(places, known, strict=True):
        for other, theirs in zip(places, known, strict=True):
            alike[one, other] = not tell_unlike(ours, theirs)
    return alike
