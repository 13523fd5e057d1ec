"""Where a training computes: the device, its precision and its threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from job.training.engine.graphs import NUM_WARM_UPS, Graphed, Result

Precision = Literal["bf16", "fp16", "tf32", "fp32"]


@dataclass(frozen=True)
class Device:
    """Where to train, and in which precision."""

    torch_device: torch.device
    precision: Precision
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
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.torch_device.type, dtype=dtype, enabled=self.precision in ("bf16", "fp16"))

    def graphed(self, function: Callable[[], Result], *, num_warm_ups: int = NUM_WARM_UPS) -> Callable[[], Result]:
        """`function`, replayed as a CUDA graph where there are any; see `Graphed` for what it must keep to."""
        return Graphed(function, num_warm_ups=num_warm_ups) if self.graphs else function

    def in_precision(self, precision: Precision) -> Device:
        """The same device in another precision; torch's TF32 switches are set for it."""
        tf32 = precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        return replace(self, precision=precision)

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
