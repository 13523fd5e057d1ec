"""Which attributes matter: one moderated F test for each, over all its values at once, and its trend in their order.

The configurations of an optimizer are taken as a sum of effects, one for the value of each attribute. That fits grids
and sweeps that change one attribute at a time alike. An attribute's F statistic compares its effects with what seeds
alone would make of them, and its distribution is drawn from the same errors as the intervals of `comparisons`, so it
holds for unequal noise and missing runs too (Rao 1973, section 4b, for the statistic). All tests of the
experiment, trends included, are one family (Holm 1979).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from job.report.analysis.inference.model import Model, Spread, to_accuracy
from job.report.analysis.inference.noise import Floats
from job.report.analysis.inference.pairs import Images
from job.report.analysis.inference.variance import Share, share_variance
from job.report.analysis.statistics import holm

SAME = 1e-9
"""Contrasts below this are rounding."""


@dataclass(frozen=True)
class Attribute:
    """What the configurations of a design have for one attribute."""

    name: str
    values: tuple[Hashable, ...]
    """One for each configuration of the design."""
    order: tuple[Hashable, ...]
    """The distinct values, in their order where they have one."""
    is_ordered: bool
    """Whether a trend along `order` means something, as it does for numbers."""


@dataclass(frozen=True)
class Design:
    """The configurations of one optimizer, and everything that differs between them."""

    members: tuple[int, ...]
    """Their places in the model."""
    attributes: tuple[Attribute, ...]
    baseline: int = 0
    """Which of the members the accuracies are told around."""


@dataclass(frozen=True)
class Effect:
    """What an attribute does to the accuracy. p-values are after Holm's correction over the whole experiment."""

    name: str
    accuracies: tuple[float, ...]
    """Of each value in its order, the accuracy with everything else as in the baseline; NaN where unknown."""
    importance: float
    """The largest of `accuracies` minus the smallest; NaN where unknown."""
    p: float | None
    """That all values are alike. None where the attribute only changes together with another, or nothing is known
    about the noise."""
    trend: float | None
    """Change of the accuracy from the first value to the last, by the straight line through their order; None where
    there is no order or there are only two values."""
    trend_p: float | None
    share: Share | None = None
    """Its part in the variance of the optimizer's accuracy on the logit scale; None where attributes only change
    together, or where noise alone would make as much."""


@dataclass(frozen=True)
class _Solution:
    """The least squares of a design."""

    known: Sequence[int]
    """The rows of the design that have an estimate."""
    members: Sequence[int]
    """Their places in the model."""
    matrix: Floats
    """(known, 1 + values of all attributes)"""
    inverse: Floats
    """The matrix' weighted pseudo-inverse."""
    widths: Sequence[int]
    """How many values each attribute has."""


def judge_attributes(model: Model, designs: Sequence[Design], *, images: Images = "these") -> list[list[Effect]]:
    """The effects of each design's attributes, the most important one first."""
    solved = [_solve(model, design) for design in designs]
    found = [
        [_judge(model, design, solution, place, images) for place in range(len(design.attributes))]
        for design, solution in zip(designs, solved, strict=True)
    ]
    tests = [p for effects in found for effect in effects for p in (effect.p, effect.trend_p) if p is not None]
    corrected = iter(holm(tests))
    return [
        sorted(
            (
                Effect(
                    effect.name, effect.accuracies, effect.importance,
                    None if effect.p is None else next(corrected),
                    effect.trend, None if effect.trend_p is None else next(corrected), share,
                )
                for effect, share in zip(effects, shares, strict=True)
            ),
            key=lambda effect: float(-np.nan_to_num(effect.importance, nan=-1.0)),
        )
        for effects, shares in zip(found, (_share(model, solution) for solution in solved), strict=True)
    ]  # fmt: skip


