"""Runs of one process read their data and weights once."""

from __future__ import annotations

from pathlib import Path

import pytest

from job.errors import DataError
from job.manifest import Manifest
from job.training.inputs import Inputs
from job.training.settings import RunSettings
from tests.conftest import TINY


def manifest(**fields: object) -> Manifest:
    return Manifest.model_validate(TINY | fields)


def test_data_are_read_once_for_runs_that_share_them(tmp_path: Path) -> None:
    inputs, settings = Inputs(), RunSettings(cache=tmp_path)
    first = inputs.load_data(manifest(), settings)
    assert inputs.load_data(manifest(seed=1, optimizer={"name": "sgd"}), settings) is first
    assert first.sha256 == first.data.sha256()


def test_other_data_take_the_place_of_the_first(tmp_path: Path) -> None:
    inputs, settings = Inputs(), RunSettings(cache=tmp_path)
    first = inputs.load_data(manifest(), settings)
    smaller = manifest(dataset=TINY["dataset"] | {"num_train": 20})
    assert len(inputs.load_data(smaller, settings).data.train_labels) == 20
    assert inputs.load_data(manifest(), settings) is not first


def test_what_could_not_be_loaded_is_asked_for_again(tmp_path: Path) -> None:
    inputs, settings = Inputs(), RunSettings(cache=tmp_path)
    path = tmp_path / "weights.pth"
    wanted = manifest(model={"weights": str(path)})
    for _ in range(2):
        with pytest.raises(DataError):
            inputs.load_weights(wanted, settings)
    assert inputs.load_weights(manifest(), settings) is None
