"""One comparison: the runs of an experiment on one data set, and everything that the report says about them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from job.report.analysis.answer import Answer, answer
from job.report.analysis.budget import BudgetLine, view_budget
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.effects import OptimizerEffects, measure_effects
from job.report.analysis.field import Field, choose_field
from job.report.analysis.grouping import group_runs, rank_configurations
from job.report.analysis.inference.comparisons import MARGIN
from job.report.analysis.judgement import Judgement, fit_configurations, judge
from job.report.analysis.leaderboard import Standing, build_standings, choose_target
from job.report.analysis.measurements import Measurements
from job.report.analysis.origins import is_unknown, list_origins
from job.report.analysis.reasons import Evidence, Reason, find_reasons
from job.report.analysis.sensitivity import Sensitivity, measure_sensitivity
from job.report.analysis.times import judge_times
from job.report.analysis.verdict import Verdict, judge_field
from job.report.analysis.wording import count, join, show_attribute, show_value
from job.report.read.frames import Runs

SHOWN_OF_ONE = 5
"""Configurations with curves where there is only one optimizer."""


@dataclass(frozen=True)
class Study:
    """What the page, the Markdown and the pictures are made from."""

    slug: str
    """Safe in file names and anchors, unique in the report."""
    title: str
    facts: list[str]
    runs: Runs
    configurations: list[Configuration]
    """All configurations, best first."""
    order: str
    """Sentences that say by what the configurations are ordered."""
    shown: list[Configuration]
    """Those with curves and confusion matrices: the best of every optimizer, as the verdict compares them, or the best
    few of a single one."""
    verdict: Verdict
    answer: Answer
    """The verdict taken apart, for the first screen."""
    judgement: Judgement | None
    """None where no run has a score."""
    target: float
    standings: list[Standing]
    effects: list[OptimizerEffects]
    sensitivities: list[Sensitivity]
    """Of every attribute with numbers that was varied, the learning rate first."""
    budget: list[BudgetLine]
    evidence: Evidence
    """What the reasons rest on."""
    reasons: list[Reason]
    measured: Measurements
    times_apart: str | None
    """Why seconds and dollars of these runs cannot be compared; None where they can."""

    @property
    def amount_of_evidence(self) -> tuple[bool, int, int]:
        """How much the runs can say: whether they compare anything, the seeds behind it, and the images trained on."""
        seen = (self.runs.runs["num_train"] * self.runs.runs["num_epochs"]).sum()
        return bool(self.verdict.rivals), self.answer.num_seeds, int(seen)

    @property
    def is_validated(self) -> bool:
        """Whether configurations are chosen by validation accuracy."""
        return any(configuration.is_validated for configuration in self.configurations)

    @property
    def was_made_differently(self) -> bool:
        """Whether what made the runs is not the same, or not equally known, for all."""
        return any(line.made_with for line in self.standings)

    @property
    def tells_efficiency(self) -> bool:
        """Whether any run knows its utilisation or energy, as only those on a GPU do."""
        return any(line.utilisation_fraction is not None or line.energy_joules is not None for line in self.standings)


def build_studies(runs: Runs, *, target: float | None = None, margin: float = MARGIN) -> list[Study]:
    """A study per experiment and data set, the one with the most evidence first, of equals by name. Without `target`
    each takes a part of its best score.

    Accuracies that differ by less than `margin` are called practically equal.
    """
    studies: list[Study] = []
    if runs.runs.empty:
        return studies
    for (experiment, task), rows in runs.runs.groupby(["experiment", "task"], sort=True):
        alone = (runs.runs["experiment"] == experiment).sum() == len(rows)
        title = experiment if alone else f"{experiment}, {task}"
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "study"
        taken = sum(study.slug == slug or study.slug.startswith(f"{slug}--") for study in studies)
        studies.append(_build(f"{slug}--{taken + 1}" if taken else slug, title, runs.select(rows), target, margin))
    return sorted(studies, key=lambda study: study.amount_of_evidence, reverse=True)


def _build(slug: str, title: str, runs: Runs, target: float | None, margin: float) -> Study:
    found = group_runs(runs.runs)
    fitted = fit_configurations(found, runs)
    configurations = rank_configurations(found, fitted)
    measured = Measurements(runs)
    field = choose_field(configurations)
    judgement = judge(fitted, field, configurations, margin=margin) if fitted else None
    is_single = len({configuration.optimizer for configuration in configurations}) == 1
    shown = [configuration for configuration in (*field.best, *field.left_out) if configuration.scores]
    verdict = judge_field(field, configurations, judgement)
    effects = measure_effects(configurations, judgement)
    goal = choose_target(configurations) if target is None else target
    comparable = _comparable(field, is_single=is_single)
    evidence = Evidence(comparable, configurations, effects, measured, judgement, verdict)
    reasons = find_reasons(evidence)
    sensitivities = measure_sensitivity(configurations, judgement)
    return Study(
        slug=slug,
        title=title,
        facts=_tell_facts(runs.runs, configurations),
        runs=runs,
        configurations=configurations,
        order=_tell_order(configurations, verdict.leader),
        shown=shown[:SHOWN_OF_ONE] if is_single else shown,
        verdict=verdict,
        answer=answer(
            verdict,
            judgement,
            reasons,
            configurations=configurations,
            manifest=_find_manifest(runs, verdict.leader),
            edges=[warning for sensitivity in sensitivities for warning in sensitivity.warnings],
        ),
        judgement=judgement,
        target=goal,
        standings=build_standings(configurations, runs, judgement, target=goal, leader=verdict.leader),
        effects=effects,
        sensitivities=sensitivities,
        budget=view_budget(field.pool),
        evidence=evidence,
        reasons=reasons,
        measured=measured,
        times_apart=judge_times(runs.runs),
    )


def _find_manifest(runs: Runs, leader: Configuration | None) -> str | None:
    """The resolved manifest of the leader's first run, as JSON."""
    if leader is None:
        return None
    manifests = runs.runs.loc[runs.runs["run"] == leader.runs[0], "manifest"]
    return str(manifests.iloc[0])


