"""CIFAR-100 from its official binary version (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from job.training.engine.image_data import ImageData, Images, Labels
from job.training.inputs.files import BinaryFiles

SIZE = 32
RECORD_BYTES = 2 + 3 * SIZE * SIZE
"""A byte for the coarse label, one for the fine label, then the image, channel by channel, row by row."""
FILES = BinaryFiles(
    dataset="cifar100",
    folder="cifar-100-binary",
    names=("train.bin", "test.bin", "fine_label_names.txt"),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    archive_md5="03b5dce01913d631647c71ecec9e9cb8",  # as published on that page; the files have no own ones
)


def load(folder: Path) -> ImageData:
    """The 50000 training and 10000 test images in `folder` with their fine labels. Raises `DataError`."""
    classes = FILES.read_classes(folder / "fine_label_names.txt")
    train_images, train_labels = _read_records(folder / "train.bin", num_classes=len(classes))
    test_images, test_labels = _read_records(folder / "test.bin", num_classes=len(classes))
    return ImageData(classes, train_images, train_labels, test_images, test_labels)


def _read_records(path: Path, *, num_classes: int) -> tuple[Images, Labels]:
    content = np.fromfile(path, dtype=np.uint8)
    if content.size == 0 or content.size % RECORD_BYTES:
        raise FILES.fault(path, f"{content.size} bytes are not a whole number of records of {RECORD_BYTES} bytes")
    records = content.reshape(-1, RECORD_BYTES)
    labels = FILES.check_labels(records[:, 1].astype(np.int64), num_classes=num_classes, path=path)
    return np.ascontiguousarray(records[:, 2:]).reshape(-1, 3, SIZE, SIZE), labels
