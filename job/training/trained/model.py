"""The network of a finished run, ready to be asked: it takes pictures as the run's own evaluation did."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from job.errors import DataError
from job.manifest import Manifest
from job.places import show_path
from job.runs import RunResult
from job.training.engine.batches import mean_and_std, prepare
from job.training.engine.model import build_model
from job.training.inputs.decoding import decode
from job.training.trained.run import FinishedRun, open_run


class TrainedModel(nn.Module):
    """The network of a finished run after its last epoch, in evaluation mode, with what belongs to it.

    `model(images)` takes (N, 3, H, W) uint8, RGB, as `model.decode` gives them, and returns (N, num_classes) float32
    logits. Resizing and normalisation are part of it. `model.network` is torchvision's network alone, which takes what
    `model.prepare` gives.
    """

    network: nn.Module
    """torchvision's ResNet with the run's weights."""
    classes: tuple[str, ...]
    """The names of the classes, in the order of the logits."""
    result: RunResult
    """The run's result.json."""
    decoded_size: int
    """Width and height in pixels that pictures are cut and resized to when they are decoded, as the data set's were."""

    def __init__(self, run: FinishedRun) -> None:
        """Raises `DataError` where the run's weights cannot be used."""
        super().__init__()
        self.result, self.place = run.result, run.place
        self.classes = tuple(run.result.classes)
        self.decoded_size = self.manifest.dataset.size
        self.network = build_model(self.manifest.model, None, num_classes=len(self.classes), seed=self.manifest.seed)
        try:
            self.network.load_state_dict(run.read_weights())
        except RuntimeError as error:
            fault = str(error).partition("\n")[2].strip().partition("\n")[0]
            raise DataError(f"{run.store.locate(run.keys.model)}: is not of this run's network: {fault}") from error
        constants = mean_and_std(self.manifest.normalization) or (None, None)
        for name, tensor in zip(("_mean", "_std"), constants, strict=True):
            self.register_buffer(name, tensor, persistent=False)
        self.requires_grad_(False).eval()

    @property
    def manifest(self) -> Manifest:
        """What the run was trained by."""
        return self.result.manifest

    @property
    def input_size(self) -> int:
        """Width and height in pixels of what the network takes: the manifest's `image_size`, else the decoded size."""
        return self.manifest.image_size or self.decoded_size

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 images (N, 3, H, W) as the network takes them: float32, resized and normalised as in the training."""
        mean, std = self._mean, self._std
        constants = (mean, std) if isinstance(mean, Tensor) and isinstance(std, Tensor) else None
        return prepare(images, image_size=self.manifest.image_size, mean_and_std=constants)

    def forward(self, images: Tensor) -> Tensor:
        """(N, num_classes) float32 logits of uint8 images (N, 3, H, W)."""
        logits: Tensor = self.network(self.prepare(images))
        return logits

    def decode(self, path: str | Path) -> Tensor:
        """The picture in a file as (3, H, W) uint8: upright, opaque, its centre square, as folders of images are read.

        Raises `DataError` for a file that is missing or damaged.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{show_path(path)}: cannot be read: {error.strerror}") from error
        return torch.from_numpy(decode(path, content, size=self.decoded_size).copy())


def load_model(place: str) -> TrainedModel:
    """The network of the run at `<output>/<experiment>/runs/<run id>`, a folder or s3:// URI, on the CPU.

    Raises `UsageError` where no finished run is there, `DataError` where its weights cannot be used, and the errors of
    a store.
    """
    return TrainedModel(open_run(place))
