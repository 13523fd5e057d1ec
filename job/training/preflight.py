"""Before a run trains: are the gradients of its first batch right on this machine, in the precision that was chosen?

Kernels are wrong for some shapes on some machines, and nothing says so. oneDNN's bf16 gradient of a 3x3 kernel with
stride 2 on a map of 1x1 reads memory that nobody wrote (channels-last, AVX512-BF16); oneDNN's issues 542 and 6035 tell
of others. The check compares with a reference that shares no kernel with the training: fp32, contiguous memory, and on
a CPU without oneDNN.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from job.errors import HostError
from job.logs import get_logger
from job.manifest import Manifest
from job.runs import GradientCheck
from job.training.batches import BatchSource, plan_epoch
from job.training.device import Arithmetic, Device

TOLERANCES: dict[Arithmetic, float] = {"fp32": 0.1, "tf32": 0.5, "fp16": 0.6, "bf16": 0.8}
"""Largest `GradientCheck.error` of a sound machine, by precision: about twice what a CPU showed for ResNet18 with
pretrained and with random weights, 2 to 50 images of 16 to 96 pixels: fp32 0.020, fp16 0.27, bf16 0.41, the largest
with two images of 17 pixels. (tf32, which rounds as fp16 does, was not measured.) The gradient of a wrong kernel is off
by its own size or more."""
NUM_PIXELS_ON_CPU = 4 * 96 * 96
"""So many pixels of the first batch are checked on a CPU, which keeps the check within a second; a GPU takes the whole
batch. Kernels go wrong where maps are small, and there this is the whole batch too."""
SMALLEST_NORM = 1e-4
"""Of the largest gradient's norm: what is smaller may be rounding alone."""
FP16_LOSS_SCALE = 1024.0
"""Keeps small fp16 gradients above its smallest number, as the training's own loss scaling does."""
POISONS = (1e9, -1e-3)
"""Written to memory that is then freed, another one before each pass: what reads memory that nobody wrote shows it."""


