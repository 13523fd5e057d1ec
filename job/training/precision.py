"""In which precision a run trains: what the manifest, the submission and the run's checkpoints say, and what the device
has.

One comparison has one arithmetic, and so has one run. What the machine would choose for itself counts only where nobody
has said anything.
"""

from __future__ import annotations

import torch

from job.errors import HostError
from job.logs import get_logger
from job.plan import AutoPrecision
from job.training.engine.device import Precision

MAX_SIZE_OF_FP32 = 16
"""Pixels. With images up to this size the last stage of a ResNet gets maps of 1x1, and oneDNN's bf16 gradient of its
3x3 kernel with stride 2 reads memory that nobody wrote (channels-last; seen with torch 2.15 on AVX512-BF16; maps of 2x2
and 3x3 are right). There `auto` takes fp32 on every CPU."""
FIRST_WITH_TF32 = (8, 0)
"""Compute capability."""


def choose_precision(
    device: torch.device,
    *,
    named: str,
    auto: AutoPrecision | None = None,
    trained_in: str | None = None,
    image_size: int | None = None,
) -> Precision:
    """The precision in which to train on `device`.

    `named` is the manifest's, `auto` is what the submission says that `auto` means, and `trained_in` is the precision
    of the checkpoint from which the run goes on. `image_size` is in pixels; where it is known, it may speak against
    bf16 on a CPU. Raises `HostError` where the device lacks what the submission or the checkpoint says.
    """
    if trained_in is not None:
        return _continue_in(device, trained_in, named=named, auto=auto, image_size=image_size)
    if named == "tf32" and not has_precision(device, "tf32"):
        reason = f"{_name(device)} has no tf32"
        get_logger().warning("precision_replaced", wanted="tf32", used="fp32", reason=reason)
        return "fp32"
    if named != "auto":
        return named  # type: ignore[return-value]  # the manifest allows these values only
    wanted = auto or _best(device)
    if wanted == "bf16" and _is_too_small(device, image_size):
        reason = f"images of {image_size} pixels: some bf16 kernels of CPUs are wrong up to {MAX_SIZE_OF_FP32}"
        get_logger().warning("precision_replaced", wanted="bf16", used="fp32", reason=reason)
        return "fp32"
    if not has_precision(device, wanted):
        raise HostError(
            f"precision auto means {wanted} in all runs of this comparison, and {_name(device)} has no {wanted}; "
            "take another machine, or say with --auto-precision what all machines have"
        )
    return wanted


def has_precision(device: torch.device, precision: str) -> bool:
    """Whether the hardware of `device` computes in `precision`; emulated it may be ten times slower than fp32."""
    if precision == "fp32":
        return True
    if device.type == "cuda":
        if precision == "bf16":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return precision == "fp16" or torch.cuda.get_device_capability(device) >= FIRST_WITH_TF32
    if precision == "bf16":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return precision == "fp16" and torch.cpu._is_amx_fp16_supported()


def _best(device: torch.device) -> AutoPrecision:
    """What the machine would choose for itself."""
    if has_precision(device, "bf16"):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


def _continue_in(
    device: torch.device, precision: str, *, named: str, auto: AutoPrecision | None, image_size: int | None
) -> Precision:
    """`precision`, of the run's checkpoint, where the device has it or the manifest names it."""
    is_emulated = precision == named != "tf32"  # who names a precision may have it emulated; tf32 is not
    if not is_emulated:
        if not has_precision(device, precision) or (precision == "bf16" and _is_too_small(device, image_size)):
            raise HostError(
                f"the run's checkpoint was trained in {precision}, and {_name(device)} has no usable {precision}; "
                "take another machine, and the same command carries on there"
            )
        wanted = named if named != "auto" else auto or _best(device)
        if precision != wanted:
            get_logger().info("precision_continued", wanted=wanted, used=precision, reason="the checkpoint's")
    return precision  # type: ignore[return-value]  # a checkpoint's record allows these values only


def _is_too_small(device: torch.device, image_size: int | None) -> bool:
    return device.type == "cpu" and image_size is not None and image_size <= MAX_SIZE_OF_FP32


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
