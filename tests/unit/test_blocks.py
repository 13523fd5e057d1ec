"""The least squares of configurations and seeds against numpy's solution of the whole system, with runs missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from job.report.analysis.inference.blocks import Blocks
from job.report.analysis.inference.comparisons import compare_all
from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.model import fit
from job.report.analysis.inference.noise import Bools, Floats
from job.report.analysis.inference.sweep import Sweep

TABLES = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6).map(np.array)


def build_blocks(present: Bools) -> Blocks:
    return Blocks(present, present.any(axis=1).astype(float))


def build_design(present: Bools) -> Floats:
    """A row for every run, a column for every configuration and every seed."""
    cells = np.argwhere(present)
    design = np.zeros((len(cells), sum(present.shape)))
    rows = np.arange(len(cells))
    design[rows, cells[:, 0]] = design[rows, len(present) + cells[:, 1]] = 1
    return design


@given(TABLES)
@settings(deadline=None)
def test_freedom_is_what_the_whole_system_leaves_of_the_runs_of_each_configuration(present: Bools) -> None:
    design = build_design(present)
    left = 1 - np.diag(design @ np.linalg.pinv(design)) if len(design) else np.zeros(0)
    expected = np.bincount(np.argwhere(present)[:, 0], weights=left, minlength=len(present))
    assert build_blocks(present).count_freedom() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["11111", "11..."], 1),
        (["111", "11."], 1),
        (["11111", "11111", "11..."], 5),
        (["1111", "11..", "..11"], 2),
        (["11...", "11...", "..111", "..111"], 3),  # two parts without a common seed
        (["11...", "..111", "....."], 0),
        (["111", "111", "111"], 4),
    ],
)
def test_freedom_sums_to_the_runs_less_what_is_estimated(rows: list[str], expected: int) -> None:
    present = np.array([[cell == "1" for cell in row] for row in rows])
    assert present.sum() - np.linalg.matrix_rank(build_design(present)) == expected
    assert build_blocks(present).count_freedom().sum() == pytest.approx(expected)


def test_freedom_without_a_missing_run_is_shared_by_the_weights() -> None:
    weights = np.array([1.0, 1.0, 1e-6])
    found = Blocks(np.ones((3, 5), dtype=bool), weights).count_freedom()
    assert found == pytest.approx(4 * (1 - weights / weights.sum()))


def test_seeds_that_only_one_has_make_no_interval_narrower_than_the_paired_t_test() -> None:
    adam, adagrad = [0.804, 0.797, 0.811, 0.802, 0.795], [0.801, 0.803]
    low, high = stats.ttest_rel(adam[:2], adagrad).confidence_interval(LEVEL)
    scores = np.array([adam, [*adagrad, *[np.nan] * 3]])
    found = compare_all(fit(Sweep(scores, 8000), num_draws=100_000)).compare(0, 1)
    assert found.high - found.low == pytest.approx(high - low, rel=0.05)
