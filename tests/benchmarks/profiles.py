"""Where the time goes, before and after: torch.profiler's view of the naive script and of the product."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # torch has it there without exporting it
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from job.training.engine.batches import BatchSource
from tests.benchmarks.bench import Bench
from tests.benchmarks.ladder import ProductEvaluator, ProductTrainer
from tests.benchmarks.scripts import Script, ScriptEvaluator, ScriptTrainer
from tests.benchmarks.variants import Variant

Key = TypeVar("Key")
NUM_IMAGES = 250
"""A step is like the next one; a naive evaluation of 5000 images would be a million events."""
NUM_OPERATIONS = 10
DATA, DIAGNOSTICS = "data", "diagnostics"
REST = "the rest"
SCOPES = {
    "enumerate(DataLoader)": "data, decode",
    DATA: "data, decode",
    "Optimizer.": "optimizer",
    "_ConvolutionBackward": "convolution, backward",  # of wide kernels, as products
    DIAGNOSTICS: DIAGNOSTICS,
}
"""What a range's name begins with; whatever is called within it is of this kind."""
OPERATIONS = {
    "aten::convolution_backward": "convolution, backward",
    "aten::mkldnn_convolution": "convolution, forward",
    "aten::cudnn_convolution": "convolution, forward",
    "aten::_slow_conv2d_forward": "convolution, forward",
    "aten::_convolution": "convolution, forward",
    "aten::native_batch_norm": "batch norm",
    "aten::batch_norm": "batch norm",
    "aten::_batch_norm": "batch norm",
    "aten::cudnn_batch_norm": "batch norm",
    "aten::copy_": "copies, layouts",
    "aten::contiguous": "copies, layouts",
    "aten::clone": "copies, layouts",
    "aten::to": "copies, layouts",
    "aten::_to_copy": "copies, layouts",
}
"""What an operation's name begins with."""
KERNELS = {
    "convolution, backward": ("dgrad", "wgrad", "bgrad"),
    "batch norm": ("batch_norm", "batchnorm", "bn_fw", "bn_bw"),
    "optimizer": ("multi_tensor", "fused_adam", "fusedadam"),
    "copies, layouts": ("memcpy", "memset", "nchwtonhwc", "nhwctonchw", "copy_kernel", "convert"),
    "data, decode": ("index_elementwise", "index_kernel"),
    "convolution, forward": ("fprop", "conv", "winograd", "xmma", "cutlass", "gemm"),
}
"""What a kernel's name contains, tried in this order: those of a CUDA graph belong to no operation."""
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")


class LabelledSource(BatchSource):
    """The product's, with its work named in the profile."""

    @record_function(DATA)
    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return super().batch(positions)

    @record_function(DATA)
    def _prepared(self, images: Tensor) -> Tensor:
        return super()._prepared(images)


class LabelledTrainer(ProductTrainer):
    """The product's, with the norms that it measures named as well."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, source_type=LabelledSource)
        meter = self._state.meter
        for name in ("before_step", "after_step"):
            setattr(meter, name, record_function(DIAGNOSTICS)(getattr(meter, name)))


def measure_profiles(bench: Bench, *, num_repeats: int) -> list[dict[str, Any]]:
    """A few steps and an evaluation, of the naive script and of the product: each the least disturbed of its rounds."""
    bench = bench.shortened(min(NUM_IMAGES, bench.num_images))
    naive = Script()
    variants = [
        Variant("before: naive script", "train", partial(ScriptTrainer, script=naive), tuned=False),
        Variant("after: the product", "train", LabelledTrainer),
        Variant("before: naive script", "evaluate", partial(ScriptEvaluator, script=naive, batch_size=1), tuned=False),
        Variant("after: the product", "evaluate", partial(ProductEvaluator, source_type=LabelledSource)),
    ]
    for variant in variants:
        variant.warm_up(bench)
    rounds = [[_profile(variant, bench) for variant in variants] for _ in range(num_repeats)]
    return [min(profiles, key=lambda one: one["milliseconds"]) for profiles in zip(*rounds, strict=True)]


def _profile(variant: Variant, bench: Bench) -> dict[str, Any]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device.is_cuda else [])]
    with profile(activities=activities) as profiler:
        variant.measure(bench)
    events = list(profiler.events())
    kernels = [
        event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]  # none are seen where CUPTI may not look
    counted = (
        [(event.name, kind_of_kernel(event.name), event.time_range.elapsed_us()) for event in kernels]
        if bench.device.is_cuda
        else [(event.name, kind_of_operation(event), event.self_cpu_time_total) for event in events]
    )
    return {
        "name": variant.row,
        "part": variant.part,
        "num_images": bench.num_images,
        "num_steps": bench.num_steps if variant.part == "train" else None,
        "seconds": variant.seconds[-1],
        **summarise(counted),
        "device": {
            "num_kernels": len(kernels),
            "num_launches": sum(event.name.startswith(LAUNCHES) for event in events),
            "busy_fraction": _busy_microseconds(kernels) / 1e6 / variant.seconds[-1],
        }
        if kernels
        else None,
    }


def _longest_first(sums: Mapping[Key, float]) -> list[tuple[Key, float]]:
    return sorted(sums.items(), key=lambda item: item[1], reverse=True)


def summarise(counted: Iterable[tuple[str, str, float]]) -> dict[str, Any]:
    """Sums by kind and by operation, of name, kind and microseconds of each call."""
    kinds: defaultdict[str, float] = defaultdict(float)
    operations: defaultdict[tuple[str, str], float] = defaultdict(float)
    calls: Counter[tuple[str, str]] = Counter()
    for name, kind, microseconds in counted:
        kinds[kind] += microseconds
        operations[name, kind] += microseconds
        calls[name, kind] += 1
    total = sum(kinds.values())
    return {
        "milliseconds": total / 1e3,
        "kinds": {kind: microseconds / 1e3 for kind, microseconds in _longest_first(kinds)},
        "operations": [
            {
                "name": name,
                "kind": kind,
                "calls": calls[name, kind],
                "milliseconds": microseconds / 1e3,
                "fraction": microseconds / total,
            }
            for (name, kind), microseconds in _longest_first(operations)[:NUM_OPERATIONS]
        ],
    }


def kind_of_operation(event: FunctionEvent) -> str:
    """By the range it is called in, else by its own name."""
    outer: FunctionEvent | None = event
    while outer is not None:
        for prefix, kind in SCOPES.items():
            if outer.name.startswith(prefix):
                return kind
        outer = outer.cpu_parent
    return next((kind for prefix, kind in OPERATIONS.items() if event.name.startswith(prefix)), REST)


def kind_of_kernel(name: str) -> str:
    """By what its name contains."""
    lower = name.lower()
    return next((kind for kind, parts in KERNELS.items() if any(part in lower for part in parts)), REST)


def _busy_microseconds(kernels: list[FunctionEvent]) -> float:
    """While at least one of them ran."""
    busy, end = 0.0, float("-inf")
    for span in sorted((kernel.time_range for kernel in kernels), key=lambda span: span.start):
        busy += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return busy
