"""The first screen's lines, and the figure and tables beside them, against the verdict that they take apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from job.manifest import Manifest
from job.report.analysis.answer import answer, find_closest, shorten_manifest
from job.report.analysis.charts import ForestChart
from job.report.analysis.elsewhere import find_elsewhere
from job.report.analysis.estimates import Comparison
from job.report.analysis.forest import MOST_ROWS, build_forest
from job.report.analysis.study import Study, build_studies
from job.report.read.load import read_runs
from job.report.render.grid import MOST_ROWS as MOST_LINES
from job.report.render.grid import Cell, Row, build_grid
from job.report.render.grids import build_leaderboard_grid, build_runs_grid
from job.runs import configuration_digest
from job.storage import open_store
from tests.records import build_study, diverged, made_by, make_manifest, make_result, store_results, with_right
from tests.unit.test_verdict import SCORES, runs_of


def forest(study: Study) -> ForestChart:
    (picture,) = build_forest(study.standings)
    assert isinstance(picture.chart, ForestChart)
    return picture.chart


def test_winner_is_told_with_margin_certainty_settings_and_a_manifest(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs_of(SCORES))
    answer, (_, comparison) = study.answer, study.verdict.rivals[0]
    assert answer.headline == "Adagrad is best"
    assert answer.by_how_much.startswith("91.2 % [")
    low, high = comparison.low, comparison.high
    assert low is not None
    assert high is not None
    told = f"3.2 [{100 * low:.1f}, {100 * high:.1f}] points more than Adam."
    assert answer.by_how_much.endswith(told)
    assert answer.how_sure == "5 common seeds, p < 0.001. Answers of this kind are wrong in at most 5 % of studies."
    assert answer.settings == "Adagrad with lr 0.001; 4 epochs, batches of 50."
    assert answer.num_seeds == 5


def test_manifest_to_copy_is_short_and_the_same_configuration(tmp_path: Path) -> None:
    manifest = make_manifest("rmsprop", seed=3, alpha=0.9, momentum=0.5)
    short = shorten_manifest(manifest.model_dump_json())
    assert "seed" not in json.loads(short)
    assert json.loads(short)["optimizer"]["alpha"] == 0.9
    assert "centered" not in json.loads(short)["optimizer"]
    again = Manifest.model_validate_json(short)
    ignored = frozenset({"seed"})
    assert configuration_digest(again, ignore=ignored) == configuration_digest(manifest, ignore=ignored)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": {"name": "cosine", "warmup_epochs": 1.0}},
        {"dataset": {"name": "synthetic", "size": 40, "num_train": 100, "num_test": 50}},
        {"model": {"name": "resnet18", "weights": "none", "freeze_backbone": True}},
        {"augmentation": "flip", "precision": "fp32", "epochs": 7},
    ],
)
def test_manifest_to_copy_resolves_to_the_same_whatever_is_set(changes: dict[str, object]) -> None:
    manifest = Manifest.model_validate({"name": "x", "optimizer": {"name": "adam"}} | changes)
    assert Manifest.model_validate_json(shorten_manifest(manifest.model_dump_json())) == manifest


def test_settings_name_what_is_no_default(tmp_path: Path) -> None:
    manifest = make_manifest("adam", betas=(0.8, 0.99))
    changed = manifest.model_copy(update={"augmentation": "flip", "batch_size": 25})
    study = build_study(tmp_path, make_result(changed, accuracy=0.8))
    assert study.answer.settings == (
        "Adam with lr 0.001, betas (0.8, 0.99); 4 epochs, batches of 25, augmentation flip."
    )


def test_undecided_answer_says_that_the_leader_is_not_certain_and_that_seeds_would_tell(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs_of({"adagrad": [0.80, 0.78, 0.82], "adam": [0.79, 0.80, 0.80]}))
    assert study.answer.headline == "Not yet known: Adagrad leads, but not for certain"
    assert study.answer.how_sure.startswith("3 common seeds (p = ")
    assert "do not tell Adagrad from Adam" in study.answer.how_sure
    assert study.answer.unknown[0] == "Whether Adagrad is better than Adam. More seeds would tell."


@pytest.mark.parametrize(
    ("answers", "closest"),
    [
        (("equal", "unknown", "better"), 1),
        (("unknown", "worse", "equal"), 1),
        (("better", "equal", "better"), 1),
        (("better", "better", "better"), 0),
    ],
)
def test_open_pair_tells_how_sure_the_answer_is_and_not_a_settled_one_that_is_closer(
    tmp_path: Path, answers: tuple[Literal["better", "worse", "equal", "unknown"], ...], closest: int
) -> None:
    study = build_study(tmp_path, *runs_of(SCORES | {"sgd": [0.5] * 5, "rmsprop": [0.4] * 5}))
    rivals = tuple(
        (own, Comparison(0.01 * (place + 1), -0.1, 0.2, 0.3, kind, 5))
        for place, (kind, (own, _)) in enumerate(zip(answers, study.verdict.rivals, strict=True))
    )
    verdict = replace(study.verdict, rivals=rivals)
    assert find_closest(verdict) == rivals[closest]
    told = answer(verdict, study.judgement, [], configurations=study.configurations, manifest=None)
    assert told.by_how_much.endswith(f"more than {rivals[closest][0].label}.")
    assert ("do not tell" in told.how_sure) == (answers[closest] == "unknown")


def test_rivals_without_a_common_seed_are_told_on_the_first_screen(tmp_path: Path) -> None:
    alone = [make_result(make_manifest("adam", seed=seed), accuracy=0.8) for seed in (7, 8)]
    sure = "Adam: no seed in common with Adagrad, so nothing compares them."
    unknown = "Whether Adagrad is better than Adam. They have no seed in common; the same seeds would tell."
    studies = [
        build_study(tmp_path / "only", *runs_of({"adagrad": SCORES["adagrad"]}), *alone),
        build_study(tmp_path / "beside", *runs_of({"adagrad": SCORES["adagrad"], "sgd": [0.6] * 5}), *alone),
    ]
    for study in studies:
        assert study.answer.headline == "Not yet known: Adagrad or Adam"
        assert study.answer.how_sure == sure
        assert study.answer.unknown[0] == unknown
    assert studies[1].answer.by_how_much.endswith("points more than SGD.")


def test_seeds_are_not_asked_for_where_the_two_sides_were_made_differently(tmp_path: Path) -> None:
    adagrad, adam = (runs_of({name: scores}) for name, scores in SCORES.items())
    study = build_study(tmp_path, *(made_by(run, torch="2.11.0") for run in adagrad), *map(made_by, adam))
    told = "Whether Adagrad is better than Adam. Runs that differ in nothing else would tell."
    assert study.answer.unknown[0] == told
    assert not any("More seeds" in sentence for sentence in study.answer.unknown)


def test_one_seed_says_nothing_about_certainty(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs_of({"adagrad": [0.8], "adam": [0.7]}))
    assert study.answer.how_sure == "1 common seed: nothing can be said about certainty. Run more seeds."


def test_single_learning_rate_of_each_optimizer_is_told_as_unknown(tmp_path: Path) -> None:
    study = build_study(tmp_path / "one", *runs_of(SCORES))
    told = "What other learning rates give: every optimizer ran at a single one. A sweep would tell."
    assert told in study.answer.unknown
    more = [make_result(make_manifest(name, lr=0.1, seed=seed), accuracy=0.5) for name in SCORES for seed in range(5)]
    assert told not in build_study(tmp_path / "two", *runs_of(SCORES), *more).answer.unknown


def test_other_images_are_told_where_the_runs_know_which_they_had_right(tmp_path: Path) -> None:
    study = build_study(tmp_path, *map(with_right, runs_of(SCORES)))
    ((_, comparison),) = study.verdict.rivals
    assert comparison.on_new_images is not None
    told = [sentence for sentence in study.answer.unknown if sentence.startswith("Whether it holds for other images")]
    assert bool(told) == (comparison.on_new_images[0] <= 0)


def test_experiment_with_the_most_seeds_leads(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for experiment, seeds in (("a", 2), ("b", 4)):
        results = runs_of({name: scores[:seeds] for name, scores in SCORES.items()})
        store_results(store, *(result.model_copy(update={"experiment": experiment}) for result in results))
    assert [study.title for study in build_studies(read_runs(store))] == ["b", "a"]


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({"lr": 0.0001}, True),
        ({"lr": 0.0001, "schedule": {"name": "none", "warmup_epochs": 1.0}}, True),
        ({"lr": 0.0001, "epochs": 2}, True),
        ({"lr": 0.0001, "epochs": 8}, False),
        ({"lr": 0.0001, "model": {"name": "resnet34"}}, False),
        ({"lr": 0.0001, "dataset": {"name": "cifar10"}}, False),
    ],
    ids=["same budget", "with a warm-up", "fewer epochs", "more epochs", "another network", "other images"],
)
def test_experiment_that_got_further_on_the_same_images_is_told_beside_the_winner(
    tmp_path: Path, changes: dict[str, Any], is_told: bool
) -> None:
    """Else who reads that Adagrad is best at lr 0.001 misses that Adam is ahead of it at a rate of its own."""
    store = open_store(str(tmp_path))
    better = [make_result(make_manifest("adam", seed=seed, **changes), accuracy=0.95) for seed in range(3)]
    for experiment, results in {"optimizers": runs_of(SCORES), "tuned": better}.items():
        store_results(store, *(result.model_copy(update={"experiment": experiment}) for result in results))
    first, second = studies = build_studies(read_runs(store))
    assert find_elsewhere(second, studies) is None
    told = find_elsewhere(first, studies)
    assert (told is not None) == is_told
    if told:
        beginning = "In tuned, Adam with lr 0.0001 gets 95.0 %"
        assert told.sentence.startswith(beginning)
        ending = f" of the same test images right after {changes.get('epochs', 4)} epochs"
        ending += ", schedule none, warmup_epochs 1." if "schedule" in changes else "."
        assert told.sentence.endswith(ending)
        assert told.numbers["accuracy of Adam in tuned"] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_told"),
    [
        (("d", "f"), ("d", "f"), True),
        (("d", "f"), ("c", "f"), True),
        (("d", "f"), ("d", "e"), False),
        (("d", None), ("c", "f"), False),
        (("d", None), ("d", "f"), True),
        ((None, None), ("d", "f"), True),
    ],
    ids=["same", "other training images", "other test images", "other data", "same data", "not recorded"],
)
def test_experiment_over_other_images_under_the_same_name_is_not_told(
    tmp_path: Path, ours: tuple[str | None, str | None], theirs: tuple[str | None, str | None], is_told: bool
) -> None:
    """A folder of images may have others by the time of the second experiment, and its manifest is the same."""
    store = open_store(str(tmp_path))
    better = [make_result(make_manifest("adam", seed=seed, lr=0.0001), accuracy=0.95) for seed in range(3)]
    for experiment, results, (data, images) in (("first", runs_of(SCORES), ours), ("second", better, theirs)):
        for result in results:
            run = made_by(result, data_sha256=data * 64) if data else result
            run = with_right(run, test_sha256=images * 64) if images else run
            store_results(store, run.model_copy(update={"experiment": experiment}))
    first, _ = studies = build_studies(read_runs(store))
    assert (find_elsewhere(first, studies) is not None) == is_told


def test_forest_has_every_seed_and_marks_what_is_within_reach(tmp_path: Path) -> None:
    lost = [
        diverged(make_result(make_manifest("sgd", seed=0))),
        make_result(make_manifest("sgd", seed=1), accuracy=0.5),
    ]
    chart = forest(build_study(tmp_path, *runs_of(SCORES), *lost))
    assert [row.optimizer for row in chart.rows] == ["adagrad", "adam", "sgd"]
    assert list(chart.rows[0].seeds.values()) == SCORES["adagrad"]
    assert [row.is_within_reach for row in chart.rows] == [True, False, False]
    assert sorted(chart.rows[2].seeds.values()) == pytest.approx([0.1, 0.5])  # the lost seed counts as guessing
    assert chart.rows[2].label == "SGD (1 of 2 seeds diverged)"


def test_forest_of_many_keeps_the_best_of_every_optimizer(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    results = [
        make_result(make_manifest("adam", lr=0.001 * (place + 1), seed=seed), accuracy=0.8 + 0.01 * random.random())
        for place in range(30)
        for seed in range(2)
    ]
    results += [make_result(make_manifest("sgd", seed=seed), accuracy=0.2) for seed in range(2)]
    chart = forest(build_study(tmp_path, *results))
    assert len(chart.rows) == MOST_ROWS
    assert chart.rows[-1].optimizer == "sgd"
    assert [row.mean for row in chart.rows] == sorted((row.mean for row in chart.rows), reverse=True)


def test_columns_without_a_value_are_dropped_and_the_others_stay(tmp_path: Path) -> None:
    grid = build_leaderboard_grid(build_study(tmp_path, *runs_of(SCORES)))
    assert "validation top-1" not in grid.columns
    assert "kJ a run" not in grid.columns
    assert grid.columns[:3] == ["configuration", "seeds", "test top-1 [95 %]"]
    assert all(len(row.cells) == len(grid.columns) for row in grid.rows)


def test_long_tables_say_how_many_rows_they_leave_out() -> None:
    grid = build_grid("Numbers", ["n"], (Row([Cell(str(number))]) for number in range(MOST_LINES + 7)))
    assert len(grid.rows) == MOST_LINES
    assert grid.num_left_out == 7


def test_every_run_that_ended_stands_in_the_table_of_runs(tmp_path: Path) -> None:
    grid = build_runs_grid([build_study(tmp_path, *runs_of(SCORES), diverged(make_result(make_manifest("sgd"))))])
    assert len(grid.rows) == 11
    assert {row.cells[-1].text for row in grid.rows} == {"completed", "diverged"}
