"""CIFAR-10 is read from the records of its official binary version."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from job.errors import DataError
from job.manifest.models import CIFAR10
from job.training.inputs.datasets import load_data
from job.training.inputs.datasets.cifar10 import FILES, TRAIN_NAMES, load

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 20, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(6 * 20).reshape(6, 20) * 7 % 10
"""Of five parts to train on and one to test."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The official layout: a byte of label, then red, green and blue row by row; an empty line ends the names."""
    place = tmp_path / "data/cifar-10-batches-bin"
    place.mkdir(parents=True)
    for name, images, labels in zip((*TRAIN_NAMES, "test_batch.bin"), IMAGES, LABELS, strict=True):
        records = (bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
        (place / name).write_bytes(b"".join(records))
    (place / "batches.meta.txt").write_text("".join(f"{name}\n" for name in (*CLASSES, "")))
    return place


def test_every_part_is_read_in_its_order(folder: Path) -> None:
    data = load(folder)
    assert data.classes == CLASSES
    np.testing.assert_array_equal(data.train_images, IMAGES[:5].reshape(100, 3, 32, 32))
    np.testing.assert_array_equal(data.train_labels, LABELS[:5].reshape(100))
    np.testing.assert_array_equal(data.test_images, IMAGES[5])
    np.testing.assert_array_equal(data.test_labels, LABELS[5])
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))


def test_manifest_and_data_folder_lead_to_the_same_images(folder: Path) -> None:
    data = load_data(CIFAR10(name="cifar10"), data=str(folder.parent), cache=folder / "cache", num_threads=1)
    assert data.sha256() == load(folder).sha256()


def test_same_images_as_torchvision_reads_from_the_python_version(folder: Path) -> None:
    class Small(torchvision.datasets.CIFAR10):
        base_folder = "."
        train_list = tuple((f"python_{number}", None) for number in range(5))
        test_list = (("python_5", None),)
        meta = {"filename": "meta", "key": "label_names", "md5": None}  # noqa: RUF012

    for number, (images, labels) in enumerate(zip(IMAGES, LABELS, strict=True)):
        content = {"data": images.reshape(-1, 3072), "labels": labels.tolist()}
        (folder / f"python_{number}").write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    data = load(folder)
    for part in ("train", "test"):
        reference = Small(folder, train=part == "train")
        np.testing.assert_array_equal(getattr(data, f"{part}_images").transpose(0, 2, 3, 1), reference.data)
        np.testing.assert_array_equal(getattr(data, f"{part}_labels"), reference.targets)
        assert list(data.classes) == reference.classes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", b"\0" * 3072, "3072 bytes are not a whole number of records of 3073 bytes"),
        ("test_batch.bin", (b"\x0a" + b"\0" * 3072) * 10, "test_batch.bin"),
        ("batches.meta.txt", b"", "batches.meta.txt"),
    ],
    ids=["cut", "label of no class", "no classes"],
)
def test_damaged_file_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(folder)


def test_archive_is_the_official_one() -> None:
    assert torchvision.datasets.CIFAR10.tgz_md5 != FILES.archive_md5  # torchvision's is the Python version
    assert FILES.url.endswith("/cifar-10-binary.tar.gz")
    assert sorted(FILES.names) == sorted([*TRAIN_NAMES, "test_batch.bin", "batches.meta.txt"])
