"""All pairs of a model's configurations, each by itself: what a family of comparisons is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from job.report.analysis.inference.model import Model, Spread, to_accuracy
from job.report.analysis.inference.noise import Bools, Floats

LEVEL = 0.95
"""Simultaneous coverage of a family's intervals; its answers are wrong in at most 1 - LEVEL."""


@dataclass(frozen=True)
class Pairs:
    """Differences of row minus column on the logit scale: (configurations, configurations)."""

    logits: Floats
    """(configurations,)"""
    tested: Bools
    """Which pairs the family has: symmetric, without the diagonal."""
    widths: Floats
    """The half-width that each pair's interval would have, were the family's error split evenly over all pairs;
    1 where not tested."""
    tail: float
    """The error at each end of these intervals."""
    freedom: Floats
    """Degrees of freedom of each difference."""
    shares: Floats
    """Which part of the variance of the difference is the row's."""
    errors: Floats
    """(draws, configurations) estimate minus truth."""

    @property
    def ratios(self) -> Floats:
        """The differences in units of their widths; 0 where not tested."""
        shift = self.logits[:, None] - self.logits[None, :]
        return np.where(self.tested, shift, 0.0) / self.widths

    def bound_below(self, reach: Floats) -> Floats:
        """The accuracies' least difference, where that of the logits may be less than estimated by `reach`.

        Either side gives way by its part of the variance: so the bound stays between -1 and 1, and is 0 exactly where
        that of the logits is. It is -1 for what is not tested, and 0 on the diagonal.
        """
        down = to_accuracy(self.logits[:, None] - self.shares * reach)
        up = to_accuracy(self.logits[None, :] + (1 - self.shares) * reach)
        bounds = np.where(self.tested, down - up, -1.0)
        np.fill_diagonal(bounds, 0.0)
        return np.asarray(bounds)


def find_pairs(model: Model, spread: Spread | None, wanted: Bools) -> Pairs | None:
    """The wanted pairs that a chain of common seeds connects; None without any, and where no noise is known."""
    together = (model.parts[:, None] == model.parts[None, :]) & (model.parts >= 0)[:, None]
    tested = together & wanted & ~np.eye(len(together), dtype=bool)
    if spread is None or not tested.any():
        return None
    own = np.diag(spread.covariance)
    both = own[:, None] + own[None, :]
    parts = own**2 / spread.freedom
    freedom = np.minimum(both**2 / (parts[:, None] + parts[None, :]), 1e6)  # Satterthwaite's
    tail = float((1 - LEVEL) / tested.sum())
    widths = np.ones_like(both)
    variances = both - 2 * spread.covariance
    widths[tested] = special.stdtrit(freedom[tested], 1 - tail) * np.sqrt(variances[tested])
    return Pairs(model.logits, tested, widths, tail, freedom, own[:, None] / both, spread.errors)
