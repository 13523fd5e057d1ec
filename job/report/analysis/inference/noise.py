"""How much another seed would have changed each configuration: variances that borrow strength from each other.

Three seeds tell a variance within a factor of forty. Smyth (2004, "Linear models and empirical Bayes methods", SAGMB 3,
article 3; the R package limma) therefore takes the variances of all configurations as draws from one scaled inverse
chi-squared distribution with `s0²` and `d0` degrees of freedom, and moderates each one:
`(d0 s0² + d s²) / (d0 + d)`, with `d0 + d` degrees of freedom.

limma estimates `s0²` and `d0` from thousands of genes and then takes them as known. A sweep has between two and a
hundred configurations, and there this is too sure: so the answers are averaged over all `s0²` and `d0` by their
likelihood (s² / s0² follows F with d and d0 degrees of freedom, Smyth's equation 3.2). With many configurations
both are the same, which a test holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PRIOR_FREEDOMS = np.array([1e6, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0])
"""The values of d0 that are averaged over, from one variance for all to variances that differ a hundredfold."""
PRIOR_WEIGHTS = np.array([4.0, 1.0, 1.0, 2.0, 4.0, 6.0, 6.0])
"""How much each of them is believed before the data are seen. Noise that is the same, or very different, is believed
more: chosen by tests/simulation.py as what holds the error where noise is unequal and there are few seeds, and
still sees where it is equal."""
SET_APART_FREEDOM = 4.0
SET_APART_CHANCE = 0.001
"""A configuration is set apart where its variance over the median one is beyond this chance of F with d and
SET_APART_FREEDOM degrees of freedom, over all configurations: it hardly happens but where a seed went astray."""
FEWEST_TO_TELL = 5
"""Among fewer configurations none is found to be astray by its numbers."""


@dataclass(frozen=True)
class Noise:
    """What is known of the variance between the seeds of each configuration, on the scale that it was given in."""

    variances: Floats
    """(configurations,) moderated."""
    freedom: Floats
    """(configurations,) the degrees of freedom of the moderated variances."""
    typical: Floats
    """(draws,) the median over the configurations that are not set apart of variances as plausible as what was seen."""


@dataclass(frozen=True)
class _Priors:
    """Pairs of s0² and d0 with their weights, which sum to 1."""

    variances: Floats
    freedoms: Floats
    weights: Floats
    step: float
    """Distance of neighbouring s0² on the log scale."""


def judge_noise(
    variances: Floats, freedom: Floats, *, apart: Bools, rng: np.random.Generator, num_draws: int
) -> tuple[Noise, Floats]:
    """The noise of configurations with these sample variances (above 0) and degrees of freedom (0 where unknown), and
    (draws, configurations) variances that are as plausible as what was seen.

    Those set `apart` are judged by themselves, and tell nothing about the others.
    """
    own, own_freedom = np.where(apart, 1.0, variances), np.where(apart, 0.0, freedom)
    total = float(own_freedom.sum())
    pooled = float(own_freedom @ own / total)
    num_judged = int((own_freedom > 0).sum())
    priors = _weigh_priors(own, own_freedom, pooled, only_equal=num_judged < 3)
    moderated, moderated_freedom = moderate(own, own_freedom, priors.variances[:, None], priors.freedoms[:, None])
    precision = priors.weights @ (1 / moderated)
    # The precision's variance is that within each prior and that between the priors.
    spread = priors.weights @ ((1 + 2 / moderated_freedom) / moderated**2) - precision**2
    picks = rng.choice(len(priors.weights), size=num_draws, p=priors.weights)
    jitter = np.exp(priors.step * (rng.random(num_draws) - 0.5))
    typical = priors.variances[picks] * jitter
    draws, posterior_freedom = moderate(own, own_freedom, typical[:, None], priors.freedoms[picks][:, None])
    draws *= posterior_freedom  # in place: arrays of all draws are what a fit takes most memory for
    posterior_freedom /= 2
    draws /= 2 * rng.standard_gamma(posterior_freedom)
    del posterior_freedom
    result_variances, result_freedom = 1 / precision, 2 * precision**2 / spread
    for index in np.flatnonzero(apart):
        chance = 2 * rng.standard_gamma(freedom[index] / 2, size=num_draws) / freedom[index]
        draws[:, index] = np.maximum(variances[index] / chance, typical)
        result_variances[index], result_freedom[index] = variances[index], freedom[index]
    medians = np.median(draws[:, ~apart], axis=1, overwrite_input=True)
    return Noise(result_variances, result_freedom, medians), draws


def moderate(variances: Floats, freedom: Floats, prior: Floats, prior_freedom: Floats) -> tuple[Floats, Floats]:
    """Smyth's moderated variances and their degrees of freedom."""
    together = prior_freedom + freedom
    return (prior_freedom * prior + freedom * variances) / together, together


def find_astray(variances: Floats, freedom: Floats, floor: Floats) -> Bools:
    """Which configurations are noisier than any that the others could stand for; none of fewer than FEWEST_TO_TELL."""
    known = freedom > 0
    if known.sum() < FEWEST_TO_TELL:
        return np.zeros(len(variances), dtype=bool)
    middle = float(np.median(np.maximum(variances, floor)[known]))
    limit = special.fdtri(np.where(known, freedom, 1.0), SET_APART_FREEDOM, 1 - SET_APART_CHANCE / known.sum())
    return np.asarray(known & (variances > middle * limit))


def _weigh_priors(variances: Floats, freedom: Floats, pooled: float, *, only_equal: bool) -> _Priors:
    """All pairs of s0² on a grid around the pooled variance and d0 of PRIOR_FREEDOMS.

    s0² has the prior 1 / s0². With two configurations that share their seeds there
    is only one variance to see, that of their difference: then d0 is infinite, and the result is the paired t test.
    """
    total = float(freedom.sum())
    freedoms = PRIOR_FREEDOMS[:1] if only_equal else PRIOR_FREEDOMS
    low, high = (np.log(total / (2 * special.gammaincinv(total / 2, chance))) for chance in (1 - 1e-4, 1e-4))
    low = low if only_equal else low - 3.0  # with few d0 the typical variance lies far below the mean one
    step = 0.4 * np.sqrt(2 / min(total, 400.0))
    logs = np.log(pooled) + np.arange(low, high + step, step)
    known = freedom > 0
    d, s2 = freedom[known], variances[known]
    prior = freedoms[:, None, None]
    ratio = d * s2 / (prior * np.exp(logs)[None, :, None])
    density = d / 2 * np.log(ratio) - (d + prior) / 2 * np.log1p(ratio) - special.betaln(d / 2, prior / 2)
    chance = density.sum(axis=-1)
    if not only_equal:
        chance = chance + np.log(PRIOR_WEIGHTS)[:, None]
    weights = np.exp(chance - chance.max())
    grid_freedom, grid_variance = np.meshgrid(freedoms, np.exp(logs), indexing="ij")
    keep = weights.ravel() > 1e-7
    weights = weights.ravel()[keep]
    return _Priors(grid_variance.ravel()[keep], grid_freedom.ravel()[keep], weights / weights.sum(), float(step))
