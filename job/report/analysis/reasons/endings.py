"""Reasons in the last epochs: training that was not over, and noise from epoch to epoch."""

from __future__ import annotations

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import list_values
from job.report.analysis.reasons.evidence import Evidence, are_trained_alike
from job.report.analysis.reasons.fit import mean_epochs, train_and_test
from job.report.analysis.reasons.quantities import NOISE, TRAIN_TOP1, measure_jumps
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import join, percent, points

RISE = "rise of the test accuracy over the last two epochs"
STILL_RISING = 0.01
"""A point over the last two epochs."""
CONVERGED = 0.95
"""Training images right: with more, more epochs teach little."""
NOISY = 0.01
"""A point: mean distance of the changes from epoch to epoch from their own mean, over the last half."""
NOISIER = 2.0


def explain_unfinished(evidence: Evidence) -> Reason | None:
    """Claim: at the end the test accuracy still rose, so more epochs might change the order.

    Contrast: the change of those that did not rise in both epochs of every run. Counter-evidence: a dip in one of the
    last two epochs of any run, training images that are nearly all right, or a schedule, which ends the training by
    itself.
    """
    rising = []
    for configuration in evidence.whole:
        trains = evidence.measured.epochs(configuration, "train_top1")
        gain = measure_rise(evidence, configuration)
        is_scheduled = configuration.attributes["schedule"] != "none"
        if gain is not None and not is_scheduled and np.all(trains[:, -1] < CONVERGED):
            rising.append((configuration, gain, float(trains[:, -1].mean())))
    rising = [entry for entry in rising if are_trained_alike(entry[0], rising[0][0])]
    if not rising:
        return None
    told = [
        f"that of {configuration.label} by {100 * gain:.1f} points over both "
        f"({percent(train)} of the training images right)"
        for configuration, gain, train in rising
    ]
    subject, _, _ = rising[0]
    unsteady = [
        configuration
        for configuration in evidence.rivals_of(subject)
        if not np.all(_last_changes(evidence, configuration) > 0)
    ]
    moved = {own.label: float(_last_changes(evidence, own).sum(axis=1).mean()) for own in unsteady}
    changes = [f"{label} {points(change)}" for label, change in moved.items()]
    against = f"; these did not rise steadily: {join(changes)} points" if changes else ""
    num_seeds = {len(evidence.measured.seeds(configuration)) for configuration, *_ in rising}
    where = "in every run" if max(num_seeds) > 1 else "in the one run of each"
    num_epochs = len(mean_epochs(evidence, subject, "test_top1"))
    sentence = (
        f"In each of the last two epochs the test accuracy still rose {where}: {join(told)}{against}. The order "
        f"is that after {num_epochs} epochs; more of them might change it."
    )
    numbers = list_values(RISE, {configuration.label: gain for configuration, gain, _ in rising} | moved)
    numbers |= list_values(TRAIN_TOP1, {configuration.label: train for configuration, _, train in rising})
    numbers["num_epochs"] = num_epochs
    picture = Picture(
        "reason-unfinished",
        "Test (solid) and training accuracy (dashed).",
        LineChart(
            train_and_test(evidence, [configuration for configuration, *_ in rising], "top1"),
            title="Still learning at the end", xlabel="epoch", ylabel="accuracy", accuracy=True,
        ),
    )  # fmt: skip
    return Reason(
        title="Accuracy was still rising at the end",
        gist=f"After the last epoch {subject.label} was still gaining: {points(rising[0][1])} points over its last two "
        "epochs.",
        sentence=sentence,
        standing="measured",
        about=tuple(dict.fromkeys(configuration.optimizer for configuration, *_ in rising)),
        numbers=numbers,
        picture=picture,
    )


def measure_rise(evidence: Evidence, configuration: Configuration) -> float | None:
    """The mean rise of the test accuracy over the last two epochs, if it rose notably in both of them in every run."""
    if evidence.measured.epochs(configuration, "test_top1").shape[1] < 3:
        return None
    last = _last_changes(evidence, configuration)
    rises = np.all(last > 0) and np.all(last.sum(axis=1) > STILL_RISING)
    return float(last.sum(axis=1).mean()) if rises else None


def _last_changes(evidence: Evidence, configuration: Configuration) -> Floats:
    """(num_runs, 2) of the test accuracy from epoch to epoch."""
    return np.diff(evidence.measured.epochs(configuration, "test_top1")[:, -3:], axis=1)


def explain_epoch_noise(evidence: Evidence) -> Reason | None:
    """Claim: one configuration's test accuracy jumps from epoch to epoch far more than another's.

    Contrast: the calmest of those trained alike. Counter-evidence: a single run of the calm one that jumps half as much
    as a run of the noisy one; a steady rise is no jump.
    """
    found = []
    for noisy in evidence.whole:
        contrast = evidence.rivals(noisy)
        if contrast is None:
            continue
        size = measure_jumps(contrast.epochs(noisy, "test_top1"))
        for calm in contrast.others:
            their = measure_jumps(contrast.epochs(calm, "test_top1"))
            if np.all(size >= NOISY) and size.min() >= NOISIER * their.max():
                found.append((float(size.mean()), -float(their.mean()), contrast, calm))
    if not found:
        return None
    jump, calmness, contrast, calm = max(found, key=lambda entry: entry[:2])
    noisy = contrast.subject
    sentence = (
        f"In the last half of the training the test accuracy of {noisy.label} moved by {100 * jump:.1f} points from "
        f"one epoch to the next (mean distance from its trend), that of {calm.label} by {100 * -calmness:.1f}; "
        f"{contrast.everywhere} it was at least {NOISIER:g} times as much. The score of {noisy.label} depends on the "
        "epoch in which one stops."
    )
    picture = Picture(
        "reason-epoch-noise",
        "Test accuracy after each epoch.",
        LineChart(
            evidence.epoch_lines("test_top1", [noisy, calm]), title="Noise between epochs", xlabel="epoch",
            ylabel="test top-1", accuracy=True,
        ),
    )  # fmt: skip
    return Reason(
        title="Accuracy jumps from epoch to epoch",
        gist=f"{noisy.label}'s test accuracy moves by {100 * jump:.1f} points between epochs, {calm.label}'s by "
        f"{100 * -calmness:.1f}.",
        sentence=sentence,
        standing="measured",
        about=tuple(dict.fromkeys((noisy.optimizer, calm.optimizer))),
        numbers=list_values(NOISE, {noisy.label: jump, calm.label: -calmness})
        | {"num_seeds": len(contrast.seeds), "least ratio of the two": NOISIER},
        picture=picture,
    )
