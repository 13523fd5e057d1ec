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

from job.report.analysis.inference.blocks import Blocks, polish
from job.report.analysis.inference.noise import Bools, Floats, Noise, find_astray, judge_noise
from job.report.analysis.inference.sweep import Sweep

NUM_DRAWS = 10_000
APART = 1e-6
"""Weight in the effects of the seeds of a configuration whose own seeds went astray."""


@dataclass(frozen=True)
class Spread:
    """How far the estimates may be off, on the logit scale: by the seeds, and besides by the images."""

    covariance: Floats
    """(configurations, configurations) from the seeds."""
    freedom: Floats
    """(configurations,) degrees of freedom of the covariance's diagonal."""
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
    """(configurations,) of the mean accuracy over all seeds of the sweep; NaN for a configuration without runs."""
    parts: npt.NDArray[np.intp]
    """(configurations,) which ones a chain of common seeds connects; -1 without runs. Others cannot be compared."""
    apart: Bools
    """(configurations,) whose seeds differ so much that nothing about them is borrowed from the others."""
    noise: Noise | None
    """None where no configuration has two seeds: then nothing is known about the noise."""
    spread: Spread | None

    @property
    def accuracies(self) -> Floats:
        """(configurations,) estimated mean accuracies."""
        return to_accuracy(self.logits)


def fit(sweep: Sweep, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> Model:
    """The model of a sweep. The same sweep gives the same model: `seed` is that of the Monte Carlo."""
    rng = np.random.default_rng(seed)
    present, num_seeds, means = sweep.present, sweep.num_seeds, sweep.find_means()
    slopes = means * (1 - means)
    deviations = np.where(present, sweep.accuracies - means[:, None], 0.0) / slopes[:, None]
    values = np.where(present, to_logit(means)[:, None] + deviations, 0.0)
    floor = sweep.find_floor() / slopes**2
    apart = find_astray(*polish(values, present), floor) | _fail_sometimes(sweep)
    blocks = Blocks(present, np.where(apart, APART, 1.0) * (num_seeds > 0))
    logits, seeds = blocks.split(values)
    residuals = present * (values - logits[:, None] - seeds)
    freedom = blocks.count_freedom()
    variances = np.maximum((residuals**2).sum(axis=1) / np.where(freedom > 0, freedom, 1.0), floor)
    estimates = (np.where(num_seeds > 0, logits, np.nan), blocks.find_parts(), apart)
    if not (freedom[~apart] > 0).any():
        return Model(*estimates, None, None)
    noise = judge_noise(variances, freedom, apart=apart, rng=rng, num_draws=num_draws)
    covariance, errors = _spread_seeds(blocks, noise, np.maximum(noise.draws, floor), rng)
    image_covariance, root = _take_root(sweep.find_image_covariance() / np.outer(slopes, slopes))
    image_errors = rng.standard_normal(errors.shape) @ root.T
    return Model(*estimates, noise, Spread(covariance, noise.freedom, errors, image_covariance, image_errors))


def to_logit(accuracies: Floats) -> Floats:
    """Logits of fractions strictly between 0 and 1."""
    return np.asarray(np.log(accuracies / (1 - accuracies)))


def to_accuracy(logits: Floats) -> Floats:
    """The inverse of `to_logit`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def _fail_sometimes(sweep: Sweep) -> Bools:
    """Configurations of which some runs failed, but not all."""
    if sweep.failed is None:
        return np.zeros(len(sweep.accuracies), dtype=bool)
    lost = (sweep.failed & sweep.present).sum(axis=1)
    return np.asarray((lost > 0) & (lost < sweep.num_seeds))


def _spread_seeds(blocks: Blocks, noise: Noise, draws: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Covariance and errors of the estimates from the noise of the seeds."""
    present = blocks.present
    num, width = present.shape
    if present.all():
        errors = rng.standard_normal(draws.shape) * np.sqrt(draws / width)
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
