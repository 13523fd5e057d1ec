"""What the hardware allows: the network's arithmetic at the speed of a large matrix product, and launches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # torch has it there without exporting it
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from job.training.engine.device import Device
from job.training.machine import count_flop

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}
NUM_LAUNCHES = 1000


def count_flops(model: nn.Module, *, image_size: int) -> dict[str, int]:
    """Floating-point operations of one image, trained on and evaluated."""
    shadow = copy.deepcopy(model).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow.eval()(torch.empty(1, 3, image_size, image_size, device="meta"))
    return {"train": count_flop(model, image_size=image_size), "evaluate": int(counter.get_total_flops())}


class MatrixProduct:
    """A large product in the product's arithmetic; `flop` is what one call does."""

    def __init__(self, device: Device) -> None:
        self.size, self.num_products = (8192, 10) if device.is_cuda else (2048, 1)
        self.flop = 2 * self.size**3 * self.num_products
        self._factors = [
            torch.randn(self.size, self.size, device=device.torch_device, dtype=DTYPES[device.precision])
            for _ in range(2)
        ]
        self._product = torch.empty_like(self._factors[0])

    def __call__(self) -> float:
        for _ in range(self.num_products):
            torch.mm(*self._factors, out=self._product)
        return 0.0


class Launches:
    """The smallest kernel there is, launched from Python again and again."""

    def __init__(self, device: Device) -> None:
        self._scalar = torch.zeros((), device=device.torch_device)

    def __call__(self) -> float:
        for _ in range(NUM_LAUNCHES):
            self._scalar.add_(1)
        return 0.0


def count_launches(train: Callable[[int], float], *, num_steps: int) -> float:
    """What an eager step sends to the GPU: kernels and copies."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        train(num_steps)
    launched = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    return sum(not event.is_user_annotation for event in launched) / num_steps
