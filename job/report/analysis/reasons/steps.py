"""Reasons in how steps and weights change over the epochs."""

from __future__ import annotations

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import list_setting, list_values, name_number
from job.report.analysis.reasons.evidence import Contrast, Evidence, divide
from job.report.analysis.reasons.quantities import LATE_STEPS, WEIGHT_NORM
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import join, part, times

SHRUNK = 2.0
"""The step per gradient halves at least: between seeds it differs by a third."""
LEAD = 1.5
"""By how much more it shrinks than that of any other optimizer, which shrinks a little without any such rule."""
NOTABLE = 1.05
"""Less is called about the same."""
GROWN = 1.1
"""A tenth: seeds differ by a hundredth, and less does not change what a step is worth."""


def explain_shrinking_steps(evidence: Evidence) -> Reason | None:
    """Claim: Adagrad lowers its own step, beyond what the falling gradient does.

    Evidence: update norm over gradient norm, in the last epoch against the first. Contrast: the same of other
    optimizers at the same learning rate. Counter-evidence: one of these falls nearly as much; or a schedule, lr_decay
    or weight decay, which change the step by themselves. Then nothing is said.
    """
    for subject in evidence.subjects:
        contrast = evidence.peers(subject) if subject.optimizer == "adagrad" else None
        if contrast is None or subject.attributes["schedule"] != "none" or subject.attributes["optimizer.lr_decay"]:
            continue
        if any(configuration.attributes["optimizer.weight_decay"] for configuration in (subject, *contrast.others)):
            continue
        own = _step_per_gradient(contrast, subject)
        theirs = {
            configuration.label: _fall(_step_per_gradient(contrast, configuration)) for configuration in contrast.others
        }
        alone = all(np.all(_fall(own) >= LEAD * fall) for fall in theirs.values())
        if np.all(_fall(own) >= SHRUNK) and alone:
            return _tell_shrinking(evidence, contrast, own, theirs)
    return None


def _tell_shrinking(evidence: Evidence, contrast: Contrast, own: Floats, theirs: dict[str, Floats]) -> Reason:
    subject = contrast.subject
    fall, soon = float(_fall(own).mean()), float(_fall(own[:, :2]).mean())
    updates = contrast.epochs(subject, "backbone_update_to_weight")
    falls, last = {label: float(values.mean()) for label, values in theirs.items()}, updates.shape[1]
    numbers = list_values("update per gradient, epoch 1 relative to the last,", {subject.label: fall} | falls)
    numbers |= list_values("update per gradient, epoch 1 relative to epoch 2,", {subject.label: soon})
    numbers |= list_setting("lr", subject.label, subject.attributes["optimizer.lr"])
    numbers |= {"num_seeds": len(contrast.seeds), "num_epochs": last}
    told = join([f"{label} {_show_change(own_fall)}" for label, own_fall in falls.items()])
    sentence = (
        f"For the same norm of the gradient the mean update of {subject.label} was {times(fall)} times smaller in "
        f"epoch {last} than in epoch 1"
        f"{f' ({times(soon)} times already in epoch 2)' if last > 2 else ''}, while lr stayed at "
        f"{subject.attributes['optimizer.lr']:g}; at the same lr: {told}. It shrank more than each of these "
        f"{contrast.everywhere}, as Adagrad's formula says: it divides by the root of the sum of all squared "
        f"gradients so far, which only grows."
    )
    picture = Picture(
        "reason-shrinking-steps",
        "Norm of the mean update over norm of the mean gradient in each epoch (logarithmic).",
        LineChart(
            evidence.ratio_lines("backbone_update_norm", "backbone_gradient_norm", [subject, *contrast.others]),
            title="How the step for the same gradient changes", xlabel="epoch", ylabel="update / gradient",
            logarithmic=True,
        ),
    )  # fmt: skip
    return Reason(
        title="Adagrad lowers its own step",
        gist=f"For the same gradient {subject.label}'s update is {times(fall)} times smaller in the last epoch than in "
        "the first.",
        sentence=sentence,
        standing="measured",
        about=(subject.optimizer,),
        numbers=numbers,
        picture=picture,
    )


