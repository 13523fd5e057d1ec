"""Reasons in the size of the steps: what the optimizer adds to the weights, against the weights themselves."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from job.report.configurations import Configuration
from job.report.figures import Picture, draw_lines
from job.report.measurements import mean_curve
from job.report.reasons.evidence import Evidence, Reason
from job.report.wording import join, name_optimizer, part, percent, times

OVERWRITING = 0.1
"""A first step of a tenth of the weights' norm; the rule of thumb is a thousandth (https://cs231n.github.io/
neural-networks-3/, "Ratio of weights:updates")."""
TINY = 1e-3
DESIGNED_LR = 1.0
"""Adadelta has no learning rate in Zeiler 2012, algorithm 1; torch multiplies its step by lr, 1 by default."""
SMALL_LR = 0.1
SHRUNK = 3.0
NOTABLE_FALL = 1.1
GROWN = 1.2


def explain_overwriting(evidence: Evidence) -> Reason | None:
    """The first step replaces a good part of pretrained weights."""
    pretrained = [
        (each, value)
        for each, value in evidence.first_values("update_to_weight")
        if each.attributes.get("model.weights") != "none" and not each.num_diverged
    ]
    if not pretrained or pretrained[0][1] < OVERWRITING:
        return None
    large, ratio = pretrained[0]
    sentence = f"The first step of {large.label} changed the pretrained backbone by {part(ratio)} of its norm"
    numbers = {"first_update_to_weight": ratio}
    if len(pretrained) > 1:
        other, their = pretrained[1]
        numbers["times_next"] = ratio / their
        sentence += f", {times(ratio / their)} times as much as that of {other.label} ({part(their)})"
    sentence += f".{_predicted_size(large, evidence, numbers)}"
    after = {each.digest: mean_curve(evidence.measured.epochs(each, "test_top1")) for each, _ in pretrained}
    own = float(after[large.digest][0]) if len(after[large.digest]) else math.nan
    calmer = [
        (each, float(after[each.digest][0]))
        for each, value in pretrained
        if value < OVERWRITING and len(after[each.digest]) and after[each.digest][0] > own
    ]
    if calmer:
        best, score = max(calmer, key=lambda pair: pair[1])
        numbers |= {"first_epoch_top1": own, "first_epoch_top1_other": score}
        sentence += (
            f" After the first epoch {percent(own)} of the test images are right, against {percent(score)} with "
            f"{best.label}, as one expects where what the weights knew is overwritten and has to be learnt again."
        )
    picture = Picture(
        "reason-first-steps",
        "Size of the first ten updates, as a fraction of the backbone's norm (logarithmic).",
        draw_lines(
            evidence.step_lines("update_to_weight", [each for each, _ in pretrained]),
            title="The first updates against the weights",
            xlabel="step", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    return Reason("The first steps overwrite the pretrained features", sentence, numbers, picture)


def _predicted_size(configuration: Configuration, evidence: Evidence, numbers: dict[str, float]) -> str:
    """RMSprop's first step: v = (1 - alpha) g², so lr g / sqrt(v) is lr / sqrt(1 - alpha) for every weight."""
    attributes = configuration.attributes
    measured = evidence.measured.first(configuration, "update_rms")
    if (
        configuration.optimizer != "rmsprop"
        or attributes["optimizer.centered"]
        or attributes["optimizer.weight_decay"]
        or attributes["schedule"] != "none"
        or measured is None
    ):
        return ""
    predicted = attributes["optimizer.lr"] / math.sqrt(1 - attributes["optimizer.alpha"])
    if not 0.8 < measured / predicted < 1.25:
        return ""
    numbers |= {"first_update_rms": measured, "predicted_update_rms": predicted}
    return (
        f" Per weight it was {measured:.3g} (root mean square), as lr/sqrt(1 − alpha) = {predicted:.3g} predicts: "
        f"the running average of squared gradients starts at zero, and nothing corrects for it, as Adam does."
    )


def explain_tiny_steps(evidence: Evidence) -> Reason | None:
    """Adadelta with a learning rate meant for others hardly moves the weights."""
    sizes = {each.digest: _mean_first(evidence, each) for each in evidence.shown}
    tiny = [
        each
        for each in evidence.shown
        if each.optimizer == "adadelta"
        and each.attributes["optimizer.lr"] <= SMALL_LR
        and 0 < (sizes[each.digest] or 0) < TINY
    ]
    if not tiny:
        return None
    each, size = tiny[0], sizes[tiny[0].digest] or 0.0
    lr = each.attributes["optimizer.lr"]
    numbers = {"mean_update_to_weight": size, "part_of_design": lr / DESIGNED_LR}
    sentence = (
        f"At lr {lr:g} {each.label} takes 1/{times(DESIGNED_LR / lr)} of the step it was designed for (lr 1, "
        f"Zeiler 2012): its first ten updates were {part(size)} of the backbone's norm"
    )
    others = [(other, sizes[other.digest] or 0.0) for other in evidence.shown if (sizes[other.digest] or 0) > size]
    if others:
        other, their = min(others, key=lambda pair: pair[1])
        numbers["times_smaller"] = their / size
        sentence += f", {times(their / size)} times smaller than those of {other.label}"
    train = mean_curve(evidence.measured.epochs(each, "train_top1"))
    if len(train) > 1:
        numbers |= {"train_top1_first": float(train[0]), "train_top1_last": float(train[-1])}
        sentence += (
            f". It starts slowly, with {percent(train[0])} of the training images right in the first epoch and "
            f"{percent(train[-1])} in the last, and its weights stay near the pretrained ones"
        )
    picture = Picture(
        "reason-tiny-steps",
        "Mean update of each epoch, as a fraction of the backbone's norm (logarithmic).",
        _ratio_lines(evidence, "Adadelta's steps against the others'"),
    )
    return Reason("Adadelta hardly moves the weights", f"{sentence}.", numbers, picture)


