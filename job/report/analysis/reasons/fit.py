"""Reasons in how the training images are fitted: generalisation and overfitting."""

from __future__ import annotations

import itertools

import numpy as np

from job.report.analysis.charts import Dumbbell, DumbbellChart, Line, LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import Numbers, list_values, name_difference, name_number
from job.report.analysis.reasons.evidence import Evidence, are_trained_alike, build_line
from job.report.analysis.reasons.quantities import TRAIN_TOP1
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import join, percent, points

LARGE_GAP = 0.05
"""Five points between the generalisation gaps of two optimizers; seeds differ by one or two."""
FITTED = 0.9
"""Training images that must be right before a gap to the test images says something about generalisation."""
FIT_SHARE = 0.5
"""At most this part of the difference on test images may be a difference on training images."""
RISEN = 1.1
"""The test loss ends a tenth above its lowest value."""
LEAST_RISING = 3
"""Epochs after the lowest test loss: through fewer no trend goes."""


def explain_gap(evidence: Evidence) -> Reason | None:
    """Claim: two optimizers fit the training images alike, but one is far better on the test images.

    Contrast: any two of those shown that were trained alike. Counter-evidence: one of them did not fit (then its small
    gap says nothing), or the fits differ as the tests do; then nothing is said.
    """
    found = []
    for wide, narrow in itertools.permutations(evidence.whole, 2):
        contrast = evidence.pair(wide, narrow) if are_trained_alike(wide, narrow) else None
        if contrast is None:
            continue
        train, test = (contrast.epochs(wide, column)[:, -1] for column in ("train_top1", "test_top1"))
        their_train, their_test = (contrast.epochs(narrow, column)[:, -1] for column in ("train_top1", "test_top1"))
        fitted = np.minimum(train, their_train) >= FITTED
        wider = (train - test) - (their_train - their_test) >= LARGE_GAP
        alike = np.abs(train - their_train) <= FIT_SHARE * (their_test - test)
        if np.all(fitted & wider & alike):
            scores = [float(values.mean()) for values in (train, test, their_train, their_test)]
            found.append((scores[3] - scores[1], contrast, narrow, scores))
    if not found:
        return None
    apart, contrast, narrow, (own_fit, own_score, fit, score) = max(found, key=lambda entry: entry[0])
    wide = contrast.subject
    numbers = list_values(TRAIN_TOP1, {wide.label: own_fit, narrow.label: fit})
    numbers |= list_values("test accuracy in the last epoch", {wide.label: own_score, narrow.label: score})
    numbers[f"{name_difference(narrow.label, wide.label)}, test images"] = apart
    numbers[f"{name_difference(narrow.label, wide.label)}, training images"] = fit - own_fit
    numbers["num_seeds"] = len(contrast.seeds)
    sentence = (
        f"{wide.label} and {narrow.label} both fit the training images ({percent(own_fit)} and {percent(fit)} right in "
        f"the last epoch), but of the test images {wide.label} gets {percent(own_score)} right and {narrow.label} "
        f"{percent(score)}. The difference is {points(apart)} points on the test images and {points(fit - own_fit)} on "
        f"the training images: {contrast.everywhere} most of it is one of generalisation, not of fit."
    )
    rows = [
        Dumbbell(configuration.label, configuration.optimizer, *_ends(evidence, configuration))
        for configuration in (wide, narrow)
    ]
    picture = Picture(
        "reason-gap",
        "Test (filled) and training accuracy (open) after the last epoch, and the points between them.",
        DumbbellChart(rows, title="Generalisation gap", left="test", right="training"),
    )
    return Reason(
        title=f"{wide.label} and {narrow.label} differ in how well they generalise",
        gist=f"{wide.label} fits the training images as {narrow.label} does, but gets {100 * apart:.1f} points fewer "
        "test images right.",
        sentence=sentence,
        standing="measured",
        about=tuple(dict.fromkeys((wide.optimizer, narrow.optimizer))),
        numbers=numbers,
        picture=picture,
    )


def _ends(evidence: Evidence, configuration: Configuration) -> tuple[float, float]:
    """Mean test and training accuracy in the last epoch."""
    test, train = (float(mean_epochs(evidence, configuration, f"{part}_top1")[-1]) for part in ("test", "train"))
    return test, train


