"""A published study beside ours, where the budget is the same: who was compared, in which order, and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from job.report.analysis.baselines import find_baseline
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.measurements import mean_curve
from job.report.analysis.study import Study
from job.report.analysis.wording import join, name_optimizer
from job.report.read.reference import (
    Reference,
    ReferenceRun,
    Setup,
    SetupField,
    mean_test_loss,
    mean_train_loss,
)


@dataclass(frozen=True)
class Losses:
    """Mean cross entropies in nats by epoch, from the first on; None where it is not known."""

    train: list[float | None]
    test: list[float | None]


@dataclass(frozen=True)
class Pair:
    """One optimizer, there and here."""

    optimizer: str
    published: ReferenceRun
    published_losses: Losses
    closest: Configuration | None
    """The configuration of ours that is closest to the published set-up; None where none has a finished run."""
    why_apart: str
    """Why nothing of ours stands beside the published numbers; empty where something does."""
    top1: float | None
    """The mean over the seeds, adjusted for them as the order of the verdict is."""
    top5: float | None
    train_top1: float | None
    losses: Losses | None
    """Means over the seeds; None where a seed diverged, as a mean over the others would flatter."""
    class_accuracy: list[float | None]
    """Of ours by the classes of the published study: means over the seeds. Empty where the classes are others."""

    @property
    def ours(self) -> Configuration | None:
        """What of ours stands beside the published numbers."""
        return None if self.why_apart else self.closest


@dataclass(frozen=True)
class Remarks:
    """Sentences about the published study, and who says so."""

    title: str
    lines: list[str]


@dataclass(frozen=True)
class SideBySide:
    """The published study beside one of ours."""

    source: str
    setup: Setup
    """The published one."""
    pairs: list[Pair]
    classes: list[str]
    """Of the published class accuracies, in their order."""
    differences: list[str]
    orders: str | None
    """A sentence on the order of the optimizers, there and here."""
    remarks: list[Remarks]
    """What the study states, what was inferred from its numbers, what it leaves open; each only where there is any."""


def compare_with(reference: Reference, study: Study) -> SideBySide:
    """The published optimizers, best first, with the closest configurations of `study`."""
    published = sorted(reference.optimizers.items(), key=lambda item: -item[1].top1)
    standings = {standing.configuration.digest: standing for standing in study.standings}
    pairs = []
    for optimizer, run in published:
        family = [
            configuration
            for configuration in study.configurations
            if configuration.optimizer == optimizer and configuration.scores
        ]
        closest = _closest(family, reference.setup) if family else None
        why_apart = _tell_budget(reference.setup, closest, study) if closest else "no finished run"
        ours = closest if closest and closest.always_finished and not why_apart else None  # else a mean of survivors
        standing = standings[ours.digest] if ours else None
        pairs.append(
            Pair(
                optimizer, run, _published_losses(run, reference.setup), closest, why_apart,
                top1=ours.adjusted if ours else None,
                top5=standing.top5 if standing else None,
                train_top1=standing.train_top1 if standing else None,
                losses=_measure_losses(ours, study) if ours else None,
                class_accuracy=_measure_classes(ours, study, reference.setup.classes) if ours else [],
            )
        )  # fmt: skip
    return SideBySide(
        reference.source,
        reference.setup,
        pairs,
        reference.setup.classes,
        _differences(reference.setup, study, pairs),
        _orders(pairs),
        _list_remarks(reference.setup),
    )


def _tell_budget(setup: Setup, ours: Configuration, study: Study) -> str:
    """How the budgets differ, or nothing. What the study does not tell differs from nothing."""
    epochs, num_train = ours.attributes["epochs"], int(study.runs.runs["num_train"].iloc[0])
    if setup.epochs in (None, epochs) and setup.train_images in (None, num_train):
        return ""
    there = [f"{setup.epochs} epochs" if setup.epochs else "", f"{setup.train_images:,}" if setup.train_images else ""]
    told = " of ".join(filter(None, there)) + (" training images" if setup.train_images else "")
    return f"another budget: {told} there, {epochs} epochs of {num_train:,} training images here"


def _published_losses(run: ReferenceRun, setup: Setup) -> Losses:
    return Losses(
        train=[mean_train_loss(epoch, setup) for epoch in run.epochs],
        test=[mean_test_loss(epoch, setup) for epoch in run.epochs],
    )


def _measure_losses(ours: Configuration, study: Study) -> Losses:
    train, test = (
        [None if np.isnan(value) else float(value) for value in mean_curve(study.measured.epochs(ours, column))]
        for column in ("train_loss", "test_loss")
    )
    return Losses(train, test)


def _measure_classes(ours: Configuration, study: Study, classes: Sequence[str]) -> list[float | None]:
    table = study.runs.classes
    means = table[table["run"].isin(ours.finished)].groupby("class")["top1"].mean()
    if set(means.index) != set(classes):
        return []
    return [None if np.isnan(means[name]) else float(means[name]) for name in classes]


def _list_remarks(setup: Setup) -> list[Remarks]:
    values = {field: getattr(setup, field) for field in get_args(SetupField)}
    fields = {field: f"{_name(field)}: {_show(value)}" for field, value in values.items() if value is not None}
    stated = [line for field, line in fields.items() if field not in setup.inferred_fields]
    inferred = [line for field, line in fields.items() if field in setup.inferred_fields]
    remarks = [
        Remarks("What the published study states", stated),
        Remarks("What was inferred from its numbers and is not stated in it", inferred + setup.inferred),
        Remarks("What it leaves open", setup.not_stated),
        Remarks("Remarks of whoever wrote its numbers down, stated or inferred", setup.notes),
    ]
    return [remark for remark in remarks if remark.lines]


def _name(field: str) -> str:
    return field.replace("_", " ")


def _show(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _closest(family: Sequence[Configuration], setup: Setup) -> Configuration:
    same_lr = [
        configuration for configuration in family if configuration.attributes["optimizer.lr"] == setup.learning_rate
    ]
    same_epochs = [
        configuration for configuration in same_lr or family if configuration.attributes["epochs"] == setup.epochs
    ]
    return find_baseline(same_epochs or same_lr or family)


def _differences(setup: Setup, study: Study, pairs: Sequence[Pair]) -> list[str]:
    """What the file's own fields say that is otherwise here."""
    runs = study.runs.runs
    ours = [pair.closest for pair in pairs if pair.closest]
    here: dict[str, set[object]] = {
        "dataset": set(runs["dataset.name"]),
        "train_images": set(runs["num_train"]),
        "test_images": set(runs["num_test"]),
        "epochs": {configuration.attributes["epochs"] for configuration in ours},
        "learning_rate": {configuration.attributes["optimizer.lr"] for configuration in ours},
    }
    found = []
    for field, values in here.items():
        there = getattr(setup, field)
        if there is not None and values and values != {there}:
            shown = join([_show(value) for value in sorted(values, key=str)])
            how = " (inferred)" if field in setup.inferred_fields else ""
            found.append(f"{_name(field)}: {there} there{how}, {shown} here")
    weights = {str(configuration.attributes["model.weights"]) for configuration in ours}
    if setup.model and "imagenet" in setup.model.lower() and weights - {"imagenet"}:
        found.append(f"model: {setup.model} there, weights from {join(sorted(weights))} here")
    num_seeds = max((len(configuration.scores) for configuration in ours), default=0)
    if num_seeds > 1:
        adjusted = "" if have_same_seeds(ours) else ", top-1 adjusted for the seeds, which not all have in common"
        found.append(
            f"seeds: the published numbers are taken as one run each, ours are means over up to {num_seeds}{adjusted}"
        )
    return found


def _orders(pairs: Sequence[Pair]) -> str | None:
    """None where there is no order: of fewer than two, and where two are equal, there or here."""
    both = [pair for pair in pairs if pair.top1 is not None]
    scores = [(pair.published.top1, round(pair.top1 or 0.0, 9)) for pair in both]
    if len(both) < 2 or any(len(set(side)) < len(both) for side in zip(*scores, strict=True)):
        return None
    there = [name_optimizer(pair.optimizer) for pair in both]
    here = [name_optimizer(pair.optimizer) for pair in sorted(both, key=lambda pair: -(pair.top1 or 0))]
    if there == here:
        return f"The order is the published one: {', '.join(here)}."
    return f"Published order: {', '.join(there)}. Here: {', '.join(here)}."
