"""Configurations and seeds as the two effects that a run's score is made of, with runs missing here and there.

The least squares are those of Searle, Speed and Milliken (1980, The American Statistician 34).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.report.analysis.inference.noise import Bools, Floats


@dataclass(frozen=True)
class Blocks:
    """Least squares of configuration + seed, where a configuration counts by its weight."""

    present: Bools
    """(configurations, seeds)"""
    weights: Floats
    """(configurations,); 0 for a configuration without runs."""

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
        seeds = np.einsum("cs,...cs->...s", weighted, values - self.present * means[..., None]) @ self._invert()
        return means - seeds @ shares.T, seeds

    def count_freedom(self) -> Floats:
        """Degrees of freedom of each configuration's residuals: its runs less what the fit takes of them, which is its
        own mean and its share in the seeds' effects. They sum to the runs less the rank of the whole system, so to
        (configurations - 1) (seeds - 1) where no run is missing."""
        counts = self.present.sum(axis=1)
        inverse = self._invert()
        rows = self.present.astype(float)
        shares = rows @ np.diag(inverse) - ((rows @ inverse) * rows).sum(axis=1) / np.maximum(counts, 1)
        freedom = np.maximum(counts - 1, 0) - self.weights * shares
        return np.where(freedom > 1e-3, freedom, 0.0)

    def _invert(self) -> Floats:
        """(seeds, seeds) the inverse of the seeds' normal equations, which are left when the means are put into them.

        It gives the smallest effects that solve them, which sum to zero in every connected part.
        """
        shares = self.present / np.maximum(self.present.sum(axis=1), 1)[:, None]
        weighted = self.present * self.weights[:, None]
        system = np.diag(weighted.sum(axis=0)) - shares.T @ weighted
        return np.asarray(np.linalg.pinv(system, rcond=1e-10, hermitian=True))

    def find_parts(self) -> npt.NDArray[np.intp]:
        """(configurations,) the same number for those that a chain of common seeds connects; -1 without runs."""
        present = self.present
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


def polish(values: Floats, present: Bools) -> tuple[Floats, Floats]:
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
