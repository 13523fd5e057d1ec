"""Reasons in the curves: fit and generalisation, convergence, noise from epoch to epoch, divergence."""

from __future__ import annotations

import math

import numpy as np

from job.report.configurations import Configuration
from job.report.figures import Line, Picture, Point, draw_bars, draw_dumbbells, draw_lines
from job.report.measurements import mean_curve
from job.report.reasons.evidence import Evidence, Reason, build_line
from job.report.wording import join, percent

LARGE_GAP = 0.05
"""Five points between the generalisation gaps of two optimizers."""
RISEN = 1.1
"""The test loss ends a tenth above its lowest value."""
STILL_RISING = 0.01
FITTED = 0.95
NOISY = 0.01
"""Mean distance of the test accuracy's changes from epoch to epoch from their mean, over the last half."""
LEAST_CHANGES = 3


def explain_gap(evidence: Evidence) -> Reason | None:
    """Training images right, test images not: which optimizer's solutions generalise."""
    scores = []
    for each in evidence.shown:
        train, test = evidence.measured.last(each, "train_top1"), evidence.measured.last(each, "test_top1")
        if train is not None and test is not None:
            scores.append((each, train, test))
    scores.sort(key=lambda entry: entry[2] - entry[1])
    if len(scores) < 2 or _gap(scores[0]) < LARGE_GAP or _gap(scores[0]) - _gap(scores[-1]) < LARGE_GAP:
        return None
    (wide, train, test), (narrow, their_train, their_test) = scores[0], scores[-1]
    numbers = {"gap": train - test, "other_gap": their_train - their_test}
    sentence = (
        f"{wide.label} gets {percent(train)} of the training images right and {percent(test)} of the test images, "
        f"a gap of {100 * (train - test):.1f} points; with {narrow.label} it is "
        f"{100 * (their_train - their_test):.1f} points ({percent(their_train)} and {percent(their_test)})"
    )
    apart, fit = their_test - test, their_train - train
    if apart > 0 and fit < apart / 2:
        numbers |= {"test_difference": apart, "train_difference": fit}
        sentence += (
            f". On the test images {narrow.label} is {100 * apart:.1f} points ahead, on the training images "
            f"{100 * fit:+.1f}: the difference is mostly one of generalisation, not of fit".replace("-", "−")
        )
    rows = [(each.label, each.optimizer, low, high) for each, high, low in reversed(scores)]
    picture = Picture(
        "reason-gap",
        "Test (filled) and training accuracy (open) after the last epoch, and the points between them.",
        draw_dumbbells(rows, title="Generalisation gap", ends=("test", "training")),
    )
    return Reason("They differ in how well they generalise", f"{sentence}.", numbers, picture)


def explain_overfitting(evidence: Evidence) -> Reason | None:
    """From which epoch on the test loss rises while the training loss falls."""
    onsets: list[tuple[Configuration, int, float, float]] = []
    for each in evidence.shown:
        test = mean_curve(evidence.measured.epochs(each, "test_loss"))
        train = mean_curve(evidence.measured.epochs(each, "train_loss"))
        if len(test) < 3 or not np.isfinite(test).all():
            continue
        lowest = int(test.argmin())
        if lowest < len(test) - 1 and test[-1] >= RISEN * test[lowest] and train[-1] < train[lowest]:
            onsets.append((each, lowest + 1, float(test[lowest]), float(test[-1])))
    if not onsets:
        return None
    told = [
        f"{each.label} after epoch {epoch} (from {low:.3f} to {end:.3f}, +{100 * (end / low - 1):.0f} %)"
        for each, epoch, low, end in onsets
    ]
    sentence = f"The test loss rises while the training loss still falls: {join(told)}."
    numbers = {f"{each.optimizer}_onset": float(epoch) for each, epoch, *_ in reversed(onsets)}
    subjects = [each for each, *_ in onsets]
    picture = Picture(
        "reason-overfitting",
        "Test loss (solid) and training loss (dashed).",
        draw_lines(
            _train_and_test(evidence, subjects, "loss"), title="Where overfitting begins", xlabel="epoch",
            ylabel="mean cross entropy (nats)",
        ),
    )  # fmt: skip
    return Reason("Overfitting begins early", sentence, numbers, picture)


