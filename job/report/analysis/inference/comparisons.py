"""All configurations against each other, in one family: intervals, p-values and answers that cannot contradict.

The best of a sweep is chosen by the very scores that it is compared by. Intervals that hold for all pairs at once hold
for the pair that was chosen too, however it was chosen (Hochberg and Tamhane 1987, chapter 2). They are balanced
(Beran 1988, JASA 83): every pair has the same chance to be wrong, so that a noisy configuration widens its own
intervals and not everybody's. The family's critical value is a Monte Carlo from the model's own errors, which
hold what the configurations share: seeds, variances, images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.model import Model
from job.report.analysis.inference.noise import Floats
from job.report.analysis.inference.pairs import Draws, Images, Pairs, find_pairs

MARGIN = 0.01
"""Accuracies that differ by less are practically equal."""

Answer = Literal["better", "worse", "equal", "unknown"]


@dataclass(frozen=True)
class Comparison:
    """The accuracy of `a` minus that of `b`, with the interval, p-value and answer of the whole family."""

    difference: float
    low: float
    high: float
    p: float
    """Family-wise: at most 1 - LEVEL exactly where the interval leaves out 0. 1 where only failed runs speak for it."""
    answer: Answer
    """What `a` is: `equal` where the whole interval lies inside the margin, `better` or `worse` where it leaves out 0
    and reaches beyond the margin, otherwise `unknown`."""


@dataclass(frozen=True)
class Family:
    """All differences of a sweep. Row minus column, in accuracies: (configurations, configurations)."""

    accuracies: Floats
    """(configurations,)"""
    low: Floats
    p: Floats
    margin: float
    pair_level: float
    """The error that each pair may have by itself so that the family has 1 - LEVEL; NaN where nothing was tested."""

    @property
    def difference(self) -> Floats:
        """Computed when it is asked for, as `high` is: matrices over a thousand configurations take 8 MB each."""
        return self.accuracies[:, None] - self.accuracies[None, :]

    @property
    def high(self) -> Floats:
        """The other way round, it is the lower end."""
        return -self.low.T

    def compare(self, a: int, b: int) -> Comparison:
        """Two configurations."""
        difference, low, high = float(self.accuracies[a] - self.accuracies[b]), float(self.low[a, b]), self.reach(a, b)
        return Comparison(difference, low, high, float(self.p[a, b]), self._answer(low, high))

    def reach(self, a: int, b: int) -> float:
        """The upper end of the interval of two configurations."""
        return -float(self.low[b, a])

    def is_tested(self, a: int, b: int) -> bool:
        """Whether the family has the pair."""
        return bool(self.low[a, b] > -1 or self.reach(a, b) < 1)

    def _answer(self, low: float, high: float) -> Answer:
        if -self.margin < low and high < self.margin:
            return "equal"
        if low > 0:
            return "better"
        return "worse" if high < 0 else "unknown"


def compare_all(
    model: Model,
    *,
    margin: float = MARGIN,
    images: Images = "these",
    beforehand: Sequence[tuple[int, int]] | None = None,
    level: float = LEVEL,
) -> Family:
    """The family of all pairs, or of those that were named `beforehand`, that is, before any score was seen.

    `level` is higher than LEVEL where the family has a part of the error only.

    Pairs outside the family, and pairs that no chain of common seeds connects, are unknown: from -1 to 1.
    """
    num = len(model.logits)
    accuracies = model.accuracies
    wanted = np.ones((num, num), dtype=bool)
    if beforehand is not None:
        wanted[:] = False
        for a, b in beforehand:
            wanted[a, b] = wanted[b, a] = True
    pairs = find_pairs(model, images, wanted, level=level)
    if pairs is None:
        low = np.eye(num) - 1.0
        return Family(accuracies, low, np.ones((num, num)), margin, np.nan)
    maxima = np.max([_find_maxima(draws) for draws in pairs.draws], axis=0)
    critical = float(maxima[min(int(np.ceil(level * (len(maxima) + 1))), len(maxima)) - 1])
    beyond = len(maxima) - np.searchsorted(maxima, np.abs(pairs.ratios), side="left")
    part = (1 - level) / (1 - LEVEL)  # of the error: p-values are corrected for it
    p = np.where(pairs.tested, np.minimum(1.0, (1 + beyond) / (1 + len(maxima)) / part), 1.0)
    low = pairs.bound_below(critical * pairs.widths)
    ahead = np.where(pairs.ratios > 0, low, low.T)  # the bound of whichever is ahead
    p = np.where(model.failures.some[:, None] & (ahead <= 0), 1.0, p)
    return Family(accuracies, low, np.maximum(p, p.T), margin, find_pair_level(pairs, critical))


def _find_maxima(draws: Draws) -> Floats:
    """The largest error of any pair in every draw, in order."""
    return np.sort(np.concatenate([part.max(axis=0) for part in draws.split_maxima()]))


def find_pair_level(pairs: Pairs, critical: float) -> float:
    """The error that a typical pair may have by itself, two-sided, where widths are counted up to `critical`."""
    return float(2 * special.stdtr(pairs.freedom, -critical * special.stdtrit(pairs.freedom, 1 - pairs.tail)))
