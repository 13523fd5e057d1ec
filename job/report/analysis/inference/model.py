"""A sweep as a model: what every configuration would reach, and how far another draw of seeds or images might be off.

Accuracy is taken to the logit scale, where intervals cannot leave 0 to 1 and the noise of good and bad configurations
is alike: by the delta method, so that what is estimated stays the mean accuracy, `logit(mean) + (accuracy - mean) /
(mean (1 - mean))`. There it is configuration + seed + noise. Seeds are blocks, because runs of one seed share their
initial head and the order of their images. The noise is `noise`'s business.

Two questions have two spreads. `these_images`: would other seeds tell the same of this test set? `new_images`: would
other seeds and another test set of the same size and kind? The second adds the covariance of the configurations'
means over images. It is known where it is known which images were right; otherwise p (1 - p) / images for each
configuration as if they shared no image, which is the most that it can be between configurations that agree more
often than chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.report.analysis.inference.noise import Bools, Floats, Noise, find_astray, judge_noise

NUM_DRAWS = 10_000
ROUNDING = 1 / 12
"""Variance of a count's rounding to whole images: agreement of all seeds says that the noise is below it, not 0."""


@dataclass(frozen=True)
class Sweep:
    """What was measured. Configurations and seeds are numbered by their place."""

    accuracies: Floats
    """(configurations, seeds) fractions, NaN where there is no run."""
    num_images: int
    """Size of the test set."""
    right: npt.NDArray[np.bool_] | None = None
    """(configurations, seeds, images) whether the run had the image right; anything where there is no run."""
    failed: npt.NDArray[np.bool_] | None = None
    """(configurations, seeds) runs that diverged; their accuracy is what a user gets of them, such as chance."""


@dataclass(frozen=True)
class Spread:
    """How far the estimates may be off, on the logit scale."""

    covariance: Floats
    """(configurations, configurations)"""
    freedom: Floats
    """(configurations,) degrees of freedom of the covariance's diagonal."""
    errors: Floats
    """(draws, configurations) estimate minus truth, as plausible as what was seen."""


@dataclass(frozen=True)
class Model:
    """Estimates of one sweep."""

    logits: Floats
    """(configurations,) of the mean accuracy over all seeds of the sweep; NaN for a configuration without runs."""
    parts: npt.NDArray[np.intp]
    """(configurations,) which ones a chain of common seeds connects; -1 without runs. Others cannot be compared."""
    num_seeds: npt.NDArray[np.intp]
    """(configurations,)"""
    noise: Noise | None
    """None where no configuration has two seeds: then nothing is known about the noise."""
    these_images: Spread | None
    new_images: Spread | None
    apart: Bools
    """(configurations,) whose seeds differ so much that nothing about them is borrowed from the others."""

    @property
    def accuracies(self) -> Floats:
        """(configurations,) estimated mean accuracies."""
        return to_accuracy(self.logits)


@dataclass(frozen=True)
class _Blocks:
    """Least squares of configuration + seed, where a configuration counts by its weight."""

    present: Bools
    weights: Floats

    def split(self, values: Floats) -> tuple[Floats, Floats]:
        """The effects of configurations and seeds, of values (…, configurations, seeds) that are 0 where absent."""
        counts = np.maximum(self.present.sum(axis=1), 1)
        shares = self.present / counts[:, None]
        weighted = self.present * self.weights[:, None]
        means = values.sum(axis=-1) / counts
        if self.present[counts > 0].all():
            deviations = values - means[..., None]
            seeds = np.einsum("c,...cs->...s", self.weights / self.weights.sum(), deviations)
            return means, seeds
        system = np.diag(weighted.sum(axis=0)) - shares.T @ weighted
        # The smallest effects that solve it, which sum to zero in every connected part.
        inverse = np.linalg.pinv(system, rcond=1e-10, hermitian=True)
        seeds = np.einsum("cs,...cs->...s", weighted, values - self.present * means[..., None]) @ inverse
        return means - seeds @ shares.T, seeds


