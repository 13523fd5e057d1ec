"""Runs that diverged: how often that happens, and what a user gets who cannot know beforehand.

A run that diverged counts as guessing, 1 / classes. So a configuration is worth `rate x accuracy + (1 - rate) x
guessing`, where the accuracy is that of its runs that finished and the rate is the part of them. The accuracy is known
as well as anybody's, but three seeds hardly tell a rate. So such a configuration can be shown to be worse than another
one, because it is worth at most its accuracy. It is called better only where the lowest plausible rate leaves it so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from job.report.analysis.inference.noise import Bools, Floats

LEVEL = 0.95
"""Coverage of every interval, and of all intervals of a family at once; its answers are wrong in at most 1 - LEVEL."""


@dataclass(frozen=True)
class SuccessRate:
    """The part of seeds that did not diverge, with its exact interval (Clopper and Pearson 1934, Biometrika 26)."""

    succeeded: int
    num: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Failures:
    """Of every configuration that failed in some seeds but not in all; there are none of the others."""

    counts: Floats
    """(configurations,) runs that failed."""
    num_seeds: Floats
    """(configurations,) runs, at least 1."""
    fallback: Floats
    """(configurations,) accuracy that counts for a failed run."""

    @property
    def some(self) -> Bools:
        """(configurations,) whether some runs failed."""
        return np.asarray(self.counts > 0)

    def weigh(self, accuracies: Floats) -> Floats:
        """(configurations,) what a user gets, where the runs that finish have these accuracies."""
        rates = 1 - self.counts / self.num_seeds
        return rates * accuracies + (1 - rates) * self.fallback

    def bound(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """(..., configurations) the least and most that a user gets, where finished runs have `low` to `high`.

        All rates hold at once, with half of the error that a family may have.
        """
        if not self.some.any():  # matrices over a thousand configurations take 8 MB each
            return low, high
        tail = (1 - LEVEL) / 2 / int(self.some.sum())
        kept = self.num_seeds - self.counts
        least = np.where(self.some, special.betaincinv(np.maximum(kept, 1), self.counts + 1, tail), 1.0)
        lowest = np.minimum(low, least * low + (1 - least) * self.fallback)
        highest = np.where(self.some, np.maximum(high, self.fallback), high)
        return lowest, highest


def estimate_success(succeeded: int, num: int) -> SuccessRate:
    """The rate and interval of `succeeded` among `num` runs, at least one."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if succeeded == 0 else float(special.betaincinv(succeeded, num - succeeded + 1, tail))
    high = 1.0 if succeeded == num else float(special.betaincinv(succeeded + 1, num - succeeded, 1 - tail))
    return SuccessRate(succeeded, num, succeeded / num, low, high)