def _comparable(field: Field, *, is_single: bool) -> list[Configuration]:
    """What the reasons may set beside each other: those that always finished, unfair comparisons left out."""
    finished = [configuration for configuration in field.best if configuration.scores and configuration.always_finished]
    if is_single:
        return finished[:SHOWN_OF_ONE]
    return [
        configuration for configuration in finished if field.is_fair or configuration.setting == finished[0].setting
    ]


def _tell_order(configurations: Sequence[Configuration], leader: Configuration | None) -> str:
    by = "validation" if any(configuration.is_validated for configuration in configurations) else "test"
    rule = f"Sorted by {by} accuracy; a seed that diverged counts as guessing."
    if not have_same_seeds(configurations):
        rule += " Not all have the same seeds, so all means are adjusted for the seeds."
    return f"{rule} Differences are to the leader, {leader.label}." if leader else rule


def _tell_facts(runs: pd.DataFrame, configurations: Sequence[Configuration]) -> list[str]:
    """Sentences that say what was compared."""
    first = runs.iloc[0]
    seeds = sorted(runs["seed"].unique())
    listed = f"seed{'s' if len(seeds) > 1 else ''} {join([str(seed) for seed in seeds])}"
    classes = f"{first['num_validation']} validation and " if first["num_validation"] else ""
    diverged = int((runs["status"] == "diverged").sum())
    facts = [
        f"{count(len(runs), 'run' if diverged else 'finished run')} of {count(len(configurations), 'configuration')}, "
        f"{listed if len(seeds) <= 10 else f'{len(seeds)} seeds'}"
        f"{f'; {diverged} diverged' if diverged else ''}.",
        f"Data set {first['dataset.name']}: {first['num_train']} training, {classes}{first['num_test']} test images.",
    ]
    common, differing = [], []
    for attribute in sorted({key for configuration in configurations for key in configuration.attributes}):
        values = list(dict.fromkeys(configuration.attributes.get(attribute) for configuration in configurations))
        if attribute.startswith("optimizer.") and attribute != "optimizer.lr":
            continue
        if len(values) == 1:
            common.append(f"{show_attribute(attribute)} {show_value(values[0])}")
        elif attribute != "optimizer.lr":
            differing.append(f"{show_attribute(attribute)} ({join([show_value(value) for value in values[:6]])})")
    facts.append(f"All alike: {', '.join(common)}.")
    if differing:
        facts.append(f"Not all alike beside the optimizer's attributes: {', '.join(differing)}.")
    if all(map(is_unknown, list_origins(runs))):
        facts.append("Which code, torch, image and data made them is not recorded, so they may differ in it.")
    return [*facts, *_tell_hardware(runs), _tell_score(runs)]


def _tell_hardware(runs: pd.DataFrame) -> list[str]:
    known = runs[runs["device"].notna()]
    counts = (known["device"] + " in " + known["used_precision"]).value_counts().sort_index()
    if counts.empty:
        return []
    if len(counts) == 1 and len(known) == len(runs):
        return [f"Trained on {counts.index[0]}."]
    listed = [f"{name} ({count})" for name, count in counts.items()]
    if len(known) < len(runs):
        listed.append(f"unrecorded ({len(runs) - len(known)})")
    return [f"Trained on {join(listed)}: times, energy and dollars of different devices are not comparable."]


def _tell_score(runs: pd.DataFrame) -> str:
    on_validation = (runs.loc[runs["score"].notna(), "score_on"] == "best on validation").to_numpy()
    if len(on_validation) and np.all(on_validation):
        return (
            "Scores are test top-1 of the epoch chosen on held-out training images; top-5, losses and training "
            "accuracy beside them are of the same epoch. Configurations are chosen and ordered by the held-out images."
        )
    if np.any(on_validation):
        return "Some scores are of the epoch chosen on validation images, some of the last epoch: compare with care."
    return (
        "Scores are test top-1 after the last epoch. No validation images were held out: whatever is called best here "
        "was chosen on the test images themselves."
    )
