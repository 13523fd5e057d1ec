"""A sweep as a model: what every configuration would reach, and how far another draw of seeds or images might be off.

Accuracy is taken to the logit scale, where intervals cannot leave 0 to 1 and the noise of good and bad configurations
is alike: by the delta method, so that what is estimated stays the mean accuracy, `logit(mean) + (accuracy - mean) /
(mean (1 - mean))`. There it is configuration + seed + noise. Seeds are blocks, because runs of one seed share their
initial head and the order of their images. The noise is `noise`'s business.

There are two questions. On these images: would other seeds tell the same of this test set? On new images: would other
seeds and another test set of the same size and kind? The second adds the covariance of the configurations'
means over images. It is known where it is known which images were right; otherwise p (1 - p) / images for each
configuration as if they shared no image, which is the most that it can be between configurations that agree more
often than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from job.report.analysis.inference.blocks import Blocks, polish
from job.report.analysis.inference.failures import LEVEL, Failures
from job.report.analysis.inference.noise import Bools, Floats, Noise, find_astray, judge_noise
from job.report.analysis.inference.sweep import Sweep

NUM_DRAWS, FEWEST_DRAWS = 10_000, 1000
DRAWN = 3_000_000
"""Draws times configurations of the Monte Carlo: fewer draws where there are more than 300 configurations."""
QUANTILES = (0.75, 0.99)
"""Of the absolute errors, by which a t distribution is fitted to them."""
FREEDOMS = np.geomspace(0.5, 1e6, 200)
ROUNDS = 4
APART = 1e-6
"""Weight in the effects of the seeds of a configuration whose own seeds went astray."""


@dataclass(frozen=True)
class Spread:
    """How far the estimates may be off, on the logit scale: by the seeds, and besides by the images."""

    covariance: Floats
    """(configurations, configurations) from the seeds, with the scale that `freedom` goes with."""
    freedom: Floats
    """(configurations,) of Student's t that each configuration's errors are like."""
    errors: Floats
    """(draws, configurations) estimate minus truth on these images, as plausible as what was seen."""
    image_covariance: Floats
    """(configurations, configurations) what another test set adds."""
    image_errors: Floats
    """(draws, configurations) of another test set, without the seeds' part."""

    def select(self, members: Sequence[int]) -> Spread:
        """The spread of some of the configurations."""
        own, places = np.ix_(members, members), list(members)
        return Spread(
            self.covariance[own], self.freedom[places], self.errors[:, places], self.image_covariance[own],
            self.image_errors[:, places],
        )  # fmt: skip


@dataclass(frozen=True)
class Model:
    """Estimates of one sweep."""

    logits: Floats
    """(configurations,) of the mean accuracy that runs which finish have over all seeds of the sweep; NaN for a
    configuration without runs."""
    failures: Failures
    parts: npt.NDArray[np.intp]
    """(configurations,) which ones a chain of common seeds connects; -1 without runs. Others cannot be compared."""
    apart: Bools
    """(configurations,) whose seeds differ so much that nothing about them is borrowed from the others."""
    noise: Noise | None
    """None where no configuration has two seeds: then nothing is known about the noise."""
    spread: Spread | None
    shared: tuple[float, int] | None
    """Variance of a configuration's mean by what its seeds have in common with everybody's, on the logit scale, and its
    degrees of freedom; None with one seed."""

    @property
    def accuracies(self) -> Floats:
        """(configurations,) estimated mean accuracies, where a failed run counts as guessing."""
        return self.failures.weigh(to_accuracy(self.logits))

    def find_intervals(self) -> tuple[Floats, Floats] | None:
        """(configurations,) lower and upper limits of each accuracy by itself, over other seeds and these images.

        None where no noise is known. They are no comparison: what two configurations share moves both.
        """
        if self.spread is None or self.shared is None:
            return None
        own, (common, seeds) = np.diag(self.spread.covariance), self.shared
        freedom = (own + common) ** 2 / (own**2 / self.spread.freedom + common**2 / seeds)  # Satterthwaite's
        reach = special.stdtrit(freedom, 0.5 + LEVEL / 2) * np.sqrt(own + common)
        return self.failures.bound(to_accuracy(self.logits - reach), to_accuracy(self.logits + reach))


