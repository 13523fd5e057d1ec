"""STL-10 from its official binary files (https://cs.stanford.edu/~acoates/stl10/)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from job.storage.staged import FOLDERS
from job.training.engine.image_data import ImageData, Images, Labels
from job.training.inputs.files import BinaryFiles

SIZE = 96
FILES = BinaryFiles(
    dataset="stl10",
    folder=FOLDERS["stl10"],
    names=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"),
    url="https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    archive_md5="91f7769df0f17e558f3565bffb0c7dfb",
    # as published in torchvision.datasets.STL10, which has no digest of class_names.txt
    md5={
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
)


def load(folder: Path) -> ImageData:
    """The 5000 training and 8000 test images in `folder`. Raises `DataError`."""
    classes = FILES.read_classes(folder / "class_names.txt")
    train_labels = _read_labels(folder / "train_y.bin", num_classes=len(classes))
    test_labels = _read_labels(folder / "test_y.bin", num_classes=len(classes))
    return ImageData(
        classes=classes,
        train_images=_read_images(folder / "train_X.bin", num_images=len(train_labels)),
        train_labels=train_labels,
        test_images=_read_images(folder / "test_X.bin", num_images=len(test_labels)),
        test_labels=test_labels,
    )


def _read_images(path: Path, *, num_images: int) -> Images:
    """Images are stored one after another, channel by channel, each channel column by column."""
    content = np.fromfile(path, dtype=np.uint8)
    if content.size != num_images * 3 * SIZE * SIZE:
        raise FILES.fault(path, f"{content.size} bytes do not hold {num_images} images of 3x{SIZE}x{SIZE}")
    return np.ascontiguousarray(content.reshape(num_images, 3, SIZE, SIZE).transpose(0, 1, 3, 2))


def _read_labels(path: Path, *, num_classes: int) -> Labels:
    """Labels are stored as one byte each, from 1."""
    labels = np.fromfile(path, dtype=np.uint8).astype(np.int64) - 1
    return FILES.check_labels(labels, num_classes=num_classes, path=path)
