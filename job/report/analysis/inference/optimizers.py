"""Optimizers against each other, each with all settings that were tried of it, by the best that each of them can do.

The best setting is chosen by the scores that it is tested with. But one optimizer's best is wrongly put above another's
only where one of its settings is wrongly put above that setting of the other which is truly the best, and for each
optimizer that is a single one, if an unknown one. So it suffices that each configuration, taken as the best of its
optimizer, is safe from all settings of the others: a comparison of many with one (Edwards and Hsu 1983, JASA 78, for
configurations; here for groups of them), and not of all with all. The error is split over the optimizers by Bonferroni.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from job.report.analysis.inference.comparisons import MARGIN, Family, compare_all, find_pair_level
from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.model import Model
from job.report.analysis.inference.noise import Floats
from job.report.analysis.inference.pairs import Images, Pairs, find_pairs, widen


def compare_optimizers(
    model: Model, groups: Sequence[Sequence[int]], *, margin: float = MARGIN, images: Images = "these"
) -> Family:
    """The family of the groups of configurations: its rows and columns are the groups, by the best of each.

    Where each group has one configuration the best is known, and the family is that of all pairs.
    """
    return next(compare_on_each(model, groups, (images,), margin=margin))


def compare_on_each(
    model: Model, groups: Sequence[Sequence[int]], kinds: Sequence[Images], *, margin: float = MARGIN
) -> Iterator[Family]:
    """`compare_optimizers` on each kind of images. What is drawn for these images is drawn once."""
    if all(len(group) == 1 for group in groups):
        members = [group[0] for group in groups]
        places = np.ix_(members, members)
        for images in kinds:
            family = compare_all(model, margin=margin, images=images, beforehand=_cross(groups))
            yield replace(family, accuracies=family.accuracies[members], low=family.low[places], p=family.p[places])
        return
    owners = np.full(len(model.logits), -1)
    for place, group in enumerate(groups):
        owners[list(group)] = place
    wanted = (owners[:, None] != owners[None, :]) & (owners >= 0)[:, None] & (owners >= 0)[None, :]
    pairs, spread = find_pairs(model, "these", wanted, level=LEVEL), model.spread
    for images in kinds:
        wide = widen(pairs, spread) if images == "new" and pairs is not None and spread is not None else pairs
        yield _compare(model, groups, wide, margin=margin)


def _compare(model: Model, groups: Sequence[Sequence[int]], pairs: Pairs | None, *, margin: float) -> Family:
    num = len(groups)
    best = np.full(num, np.nan)
    for place, group in enumerate(groups):
        if np.isfinite(model.logits[list(group)]).any():
            best[place] = np.nanmax(model.accuracies[list(group)])
    low, p, pair_level = np.eye(num) - 1.0, np.ones((num, num)), np.nan
    if pairs is not None:
        bounds, chances, pair_level = bound_each(pairs, error=(1 - LEVEL) / num)
        known = [[member for member in group if np.isfinite(model.logits[member])] for group in groups]
        for ours in range(num):
            for theirs in range(num):
                if ours != theirs and known[ours] and known[theirs]:
                    against = np.ix_(known[ours], known[theirs])
                    low[ours, theirs] = bounds[against].min(axis=1).max()
                    p[ours, theirs] = chances[against].max(axis=1).min()
    return Family(best, low, np.minimum(p, p.T), margin, pair_level)


def _cross(groups: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    return [(ours[0], theirs[0]) for ours, theirs in itertools.combinations(groups, 2)]


def bound_each(pairs: Pairs, *, error: float) -> tuple[Floats, Floats, float]:
    """How far at least each row lies above each column, were the column the best of its group; the p-values; and the
    error that a typical pair has by itself.

    All that stands in one column is wrong in at most `error`; the p-values are corrected for 1 - LEVEL.
    """
    num_draws, num = pairs.draws[0].errors[0].shape
    place = int(np.ceil((1 - error) * (num_draws + 1))) - 1
    critical, chances, ratios = np.zeros(num), np.ones((num, num)), pairs.ratios
    for best in np.flatnonzero(pairs.tested.any(axis=1)):
        rivals = np.flatnonzero(pairs.tested[best])
        maxima = np.max([np.sort(draws.maxima[best]) for draws in pairs.draws], axis=0)
        critical[best] = max(0.0, maxima[min(place, num_draws - 1)])
        beyond = num_draws - np.searchsorted(maxima, ratios[rivals, best], side="left")
        chances[rivals, best] = np.minimum(1.0, (1 - LEVEL) / error * (1 + beyond) / (1 + num_draws))
    bounds = pairs.bound_below(critical[None, :] * pairs.widths)
    chances = np.where(pairs.failures.some[:, None] & (bounds <= 0), 1.0, chances)
    return bounds, chances, find_pair_level(pairs, float(np.median(critical[pairs.tested.any(axis=1)])))
