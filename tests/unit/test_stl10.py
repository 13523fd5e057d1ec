"""STL-10 is read from its official binary layout, pixel by pixel, and only where it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision

from job.errors import DataError
from job.training.engine.image_data import Images
from job.training.inputs.datasets.stl10 import FILES, load
from job.training.inputs.files import BinaryFiles, file_digest

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
LABELS = {"train": np.array([3, 0, 1, 2, 9, 8, 4, 5, 6, 7, 3, 3]), "test": np.arange(10)[::-1].copy()}


@pytest.fixture
def images() -> dict[str, Images]:
    random = np.random.default_rng(0)
    return {part: random.integers(0, 256, (len(LABELS[part]), 3, 96, 96), dtype=np.uint8) for part in LABELS}


@pytest.fixture
def folder(tmp_path: Path, images: dict[str, Images]) -> Path:
    """The files as the official page describes them: column-major channels, labels from 1."""
    folder = tmp_path / "data/stl10_binary"
    folder.mkdir(parents=True)
    for part, pixels in images.items():
        columns = (
            pixels[image, channel, :, x] for image in range(len(pixels)) for channel in range(3) for x in range(96)
        )
        (folder / f"{part}_X.bin").write_bytes(b"".join(column.tobytes() for column in columns))
        (folder / f"{part}_y.bin").write_bytes(bytes(int(label) + 1 for label in LABELS[part]))
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder


@pytest.fixture
def files(folder: Path) -> BinaryFiles:
    """The description of STL-10 with the digests of the small files."""
    return replace(FILES, md5={name: file_digest(folder / name, "md5") for name in FILES.md5})


def test_every_pixel_and_label_is_read_from_its_place(folder: Path, images: dict[str, Images]) -> None:
    data = load(folder)
    assert data.classes == CLASSES
    np.testing.assert_array_equal(data.train_images, images["train"])
    np.testing.assert_array_equal(data.test_images, images["test"])
    np.testing.assert_array_equal(data.train_labels, LABELS["train"])
    np.testing.assert_array_equal(data.test_labels, LABELS["test"])
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))
    image, channel, y, x = 7, 2, 10, 80
    offset = image * 3 * 96 * 96 + channel * 96 * 96 + x * 96 + y
    assert data.train_images[image, channel, y, x] == (folder / "train_X.bin").read_bytes()[offset]


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_and_labels_equal_what_torchvision_reads(folder: Path, part: str) -> None:
    class Small(torchvision.datasets.STL10):
        train_list = (("train_X.bin", None), ("train_y.bin", None))
        test_list = (("test_X.bin", None), ("test_y.bin", None))

    reference = Small(folder.parent, split=part)
    data = load(folder)
    np.testing.assert_array_equal(getattr(data, f"{part}_images"), reference.data)
    np.testing.assert_array_equal(getattr(data, f"{part}_labels"), reference.labels)
    assert list(data.classes) == reference.classes
    picture, label = reference[3]
    np.testing.assert_array_equal(getattr(data, f"{part}_images")[3].transpose(1, 2, 0), np.asarray(picture))
    assert getattr(data, f"{part}_labels")[3] == label


def test_official_digests_are_those_that_torchvision_publishes() -> None:
    reference = torchvision.datasets.STL10
    published = dict([*reference.train_list, *reference.test_list])
    assert set(FILES.md5) == set(published) - {"unlabeled_X.bin"}
    assert {name: published[name] for name in FILES.md5} == FILES.md5
    assert (FILES.archive_md5, FILES.folder) == (reference.tgz_md5, reference.base_folder)
    assert FILES.url.partition("://")[2] == reference.url.partition("://")[2]


@pytest.mark.parametrize("below", ["", "stl10_binary"])
def test_data_may_name_the_folder_of_the_files_or_the_one_above(files: BinaryFiles, folder: Path, below: str) -> None:
    assert files.locate(str(folder.parent / below), cache=folder.parent / "cache") == folder


def test_missing_file_is_named_with_the_place_to_get_it(files: BinaryFiles, folder: Path) -> None:
    (folder / "test_y.bin").unlink()
    with pytest.raises(DataError) as caught:
        files.locate(str(folder), cache=folder)
    assert caught.value.exit_code == 66
    assert f"{folder}: test_y.bin of stl10 not found" in str(caught.value)
    assert FILES.url in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILES.md5))
def test_one_flipped_bit_is_found_by_the_official_digest(files: BinaryFiles, folder: Path, name: str) -> None:
    files.verify(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        files.locate(str(folder), cache=folder)
    assert caught.value.exit_code == 66
    assert f"{folder / name}: corrupt: md5 is {hashlib.md5(content).hexdigest()}, must be {files.md5[name]}" in str(
        caught.value
    )
    assert FILES.url in str(caught.value)


def truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "what"),
    [
        (truncate("train_X.bin"), "train_X.bin", f"{12 * 3 * 96 * 96 - 1} bytes do not hold 12 images"),
        (write("test_X.bin", b""), "test_X.bin", "0 bytes do not hold 10 images"),
        (truncate("train_y.bin"), "train_X.bin", "do not hold 11 images"),
        (write("train_y.bin", bytes([*range(1, 11), 1, 11])), "train_y.bin", "label 10 of image 11 is outside 0..9"),
        (write("test_y.bin", bytes(range(10))), "test_y.bin", "label -1 of image 0 is outside 0..9"),
        (write("test_y.bin", bytes([1, *range(1, 10)])), "test_y.bin", "class 9 has no images"),
        (write("test_y.bin", b""), "test_y.bin", "class 0 has no images"),
        (write("class_names.txt", b""), "class_names.txt", "there are 0"),
        (write("class_names.txt", b"cat\ndog\ncat\n"), "class_names.txt", "different class names"),
        (write("class_names.txt", b"a\xeffroplane\n"), "class_names.txt", "not a list of class names"),
    ],
)
def test_damaged_file_is_named_with_the_place_to_get_it(
    folder: Path, damage: Callable[[Path], object], name: str, what: str
) -> None:
    damage(folder)
    with pytest.raises(DataError) as caught:
        load(folder)
    assert caught.value.exit_code == 66
    assert str(caught.value).startswith(f"{folder / name}: ")
    assert what in str(caught.value)
    assert FILES.url in str(caught.value)
