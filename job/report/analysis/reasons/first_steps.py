"""A reason in a first step that is large against the weights that the training starts from."""

from __future__ import annotations

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import Numbers, list_ratio, list_setting, list_values, name_number
from job.report.analysis.reasons.evidence import APART, Contrast, Evidence
from job.report.analysis.reasons.interventions import (
    SAME_SIZE,
    Trial,
    find_trials,
    list_trials,
    settle,
    stand,
    tell_trials,
    with_warmup,
)
from job.report.analysis.reasons.quantities import measure_distance
from job.report.analysis.reasons.reason import Reason, choose_gist
from job.report.analysis.reasons.sizes import FIRST_RMS, FIRST_UPDATE, PREDICTED_RMS, measure_first_step
from job.report.analysis.wording import join, name_optimizer, part, percent, times

OVERWRITING = 0.1
"""A first step of a tenth of the weights' norm; the rule of thumb is a thousandth (https://cs231n.github.io/
neural-networks-3/, "Ratio of weights:updates")."""
FIRST_DISTANCE = "distance from the start relative to the first weights, after epoch 1,"
PREDICTED = 1.25
"""A formula predicts a step that is at most this many times as large or small: eps and zero gradients take a part."""


def explain_overwriting(evidence: Evidence) -> Reason | None:
    """Claim: the first update is a large part of pretrained weights.

    Contrast: other optimizers at the same learning rate whose first update is not. Counter-evidence: one of these is
    no more accurate after the first epoch; then the sentence says that no loss of features shows.
    """
    found: list[tuple[float, Contrast]] = []
    for subject in evidence.subjects:
        peers = evidence.peers(subject) if subject.attributes.get("model.weights") != "none" else None
        if peers is None:
            continue
        own = _first(peers, subject)
        calmer = peers.keep(
            [configuration for configuration in peers.others if np.all(own >= APART * _first(peers, configuration))]
        )
        if calmer and np.all(own >= OVERWRITING):
            calmer = calmer.keep(
                [
                    configuration
                    for configuration in calmer.others
                    if np.all(_first(calmer, configuration) < OVERWRITING)
                ]
            )
            found += [(float(own.mean()), calmer)] if calmer else []
    if not found:
        return None
    ratio, contrast = max(found, key=lambda entry: entry[0])
    subject = contrast.subject
    others = sorted(contrast.others, key=lambda configuration: -_first(contrast, configuration).mean())
    sizes = {configuration.label: float(_first(contrast, configuration).mean()) for configuration in others}
    times_next = ratio / sizes[others[0].label]
    numbers = list_values(FIRST_UPDATE, {subject.label: ratio} | sizes)
    numbers |= list_ratio(FIRST_UPDATE, (subject.label, ratio), (others[0].label, sizes[others[0].label]))
    numbers |= list_setting("lr", subject.label, subject.attributes["optimizer.lr"])
    numbers["num_seeds"] = len(contrast.seeds)
    told = [f"{label} by {part(size)}" for label, size in sizes.items()]
    told[0] += f" ({times(times_next)} times less)"
    sentence = (
        f"The first update of {subject.label} changed the pretrained backbone by {part(ratio)} of its norm. At the "
        f"same lr of {subject.attributes['optimizer.lr']:g} these changed it less: {join(told)}."
    )
    sentence += _predict_size(evidence, contrast, numbers)
    sentence += _tell_distance(contrast, others, numbers)
    fewer, told_first_epoch = _tell_first_epoch(contrast, others, numbers)
    trials = _find_trials(evidence, contrast) if fewer else []
    sentence += told_first_epoch + tell_trials(trials, evidence, subject=subject)
    numbers |= list_trials(trials, evidence, subject=subject)
    picture = Picture(
        "reason-first-steps",
        "Size of the first ten updates, as a fraction of the backbone's norm (logarithmic).",
        LineChart(
            evidence.step_lines("update_to_weight", [subject, *others]),
            title="The first updates against the weights",
            xlabel="step", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    proposed = with_warmup(subject, expectation="this gets more of the test images right") if fewer else None
    return Reason(
        title=f"{subject.label} begins with a very large step",
        gist=_tell_gist(contrast, ratio, times_next, trials),
        sentence=sentence,
        standing=stand(trials) if fewer else "measured",
        about=(subject.optimizer,),
        intervention=settle(trials, proposed),
        numbers=numbers,
        picture=picture,
    )


def _find_trials(evidence: Evidence, contrast: Contrast) -> list[Trial]:
    """The subject with another lr or a warm-up, so that its first update is no larger than those of the others."""
    subject = contrast.subject
    largest = max(float(_first(contrast, configuration).max()) for configuration in contrast.others)

    def fits(changed: Configuration) -> bool:
        beside = evidence.pair(changed, subject)
        return beside is not None and bool(np.all(_first(beside, changed) <= SAME_SIZE * largest))

    return find_trials(evidence, subject, higher=True, fits=fits)


def _tell_gist(contrast: Contrast, ratio: float, times_next: float, trials: list[Trial]) -> str:
    name = name_optimizer(contrast.subject.optimizer)
    told = f"{contrast.subject.label}'s first update is {part(ratio)} of the pretrained weights"
    tested = next((trial for trial in trials if trial.outcome == "supported"), None)
    if tested is not None:
        gain = f"with {tested.what} it gains {100 * tested.comparison.difference:.1f} points."
        return choose_gist(f"{told}; {gain}", f"{name}'s first update is {part(ratio)} of the weights; {gain}")
    return choose_gist(f"{told}, {times(times_next)} times the next largest at the same lr.", f"{told}.")


def _predict_size(evidence: Evidence, contrast: Contrast, numbers: Numbers) -> str:
    """What the update rule says of the step, where it predicts it in every seed."""
    subject = contrast.subject
    size = measure_first_step(evidence, subject)
    if size is None or not size.predicted or size.group != "backbone":
        return ""
    ratios = contrast.steps(subject, "update_rms")[:, 0] / size.predicted
    if not np.all((ratios < PREDICTED) & (ratios > 1 / PREDICTED)):
        return ""
    measured = float(ratios.mean()) * size.predicted
    numbers |= {name_number(FIRST_RMS, subject.label): measured}
    numbers |= {name_number(PREDICTED_RMS, subject.label): size.predicted}
    told = f" Per weight (root mean square) it was {measured:.3g}; its update rule predicts {size.predicted:.3g}"
    if subject.optimizer == "rmsprop" and not subject.attributes["optimizer.centered"]:
        told += (
            ", about lr/sqrt(1 − alpha), because the running average of squared gradients starts at zero and RMSprop, "
            "unlike Adam, does not correct for that"
        )
    return f"{told}."


def _tell_distance(contrast: Contrast, others: list[Configuration], numbers: Numbers) -> str:
    """How far the first epoch took the weights, where that was measured and agrees."""
    own = measure_distance(contrast, contrast.subject)[:, 0]
    theirs = [measure_distance(contrast, configuration)[:, 0] for configuration in others]
    if not all(np.all(own > values) for values in theirs):
        return ""
    means = {member.label: float(values.mean()) for member, values in zip(others, theirs, strict=True)}
    numbers |= list_values(FIRST_DISTANCE, {contrast.subject.label: float(own.mean())} | means)
    told = [f"{label} {part(mean)}" for label, mean in means.items()]
    return (
        f" After the first epoch its weights are {part(float(own.mean()))} of their initial norm away from where they "
        f"started, farther than those of each of these {contrast.everywhere} ({join(told)})."
    )


def _tell_first_epoch(contrast: Contrast, others: list[Configuration], numbers: Numbers) -> tuple[bool, str]:
    """Whether the first epoch left it behind each of the others, and the sentence."""
    own = contrast.epochs(contrast.subject, "test_top1")[:, 0]
    theirs = {configuration.label: contrast.epochs(configuration, "test_top1")[:, 0] for configuration in others}
    if not np.all(np.isfinite([own, *theirs.values()])):
        return False, ""
    means = {label: float(values.mean()) for label, values in theirs.items()}
    numbers |= list_values("test accuracy after epoch 1", {contrast.subject.label: float(own.mean())} | means)
    told = join([f"{label} {percent(mean)}" for label, mean in means.items()])
    start = f" After the first epoch it gets {percent(float(own.mean()))} of the test images right"
    if all(np.all(own < values) for values in theirs.values()):
        return True, (
            f"{start}, fewer than each of these {contrast.everywhere} ({told}). That is consistent with pretrained "
            "features that were overwritten, but no measurement here looks at the features themselves."
        )
    return False, (
        f"{start}, which is not fewer than each of these {contrast.everywhere} ({told}): the accuracies do not show "
        "that features were lost."
    )


def _first(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds,) update/weight of the very first step."""
    return contrast.steps(configuration, "update_to_weight")[:, 0]
