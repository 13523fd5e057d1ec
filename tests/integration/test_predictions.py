"""Which test images were right: `job run` records it, an interruption does not change it, and `read_runs` gives it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from job.report import load_runs
from job.report.read.answers import read_answers
from job.report.read.load import read_runs
from job.runs import RunResult
from job.storage import FolderStore, open_store
from job.training.inputs.datasets.synthetic import load_synthetic
from tests.conftest import TINY, Answer
from tests.records import diverged, make_manifest, make_result, store_results, with_right
from tests.results import result_in

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
VERSION_1 = Path(__file__).parents[1] / "data/version-1"
DIVERGES: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 1e6}, "epochs": 1}


def predictions_in(output: str, name: str = "predictions.npz") -> bytes:
    store = open_store(output)
    (key,) = [key for key in store.list_keys("") if key.endswith(f"/{name}")]
    return store.read(key)


def bits_of(result: RunResult) -> list[bool]:
    """The images' bits, from the highest of the first byte on."""
    assert result.test_right is not None
    digits = "".join(f"{byte:08b}" for byte in base64.b64decode(result.test_right.bits))
    assert set(digits[result.test_right.num_images :]) <= {"0"}
    return [digit == "1" for digit in digits[: result.test_right.num_images]]


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/study"


def test_run_records_which_test_images_were_right_and_the_predicted_classes(job: Job, tiny: Tiny, output: str) -> None:
    num_test = 21  # the last byte of the bitset is not full
    manifest = tiny(dataset=TINY["dataset"] | {"num_test": num_test})
    answer = job("run", "--manifest", manifest, "--output", output)
    assert answer.exit_code == 0, answer.stderr
    result = result_in(open_store(output))
    assert result.test_right is not None
    assert (result.test_right.epoch, result.test_right.num_images) == (2, num_test)
    with np.load(io.BytesIO(predictions_in(output))) as arrays:
        assert set(arrays) == {"predicted", "labels"}
        predicted, labels = arrays["predicted"], arrays["labels"]
    assert (predicted.dtype, labels.dtype) == (np.uint16, np.uint16)
    assert labels.tolist() == load_synthetic(size=16, num_train=40, num_test=num_test).test_labels.tolist()
    assert bits_of(result) == (predicted == labels).tolist()
    assert result.final is not None
    assert sum(bits_of(result)) == round(result.final.top1 * num_test)
    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    assert confusion.tolist() == result.confusion

    runs = load_runs(output)
    (run,) = runs.runs.itertuples()
    assert run.test_sha256 == result.test_right.test_sha256
    assert runs.test_right[run.run].dtype == np.bool_
    assert runs.test_right[run.run].tolist() == bits_of(result)
    assert float(runs.test_right[run.run].mean()) == pytest.approx(run.final_top1)


def test_run_keeps_pictures_of_wrong_test_images(job: Job, tiny: Tiny, output: str) -> None:
    assert job("run", "--manifest", tiny(dataset=TINY["dataset"] | {"size": 48}), "--output", output).exit_code == 0
    result = result_in(open_store(output))
    (answers,) = read_answers(open_store(output), [f"default/{result.run_id}"]).values()
    wrong = [index for index, is_right in enumerate(bits_of(result)) if not is_right]
    assert sorted(answers.pictures) == wrong
    assert wrong
    images = load_synthetic(size=48, num_train=40, num_test=20).test_images
    for index, picture in answers.pictures.items():
        distances = np.abs(images.astype(int) - picture).mean(axis=(1, 2, 3))
        assert distances.argmin() == index


def test_digest_of_the_test_set_does_not_depend_on_the_training_images(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    for name, sizes in {"few": {"num_train": 40}, "more": {"num_train": 60}, "other": {"num_test": 30}}.items():
        manifest = tiny(epochs=1, dataset=TINY["dataset"] | sizes)
        assert job("run", "--manifest", manifest, "--output", tmp_path / "out", "--experiment", name).exit_code == 0
    runs = load_runs(str(tmp_path / "out")).runs.set_index("experiment")
    assert runs["data_sha256"].nunique() == 3
    assert runs["test_sha256"]["few"] == runs["test_sha256"]["more"] != runs["test_sha256"]["other"]


def test_run_that_has_nothing_left_to_train_records_the_same(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    def run(name: str) -> None:
        answer = job("run", "--manifest", tiny(), "--output", tmp_path / name)
        assert answer.exit_code == 0, answer.stderr

    run("whole")
    run("stopped")
    for name in ("result.json", "predictions.npz", "samples.npz"):
        next((tmp_path / "stopped").rglob(name)).unlink()
    run("stopped")
    resumed, whole = (result_in(FolderStore(tmp_path / name)) for name in ("stopped", "whole"))
    assert (resumed.attempts, whole.attempts) == (2, 1)
    assert whole.test_right is not None
    assert resumed.test_right == whole.test_right
    for name in ("predictions.npz", "samples.npz"):
        assert predictions_in(str(tmp_path / "stopped"), name) == predictions_in(str(tmp_path / "whole"), name)


def test_predictions_hold_no_time_so_that_equal_ones_are_equal_bytes(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    assert job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out").exit_code == 0
    with zipfile.ZipFile(io.BytesIO(predictions_in(str(tmp_path / "out")))) as archive:
        members = archive.infolist()
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}


def test_run_that_diverged_before_a_whole_epoch_records_neither(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    assert job("run", "--manifest", tiny(**DIVERGES), "--output", tmp_path / "out").exit_code == 0
    result = result_in(FolderStore(tmp_path / "out"))
    assert (result.status, result.history, result.test_right) == ("diverged", [], None)
    assert not list(tmp_path.rglob("*.npz"))


def test_results_without_it_stand_beside_results_with_it(tmp_path: Path) -> None:
    known, unknown, lost = (make_result(make_manifest("adam", seed=seed)) for seed in range(3))
    known = with_right(known)
    lost = diverged(with_right(lost), epoch=4)
    assert known.test_right is not None
    right = known.test_right.model_copy(update={"epoch": 3})
    lost = lost.model_copy(update={"test_right": right, "confusion": known.confusion})
    store = FolderStore(tmp_path)
    store_results(store, known, unknown, lost)
    runs = read_runs(store)
    assert set(runs.test_right) == {f"default/{known.run_id}"}
    digests = runs.runs.set_index("run_id")["test_sha256"]
    assert digests[known.run_id] == digests[lost.run_id] == "f" * 64
    assert pd.isna(digests[unknown.run_id])
    assert runs.select(runs.runs[runs.runs["run_id"] == unknown.run_id]).test_right == {}
    assert set(runs.select(runs.runs[runs.runs["run_id"] == known.run_id]).test_right) == {f"default/{known.run_id}"}


def test_results_of_version_1_have_no_such_record() -> None:
    documents = [json.loads(path.read_text()) for path in VERSION_1.glob("*/runs/*/result.json")]
    assert documents
    assert not any("test_right" in document for document in documents)
    runs = read_runs(FolderStore(VERSION_1))
    assert (len(runs.runs), runs.test_right) == (len(documents), {})
    assert runs.runs["test_sha256"].isna().all()