def explain_growing_weights(evidence: Evidence) -> Reason | None:
    """Claim: the norm of the backbone's weights grew, and by what a step of the same size became smaller for it.

    Contrast: other optimizers at the same learning rate, all of which grew less. That the steps themselves shrank is
    not claimed: update/weight is told as it was measured.
    """
    found = []
    for subject in evidence.subjects:
        contrast = evidence.peers(subject)
        if contrast is None:
            continue
        own = _growth(contrast, subject)
        if np.all(own >= GROWN) and all(
            np.all(own > _growth(contrast, configuration)) for configuration in contrast.others
        ):
            found.append((float(own.mean()), contrast))
    if not found:
        return None
    growth, contrast = max(found, key=lambda entry: entry[0])
    subject = contrast.subject
    start = float(contrast.steps(subject, "weight_norm")[:, 0].mean())
    norms = contrast.epochs(subject, "backbone_weight_norm").mean(axis=0)
    growths = {own.label: float(_growth(contrast, own).mean()) for own in contrast.others}
    numbers = list_values("growth of the weight norm", {own: value - 1 for own, value in growths.items()})
    numbers |= list_values("growth of the weight norm", {subject.label: growth - 1})
    numbers[name_number("weight norm before the first step", subject.label)] = start
    numbers[name_number(WEIGHT_NORM, subject.label)] = float(norms[-1])
    numbers[name_number("weight norm in the last epoch relative to that before the first step", subject.label)] = growth
    numbers |= {"num_seeds": len(contrast.seeds), "num_epochs": len(norms)}
    told = [f"{label} {_show_growth(value)}" for label, value in growths.items()]
    sentence = (
        f"The norm of the backbone's weights grew from {start:.1f} before the first step to {norms[-1]:.1f} in epoch "
        f"{len(norms)} under {subject.label} ({_show_growth(growth)}), more than under the others at the same lr "
        f"{contrast.everywhere} ({join(told)}). Against such weights an update of the same norm is {growth:.2f} times "
        "smaller"
    )
    ratios = contrast.epochs(subject, "backbone_update_to_weight").mean(axis=0)
    if len(ratios) > 2 and np.isfinite(ratios).all():
        numbers[name_number("updates relative to the weights in epoch 2", subject.label)] = float(ratios[1])
        numbers[name_number(LATE_STEPS.called, subject.label)] = float(ratios[-1])
        sentence += (
            f"; as measured, its mean update was {part(float(ratios[1]))} of the norm in epoch 2 and "
            f"{part(float(ratios[-1]))} in epoch {len(ratios)}"
        )
    picture = Picture(
        "reason-weight-norm",
        "Norm of the backbone's weights, mean of each epoch.",
        LineChart(
            evidence.epoch_lines("backbone_weight_norm", [subject, *contrast.others]), title="How the weights grow",
            xlabel="epoch", ylabel="norm of the weights",
        ),
    )  # fmt: skip
    return Reason(
        title=f"{subject.label} makes the weights larger",
        gist=f"Under {subject.label} the norm of the weights grew by {round(100 * (growth - 1))} %, more than under "
        "the others at its lr.",
        sentence=f"{sentence}.",
        standing="measured",
        about=(subject.optimizer,),
        numbers=numbers,
        picture=picture,
    )


def _growth(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds,) norm of the backbone's weights in the last epoch over the norm before the first step."""
    end = contrast.epochs(configuration, "backbone_weight_norm")[:, -1]
    return divide(end, contrast.steps(configuration, "weight_norm")[:, 0])


def _step_per_gradient(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds, num_epochs) mean norm of the update over mean norm of the gradient."""
    update = contrast.epochs(configuration, "backbone_update_norm")
    return divide(update, contrast.epochs(configuration, "backbone_gradient_norm"))


def _fall(curves: Floats) -> Floats:
    """(num_seeds,) how many times smaller the last value is than the first."""
    return divide(curves[:, 0], curves[:, -1])


def _show_change(fall: float) -> str:
    if 1 / NOTABLE < fall < NOTABLE:
        return "about the same"
    return f"{times(fall)} times smaller" if fall > 1 else f"{times(1 / fall)} times larger"


def _show_growth(growth: float) -> str:
    return f"{round(100 * (growth - 1)):+d} %".replace("-", "−")
