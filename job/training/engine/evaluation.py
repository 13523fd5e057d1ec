"""Evaluation: logits of all images in large batches, then once the scores of all of them.

The scores are those of torchmetrics, to the bit, which a test holds. Its import takes longer than torch's own, because
it brings scipy, matplotlib and torchvision along.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from job.runs import Scores
from job.training.engine.batches import BatchSource
from job.training.engine.device import Device
from job.training.engine.folding import FoldedModel
from job.training.engine.state import Pause

BATCH_SIZE = 250


@dataclass(frozen=True)
class Evaluation:
    """What the network says of one part of the data."""

    logits: Tensor
    """(N, num_classes) float32, on the device."""
    labels: Tensor
    """(N,) int64, on the device."""

    def scores(self) -> Scores:
        """Mean cross entropy without smoothing, top-1 and top-5 (top-k where there are only k classes)."""
        loss = functional.cross_entropy(self.logits, self.labels).item()
        num_images = len(self.labels)
        highest = self.logits.topk(min(5, self._num_classes)).indices
        top1 = (self.predicted() == self.labels).sum().item()
        top5 = (highest == self.labels[:, None]).any(1).sum().item()
        return Scores(
            loss=loss if math.isfinite(loss) else None, top1=int(top1) / num_images, top5=int(top5) / num_images
        )

    def predicted(self) -> Tensor:
        """(N,) int64, on the device: the class with the highest logit, as top-1 counts it."""
        return self.logits.argmax(1)

    def class_accuracy(self) -> list[float | None]:
        """Top-1 per class; None for a class without images."""
        counts = self._count()
        present = counts.sum(1)
        values = (counts.diagonal().float() / present.float()).tolist()  # float32, as torchmetrics gives them
        return [value if count else None for value, count in zip(values, present.tolist(), strict=True)]

    def confusion(self) -> list[list[int]]:
        """Counts, rows true and columns predicted classes."""
        matrix: list[list[int]] = self._count().tolist()
        return matrix

    def _count(self) -> Tensor:
        """(num_classes, num_classes) int64, on the device: rows true and columns predicted classes."""
        cells = self.labels * self._num_classes + self.predicted()
        return torch.bincount(cells, minlength=self._num_classes**2).view(self._num_classes, self._num_classes)

    @property
    def _num_classes(self) -> int:
        return self.logits.shape[1]


class Evaluator:
    """Evaluates one part of the data again and again while the network changes."""

    def __init__(self, model: nn.Module, source: BatchSource, *, device: Device) -> None:
        self._model, self._source, self._device = FoldedModel(model), source, device
        self._whole = device.graphed(self._evaluate, num_warm_ups=1) if device.graphs else None

    def __call__(self) -> Evaluation:
        """Evaluate all images without a pause."""
        steps = self.steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                evaluation: Evaluation = end.value
                return evaluation

    def steps(self) -> Generator[Pause, None, Evaluation]:
        """Evaluate all images; pauses after each batch, or once where a graph holds all of them."""
        if self._whole is not None:
            logits = self._whole().clone()
            yield Pause()
        else:
            batches = []
            for batch in self._batches():
                batches.append(batch)
                yield Pause()
            logits = torch.cat(batches)
        return Evaluation(logits, self._source.part.labels)

    @torch.inference_mode()
    def _evaluate(self) -> Tensor:
        return torch.cat(list(self._batches()))

    @torch.inference_mode()
    def _batches(self) -> Iterator[Tensor]:
        """The logits of one batch after another: (B, num_classes) float32."""
        self._model.refresh()
        for images in self._source.evaluation(BATCH_SIZE):
            with self._device.autocast():
                logits = self._model(images)
            yield logits.float()
