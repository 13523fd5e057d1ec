"""What single runs said of every test image, and pictures of images that they got wrong: read for the runs that are
shown, not for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from job.errors import ObjectMissing
from job.logs import get_logger
from job.report.read.parsing import parse_result
from job.runs import RunKeys, RunResult, read_arrays, unpack_right, unpack_samples
from job.storage import Store
from job.storage.ahead import NUM_READERS

Classes = npt.NDArray[np.uint16]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Answers:
    """The class that one run gave every test image after its last epoch."""

    predicted: Classes
    """(num_test,) indices into `classes`, in the order of the data set; so are `labels`, the true classes."""
    labels: Classes
    classes: list[str]
    test_sha256: str
    pictures: Mapping[int, Image]
    """By the index of the test image: some that were wrong, (3, height, width) uint8, RGB; empty in older runs."""


def read_answers(store: Store, runs: Iterable[str]) -> dict[str, Answers]:
    """The answers of those of `runs` (`<experiment>/<run_id>`) that recorded them.

    A file that is damaged, or contradicts the run's result, is left out with a warning.
    """
    names = list(runs)
    with ThreadPoolExecutor(NUM_READERS) as readers:
        found = readers.map(lambda run: _read_run(store, run), names)
        return {run: answers for run, answers in zip(names, found, strict=True) if answers is not None}


def _read_run(store: Store, run: str) -> Answers | None:
    experiment, _, run_id = run.partition("/")
    keys = RunKeys(experiment, run_id)
    try:
        result = parse_result(store.read(keys.result), key=keys.result)
        if result.test_right is None:
            return None
        predicted, labels = _read_classes(store.read(keys.predictions), result)
    except ObjectMissing:
        return None
    except ValueError as error:
        get_logger().warning("predictions_ignored", run=run, reason=str(error)[:300])
        return None
    pictures = _read_pictures(store, keys, num_test=len(labels))
    wrong = {index: picture for index, picture in pictures.items() if predicted[index] != labels[index]}
    return Answers(predicted, labels, result.classes, result.test_right.test_sha256, wrong)


def _read_classes(content: bytes, result: RunResult) -> tuple[Classes, Classes]:
    """Raises `ValueError` where predictions.npz is not that of `result`."""
    num_test, num_classes = result.num_test, len(result.classes)
    wanted: tuple[tuple[str, Any], ...] = (("predicted", np.uint16), ("labels", np.uint16))
    predicted, labels = read_arrays(content, wanted, max_bytes=2 * num_test)
    if not len(predicted) == len(labels) == num_test:
        raise ValueError(f"has classes of {len(predicted)} and {len(labels)} test images; the run has {num_test}")
    if num_test and max(predicted.max(), labels.max()) >= num_classes:
        raise ValueError(f"names a class that is not among the {num_classes} of the run")
    if result.test_right is not None and not np.array_equal(predicted == labels, unpack_right(result.test_right)):
        raise ValueError("does not have the same test images right as result.json")
    return predicted, labels


def _read_pictures(store: Store, keys: RunKeys, *, num_test: int) -> dict[int, Image]:
    try:
        return unpack_samples(store.read(keys.samples), num_test=num_test)
    except ObjectMissing:
        return {}
    except ValueError as error:
        get_logger().warning("samples_ignored", run=f"{keys.experiment}/{keys.run_id}", reason=str(error)[:300])
        return {}
