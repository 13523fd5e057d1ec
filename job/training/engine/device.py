"""The machine: device, arithmetic and number of threads, each by what is really there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from job.cpus import available_cpus
from job.errors import HostError
from job.logs import get_logger
from job.training.engine.graphs import NUM_WARM_UPS, Graphed, Result

Arithmetic = Literal["bf16", "fp16", "tf32", "fp32"]


@dataclass(frozen=True)
class Device:
    """Where to train, and in which arithmetic."""

    torch_device: torch.device
    arithmetic: Arithmetic
    num_threads: int
    graphs: bool = False
    """Whether work on static memory is replayed as CUDA graphs."""

    @property
    def is_cuda(self) -> bool:
        return self.torch_device.type == "cuda"

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.torch_device) if self.is_cuda else "cpu"

    def autocast(self) -> torch.autocast:
        """The context of every forward pass."""
        dtype = torch.float16 if self.arithmetic == "fp16" else torch.bfloat16
        return torch.autocast(self.torch_device.type, dtype=dtype, enabled=self.arithmetic in ("bf16", "fp16"))

    def graphed(self, function: Callable[[], Result], *, num_warm_ups: int = NUM_WARM_UPS) -> Callable[[], Result]:
        """`function`, replayed as a CUDA graph where there are any; see `Graphed` for what it must keep to."""
        return Graphed(function, num_warm_ups=num_warm_ups) if self.graphs else function

    def in_precision(self, arithmetic: Arithmetic) -> Device:
        """The same device in another precision; torch's TF32 switches are set for it."""
        tf32 = arithmetic != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        return replace(self, arithmetic=arithmetic)

    def synchronize(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize(self.torch_device)

    def reset_peak_memory(self) -> None:
        """Count anew from here, on a GPU; a process cannot forget its own."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_memory_bytes(self) -> int:
        """Most memory in use so far: of the GPU's allocator, else of this process."""
        if self.is_cuda:
            return torch.cuda.max_memory_allocated(self.torch_device)
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


MAX_SIZE_OF_FP32 = 16
"""Pixels. With images up to this size the last stage of a ResNet gets maps of 1x1, and oneDNN's bf16 gradient of its
3x3 kernel with stride 2 reads memory that nobody wrote (channels-last; seen with torch 2.15 on AVX512-BF16; maps of 2x2
and 3x3 are right). There `auto` takes fp32 on every CPU."""


def choose_device(
    name: str,
    *,
    precision: str,
    deterministic: bool,
    num_threads: int | None,
    graphs: bool = True,
    image_size: int | None = None,
) -> Device:
    """`name` is auto, cpu or cuda; `image_size` in pixels, where it is known, may speak against a precision.

    Sets torch's threads and flags. Raises `HostError` without the GPU asked for.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise HostError(
            "device is cuda, but torch sees no GPU; start the container with --gpus all, or use --device cpu"
        )
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    num_threads = num_threads or available_cpus()
    torch.set_num_threads(num_threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # needed by deterministic matrix products
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    arithmetic = _arithmetic(device, precision, image_size)
    chosen = Device(device, arithmetic, num_threads, graphs=graphs and device.type == "cuda")
    return chosen.in_precision(arithmetic)


def _arithmetic(device: torch.device, precision: str, image_size: int | None) -> Arithmetic:
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
