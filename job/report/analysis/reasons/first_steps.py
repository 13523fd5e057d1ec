"""Reasons in the size of the first steps, against the weights that the training starts from."""

from __future__ import annotations

import math

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.reasons.evidence import Contrast, Evidence, Reason, divide
from job.report.analysis.wording import join, name_optimizer, part, percent, times

OVERWRITING = 0.1
"""A first step of a tenth of the weights' norm; the rule of thumb is a thousandth (https://cs231n.github.io/
neural-networks-3/, "Ratio of weights:updates")."""
APART = 2.0
"""Steps are told apart where they differ twofold: the first ones of two seeds differ by a few hundredths."""
PREDICTED = 1.25
"""A formula predicts a step that is at most this many times as large or small: eps and zero gradients take a part."""
TINY = 1e-3
"""The rule of thumb, see OVERWRITING."""
FAR_SMALLER = 10.0
DESIGNED_LR = 1.0
"""Adadelta has no learning rate in Zeiler 2012, algorithm 1; torch multiplies its step by lr, 1 by default."""
SMALL_LR = 0.1


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
    numbers = {"first_update_to_weight": ratio, "times_next": ratio / float(_first(contrast, others[0]).mean())}
    told = [
        f"{configuration.label} by {part(float(_first(contrast, configuration).mean()))}" for configuration in others
    ]
    told[0] += f" ({times(numbers['times_next'])} times less)"
    sentence = (
        f"The first update of {subject.label} changed the pretrained backbone by {part(ratio)} of its norm. At the "
        f"same lr of {subject.attributes['optimizer.lr']:g} these changed it less: {join(told)}."
    )
    sentence += _predict_size(contrast, numbers)
    sentence += _tell_distance(contrast, others, numbers)
    sentence += _tell_first_epoch(contrast, others, numbers)
    picture = Picture(
        "reason-first-steps",
        "Size of the first ten updates, as a fraction of the backbone's norm (logarithmic).",
        LineChart(
            evidence.step_lines("update_to_weight", [subject, *others]),
            title="The first updates against the weights",
            xlabel="step", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    return Reason(f"{subject.label} begins with a very large step", sentence, numbers, picture)


def _predict_size(contrast: Contrast, numbers: dict[str, float]) -> str:
    """RMSprop's first step: v = (1 - alpha) g², so lr g / sqrt(v) is lr / sqrt(1 - alpha) for every weight."""
    subject = contrast.subject
    attributes = subject.attributes
    if (
        subject.optimizer != "rmsprop"
        or attributes["optimizer.centered"]
        or attributes["optimizer.weight_decay"]
        or attributes["schedule"] != "none"
    ):
        return ""
    predicted = attributes["optimizer.lr"] / math.sqrt(1 - attributes["optimizer.alpha"])
    ratios = contrast.steps(subject, "update_rms")[:, 0] / predicted
    if not np.all((ratios < PREDICTED) & (ratios > 1 / PREDICTED)):
        return ""
    measured = float(ratios.mean()) * predicted
    numbers |= {"first_update_rms": measured, "predicted_update_rms": predicted}
    return (
        f" Per weight (root mean square) it was {measured:.3g}; lr/sqrt(1 − alpha) = {predicted:.3g} predicts this, "
        "because the running average of squared gradients starts at zero and RMSprop, unlike Adam, does not correct "
        "for that."
    )


def _tell_distance(contrast: Contrast, others: list[Configuration], numbers: dict[str, float]) -> str:
    """How far the first epoch took the weights, where that was measured and agrees."""
    own = _distance(contrast, contrast.subject)[:, 0]
    theirs = [_distance(contrast, configuration)[:, 0] for configuration in others]
    if not all(np.all(own > values) for values in theirs):
        return ""
    numbers["first_epoch_distance"] = float(own.mean())
    told = [
        f"{configuration.label} {part(float(values.mean()))}"
        for configuration, values in zip(others, theirs, strict=True)
    ]
    return (
        f" After the first epoch its weights are {part(float(own.mean()))} of their initial norm away from where they "
        f"started, farther than those of each of these {contrast.everywhere} ({join(told)})."
    )


def _tell_first_epoch(contrast: Contrast, others: list[Configuration], numbers: dict[str, float]) -> str:
    own = contrast.epochs(contrast.subject, "test_top1")[:, 0]
    theirs = {configuration.label: contrast.epochs(configuration, "test_top1")[:, 0] for configuration in others}
    if not np.all(np.isfinite([own, *theirs.values()])):
        return ""
    numbers |= {"first_epoch_top1": float(own.mean())}
    told = join([f"{label} {percent(float(values.mean()))}" for label, values in theirs.items()])
    start = f" After the first epoch it gets {percent(float(own.mean()))} of the test images right"
    if all(np.all(own < values) for values in theirs.values()):
        numbers["first_epoch_top1_other"] = max(float(values.mean()) for values in theirs.values())
        return (
            f"{start}, fewer than each of these {contrast.everywhere} ({told}). That fits pretrained features that "
            "were overwritten, but no measurement here looks at the features themselves."
        )
    return (
        f"{start}, which is not fewer than each of these {contrast.everywhere} ({told}): the accuracies do not show "
        "that features were lost."
    )


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
        if np.all(own < TINY) and all(np.all(values >= FAR_SMALLER * own) for values in theirs):
            return _tell_tiny(evidence, contrast, own, theirs)
    return None


def _tell_tiny(evidence: Evidence, contrast: Contrast, own: Floats, theirs: list[Floats]) -> Reason:
    subject, lr = contrast.subject, contrast.subject.attributes["optimizer.lr"]
    size = float(own.mean())
    their_size, closest = min(
        ((float(values.mean()), configuration) for values, configuration in zip(theirs, contrast.others, strict=True)),
        key=lambda pair: pair[0],
    )
    numbers = {"mean_update_to_weight": size, "part_of_design": lr / DESIGNED_LR, "times_smaller": their_size / size}
    sentence = (
        f"At lr {lr:g} {name_optimizer(subject.optimizer)} takes 1/{times(DESIGNED_LR / lr)} of the step that its "
        f"formula gives (lr 1, Zeiler 2012). The first ten updates of {subject.label} were on average {part(size)} of "
        f"the backbone's norm, {times(their_size / size)} times smaller than those of {closest.label}, the next "
        f"smallest at the same lr ({part(their_size)})."
    )
    sentence += _tell_slow_fit(contrast, numbers) + _tell_nearness(contrast, numbers)
    picture = Picture(
        "reason-tiny-steps",
        "Mean update of each epoch, as a fraction of the backbone's norm (logarithmic).",
        LineChart(
            evidence.epoch_lines("backbone_update_to_weight", [subject, *contrast.others]),
            title="Adadelta's steps against the others'", xlabel="epoch", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    return Reason(f"Adadelta takes tiny steps at lr {lr:g}", sentence, numbers, picture)


def _tell_slow_fit(contrast: Contrast, numbers: dict[str, float]) -> str:
    """That it fits the training images more slowly, where in the first epoch each of the others fits more of them."""
    train = contrast.epochs(contrast.subject, "train_top1")
    theirs = {
        configuration.label: contrast.epochs(configuration, "train_top1")[:, 0] for configuration in contrast.others
    }
    if not all(np.all(train[:, 0] < values) for values in theirs.values()):
        return ""
    first, last = (float(value) for value in train[:, [0, -1]].mean(axis=0))
    numbers |= {"train_top1_first": first, "train_top1_last": last}
    told = join([f"{label} {percent(float(values.mean()))}" for label, values in theirs.items()])
    return (
        f" In the first epoch it gets {percent(first)} of the training images right, fewer than each of the others "
        f"{contrast.everywhere} ({told}); in the last epoch it gets {percent(last)}."
    )


def _tell_nearness(contrast: Contrast, numbers: dict[str, float]) -> str:
    """That its weights stay nearest to their start, where the distance was measured and is the smallest."""
    own = _distance(contrast, contrast.subject)[:, -1]
    theirs = {configuration.label: _distance(contrast, configuration)[:, -1] for configuration in contrast.others}
    if not all(np.all(own < values) for values in theirs.values()):
        return ""
    numbers["distance"] = float(own.mean())
    told = join([f"{label} {part(float(values.mean()))}" for label, values in theirs.items()])
    return (
        f" In the end its weights are {part(numbers['distance'])} of their initial norm away from where they started, "
        f"nearer than those of the others {contrast.everywhere} ({told})."
    )


def _first(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds,) update/weight of the very first step."""
    return contrast.steps(configuration, "update_to_weight")[:, 0]


def _distance(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds, num_epochs) the backbone's distance from its start, as a fraction of its norm there."""
    distance = contrast.epochs(configuration, "backbone_distance_from_start")
    start = contrast.steps(configuration, "weight_norm")[:, :1]
    return divide(distance, np.broadcast_to(start, distance.shape))
