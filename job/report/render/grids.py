"""The tables of the page and of the Markdown, as text: both show the same columns and rows.

The files for programs are `tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from job.report.analysis.effects import OptimizerEffects
from job.report.analysis.leaderboard import Standing
from job.report.analysis.reasons import compare_first_steps
from job.report.analysis.reference import SideBySide
from job.report.analysis.study import Study
from job.report.analysis.wording import (
    NOTHING,
    name_optimizer,
    percent,
    points,
    show_attribute,
    show_comparison,
    show_estimate,
    show_p,
    show_time,
    show_value,
)

MOST_ROWS = 100
"""So many rows of a table are shown; the CSV files hold all."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table."""

    text: str
    order: float | None = None
    """The number that sorts the column; None where the text does, or where there is nothing."""
    note: str = ""
    """Said more softly behind the text."""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    cells: Sequence[Cell]
    label: str = ""
    """The configuration that the row is about, as in the legends of the figures."""
    optimizer: str = ""
    is_marked: bool = False
    """Whether the configuration is within reach of the best."""


@dataclass(frozen=True)
class Grid:
    """A table with its title; `columns` of texts are listed in `texts`, the others hold numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    texts: frozenset[str] = frozenset()
    num_left_out: int = 0
    """Rows beyond MOST_ROWS."""

    def compact(self) -> Grid:
        """Without the columns in which no row has a value; the first one stays."""
        kept = [
            place
            for place in range(len(self.columns))
            if place == 0 or any(row.cells[place].text not in ("", NOTHING) for row in self.rows)
        ]
        rows = [replace(row, cells=[row.cells[place] for place in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows)


def build_grid(title: str, columns: Sequence[str], rows: Iterable[Row], *, texts: Iterable[str] = ()) -> Grid:
    """A table of at most MOST_ROWS rows, without empty columns."""
    listed = list(rows)
    left_out = max(0, len(listed) - MOST_ROWS)
    return Grid(title, columns, listed[:MOST_ROWS], frozenset(texts), left_out).compact()


def build_leaderboard_grid(study: Study) -> Grid:
    """A row per configuration, best first."""
    columns = [
        "configuration", "seeds", "test top-1 [95 %]", "points to leader [95 %]", "p", "top-5", "test loss",
        "train top-1", "validation top-1", f"epochs to {percent(study.target, 0)}", "seconds to it", "USD to it",
        "images/s", "of peak", "kJ a run", "USD a run", "made with",
    ]  # fmt: skip
    rows = (_rank(standing, study) for standing in study.standings)
    return build_grid("Leaderboard", columns, rows, texts=["made with"])


def _rank(standing: Standing, study: Study) -> Row:
    own, reach, behind = standing.configuration, standing.reach, standing.behind
    is_leader = own is study.verdict.leader
    few = f"{behind.num} common" if behind and behind.num < len(own.outcomes) else ""
    cells = [
        Cell(own.label, note=own.fate),
        _number(len(own.outcomes), 0),
        Cell(show_estimate(standing.score), standing.score.mean if standing.score else None),
        Cell(show_comparison(behind), behind.difference if behind else 0.0 if is_leader else None, few),
        Cell(show_p(behind.p if behind else None), behind.p if behind else None),
        _percent(standing.top5),
        _number(standing.loss, 3),
        _percent(standing.train_top1),
        _percent(standing.validation),
        Cell(show_time(reach.epochs, 1), reach.epochs.mean if reach.epochs else None),
        *_tell_costs(standing, study),
        Cell(standing.made_with),
    ]
    return Row(cells, own.label, own.optimizer, standing.within_reach)


def _tell_costs(standing: Standing, study: Study) -> list[Cell]:
    """Seconds, dollars, speed and energy; nothing where times of the study are not compared."""
    if study.times_apart:
        return [Cell(NOTHING)] * 6
    reach, energy = standing.reach, standing.energy_joules
    return [
        Cell(show_time(reach.seconds, 0), reach.seconds.mean if reach.seconds else None),
        Cell(show_time(reach.cost_usd, 4), reach.cost_usd.mean if reach.cost_usd else None),
        _number(standing.images_per_second, 0),
        _percent(standing.utilisation_fraction),
        _number(None if energy is None else energy / 1000, 2),
        _number(standing.cost_usd, 4),
    ]


def build_importance_grid(effects: OptimizerEffects) -> Grid:
    """A row per attribute of one optimizer, the most important first."""
    rows = [
        Row(
            [
                Cell(show_attribute(own.name)),
                _number(None if own.importance != own.importance else 100 * own.importance, 1),
                Cell(show_p(own.p), own.p),
                Cell(NOTHING if own.trend is None else points(own.trend), own.trend),
                Cell(show_p(own.trend_p), own.trend_p),
            ]
        )
        for own in effects.importances
    ]
    columns = ["attribute", "importance in points", "p", "trend in points", "p of the trend"]
    return build_grid(f"Attributes of {name_optimizer(effects.optimizer)}", columns, rows)


def build_first_steps_grid(study: Study) -> Grid:
    """A row per configuration shown: its update rule, the first step that it predicts, and the measured one."""
    rows = []
    for step in compare_first_steps(study.evidence):
        cells = [
            Cell(step.configuration.label),
            Cell(step.rule.formula, note=step.rule.reference),
            Cell(step.rule.first_step),
            _significant(step.predicted),
            _significant(step.measured),
            Cell(step.takeaway),
        ]
        rows.append(Row(cells, step.configuration.label, step.optimizer))
    texts = ["update rule", "its first step", "what that tells"]
    columns = ["configuration", *texts[:2], "predicted", "measured", texts[2]]
    return build_grid(
        "First steps, as the update rules predict them and as they were measured", columns, rows, texts=texts
    )


def build_effects_grid(effects: OptimizerEffects) -> Grid:
    """A row per value of an attribute, against the baseline."""
    rows = []
    for effect in effects.effects:
        comparison = effect.comparison
        unlike = ", ".join(comparison.unlike) if comparison else ""
        told = show_comparison(comparison) if comparison else effect.why_not_compared
        cells = [
            Cell(show_attribute(effect.attribute)),
            Cell(show_value(effect.value)),
            Cell(show_value(effects.baseline.attributes.get(effect.attribute))),
            Cell(told, comparison.difference if comparison else None, unlike),
            Cell(show_p(comparison.p if comparison else None), comparison.p if comparison else None),
            _number(comparison.num if comparison else 0, 0),
        ]
        rows.append(Row(cells, effect.configuration.label, effect.configuration.optimizer))
    columns = ["attribute", "value", "baseline", "effect in points [95 %]", "p", "seeds"]
    return build_grid(f"Values of {name_optimizer(effects.optimizer)}'s attributes", columns, rows)


def build_reference_grid(sides: SideBySide) -> Grid:
    """A row per optimizer of a published study, and the closest configuration of ours."""
    rows = []
    for pair in sides.pairs:
        there = pair.published
        last = there.epochs[-1].train_accuracy if there.epochs else None
        apart = None if pair.top1 is None else pair.top1 - there.top1
        cells = [
            Cell(name_optimizer(pair.optimizer)),
            _percent(there.top1),
            _percent(pair.top1),
            Cell(NOTHING if apart is None else points(apart), apart),
            _percent(there.top5),
            _percent(pair.top5),
            _percent(last),
            _percent(pair.train_top1),
            Cell(pair.ours.title if pair.ours else pair.why_apart),
        ]
        rows.append(Row(cells, optimizer=pair.optimizer))
    columns = [
        "optimizer", "top-1 published", "top-1 here", "points apart", "top-5 published", "top-5 here",
        "train top-1 published", "train top-1 here", "our configuration",
    ]  # fmt: skip
    return build_grid("Published study", columns, rows, texts=["our configuration"])


def _percent(fraction: float | None) -> Cell:
    return Cell(percent(fraction), fraction)


def _significant(value: float | None) -> Cell:
    return Cell(NOTHING if value is None else f"{value:.3g}", value)


def _number(value: float | None, digits: int) -> Cell:
    return Cell(NOTHING if value is None else f"{value:.{digits}f}", value)


def build_budget_grid(study: Study) -> Grid:
    """A row per optimizer: its default, its best, and what is expected of the best of k trials."""
    rows = []
    for line in study.budget:
        default, tuned = line.default, line.tuned
        note = "" if line.is_torch_default else "baseline; torch's defaults were not run"
        expected = [line.expected[k - 1] if len(line.expected) >= k else None for k in (2, 4, 8)]
        cells = [
            Cell(name_optimizer(line.optimizer)),
            _number(len(line.expected), 0),
            Cell(default.label, note=note),
            Cell(default.told_score, default.adjusted if default.scores else None),
            *(_percent(None if value is None else float(value)) for value in expected),
            Cell(tuned.label),
            Cell(tuned.told_score, tuned.adjusted if tuned.scores else None),
        ]
        rows.append(Row(cells, optimizer=line.optimizer))
    columns = [
        "optimizer", "configurations", "default", "its top-1", "expected best of 2", "of 4", "of 8", "tuned",
        "top-1 of the tuned",
    ]  # fmt: skip
    return build_grid("Budget", columns, rows, texts=["default", "tuned"])


def build_runs_grid(studies: Sequence[Study]) -> Grid:
    """A row per run that ended, of all experiments: as many as there are, for the page's filter."""
    rows = []
    for study in studies:
        labels = {run: own.label for own in study.configurations for run in own.runs}
        for run in study.runs.runs.itertuples():
            label = labels.get(str(run.run), "")
            cells = [
                Cell(str(run.run_id)),
                Cell(study.title),
                Cell(label),
                Cell(f"seed {run.seed}", float(run.seed)),
                _percent(run.score),
                _percent(run.train_top1),
                _number(None if run.score_loss != run.score_loss else run.score_loss, 3),
                _number(run.num_epochs, 0),
                Cell(str(run.status)),
            ]
            rows.append(Row(cells))
    columns = [
        "run", "experiment", "configuration", "seed", "test top-1", "train top-1", "test loss", "epochs", "ended",
    ]  # fmt: skip
    return Grid("Every run", columns, rows, frozenset(["experiment", "configuration", "ended"]))


def build_holes_grid(holes: pd.DataFrame) -> Grid:
    """A row per run without a usable result, or diverged."""
    rows = [
        Row([Cell(str(hole.run_id)), Cell(str(hole.experiment)), Cell(str(hole.kind)), Cell(str(hole.reason))])
        for hole in holes.itertuples()
    ]
    return build_grid(
        "What is missing", ["run", "experiment", "what", "why"], rows, texts=["experiment", "what", "why"]
    )
