"""How many seeds a difference of the size that matters takes. Nothing is read from the difference that was seen.

Power for the difference that was seen is the p-value in other words (Hoenig and Heisey 2001, The American Statistician
55), and no plan. Here the difference is the margin, and only the noise between seeds is taken from the sweep, with how
well it is known: where that is worse than a factor of two either way, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from job.report.analysis.inference.comparisons import Family
from job.report.analysis.inference.model import Model

POWER = 0.8
"""Chance to find a difference as large as the margin."""
MOST_SEEDS = 1000
WIDEST = 4.0
"""The largest ratio of the range's ends that is still told."""
RANGE = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class SeedsNeeded:
    """Seeds per configuration, those that ran included."""

    low: int
    likely: int
    high: int
    """The true number lies from `low` to `high` with a chance of 80 %."""


def find_seeds_needed(model: Model, family: Family, *, accuracy: float | None = None) -> SeedsNeeded | None:
    """The seeds to find a difference of the family's margin at this accuracy, by default that of the best.

    None where the noise is unknown, known too badly, or more than MOST_SEEDS would be needed.
    """
    if model.noise is None or not np.isfinite(family.pair_level):
        return None
    around = float(np.nanmax(model.accuracies)) if accuracy is None else accuracy
    difference = family.margin / (around * (1 - around))
    variances = np.quantile(model.noise.typical, RANGE)
    if variances[2] > WIDEST * variances[0]:
        return None
    width = int((~model.apart).sum()) - 1
    low, likely, high = (count_seeds(float(variance), difference, family.pair_level, width) for variance in variances)
    return None if low is None or likely is None or high is None else SeedsNeeded(low, likely, high)


def count_seeds(variance: float, difference: float, level: float, freedom_per_seed: int) -> int | None:
    """The least seeds that decide a pair with POWER, tested at its own two-sided `level`; None beyond MOST_SEEDS.

    `variance` is that between the seeds of a configuration, in the square of the unit of `difference`.
    """
    seeds = np.arange(2, MOST_SEEDS + 1)
    freedom = max(freedom_per_seed, 1) * (seeds - 1.0)
    needed = special.stdtrit(freedom, 1 - level / 2) + special.ndtri(POWER)
    enough = needed * np.sqrt(2 * variance / seeds) <= difference
    return int(seeds[np.argmax(enough)]) if enough.any() else None
