"""The tables of the page and of the Markdown, as text: both show the same columns and rows.

The files for programs are `tables`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from job.report.analysis.effects import OptimizerEffects
from job.report.analysis.leaderboard import Standing
from job.report.analysis.reasons import compare_first_steps
from job.report.analysis.reference import SideBySide
from job.report.analysis.study import Study
from job.report.analysis.wording import (
    NOTHING,
    name_optimizer,
    points,
    show_attribute,
    show_comparison,
    show_estimate,
    show_p,
    show_target,
    show_time,
    show_value,
)
from job.report.render.grid import Cell, Grid, Row, build_grid, show_number, show_percent, show_significant


def build_leaderboard_grid(study: Study) -> Grid:
    """A row per configuration, best first."""
    columns = [
        "configuration", "seeds", "test top-1 [95 %]", "points to leader [95 %]", "p", "top-5", "test loss",
        "train top-1", "validation top-1", f"epochs to {show_target(study.target)}", "seconds to it", "USD to it",
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
        show_number(len(own.outcomes), 0),
        Cell(show_estimate(standing.score), standing.score.mean if standing.score else None),
        Cell(show_comparison(behind), behind.difference if behind else 0.0 if is_leader else None, few),
        Cell(show_p(behind.p if behind else None), behind.p if behind else None),
        show_percent(standing.top5),
        show_number(standing.loss, 3),
        show_percent(standing.train_top1),
        show_percent(standing.validation),
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
        show_number(standing.images_per_second, 0),
        show_percent(standing.utilisation_fraction),
        show_number(None if energy is None else energy / 1000, 2),
        show_number(standing.cost_usd, 4),
    ]


def build_importance_grid(effects: OptimizerEffects) -> Grid:
    """A row per attribute of one optimizer, the most important first."""
    rows = [
        Row(
            [
                Cell(show_attribute(own.name)),
                show_number(None if own.importance != own.importance else 100 * own.importance, 1),
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
            show_significant(step.predicted),
            show_significant(step.measured),
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
            show_number(comparison.num if comparison else 0, 0),
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
            show_percent(there.top1),
            show_percent(pair.top1),
            Cell(NOTHING if apart is None else points(apart), apart),
            show_percent(there.top5),
            show_percent(pair.top5),
            show_percent(last),
            show_percent(pair.train_top1),
            Cell(pair.ours.title if pair.ours else pair.why_apart),
        ]
        rows.append(Row(cells, optimizer=pair.optimizer))
    columns = [
        "optimizer", "top-1 published", "top-1 here", "points apart", "top-5 published", "top-5 here",
        "train top-1 published", "train top-1 here", "our configuration",
    ]  # fmt: skip
    return build_grid("Published study", columns, rows, texts=["our configuration"])


def build_budget_grid(study: Study) -> Grid:
    """A row per optimizer: its default, its best, and what is expected of the best of k trials."""
    rows = []
    for line in study.budget:
        default, tuned = line.default, line.tuned
        note = "" if line.is_torch_default else "baseline; torch's defaults were not run"
        expected = [line.expected[k - 1] if len(line.expected) >= k else None for k in (2, 4, 8)]
        cells = [
            Cell(name_optimizer(line.optimizer)),
            show_number(len(line.expected), 0),
            Cell(default.label, note=note),
            Cell(default.told_score, default.adjusted if default.scores else None),
            *(show_percent(None if value is None else float(value)) for value in expected),
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
                show_percent(run.score),
                show_percent(run.train_top1),
                show_number(None if run.score_loss != run.score_loss else run.score_loss, 3),
                show_number(run.num_epochs, 0),
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
