"""The report's statistics against scipy's own tests, published tables and closed forms."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.report.analysis.statistics import adjust_for_seeds, expected_maximum, holm

ACCURACIES = st.lists(st.integers(0, 1000).map(lambda count: count / 1000), min_size=2, max_size=8)


def seeds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


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
