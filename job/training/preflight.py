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
from job.training.engine.batches import BatchSource, plan_epoch
from job.training.engine.device import Device, Precision

TOLERANCES: dict[Precision, float] = {"fp32": 0.1, "tf32": 0.5, "fp16": 0.6, "bf16": 0.8}
"""Largest `GradientCheck.error` of a sound machine, by precision. A CPU showed for ResNet18 with pretrained and with
random weights, 2 to 50 photographs of 16 to 96 pixels, fp32 0.020, fp16 0.27 and bf16 0.41; images that are all black
bf16 0.75, which is why a second batch is asked before a precision is refused. (tf32, which rounds as fp16 does, was not
measured.) The gradient of a wrong kernel is off by its own size or more, with any images."""
NUM_TRIES = 2
"""Batches that must all fail before a precision does."""
MAX_IMAGES = {"cpu": 8, "cuda": 64}
MAX_PIXELS_ON_CPU = 4 * 96 * 96
"""How much of a batch is checked. On a CPU this keeps the check to about a second of one thread: 4 images of 96 pixels,
8 of 64 or fewer. One image is the least: with 512 pixels it takes as long as three images take to train on. On a GPU
half a batch is the most, so that fp32's reference fits where a batch of half the bytes a number trains."""
SMALLEST_NORM = 1e-4
"""Of the largest gradient's norm: what is smaller may be rounding alone."""
FP16_LOSS_SCALE = 1024.0
"""Keeps small fp16 gradients above its smallest number, as the training's own loss scaling does."""
POISONS = (1e9, -1e-3)
"""Written to memory that is then freed, another one before each pass: what reads memory that nobody wrote shows it."""


@dataclass(frozen=True)
class _Batch:
    """What every pass computes with: the network as it begins, and images (B, 3, H, W) float32 with labels (B,)."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    label_smoothing: float

    def gradients(self, device: Device) -> dict[str, Tensor]:
        """The gradient of every trained parameter, by name, as `device` trains."""
        scale = FP16_LOSS_SCALE if device.precision == "fp16" else 1.0
        with device.autocast():
            logits = self.model(self.images)
        loss = functional.cross_entropy(logits.float(), self.labels, label_smoothing=self.label_smoothing)
        trained = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        gradients = torch.autograd.grad(loss * scale, list(trained.values()))
        return {name: gradient / scale for name, gradient in zip(trained, gradients, strict=True)}

    def reference(self, device: Device) -> dict[str, Tensor]:
        """The same gradients in fp32, by other kernels."""
        plain = replace(
            self,
            model=copy.deepcopy(self.model).to(memory_format=torch.contiguous_format),
            images=self.images.contiguous(),
        )
        with _without_fast_kernels():
            return plain.gradients(replace(device, precision="fp32"))


def check_gradients(
    device: Device, model: nn.Module, source: BatchSource, manifest: Manifest, *, may_replace: bool = False
) -> tuple[Device, list[GradientCheck]]:
    """The device in a precision whose gradients were found right, and what was found of each precision that was tried.

    Where this machine chose the precision for itself, it `may_replace` one that fails by fp32, with a warning. Raises
    `HostError` where manifest, submission or checkpoint say the precision that fails, or where fp32 fails too.
    BatchNorm takes its running statistics here, so that rounding is not amplified by those of a few images. `model`,
    `source` and torch's random numbers stay as they were, but for what `source` has drawn: each epoch draws its own.
    """
    batches = list(_first_batches(device, model, source, manifest))
    checks = [_check_precision(batches, device)]
    if not checks[0].passed and may_replace and device.precision != "fp32":
        get_logger().warning(
            "precision_replaced", wanted=device.precision, used="fp32", reason=describe_fault(checks[0])
        )
        device = device.in_precision("fp32")
        checks.append(_check_precision(batches, device))
    if device.is_cuda:
        torch.cuda.empty_cache()  # the training's graphs want one piece of memory
    if not checks[-1].passed:
        named = manifest.precision == device.precision != "fp32"
        advice = 'set precision to "auto" or "fp32"' if named else "take another machine"
        raise HostError(f"precision {device.precision} is not usable here: {describe_fault(checks[-1])}; {advice}")
    return device, checks


def describe_fault(check: GradientCheck) -> str:
    """What is wrong with the gradients of a check that did not pass."""
    if not check.repeats:
        return f"the gradient of {check.parameter} is another one when it is computed again"
    if check.error is None:
        return f"the gradient of {check.parameter} is not finite"
    return f"the gradient of {check.parameter} is off by {check.error:.2g} times the norm of the right one"


def _first_batches(device: Device, model: nn.Module, source: BatchSource, manifest: Manifest) -> Iterator[_Batch]:
    """The beginning of the first epoch, in `NUM_TRIES` parts; fewer where it has not so many images."""
    own_size = source.part.images.shape[-1]
    size, num_train = manifest.image_size or own_size, len(source.part)
    most = manifest.batch_size // 2 if device.is_cuda else MAX_PIXELS_ON_CPU // size**2
    num_images = max(1, min(manifest.batch_size, num_train, MAX_IMAGES[device.torch_device.type], most))
    source.follow(plan_epoch(seed=manifest.seed, epoch=1, num_images=num_train, image_size=own_size))
    network = copy.deepcopy(model).eval().to(device.torch_device).to(memory_format=torch.channels_last)
    for start in range(0, NUM_TRIES * num_images, num_images):
        positions = torch.arange(start, min(start + num_images, num_train), device=device.torch_device)
        if len(positions):
            yield _Batch(network, *source.batch(positions), manifest.label_smoothing)


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


def _check_precision(batches: list[_Batch], device: Device) -> GradientCheck:
    """The check of the first batch that passes, or of the last one. What does not repeat itself gets no second try."""
    for batch in batches:
        check = _check(batch, device)
        if check.passed or not check.repeats:
            break
    return check


def _check(batch: _Batch, device: Device) -> GradientCheck:
    """Two passes in the precision of `device`, each after other values were left in the memory that it may get."""
    reference = batch.reference(device)
    passes = []
    for poison in POISONS:
        _leave_in_memory(poison, like=reference)
        passes.append(batch.gradients(device))
    is_promised = not device.is_cuda or torch.are_deterministic_algorithms_enabled()
    changed = [name for name in reference if is_promised and not _same_bits(passes[0][name], passes[1][name])]
    errors = _relative_errors(passes[0], reference)
    worst = changed[0] if changed else max(errors, key=errors.__getitem__)
    return GradientCheck(
        precision=device.precision,
        num_images=len(batch.labels),
        parameter=worst,
        error=errors[worst] if math.isfinite(errors[worst]) else None,
        repeats=not changed,
        passed=not changed and errors[worst] <= TOLERANCES[device.precision],
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
