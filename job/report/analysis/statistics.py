"""The statistics of the report, as pure functions over scores by seed. What cannot be known is None, never a guess.

Two configurations are compared over the seeds that both have, and over nothing else: a seed that only one of them
has would count for or against it by its luck.

Sources: Student's t for means and paired differences (scipy.special.stdtr, stdtrit); least squares means of an
additive model of configurations and seeds (Searle, Speed and Milliken 1980, The American Statistician 34) for the
order; Holm 1979, Scandinavian Journal of Statistics 6, for several comparisons; the noncentral t for power (Cohen
1988, section 2.3); Efron and Tibshirani 1993, chapter 14, for the bootstrap; Tang et al. 2020 (arXiv:2004.13705,
eq. 5) for the unbiased form of the expected maximum that Dodge et al. 2019 (arXiv:1909.03004) proposed to report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

LEVEL = 0.95
"""Coverage of every interval; comparisons are decided at 1 - LEVEL."""
POWER = 0.8
"""Probability with which the suggested number of seeds would find a difference of the size that was seen."""
MOST_SEEDS = 1000
RESAMPLES = 2000
SAME = 1e-12
"""Spreads below this are rounding, not noise."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its t interval, None with one value or without any spread."""

    mean: float
    low: float | None
    high: float | None
    num: int
    deviation: float | None
    """Sample standard deviation."""


@dataclass(frozen=True)
class Comparison:
    """A mean difference over common seeds with its t interval and two-sided p-value.

    Interval and p are None with one common seed, and where the difference is the same in every seed: without any
    spread nothing tells how far another seed might be off.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    num: int
    """How many seeds both sides have."""
    deviation: float | None
    """Sample standard deviation of the differences by seed; None with one seed, 0 where all are the same."""
    adjusted_p: float | None = None
    """After Holm's correction, by `correct_comparisons`."""
    num_comparisons: int = 1
    unlike: tuple[str, ...] = ()
    """What else differs between the two sides, such as `torch 2.11.0 against 2.15.0`."""

    @property
    def decided(self) -> bool:
        """Whether the corrected test finds a difference, and nothing else but what is compared could have made it."""
        p = self.p if self.adjusted_p is None else self.adjusted_p
        return p is not None and p < 1 - LEVEL and not self.unlike

    @property
    def is_uniform(self) -> bool:
        """Whether several seeds show exactly the same difference."""
        return self.num > 1 and self.deviation == 0


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Mean and t interval of at least one value."""
    num, mean = len(values), math.fsum(values) / len(values)
    if num < 2:
        return Estimate(mean, None, None, num, None)
    deviation = float(np.std(values, ddof=1))
    if deviation <= SAME:
        return Estimate(mean, None, None, num, 0.0)
    reach = deviation / math.sqrt(num) * _quantile(num - 1)
    return Estimate(mean, mean - reach, mean + reach, num, deviation)


def compare(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Comparison | None:
    """Ours minus theirs over the common seeds, by a paired t test; None where no seed is common."""
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    estimate = estimate_mean([ours[seed] - theirs[seed] for seed in common])
    p = None
    if estimate.deviation:
        t = estimate.mean / (estimate.deviation / math.sqrt(estimate.num))
        p = 2 * float(special.stdtr(estimate.num - 1, -abs(t)))
    return Comparison(estimate.mean, estimate.low, estimate.high, p, estimate.num, estimate.deviation)


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


def correct_comparisons(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of one family with their p-values corrected; those without one do not count."""
    tested = [index for index, comparison in enumerate(comparisons) if comparison.p is not None]
    adjusted = dict(zip(tested, holm([comparisons[index].p or 0.0 for index in tested]), strict=True))
    return [
        replace(comparison, adjusted_p=adjusted.get(index), num_comparisons=len(tested))
        for index, comparison in enumerate(comparisons)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values: they hold the family-wise error without assuming independence."""
    num, highest = len(p_values), 0.0
    adjusted = [0.0] * num
    for rank, index in enumerate(sorted(range(num), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (num - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_power(effect: float, num: int, *, alpha: float = 1 - LEVEL) -> float:
    """Probability that a two-sided paired t test on `num` seeds finds a difference of `effect` deviations."""
    critical = float(special.stdtrit(num - 1, 1 - alpha / 2))
    shift = abs(effect) * math.sqrt(num)
    tails = special.nctdtr(num - 1, shift, np.array([-critical, critical]))
    far, near = np.nan_to_num(tails)  # scipy gives NaN here and there where the probability is next to nothing
    return 1 - float(near - far)


def further_seeds(comparison: Comparison) -> int | None:
    """How many more paired seeds would decide, were the difference and its spread what they seem.

    At POWER, corrected as Bonferroni for the comparison's family; None where the spread is unknown or more
    than MOST_SEEDS would be needed.
    """
    if not comparison.deviation:
        return None
    effect = abs(comparison.difference) / comparison.deviation
    alpha = (1 - LEVEL) / max(1, comparison.num_comparisons)
    low, high = comparison.num, MOST_SEEDS
    if paired_power(effect, high, alpha=alpha) < POWER:
        return None
    while high - low > 1:  # power grows with the number of seeds
        middle = (low + high) // 2
        low, high = (low, middle) if paired_power(effect, middle, alpha=alpha) >= POWER else (middle, high)
    return max(1, high - comparison.num)


def bootstrap_mean(values: Sequence[float], *, seed: int = 0) -> tuple[float, float] | None:
    """Percentile interval of the mean, for what is skewed, such as times; None below three values or without spread."""
    if len(values) < 3 or np.ptp(values) <= SAME:
        return None
    from scipy import stats  # takes a second to import, so only where it is needed

    sample = np.asarray(values, dtype=float)
    result = stats.bootstrap(
        (sample,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile",
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


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


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, 0.5 + LEVEL / 2))