def explain_unfinished(evidence: Evidence) -> Reason | None:
    """Some were still learning when the epochs ended."""
    rising = []
    for each in evidence.shown:
        test = mean_curve(evidence.measured.epochs(each, "test_top1"))
        train = mean_curve(evidence.measured.epochs(each, "train_top1"))
        if len(test) >= 3 and train[-1] < FITTED and min(np.diff(test)[-2:]) > 0 and test[-1] - test[-3] > STILL_RISING:
            rising.append((each, float(test[-1] - test[-3]), float(train[-1])))
    if not rising:
        return None
    told = [
        f"{each.label} gained {100 * gain:.1f} points ({percent(train)} of the training images right)"
        for each, gain, train in rising
    ]
    sentence = (
        f"Over the last two epochs test accuracy still rose: {join(told)}. More epochs would have told more; "
        "the place on the leaderboard is that of the budget given."
    )
    numbers = {f"{each.optimizer}_gain": gain for each, gain, _ in reversed(rising)}
    picture = Picture(
        "reason-unfinished",
        "Test (solid) and training accuracy (dashed).",
        draw_lines(
            _train_and_test(evidence, [each for each, *_ in rising], "top1"), title="Still learning at the end",
            xlabel="epoch", ylabel="accuracy", accuracy=True,
        ),
    )  # fmt: skip
    return Reason("Not all had converged", sentence, numbers, picture)


def explain_epoch_noise(evidence: Evidence) -> Reason | None:
    """An accuracy that jumps between epochs makes the last epoch a lottery."""
    jumps = []
    for each in evidence.shown:
        tests = evidence.measured.epochs(each, "test_top1")
        changes = [np.diff(run[np.isfinite(run)])[tests.shape[1] // 2 - 1 :] for run in tests]
        sizes = [float(np.abs(run - run.mean()).mean()) for run in changes if len(run) >= LEAST_CHANGES]
        if sizes:
            jumps.append((each, sum(sizes) / len(sizes)))
    jumps.sort(key=lambda pair: -pair[1])
    if len(jumps) < 2 or jumps[0][1] < NOISY or jumps[0][1] < 2 * jumps[-1][1]:
        return None
    (noisy, size), (calm, their) = jumps[0], jumps[-1]
    sentence = (
        f"In the last half of the training the test accuracy of {noisy.label} jumped by {100 * size:.1f} points from "
        f"one epoch to the next, beside its trend, that of {calm.label} by {100 * their:.1f}: its score depends on "
        "where one stops."
    )
    picture = Picture(
        "reason-epoch-noise",
        "Test accuracy after each epoch.",
        draw_lines(
            evidence.epoch_lines("test_top1", [noisy, calm]), title="Noise between epochs", xlabel="epoch",
            ylabel="test top-1", accuracy=True,
        ),
    )  # fmt: skip
    return Reason("Some never settle", sentence, {"mean_change": size, "calmest": their}, picture)


def explain_divergence(evidence: Evidence) -> Reason | None:
    """Which configurations lost their loss, how often, and after how much."""
    diverged = sorted(
        (each for each in evidence.configurations if each.num_diverged), key=lambda each: -each.num_diverged
    )
    if not diverged:
        return None
    told = []
    for each in diverged[:5]:
        lasted = evidence.measured.epochs(each, "test_top1").shape[1]
        size = evidence.measured.first(each, "update_to_weight")
        first = f"; first update / weights {size:.3g}" if size and math.isfinite(size) else ""
        epochs = f"after at most {lasted} whole epoch{'s' if lasted > 1 else ''}" if lasted else "in the first epoch"
        told.append(f"{each.num_diverged} of {len(each.runs)} runs of {each.label} ({epochs}{first})")
    total = sum(each.num_diverged for each in diverged)
    more = f", and {len(diverged) - 5} more configurations" if len(diverged) > 5 else ""
    sentence = f"The loss stopped being finite in {join(told)}{more}. Epoch and step of each stand among the holes."
    points = [Point(each.label, each.optimizer, each.num_diverged / len(each.runs)) for each in diverged[:12]]
    picture = Picture(
        "reason-divergence",
        "Part of the runs that diverged.",
        draw_bars(
            points, title="Divergence", xlabel="part of the runs",
            shown=[f"{each.num_diverged} of {len(each.runs)}" for each in diverged[:12]],
        ),
    )  # fmt: skip
    return Reason("Divergence", sentence, {"num_diverged": float(total)}, picture)


def _train_and_test(evidence: Evidence, subjects: list[Configuration], quantity: str) -> list[Line]:
    return [
        build_line(each, evidence.measured.epochs(each, f"{part}_{quantity}"), dash=dash, word=part)
        for each in subjects
        for dash, part in enumerate(("test", "train"))
    ]


def _gap(entry: tuple[Configuration, float, float]) -> float:
    return entry[1] - entry[2]
