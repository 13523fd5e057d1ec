"""The size of an optimizer's first step, from its formula: root mean square over the weights.

Derived from torch.optim (torch 2.11 to 2.15, single-tensor implementations) and timm.optim (timm 1.0.31) with t = 1 and
empty state. Every weight is taken to have a gradient as large as the root mean square of all. Where eps or a start of
the accumulator counts, that is an upper bound: the square of the step is a concave function of g², so by Jensen's
inequality gradients of different sizes give a smaller one. Where gradients are large beside eps, or small beside it,
the prediction is exact but for gradients that are zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from job.manifest import Manifest
from job.manifest.models import Constant, Cosine, OneCycle, Schedule
from job.manifest.optimizers import SGD, NAdam, RMSprop


@dataclass(frozen=True)
class Start:
    """What the first step starts from, as root mean squares over the weights."""

    gradient: float
    weight: float


def predict_first_step(manifest: Manifest, *, start: Start, num_steps: int) -> float | None:
    """The root mean square over the weights of the first update, for `num_steps` steps in an epoch.

    None where the step depends on more than these sizes (Muon's on the shapes of its kernels), and where the formula
    divides by zero.
    """
    optimizer = manifest.optimizer
    predict = _PREDICTIONS.get(optimizer.name)
    if predict is None:
        return None
    lr = optimizer.lr * start_factor(manifest.schedule, num_epochs=manifest.epochs, num_steps=num_steps)
    try:
        return predict(optimizer, start, lr)
    except ZeroDivisionError:
        return None


def start_factor(schedule: Schedule, *, num_epochs: int, num_steps: int) -> float:
    """What the schedule multiplies lr with in the first step; `learning_rate_factor` of the training has all steps."""
    match schedule:
        case Constant() | Cosine():
            warmup_steps = schedule.warmup_epochs * num_steps
            return min(1.0, 1 / warmup_steps) if warmup_steps > 0 else 1.0
        case OneCycle():
            last = num_epochs * num_steps - 1
            peak = schedule.warmup_fraction * (last + 1) - 1
            if peak >= 0:
                return 1 / schedule.div_factor if peak > 0 else 1.0
            done = peak / (peak - last) if last > 0 else 1.0  # a warm-up shorter than a step: the fall has begun
            final = 1 / schedule.div_factor / schedule.final_div_factor
            return final + (1 - final) / 2 * (1 + math.cos(math.pi * done))


def _normalised(size: float, *, scale: float, eps: float) -> float:
    """|g| / (scale·|g| + eps); 0 where nothing has a gradient, as 0/eps is."""
    return size / (scale * size + eps)


def _with_decay(optimizer: Any, start: Start) -> float:
    """Root mean square of the gradient and the L2 penalty's, which are taken to be uncorrelated."""
    return math.hypot(start.gradient, optimizer.weight_decay * start.weight)


def is_decoupled(optimizer: Any) -> bool:
    """Whether its weight decay goes past the gradient."""
    switches = ("decoupled_weight_decay", "decoupled_decay", "decoupled", "decouple")
    return optimizer.is_decoupled or any(getattr(optimizer, switch, False) for switch in switches)


def _adaptive(optimizer: Any, start: Start, lr: float, *, factor: float = 1.0) -> float:
    """Adam and its kin: both means are corrected for their start, so g is divided by |g| + eps.

    A decoupled decay is taken to be uncorrelated with the gradient's sign.
    """
    if is_decoupled(optimizer):
        own = factor * _normalised(start.gradient, scale=1.0, eps=optimizer.eps)
        return lr * math.hypot(own, optimizer.weight_decay * start.weight)
    return lr * factor * _normalised(_with_decay(optimizer, start), scale=1.0, eps=optimizer.eps)


def _nadam(optimizer: NAdam, start: Start, lr: float) -> float:
    beta = optimizer.betas[0]
    first, second = (beta * (1 - 0.5 * 0.96 ** (step * optimizer.momentum_decay)) for step in (1, 2))
    return _adaptive(optimizer, start, lr, factor=1 + second * (1 - beta) / (1 - first * second))


def _radam(optimizer: Any, start: Start, lr: float) -> float:
    """ρ1 is 1 for every β2, so the first step is never rectified nor divided; decoupled or not, a decay adds lr·w."""
    return lr * _with_decay(optimizer, start)


def _adagrad(optimizer: Any, start: Start, lr: float) -> float:
    size = _with_decay(optimizer, start)
    start_of_sum, eps = float(optimizer.initial_accumulator_value), float(optimizer.eps)
    return lr * size / (math.sqrt(start_of_sum + size**2) + eps)


def _adadelta(optimizer: Any, start: Start, lr: float) -> float:
    size = _with_decay(optimizer, start)
    return lr * math.sqrt(optimizer.eps) * size / math.sqrt((1 - optimizer.rho) * size**2 + optimizer.eps)


def _rmsprop(optimizer: RMSprop, start: Start, lr: float) -> float:
    """Centered: v − a² is (1 − alpha)·g² − (1 − alpha)²·g² = alpha·(1 − alpha)·g²."""
    alpha = optimizer.alpha
    scale = math.sqrt(alpha * (1 - alpha) if optimizer.centered else 1 - alpha)
    return lr * _normalised(_with_decay(optimizer, start), scale=scale, eps=optimizer.eps)


def _sgd(optimizer: SGD, start: Start, lr: float) -> float:
    """torch starts the accumulated gradient with g itself, so neither momentum nor dampening counts yet."""
    return lr * (1 + optimizer.momentum * optimizer.nesterov) * _with_decay(optimizer, start)


def _adafactor(optimizer: Any, start: Start, lr: float) -> float:
    """Relative to the weights; an update of a single row or column of gradients has a root mean square of exactly 1."""
    return math.hypot(min(lr, 1.0) * max(start.weight, optimizer.eps[1]), lr * optimizer.weight_decay * start.weight)


def _asgd(optimizer: Any, start: Start, lr: float) -> float:
    """The decay by `lambd` is one more penalty on the same weights, so the two add up before anything else."""
    return lr * math.hypot(start.gradient, (optimizer.weight_decay + optimizer.lambd) * start.weight)


def _rprop(optimizer: Any, start: Start, lr: float) -> float:
    smallest, largest = optimizer.step_sizes
    return float(min(max(lr, smallest), largest)) if start.gradient else 0.0


def _with_decoupled_decay(size: float, optimizer: Any, start: Start, lr: float) -> float:
    """Of a step of `size` and a decay that are taken to be uncorrelated."""
    return math.hypot(size, lr * optimizer.weight_decay * start.weight)


def _adabelief(optimizer: Any, start: Start, lr: float) -> float | None:
    """Rectified it is never divided in the first step. Otherwise g − m is β1·g, and eps is added in the root too."""
    if optimizer.fixed_decay and optimizer.weight_decay:
        return None
    gradient = start.gradient if is_decoupled(optimizer) else _with_decay(optimizer, start)
    beta1, beta2 = optimizer.betas
    if optimizer.rectify:
        size = lr * gradient * optimizer.degenerated_to_sgd
    else:
        root = math.sqrt(beta1**2 * gradient**2 + optimizer.eps / (1 - beta2))
        size = lr * gradient / (root + optimizer.eps)
    return _with_decoupled_decay(size, optimizer, start, lr) if is_decoupled(optimizer) else size


def _lamb(optimizer: Any, start: Start, lr: float) -> float | None:
    """A step has the norm of the tensor's weights times lr; without decay, Adam's. Clipping counts beside eps alone."""
    if optimizer.weight_decay == 0 and not optimizer.always_adapt:
        return _adaptive(optimizer, start, lr) if optimizer.bias_correction else None
    return None if optimizer.trust_clip or is_decoupled(optimizer) else lr * start.weight


def _lars(optimizer: Any, start: Start, lr: float) -> float | None:
    return None if optimizer.weight_decay or optimizer.always_adapt else _sgd(optimizer, start, lr)


def _lion(optimizer: Any, start: Start, lr: float) -> float:
    return _with_decoupled_decay(lr if start.gradient else 0.0, optimizer, start, lr)


def _madgrad(optimizer: Any, start: Start, lr: float) -> float:
    decoupled = is_decoupled(optimizer)
    gradient, scaled = start.gradient if decoupled else _with_decay(optimizer, start), lr + optimizer.eps
    size = scaled * gradient / ((scaled * gradient**2) ** (1 / 3) + optimizer.eps)
    size *= 1 - optimizer.momentum
    return _with_decoupled_decay(size, optimizer, start, lr) if decoupled else size


def _mars(optimizer: Any, start: Start, lr: float) -> float:
    return _lion(optimizer, start, lr) if optimizer.mars_type == "lion" else _adaptive(optimizer, start, lr)


def _nadamw(optimizer: Any, start: Start, lr: float) -> float | None:
    return None if optimizer.clipping_threshold else _adaptive(optimizer, start, lr, factor=1 + optimizer.betas[0])


def _prodigy(optimizer: Any, start: Start, lr: float) -> float:
    """The weights have not moved yet, so the estimate is d0."""
    (beta1, beta2), decoupled = optimizer.betas, is_decoupled(optimizer)
    d_lr = optimizer.d0 * lr * (math.sqrt(1 - beta2) / (1 - beta1) if optimizer.use_bias_correction else 1.0)
    gradient = start.gradient if decoupled else _with_decay(optimizer, start)
    size = d_lr * (1 - beta1) * _normalised(gradient, scale=math.sqrt(1 - beta2), eps=optimizer.eps)
    return _with_decoupled_decay(size, optimizer, start, d_lr) if decoupled else size


def _rmsproptf(optimizer: Any, start: Start, lr: float) -> float:
    """Centered: a² is (1 − alpha)²·g²."""
    decoupled, alpha = is_decoupled(optimizer), optimizer.alpha
    gradient = start.gradient if decoupled else _with_decay(optimizer, start)
    mean = alpha + (1 - alpha) * gradient**2 - optimizer.centered * ((1 - alpha) * gradient) ** 2
    size = lr * gradient / math.sqrt(mean + optimizer.eps)
    return _with_decoupled_decay(size, optimizer, start, lr) if decoupled else size


def _sgdw(optimizer: Any, start: Start, lr: float) -> float:
    size = lr * (1 + optimizer.momentum * optimizer.nesterov) * start.gradient
    return _with_decoupled_decay(size, optimizer, start, lr)


_PREDICTIONS: dict[str, Callable[[Any, Start, float], float | None]] = {
    "adam": _adaptive,
    "adamw": _adaptive,
    "adamax": _adaptive,
    "nadam": _nadam,
    "radam": _radam,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "asgd": _asgd,
    "rprop": _rprop,
    "adabelief": _adabelief,
    "adan": _adaptive,
    "lamb": _lamb,
    "laprop": _adaptive,
    "lars": _lars,
    "lion": _lion,
    "madgrad": _madgrad,
    "mars": _mars,
    "nadamw": _nadamw,
    "rmsproptf": _rmsproptf,
    "sgdw": _sgdw,
    "adamwschedulefree": _adaptive,
    "prodigy": _prodigy,
}
"""By optimizer: the size of the first step from its attributes, the start and the lr of the first step."""
