"""`report.json` and what scripts ask of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from job.errors import IncompleteError, UsageError
from job.report.analysis.inference.comparisons import MARGIN
from job.report.render import summary
from job.report.render.summary import Summary, check_expectation, summarise
from job.runs import RunResult
from tests.records import build_study, diverged, make_manifest, make_result

ROOT = Path(__file__).parents[2]


def runs_of(optimizer: str, accuracy: float, *, seeds: int = 4, noise: float = 0.002, **fields: Any) -> list[RunResult]:
    random = np.random.default_rng(int(1000 * accuracy))
    return [
        make_result(make_manifest(optimizer, seed=seed, **fields), accuracy=accuracy + noise * random.standard_normal())
        for seed in range(seeds)
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Adagrad before Adam and RMSprop, which are practically equal; SGD diverges with one seed."""
    results = [*runs_of("adagrad", 0.9), *runs_of("adam", 0.8, noise=0.001), *runs_of("rmsprop", 0.801, noise=0.001)]
    results += [*runs_of("adam", 0.7, lr=0.01), *runs_of("adam", 0.8005, eps=1e-6, noise=0.001)]
    lost = runs_of("sgd", 0.6)
    study = build_study(tmp_path_factory.mktemp("runs"), *results, *lost[:3], diverged(lost[3]))
    return summarise([study], study.runs.holes, margin=MARGIN)


def test_the_answer_and_who_is_within_reach_of_it(told: Summary) -> None:
    (experiment,) = told.experiments
    assert experiment.decided
    assert experiment.recommended is not None
    assert (experiment.recommended.label, experiment.recommended.optimizer) == ("Adagrad", "adagrad")
    assert [pick.label for pick in experiment.within_best] == ["Adagrad"]
    assert len(experiment.recommended.run_ids) == 4
    assert 0 < (experiment.recommended.low or 0) < (experiment.recommended.accuracy or 0) < 1


def test_comparisons_have_the_better_one_first_and_one_of_three_answers(told: Summary) -> None:
    (experiment,) = told.experiments
    answers = {(pair.a, pair.b): pair.answer for pair in experiment.comparisons}
    assert answers[next(pair for pair in answers if set(pair) == {"Adam eps 1e-06", "RMSprop"})] == "equal"
    assert answers["Adagrad", "RMSprop"] == "better"
    for pair in experiment.comparisons:
        assert pair.low is not None
        assert pair.high is not None
        assert pair.low <= pair.difference <= pair.high
        assert (pair.answer == "better") <= (pair.low > 0)
        assert (pair.answer == "equal") <= (pair.low > -MARGIN and pair.high < MARGIN)


def test_attributes_have_their_values_against_the_baseline(told: Summary) -> None:
    (experiment,) = told.experiments
    lr, eps = experiment.attributes
    assert (lr.optimizer, lr.attribute, lr.answer) == ("adam", "optimizer.lr", "matters")
    assert (eps.attribute, eps.answer) == ("optimizer.eps", "equal")
    assert (lr.importance or 0) > (eps.importance or 0)
    assert [(value.value, value.is_baseline, value.answer) for value in lr.values] == [
        (0.001, True, None), (0.01, False, "worse"),
    ]  # fmt: skip


def test_failures_have_their_rate_and_holes_their_reason(told: Summary) -> None:
    (experiment,) = told.experiments
    (failing,) = experiment.failures
    assert (failing.label, failing.num_seeds, failing.num_diverged, failing.success_rate) == ("SGD", 4, 1, 0.75)
    assert failing.low < 0.75 < failing.high
    assert experiment.missing == []


def test_summary_survives_json(told: Summary) -> None:
    assert Summary.model_validate_json(told.model_dump_json()) == told
    assert json.loads(told.model_dump_json())["version"] == 1


@pytest.mark.parametrize(
    "expectation",
    ["adagrad > adam", "Adagrad>RMSprop", "adagrad >= sgd", "rmsprop >= Adam eps 1e-06", "Adam eps 1e-06 >= rmsprop"],
)
def test_expectation_that_is_shown_passes(expectation: str, told: Summary) -> None:
    check_expectation(expectation, told)


@pytest.mark.parametrize(
    ("expectation", "why"),
    [
        ("adam > adagrad", "default: not adam > adagrad: Adagrad is better"),
        ("rmsprop > adam", "practically equal"),
        ("adam >= adagrad", "Adagrad is better"),
        ("adagrad > lion", "no experiment compares adagrad with lion"),
    ],
)
def test_expectation_that_is_not_shown_fails_with_what_is(expectation: str, why: str, told: Summary) -> None:
    with pytest.raises(IncompleteError) as caught:
        check_expectation(expectation, told)
    assert why in str(caught.value)


@pytest.mark.parametrize("expectation", ["", "adagrad", "adagrad < adam", "adagrad > adam > sgd", "> adam", "a = b"])
def test_what_is_no_expectation_is_a_fault_of_the_command(expectation: str, told: Summary) -> None:
    with pytest.raises(UsageError, match="write"):
        check_expectation(expectation, told)


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    for model in vars(summary).values():
        if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == summary.__name__:
            assert [name for name in model.model_fields if f"`{name}`" not in text] == []
