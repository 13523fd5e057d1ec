"""The optimizers that this project has written itself, once more: as their authors' own code has them.

They follow https://github.com/facebookresearch/schedule_free and https://github.com/konstmish/prodigy step by step, and
share nothing with ours, which keep other tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class PlainScheduleFree(torch.optim.Optimizer):
    """Keeps y in the weights and z beside them; x follows from both."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 0.0025, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, r: float = 0.0, weight_lr_power: float = 2.0,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr})
        self.betas, self.eps, self.weight_decay, self.r, self.power = betas, eps, weight_decay, r, weight_lr_power
        self.k, self.lr_max, self.weight_sum = 0, -1.0, 0.0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        (group,), (beta1, beta2) = self.param_groups, self.betas
        lr = group["lr"]
        self.lr_max = max(lr, self.lr_max)
        weight = (self.k + 1) ** self.r * self.lr_max**self.power
        self.weight_sum += weight
        ckp1 = weight / self.weight_sum
        for y in group["params"]:
            state = self.state[y]
            if "z" not in state:
                state["z"], state["v"] = y.detach().clone(), torch.zeros_like(y)
            state["v"] = beta2 * state["v"] + (1 - beta2) * y.grad**2
            normalised = y.grad / (torch.sqrt(state["v"] / (1 - beta2 ** (self.k + 1))) + self.eps)
            normalised = normalised + self.weight_decay * y
            y.lerp_(state["z"], ckp1)
            y.add_(normalised, alpha=lr * (beta1 * (1 - ckp1) - 1))
            state["z"] = state["z"] - lr * normalised
        self.k += 1

    def average(self, y: nn.Parameter) -> torch.Tensor:
        """x."""
        return (y.detach() - (1 - self.betas[0]) * self.state[y]["z"]) / self.betas[0]


class PlainProdigy(torch.optim.Optimizer):
    """Sums of the numerator and the denominator weight by weight."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 1.0, betas: tuple[float, float] = (0.9, 0.999),
        beta3: float | None = None, eps: float = 1e-8, weight_decay: float = 0.0, decouple: bool = True,
        use_bias_correction: bool = False, safeguard_warmup: bool = False, d0: float = 1e-6, d_coef: float = 1.0,
        growth_rate: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr})
        self.betas, self.beta3 = betas, math.sqrt(betas[1]) if beta3 is None else beta3
        self.eps, self.weight_decay, self.decouple = eps, weight_decay, decouple
        self.correct, self.safeguard, self.d_coef = use_bias_correction, safeguard_warmup, d_coef
        self.growth_rate = math.inf if growth_rate is None else growth_rate
        self.k, self.d0, self.d, self.d_max, self.numerator = 0, d0, d0, d0, 0.0

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        (group,), (beta1, beta2) = self.param_groups, self.betas
        lr, d = group["lr"], self.d
        correction = (1 - beta2 ** (self.k + 1)) ** 0.5 / (1 - beta1 ** (self.k + 1)) if self.correct else 1.0
        dlr = d * lr * correction
        self.numerator *= self.beta3
        denominator = 0.0
        for p in group["params"]:
            grad = p.grad if self.decouple else p.grad + self.weight_decay * p
            state: dict[str, Any] = self.state[p]
            if not state:
                state |= {"p0": p.detach().clone(), "s": 0.0 * p.detach(), "m": 0.0 * p.detach(), "v": 0.0 * p.detach()}
            self.numerator += d / self.d0 * dlr * float((grad * (state["p0"] - p)).sum())
            state["m"] = beta1 * state["m"] + d * (1 - beta1) * grad
            state["v"] = beta2 * state["v"] + d * d * (1 - beta2) * grad**2
            state["s"] = self.beta3 * state["s"] + (d / self.d0) * (d if self.safeguard else dlr) * grad
            denominator += float(state["s"].abs().sum())
        if denominator == 0:
            return
        d_hat = self.d_coef * self.numerator / denominator
        if self.d == self.d0:
            self.d = max(self.d, d_hat)
        self.d_max = max(self.d_max, d_hat)
        self.d = min(self.d_max, self.d * self.growth_rate)
        for p in group["params"]:
            if self.decouple:
                p.sub_(p * (self.weight_decay * dlr))
            p.sub_(dlr * self.state[p]["m"] / (torch.sqrt(self.state[p]["v"]) + self.d * self.eps))
        self.k += 1
