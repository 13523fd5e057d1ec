"""Batches from a uint8 tensor that stays on the device: order, augmentation and normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from job.errors import DataError
from job.manifest.models import Augmentation, Normalization
from job.training.engine.image_data import ImageData

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel; https://docs.pytorch.org/vision/stable/models.html."""
CROP_PADDING_FRACTION = 8
"""Crops come from the image padded by an eighth of its size on each side, as 4 pixels of 32 (He et al. 2015)."""


@dataclass(frozen=True)
class Part:
    """Images and labels of training, validation or test set, resident on the device."""

    images: Tensor
    """(N, 3, height, width) uint8."""
    labels: Tensor
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Parts:
    """The data as training uses them."""

    train: Part
    validation: Part | None
    test: Part


@dataclass(frozen=True)
class EpochPlan:
    """What is random in one epoch, drawn on the CPU from (seed, epoch) alone: nothing of it needs saving."""

    order: Tensor
    """(N,) int64: indices of the training images in the order they are seen."""
    flips: Tensor
    """(N,) bool, by position in the order."""
    offsets: Tensor
    """(N, 2) int64: top and left corner of the crop, 0 to twice the padding."""


def split_data(data: ImageData, *, validation_fraction: float, seed: int, device: torch.device) -> Parts:
    """Move the data to `device`, a stratified part of the training images held out for validation.

    Of every class at least one image is held out, where any are to be, and at least one stays. Raises `DataError`
    where that leaves none to hold out.
    """
    train, validation = _split_indices(data.train_labels, validation_fraction=validation_fraction, seed=seed)
    if validation_fraction and not len(validation):
        raise DataError(
            f"dataset.validation_fraction is {validation_fraction}, but no class has two training images; must be 0"
        )
    return Parts(
        train=_part(data.train_images[train], data.train_labels[train], device),
        validation=_part(data.train_images[validation], data.train_labels[validation], device)
        if len(validation)
        else None,
        test=_part(data.test_images, data.test_labels, device),
    )


def _part(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], device: torch.device) -> Part:
    return Part(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))


def _split_indices(
    labels: npt.NDArray[np.int64], *, validation_fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    random = np.random.default_rng((seed, 0))  # the epochs draw from (seed, 1) on
    held_out: list[npt.NDArray[np.int64]] = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        wanted = max(round(len(members) * validation_fraction), 1) if validation_fraction else 0
        held_out.append(members[: min(wanted, len(members) - 1)])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def plan_epoch(*, seed: int, epoch: int, num_images: int, image_size: int) -> EpochPlan:
    """Order, flips and crops of `epoch` (from 1); for one seed the same for every optimizer and device."""
    random = np.random.default_rng((seed, epoch))
    padding = image_size // CROP_PADDING_FRACTION
    return EpochPlan(
        order=torch.from_numpy(random.permutation(num_images)),
        flips=torch.from_numpy(random.random(num_images) < 0.5),
        offsets=torch.from_numpy(random.integers(0, 2 * padding + 1, (num_images, 2))),
    )


def batch_bounds(num_images: int, batch_size: int) -> list[tuple[int, int]]:
    """Start and end of each batch. A single image left over joins the batch before: BatchNorm needs two."""
    starts = list(range(0, num_images, batch_size))
    if len(starts) > 1 and num_images - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], num_images], strict=True))


class BatchSource:
    """The batches of one part of the data, ready for the network."""

    def __init__(
        self,
        part: Part,
        *,
        image_size: int | None,
        augmentation: Augmentation = "none",
        normalization: Normalization = "imagenet",
    ) -> None:
        self.part = part
        self._image_size = image_size
        self._augmentation = augmentation
        device = part.images.device
        self._mean_and_std = mean_and_std(normalization, device=device)
        self._drawn = (
            torch.empty(len(part), dtype=torch.int64, device=device),
            torch.empty(len(part), dtype=torch.bool, device=device),
            torch.empty(len(part), 2, dtype=torch.int64, device=device),
        )

    def follow(self, plan: EpochPlan) -> None:
        """Draw batches by `plan` from now on. It is copied into the same memory every time."""
        for mine, drawn in zip(self._drawn, (plan.order, plan.flips, plan.offsets), strict=True):
            mine.copy_(drawn)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, H, W) float32 and labels (B,) at `positions` (B,) int64 of the epoch's order."""
        index, flips, offsets = (drawn[positions] for drawn in self._drawn)
        images = self.part.images[index]
        if self._augmentation == "crop_flip":
            images = _crop(images, offsets)
        if self._augmentation in ("flip", "crop_flip"):
            images = torch.where(flips.view(-1, 1, 1, 1), images.flip(-1), images)
        return self._prepared(images), self.part.labels[index]

    def evaluation(self, batch_size: int) -> Iterator[Tensor]:
        """All images in order, (B, 3, H, W) float32."""
        for images in torch.split(self.part.images, batch_size):
            yield self._prepared(images)

    def _prepared(self, images: Tensor) -> Tensor:
        return prepare(images, image_size=self._image_size, mean_and_std=self._mean_and_std)


def mean_and_std(normalization: Normalization, *, device: torch.device | None = None) -> tuple[Tensor, Tensor] | None:
    """What `prepare` normalises with, (1, 3, 1, 1) each; None where inputs stay between 0 and 1."""
    if normalization == "none":
        return None
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


def prepare(images: Tensor, *, image_size: int | None, mean_and_std: tuple[Tensor, Tensor] | None) -> Tensor:
    """uint8 images (B, 3, H, W) as the network takes them: float32, resized to `image_size`, normalised."""
    scaled = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
    if image_size is not None and image_size != scaled.shape[-1]:
        scaled = functional.interpolate(
            scaled, size=(image_size, image_size), mode="bilinear", antialias=True
        ).contiguous(memory_format=torch.channels_last)
    if mean_and_std is None:
        return scaled
    mean, std = mean_and_std
    return scaled.sub_(mean).div_(std)


def _crop(images: Tensor, offsets: Tensor) -> Tensor:
    """Each image padded with black and cut at its own (top, left): (B, 3, H, W) uint8 in and out."""
    _, _, height, width = images.shape
    padding = width // CROP_PADDING_FRACTION
    padded = functional.pad(images, (padding, padding, padding, padding))
    rows = offsets[:, :1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:] + torch.arange(width, device=images.device)
    picked = padded.permute(0, 2, 3, 1)[
        torch.arange(len(images), device=images.device).view(-1, 1, 1), rows[:, :, None], columns[:, None, :]
    ]
    return picked.permute(0, 3, 1, 2)