def fit(sweep: Sweep, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> Model:
    """The model of a sweep. The same sweep gives the same model: `seed` is that of the Monte Carlo."""
    rng = np.random.default_rng(seed)
    present = np.isfinite(sweep.accuracies)
    num_seeds = present.sum(axis=1)
    means = _shrink(sweep, present)
    slopes = means * (1 - means)
    raw = (
        to_logit(means)[:, None]
        + (np.where(present, sweep.accuracies, means[:, None]) - means[:, None]) / slopes[:, None]
    )
    values = np.where(present, raw, 0.0)
    floor = _find_floor(sweep, present) / slopes**2
    apart = find_astray(*_polish(values, present), floor)
    if sweep.failed is not None:
        lost = (sweep.failed & present).sum(axis=1)
        apart |= (lost > 0) & (lost < num_seeds)
    weights = np.where(apart, 1e-6, 1.0)
    blocks = _Blocks(present, weights)
    logits, seeds = blocks.split(values)
    residuals = present * (values - logits[:, None] - seeds)
    freedom = _count_freedom(present, weights)
    variances = np.maximum((residuals**2).sum(axis=1) / np.where(freedom > 0, freedom, 1.0), floor)
    variances = np.where(freedom > 0, variances, 1.0)
    parts = _find_parts(present)
    logits = np.where(num_seeds > 0, logits, np.nan)
    if not (freedom[~apart] > 0).any():
        return Model(logits, parts, num_seeds, None, None, None, apart)
    noise = judge_noise(variances, freedom, apart=apart, rng=rng, num_draws=num_draws)
    these = _spread_seeds(blocks, noise, np.maximum(noise.draws, floor), rng)
    new = _add_images(these, _image_covariance(sweep, present, means) / np.outer(slopes, slopes), rng)
    return Model(logits, parts, num_seeds, noise, these, new, apart)


def to_logit(accuracies: Floats) -> Floats:
    """Logits of fractions strictly between 0 and 1."""
    return np.asarray(np.log(accuracies / (1 - accuracies)))


def to_accuracy(logits: Floats) -> Floats:
    """The inverse of `to_logit`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def _shrink(sweep: Sweep, present: Bools) -> Floats:
    """Mean accuracies, of which one of 0 or 1 is half an image away from it."""
    sums = np.where(present, sweep.accuracies, 0.0).sum(axis=1)
    means = np.asarray(sums / np.maximum(present.sum(axis=1), 1))
    half = 0.5 / sweep.num_images
    return np.asarray(np.where(present.any(axis=1), np.clip(means, half, 1 - half), 0.5))


def _polish(values: Floats, present: Bools) -> tuple[Floats, Floats]:
    """Variances and degrees of freedom from medians, which a few cells astray cannot move."""
    counts = present.sum(axis=1)
    seeds = np.zeros(values.shape[1])
    for _ in range(2):
        centres = _median(values - seeds, present)
        seeds = _median((values - centres[:, None]).T, present.T)
    residuals = present * (values - seeds)
    residuals -= present * (residuals.sum(axis=1) / np.maximum(counts, 1))[:, None]
    freedom = np.maximum(counts - 1.0, 0.0)
    return (residuals**2).sum(axis=1) / np.maximum(freedom, 1.0), freedom


def _median(values: Floats, present: Bools) -> Floats:
    """Of every row, over what is present; 0 where nothing is."""
    ordered = np.sort(np.where(present, values, np.inf), axis=1)
    counts = present.sum(axis=1)
    rows = np.arange(len(values))
    middle = (
        ordered[rows, np.maximum(counts - 1, 0) // 2] + ordered[rows, np.minimum(counts // 2, values.shape[1] - 1)]
    ) / 2
    return np.where(counts > 0, middle, 0.0)


def _find_floor(sweep: Sweep, present: Bools) -> Floats:
    """The least variance between the accuracies of a configuration's seeds that the test set allows to be believed.

    Where it is known which images were right, that of the images which some seeds had right and others not, as if
    they had turned independently; otherwise that of rounding to whole images.
    """
    floor = np.full(len(present), ROUNDING / sweep.num_images**2)
    if sweep.right is None:
        return floor
    counts = np.maximum(present.sum(axis=1), 1)[:, None]
    shares = (sweep.right * present[:, :, None]).sum(axis=1) / counts
    turned = (shares * (1 - shares)).mean(axis=1) * (counts / np.maximum(counts - 1, 1))[:, 0]
    return np.asarray(np.maximum(floor, turned / sweep.num_images))


def _count_freedom(present: Bools, weights: Floats) -> Floats:
    """Degrees of freedom of each configuration's residuals: what its own mean and its share in the seeds' effects
    leave of its runs. They sum to (configurations - 1) (seeds - 1) where no run is missing."""
    weighted = present * weights[:, None]
    several = present & (present.sum(axis=1) > 1)[:, None]
    shares = np.divide(weighted, weighted.sum(axis=0), out=np.zeros_like(weighted), where=weighted.sum(axis=0) > 0)
    left = (several * (1 - shares)).sum(axis=1)
    counts = present.sum(axis=1)
    freedom = left * np.maximum(counts - 1, 0) / np.maximum(counts, 1)
    return np.where(freedom > 1e-3, freedom, 0.0)


def _find_parts(present: Bools) -> npt.NDArray[np.intp]:
    parts = np.full(len(present), -1, dtype=np.intp)
    for index in np.flatnonzero(present.any(axis=1)):
        if parts[index] >= 0:
            continue
        seeds = present[index]
        while True:
            members = (present & seeds).any(axis=1)
            wider = present[members].any(axis=0)
            if (wider == seeds).all():
                break
            seeds = wider
        parts[members] = index
    return parts


def _spread_seeds(blocks: _Blocks, noise: Noise, draws: Floats, rng: np.random.Generator) -> Spread:
    """Errors from the noise of the seeds."""
    present = blocks.present
    num, width = present.shape
    if present.all():
        errors = rng.standard_normal(draws.shape) * np.sqrt(draws / width)
        return Spread(np.diag(noise.variances / width), noise.freedom, errors)
    cells = np.argwhere(present)
    units = np.zeros((len(cells), num, width))
    units[np.arange(len(cells)), cells[:, 0], cells[:, 1]] = 1.0
    effects, _ = blocks.split(units)
    owners = cells[:, 0]
    covariance = effects.T @ (noise.variances[owners][:, None] * effects)
    covariance[np.diag_indices(num)] += ~present.any(axis=1)  # nothing is asked of those without runs
    errors = (rng.standard_normal((len(draws), len(cells))) * np.sqrt(draws[:, owners])) @ effects
    return Spread(covariance, noise.freedom, errors)


def _image_covariance(sweep: Sweep, present: Bools, means: Floats) -> Floats:
    """Covariance between configurations of their accuracies on another test set of this size, seeds aside."""
    if sweep.right is None:
        return np.diag(means * (1 - means) / sweep.num_images)
    counts = np.maximum(present.sum(axis=1), 1)
    shares = (sweep.right * present[:, :, None]).sum(axis=1) / counts[:, None]
    centred = shares - shares.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (sweep.num_images - 1)
    # What the seeds turned is in the spread of the seeds already.
    turned = (shares * (1 - shares)).mean(axis=1) / np.maximum(counts - 1, 1)
    covariance[np.diag_indices(len(means))] -= np.where(counts > 1, turned, 0.0)
    return np.asarray(covariance / sweep.num_images)


def _add_images(seeds: Spread, covariance: Floats, rng: np.random.Generator) -> Spread:
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    added = rng.standard_normal(seeds.errors.shape) @ root.T
    own, images = np.diag(seeds.covariance), np.maximum(np.diag(covariance), 0.0)
    # Satterthwaite: the images' part is known with as many degrees of freedom as there are images.
    freedom = seeds.freedom * ((own + images) / own) ** 2
    return Spread(seeds.covariance + root @ root.T, freedom, seeds.errors + added)
