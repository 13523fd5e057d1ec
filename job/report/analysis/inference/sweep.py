"""What was measured in a sweep, and what its test set can tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from job.report.analysis.inference.failures import Failures
from job.report.analysis.inference.noise import Bools, Floats

ROUNDING = 1 / 12
"""Variance of a count's rounding to whole images: agreement of all seeds says that the noise is below it, not 0."""


@dataclass(frozen=True)
class Sweep:
    """What was measured. Configurations and seeds are numbered by their place."""

    accuracies: Floats
    """(configurations, seeds) fractions, NaN where there is no run."""
    num_images: int
    """Size of the test set."""
    right: Bools | None = None
    """(configurations, seeds, images) whether the run had the image right; anything where there is no run."""
    failed: Bools | None = None
    """(configurations, seeds) runs that diverged; their accuracy is what a user gets of them, that of guessing."""

    @property
    def present(self) -> Bools:
        """(configurations, seeds) where there is a run."""
        return np.isfinite(self.accuracies)

    @property
    def num_seeds(self) -> Floats:
        """(configurations,)"""
        return np.asarray(self.present.sum(axis=1))

    def set_failures_aside(self) -> tuple[Sweep, Failures]:
        """The sweep of the runs that finished, and what the failed ones mean for each configuration.

        Where all runs of a configuration failed they stay: they agree, and tell what a user gets.
        """
        num = np.maximum(self.num_seeds, 1)
        if self.failed is None:
            nothing = np.zeros(len(num))
            return self, Failures(nothing, num, nothing)
        lost = self.failed & self.present
        counts = np.asarray(lost.sum(axis=1), dtype=float)
        fallback = np.where(lost, self.accuracies, 0.0).sum(axis=1) / np.maximum(counts, 1)
        counts = np.where(counts < self.num_seeds, counts, 0.0)
        accuracies = np.where(lost & (counts > 0)[:, None], np.nan, self.accuracies)
        return replace(self, accuracies=accuracies), Failures(counts, num, fallback)

    def find_means(self) -> Floats:
        """(configurations,) mean accuracies; one of 0 or 1 is half an image away from it, and 0.5 without runs."""
        counts = np.maximum(self.num_seeds, 1)
        means = np.where(self.present, self.accuracies, 0.0).sum(axis=1) / counts
        return self.clip(np.where(self.num_seeds > 0, means, 0.5))

    def clip(self, means: Floats) -> Floats:
        """Mean accuracies of 0 and 1 are half an image away from it."""
        half = 0.5 / self.num_images
        return np.asarray(np.clip(means, half, 1 - half))

    def find_floor(self) -> Floats:
        """(configurations,) the least variance between the accuracies of the seeds that can be believed.

        Where it is known which images were right, that of the images which some seeds had right and others not, as if
        they had turned independently; otherwise that of rounding to whole images.
        """
        floor = np.full(len(self.accuracies), ROUNDING / self.num_images**2)
        if self.right is None:
            return floor
        return np.asarray(np.maximum(floor, self._find_turned(self.right) / self.num_images))

    def find_image_covariance(self) -> Floats:
        """(configurations, configurations) of the mean accuracies over other test sets of this size, seeds aside."""
        if self.right is None:
            means = self.find_means()
            return np.diag(means * (1 - means) / self.num_images)
        shares = self._share_right(self.right)
        centred = shares - shares.mean(axis=1, keepdims=True)
        covariance = centred @ centred.T / (self.num_images - 1)
        # What the seeds turned is in the spread of the seeds already.
        covariance[np.diag_indices(len(shares))] -= self._find_turned(self.right) / np.maximum(self.num_seeds, 1)
        return np.asarray(covariance / self.num_images)

    def _share_right(self, right: Bools) -> Floats:
        """(configurations, images) the part of the seeds that had the image right."""
        return np.asarray((right * self.present[:, :, None]).sum(axis=1) / np.maximum(self.num_seeds, 1)[:, None])

    def _find_turned(self, right: Bools) -> Floats:
        """(configurations,) mean variance of an image between seeds; 0 with one seed."""
        shares, counts = self._share_right(right), self.num_seeds
        return np.asarray((shares * (1 - shares)).mean(axis=1) * counts / np.maximum(counts - 1, 1))
