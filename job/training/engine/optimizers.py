"""From a manifest's optimizer and schedule to torch's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from importlib import import_module
from typing import Any, assert_never

import torch
from torch import Tensor

from job.errors import ManifestError, UsageError
from job.manifest import Optimizer
from job.manifest.attributes import OptimizerModel
from job.manifest.base import tag
from job.manifest.library import RELEASE
from job.manifest.models import Constant, Cosine, OneCycle, Schedule
from job.manifest.optimizers import Adagrad, AdamWScheduleFree, Muon, Prodigy
from job.training.engine import prodigy, schedule_free
from job.training.engine.muon import MuonWithAdamW
from job.training.engine.uncompiled import without_compiler
from job.versions import extra, find_packages

IMPLEMENTATION = ("fused", "foreach", "capturable")
"""What differs between devices in an optimizer's settings, and is no attribute of it."""


def build_optimizer(
    config: Optimizer, parameters: Iterable[torch.nn.Parameter], *, capturable: bool = False
) -> torch.optim.Optimizer:
    """The optimizer with the attributes of `config`, in the implementation that suits the device.

    A `capturable` one may step in a CUDA graph: its learning rate and its count of steps lie on the device. That is not
    done for an optimizer that no graph can hold. Raises `ManifestError` where the installed library lacks it or is too
    old.
    """
    parameters = list(parameters)
    device, kind = parameters[0].device, find_class(type(config))
    if isinstance(config, Muon):
        kind = MuonWithAdamW
    settings = config.model_dump(exclude={"name"})
    capturable = capturable and can_be_captured(config)
    accepted = inspect.signature(kind).parameters
    if config.is_fused and not (device.type == "cuda" and _lacks_fused_kernel(config)):
        settings["fused"] = True
    elif config.library == "torch" and (device.type == "cuda" or capturable) and "foreach" in accepted:
        settings["foreach"] = True  # timm's choose for themselves, by what they can do with a learning rate on a device
    if capturable:
        settings["lr"] = torch.tensor(config.lr, device=device)
        if "capturable" in accepted:  # fused Adagrad and SGD are without it
            settings["capturable"] = True
    if config.library != "timm":  # whose import brings the compiler along in any case
        kind = without_compiler(kind)
    try:
        return kind(parameters, **settings)
    except (TypeError, ValueError) as error:  # of an older library, which does not know an attribute or a value
        raise ManifestError(f"optimizer {config.name}: {_name_library(config)} refuses it: {error}") from error


def can_be_captured(config: Optimizer) -> bool:
    """Whether a CUDA graph can hold its steps, with the installed torch."""
    return config.is_capturable and not _lacks_fused_kernel(config)


def _lacks_fused_kernel(config: Optimizer) -> bool:
    """Adagrad of before torch 2.12: on CUDA it refuses its fused kernel, and without that reads its steps back.

    See https://github.com/pytorch/pytorch/pull/177672.
    """
    return isinstance(config, Adagrad) and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 12)


_OWN: dict[type[OptimizerModel], type[torch.optim.Optimizer]] = {
    AdamWScheduleFree: schedule_free.AdamWScheduleFree,
    Prodigy: prodigy.Prodigy,
}


def _name_library(config: OptimizerModel | type[OptimizerModel]) -> str:
    """With its installed release."""
    if config.library == "timm":
        return f"timm {find_packages(['timm']).get('timm')}"
    return f"torch {torch.__version__}"


def find_class(kind: type[OptimizerModel]) -> type[torch.optim.Optimizer]:
    """The class for `kind`, which has the same name in its library.

    Raises `ManifestError` where it is not installed: then no attempt on this image can succeed.
    """
    name = f"optimizer.name is {tag(kind)!r}"
    if kind.library == "timm":
        try:
            with extra("optimizers"):
                module = import_module("timm.optim")
        except UsageError as error:
            raise ManifestError(f"{name}, one of timm's; {error}; or take another optimizer") from error
        release = RELEASE
    elif kind.library == "job":
        return _OWN[kind]
    else:
        module, release = torch.optim, kind.torch_release
    found: type[torch.optim.Optimizer] | None = getattr(module, kind.__name__, None)
    if found is None:
        raise ManifestError(
            f"{name}, but the installed {_name_library(kind)} has no {module.__name__}.{kind.__name__}; "
            f"install {kind.library} {release} or newer, or take another optimizer"
        )
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the state dict `saved`, perhaps on another kind of device, and keep the implementation of this one."""
    own = [{name: group[name] for name in (*IMPLEMENTATION, "lr") if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, kept in zip(optimizer.param_groups, own, strict=True):
        group |= kept


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """For the next step; where it lies on the device, into the same memory.

    A group with a `relative_lr` gets this multiple of it.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate * group.get("relative_lr", 1.0)


def learning_rate_factor(schedule: Schedule, *, step: int, num_epochs: int, num_steps: int) -> float:
    """What the optimizer's lr is multiplied with at `step`, counted from 0 over all epochs."""
    last = num_epochs * num_steps - 1
    match schedule:
        case Constant():
            return _warmup(schedule.warmup_epochs * num_steps, step)
        case Cosine():
            warmup_steps = schedule.warmup_epochs * num_steps
            falling = _cosine(1.0, schedule.final_fraction, _part_done(step, start=warmup_steps, end=last))
            return _warmup(warmup_steps, step) * falling
        case OneCycle():
            first = 1 / schedule.div_factor
            peak = schedule.warmup_fraction * (last + 1) - 1  # torch's OneCycleLR counts so
            if step <= peak:
                return _cosine(first, 1.0, step / peak if peak > 0 else 1.0)
            return _cosine(1.0, first / schedule.final_div_factor, _part_done(step, start=peak, end=last))
        case _:
            assert_never(schedule)


def _part_done(step: int, *, start: float, end: float) -> float:
    """How far `step` is between `start` and `end`: 0 to 1. Where nothing lies between them, 0 until `start`."""
    if step <= start:
        return 0.0
    return (step - start) / (end - start) if step < end else 1.0


def _warmup(warmup_steps: float, step: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def _cosine(start: float, end: float, done: float) -> float:
    """Half a cosine wave from `start` to `end` as `done` goes from 0 to 1."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
