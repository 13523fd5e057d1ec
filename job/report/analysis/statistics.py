"""Small statistics of the report, as pure functions over scores by seed; those behind the verdicts are in `inference`.

Sources: least squares means of an additive model of configurations and seeds (Searle, Speed and Milliken 1980, The
American Statistician 34) for the order; Holm 1979, Scandinavian Journal of Statistics 6, for several tests; Tang et al.
2020 (arXiv:2004.13705, eq. 5) for the unbiased form of the expected maximum that Dodge et al. 2019 (arXiv:1909.03004)
proposed to report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special


def adjust_for_seeds(scores: Sequence[Mapping[int, float]]) -> list[float | None]:
    """Of every configuration, its scores by seed, the mean that it would have over all seeds; None without scores.

    Least squares of score = configuration + seed. With the same seeds everywhere it is the plain mean, between two
    configurations the difference is that over their common seeds, and among more of them it is one order where
    pairs over different seeds could go round in a circle. Configurations that no chain of common seeds connects
    are adjusted apart, so their order tells nothing.
    """
    plain = [math.fsum(by_seed.values()) / len(by_seed) if by_seed else None for by_seed in scores]
    known = [index for index, by_seed in enumerate(scores) if by_seed]
    if len({frozenset(scores[index]) for index in known}) < 2:
        return plain
    seeds = sorted({seed for by_seed in scores for seed in by_seed})
    there = np.array([[seed in scores[index] for seed in seeds] for index in known], dtype=float)
    values = np.array([[scores[index].get(seed, 0.0) for seed in seeds] for index in known])
    weights = there / there.sum(axis=1, keepdims=True)
    means = np.array([plain[index] for index in known], dtype=float)
    system = np.diag(there.sum(axis=0)) - there.T @ weights
    # The effects of the seeds: the smallest ones that solve it, which sum to zero in every connected part.
    effects = np.linalg.pinv(system, rcond=1e-10, hermitian=True) @ (values - there * means[:, None]).sum(axis=0)
    adjusted = dict(zip(known, means - weights @ effects, strict=True))
    return [round(float(adjusted[index]), 12) if index in adjusted else None for index in range(len(scores))]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values: they hold the family-wise error without assuming independence."""
    num, highest = len(p_values), 0.0
    adjusted = [0.0] * num
    for rank, index in enumerate(sorted(range(num), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (num - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def expected_maximum(values: Sequence[float], *, chosen_by: Sequence[float] | None = None) -> npt.NDArray[np.float64]:
    """Expected value of the best of k trials for k = 1 … n: the mean over all subsets of size k, so without bias.

    The best is that with the highest `chosen_by`, by default the value itself. The i-th in this order is the best of
    C(i - 1, k - 1) of the C(n, k) subsets.
    """
    ordered = np.asarray(values, dtype=float)
    ordered = ordered[np.argsort(ordered if chosen_by is None else np.asarray(chosen_by), kind="stable")]
    num = len(ordered)
    ranks = np.arange(1, num + 1)
    best = np.empty(num)
    for k in ranks:
        chance = np.exp(_log_choose(ranks[k - 1 :] - 1, k - 1) - _log_choose(num, k))
        best[k - 1] = chance @ ordered[k - 1 :]
    return best


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> npt.NDArray[np.float64]:
    n, k = np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))
