"""Runs of one process read their data and weights once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from PIL import Image

from job.errors import DataError
from job.manifest import Manifest
from job.training.inputs.known import name_folder
from job.training.inputs.listing import list_images
from job.training.inputs.loading import Inputs
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


def write_images(root: Path) -> Path:
    for part in ("train", "test"):
        for name in ("dark", "light"):
            (root / part / name).mkdir(parents=True)
            Image.new("RGB", (16, 16), "white" if name == "light" else "black").save(root / part / name / "0.bmp")
    return root


FOLDER = {"dataset": {"name": "folder", "size": 16}}


def test_folder_that_nobody_touched_has_a_name_and_a_moment_ago_it_had_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = list_images(write_images(tmp_path / "data"))
    assert name_folder(listing, size=16) is None
    monkeypatch.setattr("job.training.inputs.known.RACY_SECONDS", 0.0)
    assert name_folder(listing, size=16) == name_folder(listing, size=16)
    assert name_folder(listing, size=16) != name_folder(listing, size=32)


def test_every_change_of_a_folder_gives_it_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.training.inputs.known.RACY_SECONDS", 0.0)
    root = write_images(tmp_path / "data")
    path = root / "train/dark/0.bmp"
    names = [name_folder(list_images(root), size=16)]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    for change in (
        lambda: path.write_bytes(path.read_bytes()),
        lambda: os.utime(path, ns=times),
        lambda: path.rename(path.with_name("1.bmp")),
        lambda: [(root / part / "dark").rename(root / part / "dim") for part in ("train", "test")],
    ):
        time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
        change()
        names.append(name_folder(list_images(root), size=16))
    assert None not in names
    assert len(set(names)) == len(names)


def test_digest_of_a_folder_is_known_without_reading_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.training.inputs.known.RACY_SECONDS", 0.0)
    settings = RunSettings(data=str(write_images(tmp_path / "data")), cache=tmp_path / "cache")
    digest = Inputs().load_data(manifest(**FOLDER), settings).sha256
    (kept,) = (tmp_path / "cache/digests").iterdir()
    assert kept.read_text() == digest
    kept.write_text("0" * 64)
    assert Inputs().data_sha256(manifest(**FOLDER), settings) == "0" * 64
    for damage in (b"", b"\xff", b"0" * 63, b"0" * 64 + b"\n<script>"):
        kept.write_bytes(damage)
        assert Inputs().data_sha256(manifest(**FOLDER), settings) == digest
