"""Data sets. `load_data` gives the one that a manifest names."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from job.errors import DataError
from job.manifest import models
from job.storage import is_remote
from job.training.engine.image_data import ImageData
from job.training.inputs.datasets import cifar100, stl10
from job.training.inputs.datasets.cifar100 import load_cifar100
from job.training.inputs.datasets.folder import load_folder
from job.training.inputs.datasets.stl10 import load_stl10
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.inputs.files import BinaryFiles

__all__ = ["STAGED", "ImageData", "load_data"]

STAGED: dict[str, BinaryFiles] = {"stl10": stl10.FILES, "cifar100": cifar100.FILES}
"""The data sets that come as official files and can be staged in a bucket."""


def load_data(dataset: models.Dataset, *, data: str | None, cache: Path | None, num_threads: int) -> ImageData:
    """The images and labels of `dataset`, from `data` (a folder or s3:// URI) or by download into `cache`.

    Raises `DataError` for what is missing or corrupt, and what the stores raise.
    """
    match dataset:
        case models.STL10():
            return load_stl10(stl10.FILES.locate(data, cache=cache))
        case models.CIFAR100():
            return load_cifar100(cifar100.FILES.locate(data, cache=cache))
        case models.Synthetic():
            return load_synthetic(size=dataset.size, num_train=dataset.num_train, num_test=dataset.num_test)
        case models.Folder():
            if data is None or is_remote(data):
                raise DataError(f"dataset folder: --data is {data or 'not given'}; must be a local folder of images")
            return load_folder(Path(data), size=dataset.size, cache=cache, num_threads=num_threads)
        case _:
            assert_never(dataset)
