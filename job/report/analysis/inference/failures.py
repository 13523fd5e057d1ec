"""Runs that diverged: how often that happens, and what a user gets who cannot know beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from job.report.analysis.inference.noise import Floats
from job.report.analysis.inference.pairs import LEVEL


@dataclass(frozen=True)
class SuccessRate:
    """The part of seeds that did not diverge, with its exact interval (Clopper and Pearson 1934, Biometrika 26)."""

    succeeded: int
    num: int
    rate: float
    low: float
    high: float


def estimate_success(succeeded: int, num: int) -> SuccessRate:
    """The rate and interval of `succeeded` among `num` runs, at least one."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if succeeded == 0 else float(special.betaincinv(succeeded, num - succeeded + 1, tail))
    high = 1.0 if succeeded == num else float(special.betaincinv(succeeded + 1, num - succeeded, 1 - tail))
    return SuccessRate(succeeded, num, succeeded / num, low, high)


def count_as_chance(accuracies: Floats, failed: npt.NDArray[np.bool_], *, num_classes: int) -> Floats:
    """The accuracies with those of failed runs at chance level, 1 / classes: what remains of a run that diverged."""
    return np.where(failed, 1 / num_classes, accuracies)
