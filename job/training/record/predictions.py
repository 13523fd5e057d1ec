"""The class that a network gives every test image, for comparisons image by image.

result.json keeps which images were right. Beside it predictions.npz keeps the classes, and samples.npz pictures of some
wrong ones.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.runs import RightImages, choose_wrong, pack_right, pack_samples
from job.training.engine.evaluation import Evaluation
from job.training.engine.image_data import Images

Classes = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Predictions:
    """The predicted classes of all test images after one epoch, in the order of the data set."""

    predicted: Classes
    """(num_test,) indices into the classes of the result."""
    labels: Classes
    """(num_test,) the true classes."""
    epoch: int
    """From 1; the last whole one."""
    test_sha256: str

    def right(self) -> RightImages:
        """Which images were right, as result.json keeps it."""
        return pack_right(self.predicted == self.labels, epoch=self.epoch, test_sha256=self.test_sha256)

    def samples_npz(self, images: Images) -> bytes:
        """The content of samples.npz, some wrong ones of the test `images`: (num_test, 3, height, width) uint8, RGB."""
        chosen = choose_wrong(self.predicted == self.labels, test_sha256=self.test_sha256)
        return pack_samples({index: images[index] for index in chosen})

    def npz(self) -> bytes:
        """The content of predictions.npz: `predicted` and `labels`, for `numpy.load`. Equal predictions give equal
        bytes: numpy puts no time into the archive, and nothing is compressed, so no version of zlib matters."""
        buffer = io.BytesIO()
        np.savez(buffer, predicted=self.predicted, labels=self.labels)
        return buffer.getvalue()


def read_predictions(test: Evaluation, *, epoch: int, test_sha256: str) -> Predictions:
    """Take the predictions of `test`, the evaluation after `epoch`, from the device."""
    predicted, labels = (values.cpu().numpy().astype(np.uint16) for values in (test.predicted(), test.labels))
    return Predictions(predicted, labels, epoch, test_sha256)