def explain_overfitting(evidence: Evidence) -> Reason | None:
    """Claim: the test loss rises while the training loss falls, from which epoch on.

    Contrast: the training loss, and the test losses of those trained alike. Counter-evidence: a noisy test loss has a
    lowest value too, so the epochs after it must trend upwards in every run, also without the last of them; the
    accuracy is told beside it, for it need not suffer.
    """
    onsets = [
        (configuration, onset)
        for configuration in evidence.whole
        if (onset := _find_onset(evidence, configuration)) is not None
    ]
    if not onsets:
        return None
    told, numbers = [], Numbers()
    for configuration, onset in onsets:
        test, train = (mean_epochs(evidence, configuration, column) for column in ("test_loss", "train_loss"))
        top1 = mean_epochs(evidence, configuration, "test_top1")
        numbers |= {
            "num_epochs": len(test),
            name_number("epoch of the lowest test loss", configuration.label): onset + 1,
        }
        for called, losses in (("test loss", test), ("training loss", train)):
            numbers[name_number(f"{called} in the epoch of the lowest", configuration.label)] = float(losses[onset])
            numbers[name_number(f"{called} in the last epoch", configuration.label)] = float(losses[-1])
        change = float(top1[-1] - top1[onset])
        numbers[name_number("change of the test accuracy since the lowest test loss", configuration.label)] = change
        told.append(
            f"{configuration.label}: after epoch {onset + 1} of {len(test)} the test loss rises from "
            f"{test[onset]:.3f} to {test[-1]:.3f} in the last epoch, while the training loss falls from "
            f"{train[onset]:.3f} to {train[-1]:.3f}; the test accuracy changes by "
            f"{points(change)} points"
        )
    subject, onset = onsets[0]
    calm = [
        configuration
        for configuration in evidence.rivals_of(subject)
        if not any(configuration is other for other, _ in onsets)
    ]
    moved = {own.label: _find_change(mean_epochs(evidence, own, "test_loss"), onset) for own in calm}
    numbers |= list_values(f"change of the test loss from epoch {onset + 1} to the last", moved)
    changes = [f"{label} {100 * change:+.0f} %".replace("-", "−") for label, change in moved.items()]
    against = (
        f" From epoch {onset + 1} to the last the test loss of the others changed by: {join(changes)}." if calm else ""
    )
    subjects = [configuration for configuration, _ in onsets]
    picture = Picture(
        "reason-overfitting",
        "Test loss (solid) and training loss (dashed).",
        LineChart(
            train_and_test(evidence, subjects, "loss"), title="Where overfitting begins", xlabel="epoch",
            ylabel="mean cross entropy (nats)",
        ),
    )  # fmt: skip
    return Reason(
        title="The test loss rises while the training loss falls",
        gist=f"{subject.label} overfits: its test loss rises after epoch {onset + 1} while its training loss falls.",
        sentence=f"{'. '.join(told)}.{against}",
        standing="measured",
        about=tuple(dict.fromkeys(configuration.optimizer for configuration in subjects)),
        numbers=numbers,
        picture=picture,
    )


def _find_onset(evidence: Evidence, configuration: Configuration) -> int | None:
    """The index of the epoch with the lowest mean test loss, if from there on every run's test loss rises."""
    tests, trains = (evidence.measured.epochs(configuration, column) for column in ("test_loss", "train_loss"))
    if not tests.size or not np.isfinite(tests).all() or not np.isfinite(trains).all():
        return None
    onset = int(tests.mean(axis=0).argmin())
    if tests.shape[1] - 1 - onset < LEAST_RISING:
        return None
    rising = all(_rises(tests[:, onset:end]) for end in (tests.shape[1], tests.shape[1] - 1))  # one jump is no trend
    return onset if rising and np.all(trains[:, -1] < trains[:, onset]) else None


def _rises(losses: Floats) -> bool:
    """Whether after its first value, the lowest, every run's loss trends upwards and ends well above it."""
    slopes = np.polyfit(np.arange(1, losses.shape[1]), losses[:, 1:].T, 1)[0]
    return bool(np.all(slopes > 0) and np.all(losses[:, -1] >= RISEN * losses[:, 0]))


def _find_change(curve: Floats, onset: int) -> float:
    """The part by which the last value differs from that at the onset."""
    return float(curve[-1] / curve[onset] - 1)


def mean_epochs(evidence: Evidence, configuration: Configuration, column: str) -> Floats:
    """(num_epochs,) the mean over the configuration's runs of a column of `Runs.epochs`."""
    mean: Floats = evidence.measured.epochs(configuration, column).mean(axis=0)
    return mean


def train_and_test(evidence: Evidence, subjects: list[Configuration], quantity: str) -> list[Line]:
    """Two lines per configuration: the quantity on the test images, solid, and on the training images, dashed."""
    return [
        build_line(configuration, evidence.measured.epochs(configuration, f"{part}_{quantity}"), dash=dash, word=part)
        for configuration in subjects
        for dash, part in enumerate(("test", "train"))
    ]
