"""CIFAR-10 from its official binary version (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from job.storage.staged import FOLDERS
from job.training.engine.image_data import ImageData
from job.training.inputs.datasets.cifar100 import read_records
from job.training.inputs.files import BinaryFiles

TRAIN_NAMES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
FILES = BinaryFiles(
    dataset="cifar10",
    folder=FOLDERS["cifar10"],
    names=(*TRAIN_NAMES, "test_batch.bin", "batches.meta.txt"),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",  # as published on that page; the single files have no digests
)


def load(folder: Path) -> ImageData:
    """The 50000 training and 10000 test images in `folder` with their labels. Raises `DataError`."""
    classes = FILES.read_classes(folder / "batches.meta.txt")
    parts = [read_records(FILES, folder / name, num_classes=len(classes), num_labels=1) for name in TRAIN_NAMES]
    test_images, test_labels = read_records(FILES, folder / "test_batch.bin", num_classes=len(classes), num_labels=1)
    train_images, train_labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return ImageData(classes, train_images, train_labels, test_images, test_labels)
