"""What users run instead: torchvision's tutorial, and the style of torchvision's reference recipe.

https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html and
https://github.com/pytorch/vision/tree/main/references/classification.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from job.training.engine.batches import IMAGENET_MEAN, IMAGENET_STD
from job.training.engine.device import Device
from tests.benchmarks.bench import LEARNING_RATE, Bench

NUM_WORKERS = 4
"""On a GPU; a CPU needs its cores itself, and the CPU-seconds of workers would not be counted."""


@dataclass(frozen=True)
class Script:
    """How a script differs from the tutorial."""

    recipe: bool = False
    """Pinned workers, mixed precision where the device has it, channels-last, cuDNN's benchmark."""

    def device(self, bench: Bench) -> Device:
        precision = bench.device.precision if self.recipe else "fp32"
        return replace(bench.device, precision=precision, graphs=False)

    def model(self, model: nn.Module) -> nn.Module:
        return model.to(memory_format=torch.channels_last) if self.recipe else model

    def loader(self, bench: Bench, *, part: str, batch_size: int) -> DataLoader[tuple[Tensor, int]]:
        """JPEG files, decoded by Pillow; the training images in the order that all variants see."""
        transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )
        return DataLoader(
            ImageFolder(str(bench.folder / part), transform),
            batch_size=batch_size,
            sampler=bench.plan().order.tolist() if part == "train" else range(len(bench.parts.test)),
            num_workers=min(NUM_WORKERS, bench.device.num_threads) if bench.device.is_cuda else 0,
            pin_memory=self.recipe and bench.device.is_cuda,
        )

    def to_device(self, images: Tensor, device: Device) -> Tensor:
        layout = torch.channels_last if self.recipe else torch.contiguous_format
        return images.to(device.torch_device, memory_format=layout, non_blocking=self.recipe)


class ScriptTrainer:
    """Trains as the script does. Called with a number of steps; returns the loss of the first."""

    def __init__(self, bench: Bench, script: Script) -> None:
        self._script, self._device = script, script.device(bench)
        self._model = script.model(bench.build_model(products=False))
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)
        self._scaler = torch.amp.GradScaler(bench.device.torch_device.type, enabled=self._device.precision == "fp16")
        self._loader = script.loader(bench, part="train", batch_size=bench.manifest.batch_size)

    def __call__(self, num_steps: int) -> float:
        self._model.train()
        criterion = nn.CrossEntropyLoss()
        losses, num_correct = [], torch.zeros((), dtype=torch.int64, device=self._device.torch_device)
        for images, labels in islice(self._loader, num_steps):
            images = self._script.to_device(images, self._device)
            labels = labels.to(self._device.torch_device, non_blocking=self._script.recipe)
            with self._device.autocast():
                logits = self._model(images)
                loss = criterion(logits, labels)
            self._optimizer.zero_grad()
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            losses.append(loss.item())
            num_correct += (logits.argmax(1) == labels).sum()
        return losses[0]


class ScriptEvaluator:
    """Evaluates the test images as the script does; returns their mean loss."""

    def __init__(self, bench: Bench, script: Script, *, batch_size: int) -> None:
        self._script, self._device = script, script.device(bench)
        self._model = script.model(bench.build_trained_model())
        self._loader = script.loader(bench, part="test", batch_size=batch_size)

    def __call__(self) -> float:
        criterion = nn.CrossEntropyLoss()
        loss, num_correct, num_images = 0.0, 0, 0
        with torch.inference_mode():
            for images, labels in self._loader:
                images = self._script.to_device(images, self._device)
                labels = labels.to(self._device.torch_device, non_blocking=self._script.recipe)
                with self._device.autocast():
                    logits = self._model(images)
                loss += criterion(logits.float(), labels).item() * len(labels)
                num_correct += (logits.argmax(1) == labels).sum().item()
                num_images += len(labels)
        return loss / num_images
