"""All pairs of a model's configurations, each by itself: what a family of comparisons is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from job.report.analysis.inference.failures import Failures
from job.report.analysis.inference.model import Model, to_accuracy
from job.report.analysis.inference.noise import Bools, Floats

Images = Literal["these", "new"]
DRAWS_AT_ONCE = 256
"""So many draws of a thousand configurations fit into a core's cache, where the same arithmetic takes a third of the
time."""


@dataclass(frozen=True)
class Pairs:
    """Differences of row minus column on the logit scale: (configurations, configurations)."""

    logits: Floats
    """(configurations,) of the runs that finished."""
    failures: Failures
    level: float
    """Simultaneous coverage that the family's intervals have."""
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
    """Which part of the difference's variance between seeds is the row's."""
    errors: tuple[Floats, ...]
    """(draws, configurations) estimate minus truth: one on these images; for new ones there are both, because what
    is not known on these images is not known on new ones."""
    scales: tuple[Floats, ...]
    """What the errors are counted in: the widths that the pairs have by each kind of error."""

    @property
    def ratios(self) -> Floats:
        """The differences in units of their widths; 0 where not tested."""
        shift = self.logits[:, None] - self.logits[None, :]
        return np.where(self.tested, shift, 0.0) / self.widths

    def bound_below(self, reach: Floats) -> Floats:
        """The accuracies' least difference, where that of the logits may be less than estimated by `reach`.

        Either side gives way by its part of the variance: so the bound stays between -1 and 1, and is 0 exactly where
        that of the logits is, failed runs aside. It is -1 for what is not tested, and 0 on the diagonal.
        """
        down = to_accuracy(self.logits[:, None] - self.shares * reach)
        up = to_accuracy(self.logits[None, :] + (1 - self.shares) * reach)
        least, _ = self.failures.bound(down.T, down.T)
        _, most = self.failures.bound(up, up)
        bounds = np.where(self.tested, least.T - most, -1.0)
        np.fill_diagonal(bounds, 0.0)
        return np.asarray(bounds)


def split_draws(num: int) -> Iterator[slice]:
    """The draws in parts of DRAWS_AT_ONCE."""
    for start in range(0, num, DRAWS_AT_ONCE):
        yield slice(start, min(start + DRAWS_AT_ONCE, num))


def find_gaps(columns: Floats, one: int, others: npt.NDArray[np.intp], scale: Floats, scratch: Floats) -> Floats:
    """The errors (configurations, draws) of `others` minus those of `one`, in units of `scale` (others,).

    They are in `scratch` (configurations, DRAWS_AT_ONCE), which the next call takes again.
    """
    out = scratch[: len(others), : columns.shape[1]]
    np.take(columns, others, axis=0, out=out, mode="clip")  # "raise", the default, would copy once more
    np.subtract(out, columns[one], out=out)
    return np.divide(out, scale[:, None], out=out)


def find_pairs(model: Model, images: Images, wanted: Bools, *, level: float) -> Pairs | None:
    """The wanted pairs that a chain of common seeds connects; None without any, and where no noise is known."""
    spread = model.spread
    together = (model.parts[:, None] == model.parts[None, :]) & (model.parts >= 0)[:, None]
    tested = together & wanted & ~np.eye(len(together), dtype=bool)
    if spread is None or not tested.any():
        return None
    own = np.diag(spread.covariance)
    parts = own**2 / spread.freedom
    freedom = (own[:, None] + own[None, :]) ** 2 / (parts[:, None] + parts[None, :])  # Satterthwaite's
    freedom = np.minimum(freedom, 1e6)
    tail = float((1 - level) / tested.sum())
    squares = np.ones_like(freedom)
    squares[tested] = (special.stdtrit(freedom[tested], 1 - tail) ** 2) * _vary(spread.covariance)[tested]
    errors, scales = [spread.errors], [np.sqrt(squares)]
    if images == "new":
        squares = squares + special.ndtri(1 - tail) ** 2 * _vary(spread.image_covariance)
        errors.append(spread.errors + spread.image_errors)
        scales.append(np.sqrt(squares))
    shares = own[:, None] / (own[:, None] + own[None, :])
    return Pairs(
        model.logits, model.failures, level, tested, np.sqrt(squares), tail, freedom, shares, tuple(errors),
        tuple(scales),
    )  # fmt: skip


def _vary(covariance: Floats) -> Floats:
    """The variance of each difference."""
    own = np.diag(covariance)
    return np.asarray(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0))
