"""The machine under a run: what the run's numbers depend on, and what the training took of it.

Only named facts are recorded, never the environment as such.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from importlib import resources

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from job import __version__
from job.logs import get_logger
from job.runs import Efficiency, Environment, GradientCheck
from job.training.engine.device import Device
from job.versions import find_commit, find_packages

PACKAGES = ("torch", "torchvision", "torchmetrics", "numpy", "pydantic", "boto3")


def describe_environment(
    device: Device, *, checks: list[GradientCheck], data_sha256: str, weights_sha256: str | None
) -> Environment:
    """Versions, hardware and digests of this process."""
    return Environment(
        package_version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=find_packages(PACKAGES),
        device=device.name,
        driver=_driver_version() if device.is_cuda else None,
        cuda=torch.version.cuda if device.is_cuda else None,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        num_threads=device.num_threads,
        precision=device.arithmetic,
        gradient_checks=checks,
        git_sha=find_commit(),
        image_digest=os.environ.get("JOB_IMAGE_DIGEST"),
        instance_type=os.environ.get("JOB_INSTANCE_TYPE"),
        data_sha256=data_sha256,
        weights_sha256=weights_sha256,
    )


def _driver_version() -> str | None:
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def count_flop(model: nn.Module, *, image_size: int) -> int:
    """Floating-point operations of one training image, forward and backward; a multiply-add counts as two."""
    shadow = copy.deepcopy(model).to("meta")
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter:
        shadow.eval()(images).sum().backward()
    return int(counter.get_total_flops())


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
    peak = peak_flops(device.name, device.arithmetic)
    achieved = flop_per_image * images_per_second if images_per_second is not None else None
    return Efficiency(
        flop_per_image=flop_per_image,
        achieved_flops=achieved,
        peak_flops=peak,
        utilisation_fraction=achieved / peak if achieved is not None and peak is not None else None,
        energy_joules=energy_joules,
    )
