"""The report's statistics against scipy's own tests, published tables and closed forms."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from job.report.analysis.statistics import (
    Comparison,
    adjust_for_seeds,
    bootstrap_mean,
    compare,
    correct_comparisons,
    estimate_mean,
    expected_maximum,
    further_seeds,
    holm,
    paired_power,
)

STUDENT_SLEEP = (
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
)
"""Student 1908, Biometrika 6: hours of sleep gained by ten patients with two drugs; R's data set `sleep`."""
ACCURACIES = st.lists(st.integers(0, 1000).map(lambda count: count / 1000), min_size=2, max_size=8)


def seeds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def compare_common(ours: dict[int, float], theirs: dict[int, float]) -> Comparison:
    comparison = compare(ours, theirs)
    assert comparison is not None
    return comparison


def test_paired_difference_of_student_s_sleep_data_is_the_published_one() -> None:
    """R's documentation: t = -4.0621, df = 9, p = 0.002833, interval -2.4598858 to -0.7001142, mean -1.58."""
    comparison = compare_common(seeds(STUDENT_SLEEP[0]), seeds(STUDENT_SLEEP[1]))
    assert comparison.difference == pytest.approx(-1.58)
    assert comparison.p == pytest.approx(0.002833, abs=5e-7)
    assert (comparison.low, comparison.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert comparison.num == 10


def test_without_a_common_seed_nothing_is_compared() -> None:
    assert compare({0: 0.9, 1: 0.91}, {2: 0.1, 3: 0.11}) is None


@given(ACCURACIES)
@settings(deadline=None)
def test_interval_of_a_mean_is_scipy_s(values: list[float]) -> None:
    estimate = estimate_mean(values)
    assert estimate.mean == pytest.approx(np.mean(values))
    if np.ptp(values) == 0:
        assert (estimate.low, estimate.high, estimate.deviation) == (None, None, 0.0)
    else:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))


@given(ACCURACIES, st.integers(0, 2**32 - 1))
@settings(deadline=None)  # scipy is slow the first time
def test_paired_comparison_is_scipy_s(values: list[float], seed: int) -> None:
    others = list(np.array(values) + np.random.default_rng(seed).normal(0, 0.01, len(values)))
    comparison = compare_common(seeds(values), seeds(others))
    expected = stats.ttest_rel(values, others)
    assert comparison.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (comparison.low, comparison.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-6)


def test_only_common_seeds_are_compared() -> None:
    comparison = compare_common({0: 0.8, 1: 0.9, 7: 0.1}, {0: 0.7, 1: 0.7, 9: 0.99})
    assert comparison.num == 2
    assert comparison.difference == pytest.approx(0.15)


def test_one_seed_gives_a_difference_and_no_certainty() -> None:
    comparison = compare_common({0: 0.8}, {0: 0.7, 1: 0.75})
    assert comparison.difference == pytest.approx(0.1)
    assert (comparison.low, comparison.high, comparison.p, comparison.decided) == (None, None, None, False)
    estimate = estimate_mean([0.8])
    assert (estimate.mean, estimate.low, estimate.high, estimate.deviation) == (0.8, None, None, None)


def test_differences_without_any_spread_are_known_as_such_and_decide_nothing() -> None:
    comparison = compare_common({0: 0.8, 1: 0.9, 2: 0.7}, {0: 0.7, 1: 0.8, 2: 0.6})
    assert comparison.difference == pytest.approx(0.1)
    assert (comparison.p, comparison.low, comparison.decided, comparison.is_uniform) == (None, None, False, True)
    assert further_seeds(comparison) is None


def test_seeds_that_only_one_has_do_not_change_the_order() -> None:
    """Adam's seeds 2 to 4 are easy ones: where both were run, Adagrad is ahead."""
    adam, adagrad = {0: 0.80, 1: 0.81, 2: 0.99, 3: 0.99, 4: 0.99}, {0: 0.85, 1: 0.861}
    ours, theirs = adjust_for_seeds([adam, adagrad])
    assert ours == pytest.approx(np.mean(list(adam.values())))
    assert ours is not None
    assert theirs == pytest.approx(ours + np.mean([0.05, 0.051]))


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=4, max_size=4), min_size=1, max_size=6))
@settings(deadline=None)
def test_adjusted_means_are_those_of_the_least_squares_of_the_whole_model(table: list[list[float | None]]) -> None:
    """Against numpy's solution of the full system, of which the smallest one has the same differences."""
    scores = [{seed: value for seed, value in enumerate(row) if value is not None} for row in table]
    adjusted = adjust_for_seeds(scores)
    cells = [(row, seed, value) for row, each in enumerate(scores) for seed, value in each.items()]
    assert [each is None for each in adjusted] == [not each for each in scores]
    if not cells:
        return
    design = np.zeros((len(cells), len(table) + 4))
    for index, (row, seed, _) in enumerate(cells):
        design[index, row] = design[index, len(table) + seed] = 1
    solution = np.linalg.lstsq(design, np.array([value for *_, value in cells]), rcond=None)[0]
    for (row, ours), (other, theirs) in itertools.combinations(enumerate(scores), 2):
        if ours.keys() & theirs.keys():
            mean, other_mean = adjusted[row], adjusted[other]
            assert mean is not None
            assert other_mean is not None
            assert mean - other_mean == pytest.approx(solution[row] - solution[other], abs=1e-9)


