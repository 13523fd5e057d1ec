"""How much each attribute matters: its share in the variance of the accuracy over the values that were tried.

A functional analysis of variance (Sobol' 1993; for hyperparameters Hutter, Hoos and Leyton-Brown 2014, ICML, section 4)
with main effects alone: V_j is the variance of attribute j's effects over its tried values, each as likely as any
other. For a sweep that changes one attribute at a time the V_j are all there is to see; in a grid what no sum of
effects explains, the variance of the residuals over the configurations, counts in the whole too.

Noise makes every V look larger than it is, by the expected square of the effects' errors. This is taken off, and what
falls below 0 is 0. The intervals are parametric: the same is done for plausible truths, the estimates minus errors
drawn from the model, off which twice as much is taken, because they have the noise of the estimates and that of the
draw. In simulations of sweeps with two to five seeds the intervals held the true share in 96 to 100 % of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.noise import Floats

TAIL = (1 - LEVEL) / 2
ROUNDING = 1e-9
"""Parts of the whole below this are rounding."""
FAR = 0.99
"""Errors beyond this quantile count as if they were at it: their tails have no mean where seeds are few."""


@dataclass(frozen=True)
class Share:
    """The part of the variance that an attribute makes."""

    fraction: float
    low: float | None
    high: float | None
    """None where nothing is known about the noise: then `fraction` has the noise in it."""


def share_variance(
    logits: Floats, effects: Sequence[Floats], residuals: Floats, errors: Floats | None
) -> list[Share] | None:
    """The share of each attribute; None where nothing is left beyond what noise alone would make of it.

    `logits` are (configurations,), each of `effects` is (values, configurations) and gives an attribute's effects,
    which sum to 0, `residuals` is (configurations, configurations) and gives what their sum leaves, and `errors` are
    (draws, configurations) of the estimates.
    """
    parts = [*effects, residuals]
    seen = np.array([_take_variance(part, logits[None])[0] for part in parts])
    if errors is None:
        return [Share(float(own / seen.sum()), None, None) for own in seen[:-1]] if seen.sum() > 0 else None
    drawn = np.array([_take_variance(part, errors) for part in parts])
    noise = np.minimum(drawn, np.quantile(drawn, FAR, axis=1, keepdims=True)).mean(axis=1)
    left = np.where(seen - noise > ROUNDING * seen.sum(), seen - noise, 0.0)
    if not left.sum() > 0:
        return None
    truths = np.array([_take_variance(part, logits - errors) for part in parts])
    truths = np.maximum(truths - 2 * noise[:, None], 0.0)
    whole = truths.sum(axis=0)
    # Where a draw leaves nothing, a share may be anything: 0 for the lower limit and 1 for the upper one.
    lowest = np.divide(truths, whole, out=np.zeros_like(truths), where=whole > 0)
    highest = np.divide(truths, whole, out=np.ones_like(truths), where=whole > 0)
    fractions = left / left.sum()
    lows = np.minimum(np.quantile(lowest, TAIL, axis=1), fractions)
    highs = np.maximum(np.quantile(highest, 1 - TAIL, axis=1), fractions)
    return [Share(*map(float, own)) for own in zip(fractions[:-1], lows[:-1], highs[:-1], strict=True)]


def _take_variance(part: Floats, logits: Floats) -> Floats:
    """(draws,) mean square of what `part` makes of each row of `logits`."""
    return np.asarray(((logits @ part.T) ** 2).mean(axis=1))
