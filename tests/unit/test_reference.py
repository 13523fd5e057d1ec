"""The published study beside ours: read with care, paired with our closest configuration, differences named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job.errors import DataError, UsageError
from job.report.analysis.charts import HeatMap, LineChart
from job.report.analysis.reference import compare_with
from job.report.read.reference import read_reference
from job.report.render.class_pictures import build_class_accuracy
from job.report.render.reference_pictures import build_reference_classes, build_reference_losses
from tests.conftest import SHARED
from tests.records import build_study, diverged, make_manifest, make_result

PUBLISHED = {"adagrad": 0.891, "adam": 0.807, "rmsprop": 0.693, "adadelta": 0.601}


def test_bundled_study_is_the_lab_report() -> None:
    study = read_reference("lab-report")
    assert {name: run.top1 for name, run in study.optimizers.items()} == PUBLISHED
    assert all([each.epoch for each in run.epochs] == list(range(1, 11)) for run in study.optimizers.values())
    assert study.setup.learning_rate == 0.001


@pytest.mark.skipif(not (SHARED / "lab-report.json").is_file(), reason="the shared original is not on this machine")
def test_bundled_study_has_the_numbers_of_the_shared_original_and_each_of_its_notes() -> None:
    """The original puts all notes on one heap; which are inferences and which name gaps was sorted by reading them."""
    ours, original = read_reference("lab-report"), read_reference(str(SHARED / "lab-report.json"))
    assert (ours.source, ours.optimizers) == (original.source, original.optimizers)
    plain = original.setup.model_dump(exclude_defaults=True, exclude={"notes"})
    assert ours.setup.model_dump(include=set(plain)) == plain
    *inferences, gaps, classes = original.setup.notes
    assert ours.setup.inferred == inferences
    assert f"{', '.join(ours.setup.not_stated[:-1])} and {ours.setup.not_stated[-1]} are not stated" == gaps
    assert f"classes of class_accuracy: {', '.join(ours.setup.classes)}" == classes


def test_what_the_study_states_is_told_apart_from_what_was_inferred_and_what_is_open(tmp_path: Path) -> None:
    study = build_study(tmp_path, make_result(make_manifest("adam")))
    remarks = {each.title: each.lines for each in compare_with(read_reference("lab-report"), study).remarks}
    stated, inferred, left_open = remarks.values()
    assert list(remarks) == [
        "What the published study states",
        "What was inferred from its numbers and is not stated in it",
        "What it leaves open",
    ]
    assert stated == [
        "model: resnet18 (ImageNet-pretrained, fc replaced by 10 outputs)", "dataset: stl10", "epochs: 10",
        "learning rate: 0.001", "loss: cross entropy",
    ]  # fmt: skip
    assert inferred[:2] == ["train images: 5000", "test images: 1000"]
    assert any("fits 100 batches of 50 images" in line for line in inferred)
    assert left_open == ["input size", "augmentation", "which 1000 images", "the random seed"]


def test_notes_of_unknown_origin_are_not_called_the_study_s_words(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    content = {"source": "x", "setup": {"notes": ["loss is a sum"]}, "optimizers": {"adam": {"top1": 0.5}}}
    path.write_text(json.dumps(content))
    study = build_study(tmp_path, make_result(make_manifest("adam")))
    (remarks,) = compare_with(read_reference(str(path)), study).remarks
    assert remarks.title == "Remarks of whoever wrote its numbers down, stated or inferred"
    assert remarks.lines == ["loss is a sum"]


def test_sides_are_paired_by_optimizer_and_rate_and_put_in_order(tmp_path: Path) -> None:
    results = [
        make_result(make_manifest("adam", epochs=10), accuracy=0.90),
        make_result(make_manifest("adam", epochs=10, lr=0.0001), accuracy=0.95),
        make_result(make_manifest("rmsprop", epochs=10), accuracy=0.70),
    ]
    sides = compare_with(read_reference("lab-report"), build_study(tmp_path, *results))
    assert [pair.optimizer for pair in sides.pairs] == list(PUBLISHED)
    ours = {pair.optimizer: pair.top1 for pair in sides.pairs}
    assert ours == {"adagrad": None, "adam": 0.90, "rmsprop": 0.70, "adadelta": None}
    assert sides.orders == "The order is the published one: Adam, RMSprop."
    assert sides.differences == []


def test_other_order_and_other_set_up_are_named(tmp_path: Path) -> None:
    folder: dict[str, Any] = {"dataset": {"name": "folder"}, "model": {"weights": "other.pth"}}
    results = [
        make_result(make_manifest("adam", lr=0.01, epochs=10, **folder), accuracy=0.6, num_test=3925),
        make_result(make_manifest("rmsprop", lr=0.01, epochs=10, **folder), accuracy=0.7, num_test=3925),
    ]
    sides = compare_with(read_reference("lab-report"), build_study(tmp_path, *results))
    assert sides.orders == "Published order: Adam, RMSprop. Here: RMSprop, Adam."
    assert sides.differences == [
        "dataset: stl10 there, folder here",
        "test images: 1000 there (inferred), 3925 here",
        "learning rate: 0.001 there, 0.01 here",
        "model: resnet18 (ImageNet-pretrained, fc replaced by 10 outputs) there, weights from other.pth here",
    ]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"epochs": 4}, "10 epochs of 5,000 training images there, 4 epochs of 5,000 training images here"),
        ({"num_train": 1000}, "10 epochs of 5,000 training images there, 10 epochs of 1,000 training images here"),
    ],
    ids=["epochs", "training images"],
)
def test_nothing_of_ours_stands_beside_a_study_of_another_budget_and_the_reason_is_given(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    fields = {"epochs": 10, "num_train": 5000} | fields
    num_train = fields.pop("num_train")
    results = [make_result(make_manifest(name, **fields), num_train=num_train) for name in ("adam", "rmsprop")]
    sides = compare_with(read_reference("lab-report"), build_study(tmp_path, *results))
    reasons = {pair.optimizer: pair.why_apart for pair in sides.pairs}
    assert reasons["adam"] == reasons["rmsprop"] == f"another budget: {why}"
    assert reasons["adagrad"] == "no finished run"
    for pair in sides.pairs:
        assert (pair.ours, pair.top1, pair.top5, pair.train_top1, pair.losses) == (None, None, None, None, None)
    assert sides.orders is None
    for picture in (*build_reference_losses(sides), *build_reference_classes(sides)):
        assert picture.caption.endswith("Ours are not beside them: another budget.")
        assert not any("here" in column for column in getattr(picture.chart, "columns", []))


def test_published_losses_are_means_of_the_sums_that_the_study_tells(tmp_path: Path) -> None:
    study = build_study(tmp_path, make_result(make_manifest("adadelta", epochs=10)))
    pairs = {pair.optimizer: pair for pair in compare_with(read_reference("lab-report"), study).pairs}
    published = pairs["adadelta"].published_losses
    assert published.train[0] == pytest.approx(256.169827 / 100)
    assert published.test[-1] == pytest.approx(1360.561848 / 1000)
    ours = pairs["adadelta"].losses
    assert ours is not None
    history = make_result(make_manifest("adadelta", epochs=10)).history
    assert ours.train == pytest.approx([record.train.loss for record in history])
    assert ours.test == pytest.approx([record.test.loss for record in history])


def test_sums_without_the_number_that_they_are_over_are_not_told_as_means(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    epochs = [{"epoch": 1, "train_loss_sum": 250.0, "test_loss": 2.5}]
    path.write_text(json.dumps({"source": "x", "optimizers": {"adam": {"top1": 0.5, "epochs": epochs}}}))
    (pair,) = compare_with(read_reference(str(path)), build_study(tmp_path, make_result(make_manifest()))).pairs
    assert (pair.published_losses.train, pair.published_losses.test) == ([None], [2.5])


def test_class_accuracies_of_ours_are_means_over_the_seeds_in_the_published_order(tmp_path: Path) -> None:
    results = [make_result(make_manifest("adam", seed=seed, epochs=10)) for seed in (0, 1)]
    sides = compare_with(read_reference("lab-report"), build_study(tmp_path, *results))
    ours = {pair.optimizer: pair.class_accuracy for pair in sides.pairs}
    means = np.array([result.class_accuracy for result in results], dtype=float).mean(axis=0)
    by_name = dict(zip(results[0].classes, means, strict=True))
    assert ours["adam"] == pytest.approx([by_name[name] for name in sides.classes])
    (picture,) = build_reference_classes(sides)
    assert isinstance(picture.chart, HeatMap)
    assert picture.chart.columns == [
        "Adagrad, published", "Adam, published", "Adam, here", "RMSprop, published", "Adadelta, published",
    ]  # fmt: skip
    assert picture.chart.values.shape == (10, 5)
    assert picture.chart.values[3, 1] == pytest.approx(0.69811321)


def test_classes_of_another_data_set_are_not_beside_the_published_ones(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(10)]
    sides = compare_with(
        read_reference("lab-report"), build_study(tmp_path, make_result(make_manifest(epochs=10), classes=names))
    )
    assert not any(pair.class_accuracy for pair in sides.pairs)
    (picture,) = build_reference_classes(sides)
    assert "Our classes are others" in picture.caption


def test_pictures_of_losses_have_the_published_dashed_and_ours_solid(tmp_path: Path) -> None:
    study = build_study(tmp_path, make_result(make_manifest("adam", epochs=10)))
    train, test = build_reference_losses(compare_with(read_reference("lab-report"), study))
    for picture in (train, test):
        assert isinstance(picture.chart, LineChart)
        assert {(line.label, line.dash) for line in picture.chart.lines if line.optimizer == "adam"} == {
            ("Adam, published", 1), ("Adam, here", 0),
        }  # fmt: skip
        assert all(list(line.x) == list(range(1, 11)) for line in picture.chart.lines)
    assert test.caption.endswith("Dashed is published. Nothing of ours is beside Adagrad, RMSprop and Adadelta.")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"source": "x"}', '{"source": "x", "optimizers": {}}', '{"source": "x", "optimizers": {"a": {}}}'],
)
def test_file_that_is_no_study_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"study\.json: is no published study"):
        read_reference(str(path))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file; bundled: lab-report"):
        read_reference(str(tmp_path / "none.json"))


def test_study_with_the_least_fields_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"source": "x", "optimizers": {"adam": {"top1": 0.5}}}))
    study = build_study(tmp_path, make_result(make_manifest("adam"), accuracy=0.6))
    sides = compare_with(read_reference(str(path)), study)
    assert (sides.pairs[0].top1, sides.differences, sides.orders) == (0.6, [], None)


def test_survivors_of_a_diverged_configuration_are_not_set_beside_the_published_accuracy(tmp_path: Path) -> None:
    runs = [make_result(make_manifest("adam", seed=seed, epochs=10), accuracy=0.95) for seed in (0, 1)]
    study = build_study(tmp_path, runs[0], diverged(runs[1]))
    pairs = {pair.optimizer: pair for pair in compare_with(read_reference("lab-report"), study).pairs}
    assert (pairs["adam"].top1, pairs["adam"].top5, pairs["adam"].train_top1) == (None, None, None)
    assert (pairs["adam"].losses, pairs["adam"].class_accuracy) == (None, [])
    assert pairs["adam"].ours is not None
    assert "1 of 2 seeds diverged" in pairs["adam"].ours.title


def test_equal_accuracies_have_no_order(tmp_path: Path) -> None:
    results = [make_result(make_manifest(name, epochs=10), accuracy=0.8) for name in ("adam", "rmsprop")]
    assert compare_with(read_reference("lab-report"), build_study(tmp_path / "here", *results)).orders is None
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"source": "x", "optimizers": {"adam": {"top1": 0.5}, "rmsprop": {"top1": 0.5}}}))
    apart = [make_result(make_manifest("adam"), accuracy=0.8), make_result(make_manifest("rmsprop"), accuracy=0.7)]
    assert compare_with(read_reference(str(path)), build_study(tmp_path / "there", *apart)).orders is None


def test_order_beside_the_published_one_does_not_count_easy_seeds(tmp_path: Path) -> None:
    """Adam's mean over all of its seeds is higher, but over those that both have it is lower, as the verdict says."""
    adam = {0: 0.80, 1: 0.81, 2: 0.99, 3: 0.99, 4: 0.99}
    results = [make_result(make_manifest("adam", seed=seed, epochs=10), accuracy=score) for seed, score in adam.items()]
    results += [
        make_result(make_manifest("adagrad", seed=seed, epochs=10), accuracy=0.85 + seed / 100) for seed in (0, 1)
    ]
    study = build_study(tmp_path, *results)
    assert study.configurations[0].optimizer == "adagrad"
    sides = compare_with(read_reference("lab-report"), study)
    assert sides.orders == "The order is the published one: Adagrad, Adam."
    top1 = {pair.optimizer: pair.top1 for pair in sides.pairs}
    adagrad_top1, adam_top1 = top1["adagrad"], top1["adam"]
    assert adagrad_top1 is not None
    assert adam_top1 is not None
    assert adagrad_top1 - adam_top1 > 0.02
    assert any("top-1 adjusted for the seeds" in line for line in sides.differences)


def test_class_accuracies_are_over_the_seeds_that_all_have_and_not_of_survivors(tmp_path: Path) -> None:
    scores = {"adam": {0: 0.80, 1: 0.81, 2: 0.99}, "adagrad": {0: 0.85, 1: 0.86}}
    results = [
        make_result(make_manifest(name, seed=seed), accuracy=score, class_accuracy=[score] * 10)
        for name, family in scores.items()
        for seed, score in family.items()
    ]
    sgd = [make_result(make_manifest("sgd", seed=seed), accuracy=0.9) for seed in (0, 1)]
    (picture,) = build_class_accuracy(build_study(tmp_path, *results, sgd[0], diverged(sgd[1])))
    assert isinstance(picture.chart, HeatMap)
    assert picture.chart.columns == ["Adagrad", "Adam"]
    assert picture.chart.values[0] == pytest.approx([0.855, 0.805])
    assert picture.caption.endswith(
        "All over the seeds that all of them have (0 and 1). Left out: SGD (1 of 2 seeds diverged)."
    )
