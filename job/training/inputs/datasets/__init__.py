"""Data sets. `load_data` loads the one that a manifest names.

Each data set that comes as official files has a module here. Its `FILES` say where the files come from, and its `load`
reads them from a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, assert_never

from job.errors import DataError
from job.manifest import models
from job.storage import is_remote, open_store
from job.storage.staged import advise_staging
from job.training.engine.image_data import ImageData
from job.training.inputs.datasets import cifar10, cifar100, stl10
from job.training.inputs.datasets.folder import load_folder
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.inputs.files import BinaryFiles
from job.training.inputs.staged import find_staged, load_staged

__all__ = ["STAGED", "ImageData", "load_data"]


class _Module(Protocol):
    FILES: BinaryFiles

    def load(self, folder: Path) -> ImageData: ...


_OFFICIAL: dict[type[models.OfficialDataset], _Module] = {
    models.STL10: stl10,
    models.CIFAR10: cifar10,
    models.CIFAR100: cifar100,
}
STAGED: dict[str, BinaryFiles] = {module.FILES.dataset: module.FILES for module in _OFFICIAL.values()}
"""The files of the data sets that can be staged in a bucket, by the data set's name."""


def load_data(dataset: models.Dataset, *, data: str | None, cache: Path | None, num_threads: int) -> ImageData:
    """The images and labels of `dataset`, from `data` (a folder or s3:// URI) or by download into `cache`.

    Raises `DataError` if something is missing or corrupt, and the errors of the stores.
    """
    match dataset:
        case models.OfficialDataset():
            module = _OFFICIAL[type(dataset)]
            return module.load(module.FILES.locate(data, cache=cache))
        case models.Synthetic():
            return load_synthetic(size=dataset.size, num_train=dataset.num_train, num_test=dataset.num_test)
        case models.Folder():
            return _load_own(dataset, data=data, cache=cache, num_threads=num_threads)
        case _:
            assert_never(dataset)


def _load_own(dataset: models.Folder, *, data: str | None, cache: Path | None, num_threads: int) -> ImageData:
    """A person's own images: those that `job stage` has put into `data`, or the image files in it."""
    if data is None:
        raise DataError("dataset folder: --data is not given; must be a folder of images, or where they are staged")
    staged = find_staged(data, size=dataset.size)
    if staged is not None:
        return load_staged(data, staged, cache=cache)
    if is_remote(data):
        advice = advise_staging(open_store(data), dataset.size)
        raise DataError(f"{data}: holds no images of {dataset.size} pixels; put them there with {advice}")
    return load_folder(Path(data), size=dataset.size, cache=cache, num_threads=num_threads)