def test_same_seeds_everywhere_leave_the_plain_means() -> None:
    scores = [seeds([0.1, 0.2, 0.4]), seeds([0.3, 0.3, 0.6])]
    assert adjust_for_seeds(scores) == [pytest.approx(0.7 / 3), pytest.approx(0.4)]
    assert adjust_for_seeds([{}, seeds([0.5])]) == [None, 0.5]
    assert adjust_for_seeds([]) == []


def test_parts_without_a_common_seed_are_adjusted_apart() -> None:
    adjusted = adjust_for_seeds([{0: 0.5, 1: 0.7}, {0: 0.4}, {7: 0.9, 8: 0.8}, {8: 0.6}])
    assert adjusted == pytest.approx([0.6, 0.5, 0.85, 0.65])


def test_holm_s_correction_of_known_values() -> None:
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and p.adjust(c(0.04, 0.001, 0.03), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.001, 0.03]) == pytest.approx([0.06, 0.003, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_raw_values_and_bonferroni_s(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p_values)) + 1e-12


def test_correction_can_undo_a_decision() -> None:
    close = compare_common(seeds([0.81, 0.83, 0.80, 0.84]), seeds([0.80, 0.80, 0.79, 0.81]))
    assert close.p == pytest.approx(stats.ttest_rel([0.81, 0.83, 0.80, 0.84], [0.80, 0.80, 0.79, 0.81]).pvalue)
    assert close.p is not None
    assert close.p < 0.05
    assert close.decided
    corrected = correct_comparisons([close, close, close, compare_common({0: 1.0}, {0: 0.0})])
    assert corrected[0].adjusted_p == pytest.approx(min(1, 3 * close.p))
    assert not corrected[0].decided
    assert corrected[3].adjusted_p is None
    assert {each.num_comparisons for each in corrected} == {3}


def test_power_is_that_of_cohen_s_tables() -> None:
    """G*Power 3.1, two-sided t test of dependent means: dz 0.5 with 34 pairs 0.8077775; dz 0.8 with 15 0.8213105."""
    assert paired_power(0.5, 34) == pytest.approx(0.8077775, abs=1e-5)
    assert paired_power(0.8, 15) == pytest.approx(0.8213105, abs=1e-5)
    assert paired_power(0.0, 10) == pytest.approx(0.05)


def test_suggested_seeds_are_the_first_number_with_that_power() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(0, 1, 5)
    differences = 0.5 + (differences - differences.mean()) / differences.std(ddof=1)
    more = further_seeds(compare_common(seeds(list(differences)), seeds([0.0] * 5)))
    assert more == 34 - 5  # the textbook's number for dz 0.5
    assert further_seeds(compare_common(seeds([0.1, -0.1, 0.1, -0.1]), seeds([0.0] * 4))) is None


@given(st.floats(0, 100), st.integers(2, 1000))
@example(1.9375, 395)  # scipy's NaN for 396 seeds
@example(27.0, 5)
def test_power_is_a_probability_that_grows_with_the_seeds(effect: float, num: int) -> None:
    power, more = paired_power(effect, num), paired_power(effect, num + 1)
    assert 0.05 - 1e-9 <= power <= more + 1e-9 <= 1 + 2e-9


def test_power_agrees_with_simulation() -> None:
    random = np.random.default_rng(1)
    found = stats.ttest_1samp(random.normal(1.2, 1.0, (20_000, 6)), 0, axis=1).pvalue < 0.05
    assert paired_power(1.2, 6) == pytest.approx(found.mean(), abs=0.01)


@given(ACCURACIES)
@settings(deadline=None)
def test_expected_maximum_is_the_mean_over_all_subsets(values: list[float]) -> None:
    expected = [
        np.mean([max(subset) for subset in itertools.combinations(values, k)]) for k in range(1, len(values) + 1)
    ]
    assert expected_maximum(values) == pytest.approx(expected)


@given(ACCURACIES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_best_of_those_chosen_by_something_else_is_the_mean_over_all_subsets(
    values: list[float], shuffler: Random
) -> None:
    order = list(range(len(values)))
    shuffler.shuffle(order)
    trials = list(zip(order, values, strict=True))
    expected = [
        np.mean([max(subset)[1] for subset in itertools.combinations(trials, k)]) for k in range(1, len(values) + 1)
    ]
    assert expected_maximum(values, chosen_by=order) == pytest.approx(expected)


def test_expected_maximum_of_many_trials_stays_finite() -> None:
    best = expected_maximum(list(np.linspace(0, 1, 2000)))
    assert best[0] == pytest.approx(0.5)
    assert best[-1] == pytest.approx(1.0)
    assert np.all(np.diff(best) >= -1e-9)


def test_bootstrap_covers_the_mean_and_repeats_itself() -> None:
    values = list(np.random.default_rng(2).exponential(100, 40))
    interval = bootstrap_mean(values)
    assert interval is not None
    assert interval == bootstrap_mean(values)
    error = np.std(values, ddof=1) / np.sqrt(40)
    assert interval[0] == pytest.approx(np.mean(values) - 1.96 * error, abs=0.5 * error)
    assert interval[1] == pytest.approx(np.mean(values) + 1.96 * error, abs=0.5 * error)
    assert bootstrap_mean([1.0, 2.0]) is None
    assert bootstrap_mean([1.0, 1.0, 1.0]) is None