def explain_shrinking_steps(evidence: Evidence) -> Reason | None:
    """Adagrad's sum of squared gradients only grows, so its steps shrink by themselves."""
    changes = {}
    for each in evidence.shown:
        curve = mean_curve(evidence.measured.epochs(each, "backbone_update_to_weight"))
        if each.attributes["schedule"] == "none" and len(curve) > 1 and curve[0] > 0 and curve[-1] > 0:
            changes[each.digest] = (float(curve[0]), float(curve[-1]))
    shrinking = [
        each
        for each in evidence.shown
        if each.optimizer == "adagrad"
        and each.digest in changes
        and changes[each.digest][0] >= SHRUNK * changes[each.digest][1]
    ]
    if not shrinking:
        return None
    each = shrinking[0]
    first, last = changes[each.digest]
    numbers = {"first_epoch": first, "last_epoch": last, "times": first / last}
    sentence = (
        f"The mean update of {each.label} fell from {first:.2g} of the backbone's norm in the first epoch to "
        f"{last:.2g} in the last, {times(first / last)} times, while lr stayed at "
        f"{each.attributes['optimizer.lr']:g}"
    )
    others = [
        (other, changes[other.digest][0] / changes[other.digest][1])
        for other in evidence.shown
        if other.optimizer != "adagrad" and other.digest in changes
    ]
    if others:
        sentence += "; in the same time " + join([f"{other.label} {times(ratio)} times" for other, ratio in others])
        numbers["others_most"] = max(ratio for _, ratio in others)
    gradient = mean_curve(evidence.measured.epochs(each, "backbone_gradient_norm"))
    if len(gradient) > 1 and gradient[-1] > 0:
        fell = float(gradient[0] / gradient[-1])
        numbers["gradient_times"] = fell
        own = first / last / fell
        if fell > NOTABLE_FALL:
            sentence += f". Its gradient's norm fell {times(fell)} times"
            sentence += f"; the remaining factor of {times(own)} is the optimizer's own" if own > NOTABLE_FALL else ""
        else:
            sentence += ", and its gradients did not shrink"
    sentence += (
        ". Adagrad divides by the root of the sum of all squared gradients so far, which only grows: "
        "it anneals its own step and settles, with no schedule"
    )
    picture = Picture(
        "reason-shrinking-steps",
        "Mean update of each epoch, as a fraction of the backbone's norm (logarithmic).",
        _ratio_lines(evidence, "How the updates shrink"),
    )
    return Reason("Adagrad anneals its own step", f"{sentence}.", numbers, picture)


def explain_growing_weights(evidence: Evidence) -> Reason | None:
    """Large updates inflate the weights."""
    growth = []
    for each in evidence.shown:
        start = evidence.measured.first(each, "weight_norm")
        end = evidence.measured.last(each, "backbone_weight_norm")
        if start and end:
            growth.append((each, start, end))
    growth.sort(key=lambda entry: -entry[2] / entry[1])
    if not growth or growth[0][2] < GROWN * growth[0][1]:
        return None
    each, start, end = growth[0]
    numbers = {"start": start, "end": end, "growth": end / start - 1}
    sentence = (
        f"{each.label} inflated the backbone: the norm of its weights grew from {start:.1f} to {end:.1f} "
        f"({_change(start, end)})"
    )
    if len(growth) > 1:
        rest = [f"{other.label} {_change(low, high)}" for other, low, high in growth[1:]]
        sentence += f"; {join(rest)}"
    sentence += (
        ". Behind batch normalisation larger weights compute the same and receive smaller gradients "
        "(Hoffer et al. 2018, arXiv:1803.01814), so its effective step falls as it goes"
    )
    picture = Picture(
        "reason-weight-norm",
        "Norm of the backbone's weights, mean of each epoch.",
        draw_lines(
            evidence.epoch_lines("backbone_weight_norm", evidence.shown), title="How the weights grow",
            xlabel="epoch", ylabel="norm of the weights",
        ),
    )  # fmt: skip
    return Reason(f"{name_optimizer(each.optimizer)} inflates the weights", f"{sentence}.", numbers, picture)


def _ratio_lines(evidence: Evidence, title: str) -> Figure:
    lines = evidence.epoch_lines("backbone_update_to_weight", evidence.shown)
    return draw_lines(lines, title=title, xlabel="epoch", ylabel="update / weight", logarithmic=True)


def _mean_first(evidence: Evidence, configuration: Configuration) -> float | None:
    steps = mean_curve(evidence.measured.steps(configuration, "update_to_weight"))
    return float(steps.mean()) if len(steps) and math.isfinite(steps.mean()) else None


def _change(start: float, end: float) -> str:
    return f"{100 * (end / start - 1):+.0f} %".replace("-", "−")
