"""What all variants share: images as JPEG files and as a resident part, the first weights, the device, the clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from job.manifest import Manifest
from job.training.engine.batches import EpochPlan, Parts, plan_epoch, split_data
from job.training.engine.convolution import WideConv2d
from job.training.engine.device import Device
from job.training.engine.image_data import ImageData
from job.training.engine.model import build_model
from job.training.inputs.datasets.folder import load_folder
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.machine import choose_device
from job.training.settings import RunSettings

LEARNING_RATE = 0.001
PHOTOGRAPH_QUALITY = 90


@dataclass(frozen=True)
class Bench:
    """The task that every variant is given."""

    folder: Path
    """train/<class>/*.jpg and test/<class>/*.jpg: what the scripts read."""
    data: ImageData
    """The same, decoded."""
    parts: Parts
    """The same, on the device."""
    manifest: Manifest
    device: Device
    """As the product chooses it."""
    by_wall: bool = False
    """Whether a CPU is measured by the wall too, as work in other processes or on several threads must be."""

    @property
    def num_images(self) -> int:
        """Trained on, and evaluated, in one measurement."""
        return len(self.parts.train)

    @property
    def num_steps(self) -> int:
        return self.num_images // self.manifest.batch_size

    @property
    def num_warm_up_steps(self) -> int:
        """Until oneDNN has its primitives."""
        return self.num_steps if self.device.is_cuda else min(2, self.num_steps)

    @property
    def num_warm_ups(self) -> int:
        """Until every graph has been captured: those of training take four steps each, with and without norms."""
        return max(3, -(-20 // self.num_steps)) if self.device.is_cuda else 1

    @property
    def image_size(self) -> int:
        return self.data.train_images.shape[-1]

    def plan(self) -> EpochPlan:
        """The order in which every variant sees the images."""
        return plan_epoch(seed=self.manifest.seed, epoch=1, num_images=self.num_images, image_size=self.image_size)

    def build_model(self, *, products: bool = True) -> nn.Module:
        """The same first weights for every variant; without `products` all of its layers are torch's own."""
        model = build_model(self.manifest.model, None, num_classes=len(self.data.classes), seed=self.manifest.seed)
        for layer in model.modules():
            if isinstance(layer, WideConv2d) and not products:
                layer.__class__ = nn.Conv2d  # type: ignore[assignment]
        return model.to(self.device.torch_device)

    @torch.no_grad()
    def build_trained_model(self) -> nn.Module:
        """With BatchNorm statistics that are not their first ones, so that folding has something to fold."""
        model = self.build_model().train()
        model(self.parts.train.images[:50].float().div(255))
        return model.eval()

    def shortened(self, num_images: int) -> Bench:
        """The same task with fewer images, of all classes still."""
        every = max(1, self.num_images // num_images)
        data = replace(
            self.data,
            train_images=self.data.train_images[::every][:num_images],
            train_labels=self.data.train_labels[::every][:num_images],
            test_images=self.data.test_images[::every][:num_images],
            test_labels=self.data.test_labels[::every][:num_images],
        )
        return make_resident(self.folder, data, self.manifest, self.device)

    def with_graphs(self) -> Bench:
        """The same task on a device that replays CUDA graphs."""
        return replace(self, device=replace(self.device, graphs=True))

    def clock(self) -> float:
        """Seconds: of this process's CPU; by the wall, or on CUDA, of the wall once the device is done."""
        if not self.device.is_cuda and not self.by_wall:
            return time.process_time()
        self.device.synchronize()
        return time.perf_counter()


def build_bench(
    folder: Path,
    *,
    source: Path | None,
    num_images: int | None,
    image_size: int,
    batch_size: int,
    device_name: str,
    num_threads: int = 1,
) -> Bench:
    """Writes `num_images` training and as many test JPEGs, of `source` or synthetic, below `folder`.

    `num_threads` are those of a CPU.
    """
    has_gpu = device_name != "cpu" and torch.cuda.is_available()
    settings = RunSettings(device=device_name, num_threads=None if has_gpu else num_threads)
    device = choose_device(settings, precision="auto", image_size=image_size)
    num_images = num_images or (5000 if device.is_cuda else 250)
    num_images = -(-num_images // batch_size) * batch_size
    if source is None:
        images = load_synthetic(size=image_size, num_train=num_images, num_test=num_images)
    else:
        images = load_folder(source, size=image_size, cache=folder / "cache", num_threads=device.num_threads)
    jpegs = folder / "jpegs"
    for part in ("train", "test"):
        _write_jpegs(jpegs / part, images, part=part, num_images=num_images)
    data = load_folder(jpegs, size=image_size, cache=folder / "cache", num_threads=device.num_threads)
    manifest = Manifest.model_validate(
        {
            "name": "bench",
            "optimizer": {"name": "adam", "lr": LEARNING_RATE},
            "epochs": 9999,
            "batch_size": batch_size,
            "dataset": {"name": "folder", "size": image_size},
            "model": {"weights": "none"},
        }
    )
    return make_resident(jpegs, data, manifest, device)


def make_resident(folder: Path, data: ImageData, manifest: Manifest, device: Device) -> Bench:
    """The task with `data` on the device."""
    parts = split_data(data, validation_fraction=0, seed=manifest.seed, device=device.torch_device)
    return Bench(folder, data, parts, manifest, device, by_wall=device.num_threads > 1)


def _write_jpegs(folder: Path, data: ImageData, *, part: str, num_images: int) -> None:
    """`num_images` of this part, class by class in turn, from the beginning again where there are fewer."""
    images, labels = (data.train_images, data.train_labels) if part == "train" else (data.test_images, data.test_labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        ranks[members] = np.arange(members.sum())
    order = np.argsort(ranks, kind="stable")
    for name in data.classes:
        (folder / name).mkdir(parents=True)
    for number in range(num_images):
        index = order[number % len(order)]
        path = folder / data.classes[labels[index]] / f"{number:06}.jpg"
        Image.fromarray(images[index].transpose(1, 2, 0)).save(path, quality=PHOTOGRAPH_QUALITY)
