"""The machine under a run: the device that it offers, what the numbers depend on, and what the training took of it.

Only named facts are recorded, never the environment as such.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import re
from collections.abc import Callable
from importlib import resources
from typing import cast

import torch
from torch import Tensor, nn

from job import __version__
from job.allocator import keep_freed_memory
from job.cpus import available_cpus
from job.errors import HostError
from job.logs import get_logger
from job.runs import Efficiency, Environment, GradientCheck
from job.training.cards import ASK, check_card, check_driver, find_driver
from job.training.engine.device import Device
from job.training.precision import choose_precision
from job.training.settings import RunSettings
from job.versions import find_commit, find_packages


def choose_device(
    settings: RunSettings,
    *,
    precision: str,
    trained_in: str | None = None,
    deterministic: bool = False,
    image_size: int | None = None,
) -> Device:
    """The device that `settings` ask for, in the precision that manifest, submission and checkpoint lead to.

    `precision` is the manifest's, `trained_in` the checkpoint's; see `choose_precision`. Sets torch's threads and
    switches, and on a CPU the allocator. Raises `HostError` when the GPU that is asked for is not there, its driver is
    too old, or the device lacks the precision; `UsageError` for a card that torch has no code for.
    """
    device = _find_device(settings.device)
    num_threads = settings.num_threads or available_cpus()
    torch.set_num_threads(num_threads)
    if device.type == "cpu":
        keep_freed_memory()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed by deterministic matrix products
    torch.set_deterministic_debug_mode("error" if deterministic else "default")  # imports no compiler, as its twin does
    torch.backends.cudnn.benchmark = not deterministic
    chosen = choose_precision(
        device, named=precision, auto=settings.auto_precision, trained_in=trained_in, image_size=image_size
    )
    return Device(device, chosen, num_threads, graphs=settings.graphs and device.type == "cuda").in_precision(chosen)


def _find_device(name: str) -> torch.device:
    """The GPU or the CPU, as --device says. A GPU that `auto` cannot use is told of, and the CPU is taken."""
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        try:
            check_driver(find_driver(), cuda=torch.version.cuda)
        except HostError as error:
            if name == "cuda":
                raise
            get_logger().warning("gpu_not_used", reason=str(error))
        if name == "cuda":
            raise HostError(f"device is cuda, but torch sees no GPU; {ASK}")
        return torch.device("cpu")
    check_card(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), built_for=torch.cuda.get_arch_list())
    return torch.device("cuda")


PACKAGES = ("torch", "torchvision", "torchmetrics", "numpy", "pydantic", "boto3")


def describe_environment(
    device: Device,
    *,
    checks: list[GradientCheck],
    data_sha256: str,
    weights_sha256: str | None,
    instance_type: str | None = None,
) -> Environment:
    """Versions, hardware and digests of this process."""
    return Environment(
        package_version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=find_packages(PACKAGES),
        device=device.name,
        driver=find_driver() if device.is_cuda else None,
        cuda=torch.version.cuda if device.is_cuda else None,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        num_threads=device.num_threads,
        precision=device.precision,
        graphs=device.graphs,
        gradient_checks=checks,
        git_sha=find_commit(),
        image_digest=os.environ.get("JOB_IMAGE_DIGEST"),
        instance_type=instance_type,
        data_sha256=data_sha256,
        weights_sha256=weights_sha256,
    )


def count_flop(model: nn.Module, *, image_size: int) -> int:
    """Floating-point operations of one training image, forward and backward; a multiply-add counts as two.

    Those of convolutions and matrix products, as torch's FlopCounterMode counts them, which a test holds. The gradient
    of a weight takes as many as the forward pass, that of an input as many again. One image goes through a copy on the
    CPU, because FlopCounterMode and the meta device import torch's compiler.
    """
    counts: list[int] = []

    def count(layer: nn.Module, images: tuple[Tensor, ...], output: Tensor) -> None:
        weight = cast("nn.Parameter", layer.weight)
        times = 1 + weight.requires_grad + images[0].requires_grad
        counts.append(2 * times * weight.numel() * output[0, 0].numel())  # fc has one output a row of its weight

    shadow = copy.deepcopy(model).to("cpu").eval()
    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    shadow(torch.zeros(1, 3, image_size, image_size))
    return sum(counts)


def peak_flops(device_name: str, precision: str) -> float | None:
    """FLOP/s of the data sheet for a GPU with this name, as `torch.cuda.get_device_name` gives it; None if unknown."""
    gpus = json.loads(resources.files("job.training").joinpath("gpus.json").read_text(encoding="utf-8"))["gpus"]
    for name, peaks in gpus.items():  # the longer names first
        if all(re.search(rf"\b{word}\b", device_name) for word in name.split()):
            peak: float | None = peaks.get(precision)
            return peak
    return None


class EnergyMeter:
    """Counts from its making on what the whole GPU takes, as NVML tells since Volta."""

    def __init__(self, device: Device) -> None:
        self._read = _open_nvml(device) if device.is_cuda else None
        self._start = self._read() if self._read else 0.0

    def joules(self) -> float | None:
        """Since this was made; None on a CPU and where NVML does not tell."""
        return self._read() - self._start if self._read else None


def _open_nvml(device: Device) -> Callable[[], float] | None:
    try:
        import pynvml
    except ImportError:  # torch is without it as well
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device.torch_device).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        get_logger().info("energy_not_measured", reason=str(error))
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000  # it counts millijoules


def measure_efficiency(
    device: Device, *, flop_per_image: int, images_per_second: float | None, energy_joules: float | None
) -> Efficiency:
    """The record of a training at this speed."""
    peak = peak_flops(device.name, device.precision)
    achieved = flop_per_image * images_per_second if images_per_second is not None else None
    return Efficiency(
        flop_per_image=flop_per_image,
        achieved_flops=achieved,
        peak_flops=peak,
        utilisation_fraction=achieved / peak if achieved is not None and peak is not None else None,
        energy_joules=energy_joules,
    )
