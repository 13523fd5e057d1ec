"""The machine under a run: the device that it offers, what the numbers depend on, and what the training took of it.

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
from job.cpus import available_cpus
from job.errors import HostError
from job.logs import get_logger
from job.runs import Efficiency, Environment, GradientCheck
from job.training.engine.device import Device, Precision
from job.training.settings import RunSettings
from job.versions import find_commit, find_packages

MAX_SIZE_OF_FP32 = 16
"""Pixels. With images up to this size the last stage of a ResNet gets maps of 1x1, and oneDNN's bf16 gradient of its
3x3 kernel with stride 2 reads memory that nobody wrote (channels-last; seen with torch 2.15 on AVX512-BF16; maps of 2x2
and 3x3 are right). There `auto` takes fp32 on every CPU."""


def choose_device(
    settings: RunSettings, *, precision: str, deterministic: bool = False, image_size: int | None = None
) -> Device:
    """The device that `settings` ask for, in the manifest's `precision`, or in one that this machine has instead.

    `image_size` is in pixels; where it is known, it may speak against a precision. Sets torch's threads and switches.
    Raises `HostError` when the GPU that is asked for is not there.
    """
    name = settings.device
    if name == "cuda" and not torch.cuda.is_available():
        raise HostError(
            "device is cuda, but torch sees no GPU; start the container with --gpus all, or use --device cpu"
        )
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    num_threads = settings.num_threads or available_cpus()
    torch.set_num_threads(num_threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed by deterministic matrix products
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    chosen = _choose_precision(device, precision, image_size)
    return Device(device, chosen, num_threads, graphs=settings.graphs and device.type == "cuda").in_precision(chosen)


def _choose_precision(device: torch.device, precision: str, image_size: int | None) -> Precision:
    """bf16 is chosen only where the hardware has it, since emulated it is ten times slower than fp32."""
    if device.type == "cuda":
        if precision == "auto":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return precision  # type: ignore[return-value]  # the manifest allows these values only
    if precision == "auto":
        if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
            return "fp32"
        if image_size is not None and image_size <= MAX_SIZE_OF_FP32:
            reason = f"images of {image_size} pixels: some bf16 kernels of CPUs are wrong up to {MAX_SIZE_OF_FP32}"
            get_logger().warning("precision_replaced", wanted="bf16", used="fp32", reason=reason)
            return "fp32"
        return "bf16"
    if precision == "tf32":
        get_logger().warning("precision_replaced", wanted="tf32", used="fp32", reason="a CPU has no tf32")
        return "fp32"
    return precision  # type: ignore[return-value]


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
        precision=device.precision,
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
    peak = peak_flops(device.name, device.precision)
    achieved = flop_per_image * images_per_second if images_per_second is not None else None
    return Efficiency(
        flop_per_image=flop_per_image,
        achieved_flops=achieved,
        peak_flops=peak,
        utilisation_fraction=achieved / peak if achieved is not None and peak is not None else None,
        energy_joules=energy_joules,
    )
