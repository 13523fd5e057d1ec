"""What every data set becomes: two arrays of images, their labels, and the names of the classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
        digest = hashlib.sha256(repr(self.classes).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
