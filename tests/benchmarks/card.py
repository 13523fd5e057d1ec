"""The card under the GPU check: what it is, and whether its gradients are right in every precision."""

from __future__ import annotations

import argparse
import platform
import subprocess
from typing import Any, get_args

import torch

from job.errors import HostError
from job.manifest import Manifest
from job.training.cards import OLDEST_DRIVERS
from job.training.engine.batches import BatchSource, split_data
from job.training.engine.device import Device, Precision
from job.training.engine.model import build_model
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.machine import choose_device, describe_environment
from job.training.precision import has_precision
from job.training.preflight import TOLERANCES, check_gradients
from job.training.settings import RunSettings
from tests.benchmarks.findings import Findings, NotTried
from tests.benchmarks.speed import cpu_name

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OF_NVIDIA_SMI = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "pstate", "mig.mode.current")


def open_device(
    options: argparse.Namespace, *, precision: str = "auto", graphs: bool = False, **settings: Any
) -> Device:
    """The device that the check was asked for. Raises `HostError` where it is not there."""
    run = RunSettings(device=options.device, num_threads=1 if options.device == "cpu" else None, graphs=graphs)
    return choose_device(run, precision=precision, **settings)


def need_precision(device: Device, precision: Precision) -> None:
    """Raises `NotTried` where the device lacks it."""
    if not has_precision(device.torch_device, precision):
        raise NotTried(f"{device.name} has no {precision}")


def describe_card(options: argparse.Namespace, findings: Findings) -> None:
    """Card, driver, CUDA and torch. Raises `HostError`, which says what is needed, where there is no card."""
    try:
        device = open_device(options)
    except HostError as error:
        oldest = OLDEST_DRIVERS.get(int((torch.version.cuda or "0").partition(".")[0]), "its")
        raise HostError(
            f"{error}. What is needed: an NVIDIA card, and its driver {oldest} or newer, because torch "
            f"{torch.__version__} is for CUDA {torch.version.cuda}. With --device cpu small sizes show the file"
        ) from error
    environment = describe_environment(device, checks=[], data_sha256="", weights_sha256=None)
    findings.tell(environment=environment.model_dump(mode="json"), cpu=cpu_name(), python=platform.python_version())
    if device.is_cuda:
        properties = torch.cuda.get_device_properties(device.torch_device)
        findings.tell(
            card=properties.name,
            capability=list(torch.cuda.get_device_capability()),
            memory_bytes=properties.total_memory,
            num_processors=properties.multi_processor_count,
            num_cards=torch.cuda.device_count(),
            cudnn=torch.backends.cudnn.version(),
            built_for=torch.cuda.get_arch_list(),
            nvidia_smi=_ask_nvidia_smi(),
            precisions=[name for name in PRECISIONS if has_precision(device.torch_device, name)],
        )


def _ask_nvidia_smi() -> str | None:
    command = ["nvidia-smi", f"--query-gpu={','.join(OF_NVIDIA_SMI)}", "--format=csv"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def check_preflight(options: argparse.Namespace, findings: Findings) -> None:
    """The preflight of a run in every precision that the device has, on images of two sizes."""
    for size in sorted({32, options.image_size}):
        for precision in PRECISIONS:
            with findings.row(f"{precision}, {size} pixels") as row:
                device = open_device(options, precision=precision, image_size=size)
                need_precision(device, precision)
                row |= {"precision": precision, "tolerance": TOLERANCES[precision]}
                row |= _check(device, size=size, batch_size=options.batch_size)


def _check(device: Device, *, size: int, batch_size: int) -> dict[str, Any]:
    manifest = Manifest.model_validate(
        {
            "name": "preflight",
            "optimizer": {"name": "adam", "lr": 0.001},
            "epochs": 1,
            "batch_size": batch_size,
            "precision": device.precision,
            "dataset": {"name": "synthetic", "size": size},
            "model": {"weights": "none"},
        }
    )
    data = load_synthetic(size=size, num_train=2 * batch_size, num_test=10)
    part = split_data(data, validation_fraction=0, seed=0, device=device.torch_device).train
    model = build_model(manifest.model, None, num_classes=10, seed=0)
    _, checks = check_gradients(device, model, BatchSource(part, image_size=None), manifest)
    return checks[-1].model_dump(mode="json")
