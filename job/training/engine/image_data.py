"""What every data set becomes: two arrays of images, their labels, and the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageData:
    """A labelled data set in memory."""

    classes: tuple[str, ...]
    train_images: Images
    """(num_train, 3, height, width) uint8, RGB."""
    train_labels: Labels
    """(num_train,) int64, indices into `classes`."""
    test_images: Images
    test_labels: Labels

    def sha256(self) -> str:
        """A digest of all of it: what a run was trained on."""
        arrays = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return _digest(repr(self.classes).encode(), arrays)

    @cached_property
    def test_sha256(self) -> str:
        """A digest of the test images and their labels, in their order: what a run was tested on. The training part
        does not change it."""
        return _digest(b"", (self.test_images, self.test_labels))


def _digest(start: bytes, arrays: Iterable[Images | Labels]) -> str:
    digest = hashlib.sha256(start)
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
