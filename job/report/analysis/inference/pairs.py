"""All pairs of a model's configurations, each by itself: what a family of comparisons is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from job.report.analysis.inference.failures import Failures
from job.report.analysis.inference.model import Model, Spread, to_accuracy
from job.report.analysis.inference.noise import Bools, Floats

Images = Literal["these", "new"]
DRAWS_AT_ONCE = 256
"""So many draws of a thousand configurations fit into a core's cache, where the same arithmetic takes a third of the
time."""


@dataclass(frozen=True)
class Draws:
    """Errors of one kind, as often as they were drawn."""

    errors: tuple[Floats, ...]
    """(draws, configurations) estimate minus truth, in parts that are summed when they are needed."""
    squares: Floats
    """(configurations, configurations) of what the error of each difference is counted in: symmetric."""
    tested: Bools
    """As in `Pairs`."""

    @cached_property
    def maxima(self) -> Floats:
        """(configurations, draws) how far at most a rival lies above each configuration by chance; 0 without rivals."""
        maxima, start = np.empty(self.errors[0].shape[::-1]), 0
        for part in self.split_maxima():
            maxima[:, start : start + part.shape[1]] = part
            start += part.shape[1]
        return maxima

    def split_maxima(self) -> Iterator[Floats]:
        """`maxima` in parts of DRAWS_AT_ONCE draws.

        The gap of a pair is computed once and counts for both. So that rivals lie together, and need not be gathered,
        the configurations are taken in an order in which those with the same rivals follow each other.
        """
        order = _sort_by_rivals(self.tested)
        sorted_places = np.ix_(order, order)
        tested, scale = self.tested[sorted_places], self.squares[sorted_places]
        np.sqrt(scale, out=scale)
        before = [list(_find_stretches(tested[place, :place])) for place in range(len(order))]
        alone = ~tested.any(axis=1)
        scratch = np.empty((len(order), DRAWS_AT_ONCE))
        for start in range(0, len(self.errors[0]), DRAWS_AT_ONCE):
            errors, *others = (part[start : start + DRAWS_AT_ONCE] for part in self.errors)
            columns = np.ascontiguousarray(sum(others, errors).T[order])
            highest, lowest = np.full_like(columns, -np.inf), np.full_like(columns, np.inf)
            for place, stretches in enumerate(before):
                for rivals in stretches:
                    gaps = scratch[rivals, : columns.shape[1]]
                    np.subtract(columns[rivals], columns[place], out=gaps)
                    np.divide(gaps, scale[place, rivals, None], out=gaps)
                    np.maximum(highest[place], gaps.max(axis=0), out=highest[place])
                    np.minimum(lowest[rivals], gaps, out=lowest[rivals])
            np.maximum(highest, np.negative(lowest, out=lowest), out=highest)
            highest[alone] = 0.0
            lowest[order] = highest
            yield lowest


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
    squares: Floats
    """Of the half-width that each pair's interval would have, were the family's error split evenly over all pairs;
    1 where not tested."""
    tail: float
    """The error at each end of these intervals."""
    freedom: float
    """Degrees of freedom of the median difference that is tested."""
    variances: Floats
    """(configurations,) of the estimates, between seeds."""
    draws: tuple[Draws, ...]
    """The errors on these images; for new ones there are both, because what is not known on these images is not known
    on new ones. They are counted in the widths that the pairs have by each kind of error."""

    @property
    def widths(self) -> Floats:
        """The half-widths of the intervals."""
        return np.sqrt(self.squares)

    @property
    def ratios(self) -> Floats:
        """The differences in units of their widths; 0 where not tested."""
        shift = self.logits[:, None] - self.logits[None, :]
        return np.where(self.tested, shift, 0.0) / self.widths

    def draw_only(self, rows: Bools) -> Pairs:
        """These pairs, of which only those of `rows` have their errors drawn. The largest errors of other rows are
        then of no use."""
        wanted = rows[:, None] | rows[None, :]
        return replace(self, draws=tuple(replace(draws, tested=draws.tested & wanted) for draws in self.draws))

    def bound_below(self, reach: Floats) -> Floats:
        """The accuracies' least difference, where that of the logits may be less than estimated by `reach`.

        Either side gives way by its part of the variance: so the bound stays between -1 and 1, and is 0 exactly where
        that of the logits is, failed runs aside. It is -1 for what is not tested, and 0 on the diagonal.
        """
        shares = self.variances[:, None] / (self.variances[:, None] + self.variances[None, :])
        down = to_accuracy(self.logits[:, None] - shares * reach)
        up = to_accuracy(self.logits[None, :] + (1 - shares) * reach)
        least, _ = self.failures.bound(down.T, down.T)
        _, most = self.failures.bound(up, up)
        bounds = np.subtract(least.T, most, out=down)
        bounds[~self.tested] = -1.0
        np.fill_diagonal(bounds, 0.0)
        return bounds


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
    typical, draws = float(np.median(freedom[tested])), Draws((spread.errors,), squares, tested)
    pairs = Pairs(model.logits, model.failures, level, tested, squares, tail, typical, own, (draws,))
    return pairs if images == "these" else widen(pairs, spread)


def widen(pairs: Pairs, spread: Spread) -> Pairs:
    """The pairs on these images as they are on new ones. What was drawn for these is not drawn again."""
    squares = pairs.squares + special.ndtri(1 - pairs.tail) ** 2 * _vary(spread.image_covariance)
    draws = Draws((spread.errors, spread.image_errors), squares, pairs.tested)
    return replace(pairs, squares=squares, draws=(*pairs.draws, draws))


def _sort_by_rivals(tested: Bools) -> npt.NDArray[np.intp]:
    """The places of the configurations, those together that have the same rivals, each other aside."""
    kinds = []
    for table in (tested, tested | np.eye(len(tested), dtype=bool)):
        numbers: dict[bytes, int] = {}
        kinds.append([numbers.setdefault(row.tobytes(), len(numbers)) for row in table])
    return np.argsort(min(kinds, key=max), kind="stable")


def _find_stretches(chosen: Bools) -> Iterator[slice]:
    """The stretches of neighbours that are chosen."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        yield slice(start, end)


def _vary(covariance: Floats) -> Floats:
    """The variance of each difference."""
    own = np.diag(covariance)
    return np.asarray(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0.0))