def _judge(model: Model, design: Design, solution: _Solution, place: int, images: Images) -> Effect:
    attribute, known, members = design.attributes[place], solution.known, solution.members
    unknown = Effect(attribute.name, (np.nan,) * len(attribute.order), np.nan, None, None, None)
    if not members:
        return unknown
    effects = _contrast(solution, place)
    if effects is None or len(effects) < 2:
        return unknown
    logits = model.logits[members]
    shifts = effects @ logits
    present = [value for value in attribute.order if value in {attribute.values[row] for row in known}]
    baseline = design.baseline if design.baseline in known else known[0]
    centre = logits[known.index(baseline)] - shifts[present.index(attribute.values[baseline])]
    accuracies = to_accuracy(centre + shifts)
    importance = float(accuracies.max() - accuracies.min())
    slope = None
    if attribute.is_ordered and len(effects) > 2:
        positions = np.arange(len(effects)) - (len(effects) - 1) / 2
        slope = (positions / (positions @ positions)) @ effects
    trend = None
    if slope is not None:
        rise = float(slope @ logits) * (len(effects) - 1)
        trend = float(to_accuracy(centre + rise / 2) - to_accuracy(centre - rise / 2))
    p = trend_p = None
    if model.spread is not None:
        spread = model.spread.select(members)
        p = _test(spread, logits, effects, images)
        trend_p = None if slope is None else _test(spread, logits, slope[None, :], images)
    filled = iter(accuracies)
    shown = tuple(float(next(filled)) if value in present else np.nan for value in attribute.order)
    return Effect(attribute.name, shown, importance, p, trend, trend_p)


def _contrast(solution: _Solution, place: int) -> Floats | None:
    """How the effects of the attribute's values, which sum to 0, follow from the configurations' estimates:
    (values, configurations). None where they cannot be told from the effects of other attributes."""
    matrix, inverse, widths = solution.matrix, solution.inverse, solution.widths
    start, width = 1 + sum(widths[:place]), widths[place]
    pick = np.zeros((width, matrix.shape[1]))
    pick[:, start : start + width] = np.eye(width) - 1 / width
    estimable = np.abs(pick @ inverse @ matrix - pick).max(initial=0.0) < SAME * 1e3
    return pick @ inverse if estimable else None


def _solve(model: Model, design: Design) -> _Solution:
    known = [row for row, member in enumerate(design.members) if np.isfinite(model.logits[member])]
    members = [design.members[row] for row in known]
    columns, widths = [np.ones(len(known))], []
    for attribute in design.attributes:
        values = [attribute.values[row] for row in known]
        present = [value for value in attribute.order if value in set(values)]
        columns += [np.array([value == level for value in values], dtype=float) for level in present]
        widths.append(len(present))
    matrix = np.array(columns).T
    apart = model.apart[members]
    roots = np.where(apart & ~apart.all(), 1e-3, 1.0)
    inverse = np.linalg.pinv(matrix * roots[:, None], rcond=1e-9) * roots if known else matrix.T
    return _Solution(known, members, matrix, np.asarray(inverse), widths)


def _share(model: Model, solution: _Solution) -> list[Share | None]:
    """The share of each of the design's attributes; nothing where some only change together."""
    members, num = solution.members, len(solution.widths)
    nothing: list[Share | None] = [None] * num
    effects = [_contrast(solution, place) for place in range(num)] if members else []
    told = [effect for effect in effects if effect is not None]
    if not told or len(told) < len(effects):
        return nothing
    residuals = np.eye(len(members)) - solution.matrix @ solution.inverse
    errors = None if model.spread is None else model.spread.select(members).errors
    return list(share_variance(model.logits[members], told, residuals, errors) or nothing)


def _test(spread: Spread, logits: Floats, contrast: Floats, images: Images) -> float:
    """The chance of an F as large from seeds alone; on new images, from seeds and images, and at least that."""
    kinds = [(spread.covariance, spread.errors)]
    if images == "new":
        kinds.append((spread.covariance + spread.image_covariance, spread.errors + spread.image_errors))
    seen = contrast @ logits
    chances = []
    for covariance, errors in kinds:
        own = contrast @ covariance @ contrast.T
        inverse = np.linalg.pinv(own, rcond=1e-9, hermitian=True)
        drawn = errors @ contrast.T
        beyond = ((drawn @ inverse) * drawn).sum(axis=1) >= seen @ inverse @ seen
        chances.append(float((1 + beyond.sum()) / (1 + len(beyond))))
    return max(chances)
