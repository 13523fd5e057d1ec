"""CIFAR-100 from its official binary version (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from job.storage.staged import FOLDERS
from job.training.engine.image_data import ImageData, Images, Labels
from job.training.inputs.files import BinaryFiles

SIZE = 32
FILES = BinaryFiles(
    dataset="cifar100",
    folder=FOLDERS["cifar100"],
    names=("train.bin", "test.bin", "fine_label_names.txt"),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    archive_md5="03b5dce01913d631647c71ecec9e9cb8",  # as published on that page; the single files have no digests
)


def load(folder: Path) -> ImageData:
    """The 50000 training and 10000 test images in `folder` with their fine labels. Raises `DataError`."""
    classes = FILES.read_classes(folder / "fine_label_names.txt")
    train_images, train_labels = read_records(FILES, folder / "train.bin", num_classes=len(classes), num_labels=2)
    test_images, test_labels = read_records(FILES, folder / "test.bin", num_classes=len(classes), num_labels=2)
    return ImageData(classes, train_images, train_labels, test_images, test_labels)


def read_records(files: BinaryFiles, path: Path, *, num_classes: int, num_labels: int) -> tuple[Images, Labels]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of one of CIFAR's binary files.

    A record begins with `num_labels` bytes. The last of them is the label; in CIFAR-100 a coarse label stands before
    it. The image follows, channel by channel and row by row. Raises `DataError`.
    """
    record_bytes = num_labels + 3 * SIZE * SIZE
    content = np.fromfile(path, dtype=np.uint8)
    if content.size == 0 or content.size % record_bytes:
        raise files.fault(path, f"{content.size} bytes are not a whole number of records of {record_bytes} bytes")
    records = content.reshape(-1, record_bytes)
    labels = files.check_labels(records[:, num_labels - 1].astype(np.int64), num_classes=num_classes, path=path)
    return np.ascontiguousarray(records[:, num_labels:]).reshape(-1, 3, SIZE, SIZE), labels