def choose_draws(num_configurations: int) -> int:
    """How many draws the Monte Carlo of so many configurations has."""
    return int(np.clip(DRAWN // num_configurations, FEWEST_DRAWS, NUM_DRAWS))


def fit(sweep: Sweep, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> Model:
    """The model of a sweep. The same sweep gives the same model: `seed` is that of the Monte Carlo."""
    rng = np.random.default_rng(seed)
    sweep, failures = sweep.set_failures_aside()
    present, num_seeds, means = sweep.present, sweep.num_seeds, sweep.find_means()
    values, slopes = _take_logits(sweep, means)
    floor = sweep.find_floor() / slopes**2
    apart = find_astray(*polish(values, present), floor)
    blocks = Blocks(present, np.where(apart, APART, 1.0) * (num_seeds > 0))
    logits, seeds = blocks.split(values)
    if not present[num_seeds > 0].all():
        # Around the means over all seeds: those over a configuration's own seeds may be of easy or hard ones.
        for _ in range(ROUNDS):
            values, slopes = _take_logits(sweep, sweep.clip(np.where(num_seeds > 0, to_accuracy(logits), 0.5)))
            logits, seeds = blocks.split(values)
        floor = sweep.find_floor() / slopes**2
    residuals = present * (values - logits[:, None] - seeds)
    freedom = blocks.count_freedom()
    variances = np.maximum((residuals**2).sum(axis=1) / np.where(freedom > 0, freedom, 1.0), floor)
    estimates = (np.where(num_seeds > 0, logits, np.nan), failures, blocks.find_parts(), apart)
    if not (freedom[~apart] > 0).any():
        return Model(*estimates, None, None, None)
    noise, draws = judge_noise(variances, freedom, apart=apart, rng=rng, num_draws=num_draws)
    covariance, errors = _spread_seeds(blocks, noise, np.maximum(draws, floor, out=draws), rng)
    del draws  # as large as the errors
    scales, freedom_of_errors = _fit_t(errors)
    factors = scales / np.sqrt(np.diag(covariance))
    image_covariance, root = _take_root(sweep.find_image_covariance() / np.outer(slopes, slopes))
    image_errors = rng.standard_normal(errors.shape) @ root.T
    covariance = covariance * np.outer(factors, factors)
    spread = Spread(covariance, freedom_of_errors, errors, image_covariance, image_errors)
    return Model(*estimates, noise, spread, _share(seeds, blocks.weights, noise.variances))


def _take_logits(sweep: Sweep, means: Floats) -> tuple[Floats, Floats]:
    """(configurations, seeds) accuracies on the logit scale, straightened around `means`, and 0 where there is no run;
    and (configurations,) the accuracy's change by the logit."""
    slopes = means * (1 - means)
    deviations = (sweep.accuracies - means[:, None]) / slopes[:, None]
    return np.where(sweep.present, to_logit(means)[:, None] + deviations, 0.0), slopes


def to_logit(accuracies: Floats) -> Floats:
    """Logits of fractions strictly between 0 and 1."""
    return np.asarray(np.log(accuracies / (1 - accuracies)))


def to_accuracy(logits: Floats) -> Floats:
    """The inverse of `to_logit`."""
    odds = np.asarray(np.clip(logits, -500, 500))
    np.exp(np.negative(odds, out=odds), out=odds)
    return np.divide(1, np.add(1, odds, out=odds), out=odds)


def _fit_t(errors: Floats) -> tuple[Floats, Floats]:
    """Scale and degrees of freedom of Student's t with the same two quantiles as the errors (draws, configurations).

    The errors are a mixture over what the noise may be, whose variance would tell little about its tails.
    """
    middle, far = np.quantile(np.abs(errors), QUANTILES, axis=0, overwrite_input=True)
    steps = special.stdtrit(FREEDOMS[:, None], 0.5 + np.array(QUANTILES) / 2)
    ratios = steps[:, 1] / steps[:, 0]
    known = middle > 0  # nothing is asked of those without runs
    ratio = np.divide(far, middle, out=np.ones_like(far), where=known)
    freedom = np.exp(np.interp(-ratio, -ratios, np.log(FREEDOMS)))
    return np.where(known, middle / special.stdtrit(freedom, 0.5 + QUANTILES[0] / 2), 1.0), freedom


def _share(seeds: Floats, weights: Floats, variances: Floats) -> tuple[float, int] | None:
    """What `Model.shared` tells: the spread of the seeds' effects beyond that which noise alone gives them."""
    if len(seeds) < 2:
        return None
    noise = float(weights**2 @ variances) / float(weights.sum()) ** 2
    return max(0.0, float(seeds.var(ddof=1)) - noise) / len(seeds), len(seeds) - 1


def _spread_seeds(blocks: Blocks, noise: Noise, draws: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Covariance and errors of the estimates from the noise of the seeds."""
    present = blocks.present
    num, width = present.shape
    if present.all():
        errors = rng.standard_normal(draws.shape)
        errors *= np.sqrt(draws / width)
        return np.diag(noise.variances / width), errors
    cells = np.argwhere(present)
    units = np.zeros((len(cells), num, width))
    units[np.arange(len(cells)), cells[:, 0], cells[:, 1]] = 1.0
    effects, _ = blocks.split(units)
    owners = cells[:, 0]
    covariance = effects.T @ (noise.variances[owners][:, None] * effects)
    covariance[np.diag_indices(num)] += ~present.any(axis=1)  # nothing is asked of those without runs
    errors = (rng.standard_normal((len(draws), len(cells))) * np.sqrt(draws[:, owners])) @ effects
    return covariance, errors


def _take_root(covariance: Floats) -> tuple[Floats, Floats]:
    """The nearest covariance that there can be, since variances may have come out below 0; and its root."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return root @ root.T, root
