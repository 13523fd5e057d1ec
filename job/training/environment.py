"""What a run's numbers depend on besides its manifest. Only named facts are recorded, never the environment as such."""

from __future__ import annotations

import os
import platform
import subprocess

import torch

from job import __version__
from job.runs import Environment, GradientCheck
from job.training.device import Device
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
