"""From a manifest's optimizer and schedule to torch's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import assert_never

import torch
from torch.optim.lr_scheduler import LambdaLR

from job.manifest import Optimizer
from job.manifest.models import Constant, Cosine, OneCycle, Schedule

CLASSES: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
FUSED = {"adam", "adamw", "adagrad", "sgd"}
"""Those with one kernel for the whole step on CPU."""


def build_optimizer(config: Optimizer, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """torch's optimizer with the attributes of `config`, in the implementation that suits the device."""
    parameters = list(parameters)
    attributes = config.model_dump(exclude={"name"})
    if config.name in FUSED and parameters[0].device.type == "cpu":
        attributes["fused"] = True  # on CUDA torch itself picks foreach
    return CLASSES[config.name](parameters, **attributes)


def build_schedule(
    optimizer: torch.optim.Optimizer, schedule: Schedule, *, num_epochs: int, num_steps: int
) -> LambdaLR:
    """The learning rate by step; `num_steps` are those of one epoch."""
    return LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(schedule, step=step, num_epochs=num_epochs, num_steps=num_steps),
    )


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
