"""CIFAR-100 is read from the records of its official binary version."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from job.errors import DataError
from job.manifest.models import CIFAR100
from job.training.engine.image_data import Images, Labels
from job.training.inputs.datasets import load_data
from job.training.inputs.datasets.cifar100 import FILES, load

CLASSES = tuple(f"class_{index:02}" for index in range(100))
TRAIN_IMAGES, TEST_IMAGES = np.random.default_rng(0).integers(0, 256, (2, 110, 3, 32, 32), dtype=np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(110) * 7 % 100, np.arange(110)[::-1] % 100


def write_cifar100(folder: Path) -> Path:
    """The official layout: a byte of coarse label, one of fine label, then red, green and blue row by row."""
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / "train.bin", TRAIN_IMAGES, TRAIN_LABELS)
    write_records(folder / "test.bin", TEST_IMAGES, TEST_LABELS)
    (folder / "fine_label_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder


def write_records(path: Path, images: Images, labels: Labels) -> None:
    records = (bytes([label // 5, label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
    path.write_bytes(b"".join(records))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cifar100(tmp_path / "data/cifar-100-binary")


def test_every_pixel_and_fine_label_is_read_from_its_record(folder: Path) -> None:
    data = load(folder)
    assert data.classes == CLASSES
    np.testing.assert_array_equal(data.train_images, TRAIN_IMAGES)
    np.testing.assert_array_equal(data.test_images, TEST_IMAGES)
    np.testing.assert_array_equal(data.train_labels, TRAIN_LABELS)
    np.testing.assert_array_equal(data.test_labels, TEST_LABELS)
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))
    image, channel, y, x = 41, 1, 30, 5
    offset = image * 3074 + 2 + channel * 1024 + y * 32 + x
    assert data.test_images[image, channel, y, x] == (folder / "test.bin").read_bytes()[offset]


def test_manifest_and_data_folder_lead_to_the_same_images(folder: Path) -> None:
    data = load_data(CIFAR100(name="cifar100"), data=str(folder.parent), cache=folder / "cache", num_threads=1)
    np.testing.assert_array_equal(data.train_images, TRAIN_IMAGES)
    assert data.sha256() == load(folder).sha256()


def test_same_images_as_torchvision_reads_from_the_python_version(folder: Path) -> None:
    class Small(torchvision.datasets.CIFAR100):
        base_folder = "."
        train_list = (("train", None),)
        test_list = (("test", None),)
        meta = {"filename": "meta", "key": "fine_label_names", "md5": None}  # noqa: RUF012

    parts = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}
    for part, (images, labels) in parts.items():
        content = {"data": images.reshape(-1, 3072), "fine_labels": labels.tolist()}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(CLASSES)}))
    data = load(folder)
    for part in parts:
        reference = Small(folder, train=part == "train")
        np.testing.assert_array_equal(getattr(data, f"{part}_images").transpose(0, 2, 3, 1), reference.data)
        np.testing.assert_array_equal(getattr(data, f"{part}_labels"), reference.targets)
        assert list(data.classes) == reference.classes


def test_digest_tells_one_pixel_or_label_from_another(folder: Path) -> None:
    before = load(folder).sha256()
    for offset in (1, 2):  # the first label, then the first pixel
        content = bytearray((folder / "train.bin").read_bytes())
        content[offset] = (content[offset] + 1) % 100
        (folder / "train.bin").write_bytes(content)
        after = load(folder).sha256()
        assert after != before
        before = after


@pytest.mark.parametrize("name", FILES.names)
def test_missing_file_is_named_with_the_place_to_get_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError) as caught:
        FILES.locate(str(folder), cache=folder)
    assert caught.value.exit_code == 66
    assert f"{folder}: {name} of cifar100 not found" in str(caught.value)
    assert FILES.url in str(caught.value)


def records_with(label: int) -> bytes:
    """A hundred records, the last of which has `label`."""
    return b"".join(bytes([0, fine]) + bytes(3072) for fine in [*range(99), label])


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("train.bin", records_with(99)[:-1], "307399 bytes are not a whole number of records of 3074 bytes"),
        ("test.bin", b"", "0 bytes are not a whole number"),
        ("train.bin", records_with(100), "label 100 of image 99 is outside 0..99"),
        ("test.bin", records_with(0), "class 99 has no images"),
        ("fine_label_names.txt", b"\xff\xfe\n", "not a list of class names"),
        ("fine_label_names.txt", b"apple\n", "at least two; there are 1"),
    ],
)
def test_damaged_file_is_named_with_the_place_to_get_it(folder: Path, name: str, content: bytes, what: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(folder)
    assert caught.value.exit_code == 66
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert what in str(caught.value)
    assert FILES.url in str(caught.value)


def test_archive_is_the_binary_version_beside_the_python_one_that_torchvision_loads() -> None:
    assert FILES.url == torchvision.datasets.CIFAR100.url.replace("-python", "-binary")
