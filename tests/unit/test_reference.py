"""The published study beside ours: read with care, paired with our closest configuration, differences named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from job.errors import DataError, ObjectMissing
from job.report.reference import compare_with, read_reference
from tests.conftest import SHARED
from tests.records import build_study, make_manifest, make_result

PUBLISHED = {"adagrad": 0.891, "adam": 0.807, "rmsprop": 0.693, "adadelta": 0.601}


def test_bundled_study_is_the_lab_report() -> None:
    study = read_reference("lab-report")
    assert {name: run.top1 for name, run in study.optimizers.items()} == PUBLISHED
    assert all([each.epoch for each in run.epochs] == list(range(1, 11)) for run in study.optimizers.values())
    assert study.setup.learning_rate == 0.001


@pytest.mark.skipif(not (SHARED / "lab-report.json").is_file(), reason="the shared original is not on this machine")
def test_bundled_study_equals_the_shared_original() -> None:
    assert read_reference("lab-report") == read_reference(str(SHARED / "lab-report.json"))


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
    folder = {"dataset": {"name": "folder"}, "model": {"weights": "other.pth"}}
    results = [
        make_result(make_manifest("adam", lr=0.01, **folder), accuracy=0.6, num_test=3925),
        make_result(make_manifest("rmsprop", lr=0.01, **folder), accuracy=0.7, num_test=3925),
    ]
    sides = compare_with(read_reference("lab-report"), build_study(tmp_path, *results))
    assert sides.orders == "Published order: Adam, RMSprop. Here: RMSprop, Adam."
    assert sides.differences == [
        "dataset: stl10 there, folder here",
        "test images: 1000 there, 3925 here",
        "epochs: 10 there, 4 here",
        "learning rate: 0.001 there, 0.01 here",
        "model: resnet18 (ImageNet-pretrained, fc replaced by 10 outputs) there, weights from other.pth here",
    ]


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
    with pytest.raises(ObjectMissing):
        read_reference(str(tmp_path / "none.json"))


def test_study_with_the_least_fields_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"source": "x", "optimizers": {"adam": {"top1": 0.5}}}))
    study = build_study(tmp_path, make_result(make_manifest("adam"), accuracy=0.6))
    sides = compare_with(read_reference(str(path)), study)
    assert (sides.pairs[0].top1, sides.differences, sides.orders) == (0.6, [], None)
