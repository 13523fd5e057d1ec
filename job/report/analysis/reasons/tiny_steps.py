"""A reason in the tiny steps of Adadelta at a learning rate that is meant for other optimizers."""

from __future__ import annotations

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import Numbers, list_ratio, list_setting, list_values, name_number
from job.report.analysis.reasons.evidence import Contrast, Evidence
from job.report.analysis.reasons.interventions import (
    SAME_SIZE,
    Trial,
    find_trials,
    list_trials,
    settle,
    stand,
    tell_trials,
    with_lr,
)
from job.report.analysis.reasons.quantities import DISTANCE, FIRST_STEPS, TRAIN_TOP1, measure_distance
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import join, name_optimizer, part, percent, times

TINY = 1e-3
"""An update of a thousandth of the weights' norm is usual (https://cs231n.github.io/neural-networks-3/, "Ratio of
weights:updates"); smaller ones are called tiny."""
FAR_SMALLER = 10.0
DESIGNED_LR = 1.0
"""Adadelta has no learning rate in Zeiler 2012, algorithm 1; torch multiplies its step by lr, 1 by default."""
SMALL_LR = 0.1


def explain_tiny_steps(evidence: Evidence) -> Reason | None:
    """Claim: at a learning rate meant for others, Adadelta's updates are tiny.

    Contrast: other optimizers at the same learning rate. Counter-evidence: one of these takes steps as small; then
    nothing is said. That it learns more slowly and stays nearer to its start is said only where both were measured.
    """
    for subject in evidence.subjects:
        lr = subject.attributes["optimizer.lr"]
        if subject.optimizer != "adadelta" or lr > SMALL_LR or subject.attributes["schedule"] != "none":
            continue
        contrast = evidence.peers(subject)
        if contrast is None:
            continue
        own = contrast.steps(subject, "update_to_weight").mean(axis=1)
        theirs = [contrast.steps(configuration, "update_to_weight").mean(axis=1) for configuration in contrast.others]
        if np.all((own > 0) & (own < TINY)) and all(np.all(values >= FAR_SMALLER * own) for values in theirs):
            return _tell_tiny(evidence, contrast, own, theirs)
    return None


def _tell_tiny(evidence: Evidence, contrast: Contrast, own: Floats, theirs: list[Floats]) -> Reason:
    subject, lr = contrast.subject, contrast.subject.attributes["optimizer.lr"]
    size = float(own.mean())
    their_size, closest = min(
        ((float(values.mean()), configuration) for values, configuration in zip(theirs, contrast.others, strict=True)),
        key=lambda pair: pair[0],
    )
    called = FIRST_STEPS.called
    numbers = list_values(called, {subject.label: size, closest.label: their_size})
    numbers |= list_ratio(called, (subject.label, size), (closest.label, their_size))
    numbers |= list_setting("lr", subject.label, lr)
    numbers |= {"lr of the formula": DESIGNED_LR, "lr of the formula relative to that of the run": DESIGNED_LR / lr}
    numbers["num_seeds"] = len(contrast.seeds)
    sentence = (
        f"At lr {lr:g} {name_optimizer(subject.optimizer)} takes 1/{times(DESIGNED_LR / lr)} of the step that its "
        f"formula gives (lr 1, Zeiler 2012). The first ten updates of {subject.label} were on average {part(size)} of "
        f"the backbone's norm, {times(their_size / size)} times smaller than those of {closest.label}, the next "
        f"smallest at the same lr ({part(their_size)})."
    )
    slow = _tell_slow_fit(contrast, numbers)
    trials = _find_trials(evidence, contrast)
    numbers |= list_trials(trials, evidence, subject=subject)
    sentence += slow + _tell_nearness(contrast, numbers) + tell_trials(trials, evidence, subject=subject)
    picture = Picture(
        "reason-tiny-steps",
        "Mean update of each epoch, as a fraction of the backbone's norm (logarithmic).",
        LineChart(
            evidence.epoch_lines("backbone_update_to_weight", [subject, *contrast.others]),
            title="Adadelta's steps against the others'", xlabel="epoch", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    ratio = float(_first_ten(contrast, _find_best(contrast)).mean()) / size
    proposed = with_lr(subject, ratio=ratio, expectation="this gets more of the test images right")
    return Reason(
        title=f"Adadelta takes tiny steps at lr {lr:g}",
        gist=f"At lr {lr:g} {subject.label}'s first updates are {times(their_size / size)} times smaller than "
        f"{closest.label}'s, the next smallest.",
        sentence=sentence,
        standing=stand(trials) if slow or trials else "measured",
        about=(subject.optimizer,),
        intervention=settle(trials, proposed),
        numbers=numbers,
        picture=picture,
    )


def _find_best(contrast: Contrast) -> Configuration:
    """The most accurate of the others."""
    return max(contrast.others, key=lambda configuration: configuration.adjusted or 0.0)


def _find_trials(evidence: Evidence, contrast: Contrast) -> list[Trial]:
    """The subject with a larger lr, with first updates up to the size of those of the best of the others."""
    subject = contrast.subject
    limit = SAME_SIZE * float(_first_ten(contrast, _find_best(contrast)).max())

    def fits(changed: Configuration) -> bool:
        beside = evidence.pair(changed, subject)
        own = None if beside is None else _first_ten(beside, changed)
        is_larger = changed.attributes["optimizer.lr"] > subject.attributes["optimizer.lr"]
        return own is not None and is_larger and bool(np.all(own <= limit))

    return find_trials(evidence, subject, higher=True, fits=fits)


def _first_ten(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds,) mean update/weight over the first ten steps."""
    return FIRST_STEPS.measure(contrast, configuration)


def _tell_slow_fit(contrast: Contrast, numbers: Numbers) -> str:
    """That it fits the training images more slowly, where in the first epoch each of the others fits more of them."""
    train = contrast.epochs(contrast.subject, "train_top1")
    theirs = {
        configuration.label: contrast.epochs(configuration, "train_top1")[:, 0] for configuration in contrast.others
    }
    if not all(np.all(train[:, 0] < values) for values in theirs.values()):
        return ""
    first, last = (float(value) for value in train[:, [0, -1]].mean(axis=0))
    means = {label: float(values.mean()) for label, values in theirs.items()}
    numbers |= list_values("training accuracy in epoch 1", {contrast.subject.label: first} | means)
    numbers[name_number(TRAIN_TOP1, contrast.subject.label)] = last
    told = join([f"{label} {percent(mean)}" for label, mean in means.items()])
    return (
        f" In the first epoch it gets {percent(first)} of the training images right, fewer than each of the others "
        f"{contrast.everywhere} ({told}); in the last epoch it gets {percent(last)}."
    )


def _tell_nearness(contrast: Contrast, numbers: Numbers) -> str:
    """That its weights stay nearest to their start, where the distance was measured and is the smallest."""
    own = measure_distance(contrast, contrast.subject)[:, -1]
    theirs = {
        configuration.label: measure_distance(contrast, configuration)[:, -1] for configuration in contrast.others
    }
    if not all(np.all(own < values) for values in theirs.values()):
        return ""
    means = {label: float(values.mean()) for label, values in theirs.items()}
    numbers |= list_values(DISTANCE, {contrast.subject.label: float(own.mean())} | means)
    told = join([f"{label} {part(mean)}" for label, mean in means.items()])
    return (
        f" In the end its weights are {part(float(own.mean()))} of their initial norm away from where they started, "
        f"nearer than those of the others {contrast.everywhere} ({told})."
    )