@dataclass(frozen=True)
class _FirstBatch:
    """What every pass computes with: the network as it begins, and images (B, 3, H, W) float32 with labels (B,)."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    label_smoothing: float

    def gradients(self, device: Device) -> dict[str, Tensor]:
        """The gradient of every trained parameter, by name, as `device` trains."""
        scale = FP16_LOSS_SCALE if device.arithmetic == "fp16" else 1.0
        with device.autocast():
            logits = self.model(self.images)
        loss = functional.cross_entropy(logits.float(), self.labels, label_smoothing=self.label_smoothing)
        trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        gradients = torch.autograd.grad(loss * scale, list(trained.values()))
        return {name: gradient / scale for name, gradient in zip(trained, gradients, strict=True)}


def check_gradients(
    device: Device, model: nn.Module, source: BatchSource, manifest: Manifest
) -> tuple[Device, list[GradientCheck]]:
    """The device in a precision whose gradients were found right, and every check that was made to find it.

    With the manifest's precision `auto`, a precision that fails is replaced by fp32, with a warning. Raises
    `HostError` where the manifest names the precision that fails, or where fp32 fails too. BatchNorm takes its running
    statistics here, so that rounding is not amplified by those of a few images. `model`, `source` and torch's random
    numbers stay as they were, but for what `source` has drawn: each epoch draws its own.
    """
    batch = _first_batch(device, model, source, manifest)
    reference = _reference(batch, device)
    checks = [_check(batch, device, reference)]
    if not checks[0].passed and manifest.precision == "auto" and device.arithmetic != "fp32":
        get_logger().warning(
            "precision_replaced", wanted=device.arithmetic, used="fp32", reason=describe_fault(checks[0])
        )
        device = device.in_precision("fp32")
        checks.append(_check(batch, device, reference))
    if not checks[-1].passed:
        advice = "take another machine" if device.arithmetic == "fp32" else 'set precision to "auto" or "fp32"'
        raise HostError(f"precision {device.arithmetic} is not usable here: {describe_fault(checks[-1])}; {advice}")
    return device, checks


def describe_fault(check: GradientCheck) -> str:
    """What is wrong with the gradients of a check that did not pass."""
    if not check.repeats:
        return f"the gradient of {check.parameter} is another one when it is computed again"
    if check.error is None:
        return f"the gradient of {check.parameter} is not finite"
    return f"the gradient of {check.parameter} is off by {check.error:.2g} times the norm of the right one"


def _first_batch(device: Device, model: nn.Module, source: BatchSource, manifest: Manifest) -> _FirstBatch:
    size = manifest.image_size or source.part.images.shape[-1]
    num_images = min(manifest.batch_size, len(source.part))
    if not device.is_cuda:
        num_images = min(num_images, max(2, NUM_PIXELS_ON_CPU // size**2))
    source.begin_epoch(
        plan_epoch(seed=manifest.seed, epoch=1, num_images=len(source.part), image_size=source.part.images.shape[-1])
    )
    images, labels = source.batch(torch.arange(num_images, device=device.torch_device))
    network = copy.deepcopy(model).eval().to(device.torch_device).to(memory_format=torch.channels_last)
    return _FirstBatch(network, images, labels, manifest.label_smoothing)


def _reference(batch: _FirstBatch, device: Device) -> dict[str, Tensor]:
    plain = replace(
        batch,
        model=copy.deepcopy(batch.model).to(memory_format=torch.contiguous_format),
        images=batch.images.contiguous(),
    )
    with _without_fast_kernels():
        return plain.gradients(replace(device, arithmetic="fp32"))


@contextmanager
def _without_fast_kernels() -> Iterator[None]:
    """oneDNN off, and TF32 nowhere."""
    switches: tuple[tuple[Any, str], ...] = (
        (torch.backends.mkldnn, "enabled"),
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.backends.cudnn, "allow_tf32"),
    )
    before = [getattr(module, name) for module, name in switches]
    try:
        for module, name in switches:
            setattr(module, name, False)
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)


def _check(batch: _FirstBatch, device: Device, reference: dict[str, Tensor]) -> GradientCheck:
    """Two passes in the precision of `device`, each after other values were left in the memory that it may get."""
    passes = []
    for poison in POISONS:
        _leave_in_memory(poison, like=reference)
        passes.append(batch.gradients(device))
    is_promised = not device.is_cuda or torch.are_deterministic_algorithms_enabled()
    changed = [name for name in reference if is_promised and not _same_bits(passes[0][name], passes[1][name])]
    errors = _relative_errors(passes[0], reference)
    worst = changed[0] if changed else max(errors, key=errors.__getitem__)
    return GradientCheck(
        precision=device.arithmetic,
        num_images=len(batch.labels),
        parameter=worst,
        error=errors[worst] if math.isfinite(errors[worst]) else None,
        repeats=not changed,
        passed=not changed and errors[worst] <= TOLERANCES[device.arithmetic],
    )


def _leave_in_memory(value: float, *, like: dict[str, Tensor]) -> None:
    """Fill as much memory as the gradients take, in pieces of their sizes, and free it."""
    pieces = [torch.full_like(tensor, value) for tensor in like.values()]
    pieces.clear()


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Two float32 tensors; NaN equals NaN here."""
    return torch.equal(first.view(torch.int32), second.view(torch.int32))


def _relative_errors(found: dict[str, Tensor], reference: dict[str, Tensor]) -> dict[str, float]:
    """|found - reference| / |reference| of each parameter: one number for direction and norm, infinite for NaN.

    A norm below `SMALLEST_NORM` of the largest one counts as that. A reference that is not finite judges nothing: 0.
    """
    norms = torch.stack([tensor.norm() for tensor in reference.values()]).double()
    if not norms.isfinite().all():
        return dict.fromkeys(reference, 0.0)
    distances = torch.stack([(found[name] - tensor).norm() for name, tensor in reference.items()]).double()
    scales = norms.clamp(min=max(SMALLEST_NORM * norms.max().item(), sys.float_info.min))
    errors = torch.nan_to_num(distances / scales, nan=math.inf, posinf=math.inf)
    return dict(zip(reference, errors.tolist(), strict=True))
