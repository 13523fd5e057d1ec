"""CUDA graphs: work that is captured once and then launched as a whole.

A training step of ResNet18 is some 270 kernels of a few microseconds each; launched one by one, a large GPU
waits for Python. See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

NUM_WARM_UPS = 3
"""Calls before the capture: cuDNN chooses its algorithms and the optimizer makes its state in them."""

Result = TypeVar("Result")


class Graphed(Generic[Result]):
    """A function that is called as it is at first and replayed as a CUDA graph from then on.

    It must read and write the same memory in each call and nothing of the host. Its result lies in memory
    that the next call overwrites. What cannot be captured goes on being called, with a warning.
    """

    def __init__(self, function: Callable[[], Result], *, num_warm_ups: int = NUM_WARM_UPS) -> None:
        self._function = function
        self._warm_ups_left = num_warm_ups
        self._replay: Callable[[], Result] | None = None

    def __call__(self) -> Result:
        if self._warm_ups_left:
            self._warm_ups_left -= 1
            return warm_up(self._function)
        if self._replay is None:
            self._replay = self._capture()
        return self._replay()

    def _capture(self) -> Callable[[], Result]:
        try:
            return capture(self._function)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # a driver, or a version of torch, that cannot record one of the operations
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"no CUDA graph, so that steps are launched kernel by kernel: {reason}", RuntimeWarning, stacklevel=2
            )
            return self._function


def warm_up(function: Callable[[], Result]) -> Result:
    """Call `function` on a stream of its own, as what is captured later demands."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = function()
    torch.cuda.current_stream().wait_stream(stream)
    return result


def capture(function: Callable[[], Result]) -> Callable[[], Result]:
    """Record the kernels of one call, without running them; returns what launches them all."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may copy meanwhile
        result = function()

    def replay() -> Result:
        graph.replay()
        return result

    return replay
