"""Prodigy: Adam that finds its learning rate itself.

Mishchenko and Defazio 2023, arXiv:2306.06101, algorithm 4; their own code is https://github.com/konstmish/prodigy
(MIT)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn


class Prodigy(torch.optim.Optimizer):
    """Adam whose steps are multiplied by d, an estimate of how far the weights are from the best ones."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        beta3: float | None,
        eps: float,
        weight_decay: float,
        decouple: bool,
        use_bias_correction: bool,
        safeguard_warmup: bool,
        d0: float,
        d_coef: float,
        growth_rate: float | None,
    ) -> None:
        own = {
            "lr": lr, "betas": betas, "beta3": beta3, "eps": eps, "weight_decay": weight_decay, "decouple": decouple,
            "use_bias_correction": use_bias_correction, "safeguard_warmup": safeguard_warmup, "d0": d0,
            "d_coef": d_coef, "growth_rate": growth_rate,
        }  # fmt: skip
        super().__init__(params, own | {"k": 0, "d": d0, "d_max": d0, "d_numerator": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change all weights once by the gradients that they have. The host waits for the device, to know d."""
        (group,) = self.param_groups
        lr, (beta1, beta2), d, d0 = group["lr"], group["betas"], group["d"], group["d0"]
        beta3 = math.sqrt(beta2) if group["beta3"] is None else group["beta3"]
        group["k"] += 1
        correction = 1.0
        if group["use_bias_correction"]:
            correction = math.sqrt(1 - beta2 ** group["k"]) / (1 - beta1 ** group["k"])
        d_lr = d * lr * correction
        weights = [weight for weight in group["params"] if weight.grad is not None]
        gradients = [self._take_gradient(weight, group["weight_decay"] * (not group["decouple"])) for weight in weights]
        numerators, denominators = [], []
        if lr > 0:
            for weight, gradient in zip(weights, gradients, strict=True):
                state = self.state[weight]
                numerators.append(torch.dot(gradient.flatten(), (state["p0"] - weight).flatten()))
                state["exp_avg"].mul_(beta1).add_(gradient, alpha=d * (1 - beta1))
                state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=d * d * (1 - beta2))
                state["s"].mul_(beta3).add_(gradient, alpha=d / d0 * (d if group["safeguard_warmup"] else d_lr))
                denominators.append(state["s"].abs().sum())
            numerator, denominator = (
                torch.stack([torch.stack(parts).sum() for parts in (numerators, denominators)]).tolist()
                if weights else (0.0, 0.0)
            )  # fmt: skip
            group["d_numerator"] = group["d_numerator"] * beta3 + d / d0 * d_lr * numerator
            if denominator == 0:
                return
            self._estimate(group, denominator)
        for weight in weights:
            state = self.state[weight]
            divisor = state["exp_avg_sq"].sqrt().add_(group["d"] * group["eps"])
            if group["decouple"]:
                weight.add_(weight, alpha=-group["weight_decay"] * d_lr)
            weight.addcdiv_(state["exp_avg"], divisor, value=-d_lr)

    def _take_gradient(self, weight: nn.Parameter, decay: float) -> torch.Tensor:
        """The gradient with the L2 penalty; makes the state of `weight` where there is none."""
        state = self.state[weight]
        if not state:
            state["p0"] = weight.detach().clone()
            state |= {name: torch.zeros_like(weight) for name in ("s", "exp_avg", "exp_avg_sq")}
        gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        return gradient.add(weight, alpha=decay) if decay else gradient

    @staticmethod
    def _estimate(group: dict[str, float], denominator: float) -> None:
        """Make d of the sums over all weights so far."""
        found = group["d_coef"] * group["d_numerator"] / denominator
        if group["d"] == group["d0"]:
            group["d"] = max(group["d"], found)
        group["d_max"] = max(group["d_max"], found)
        limit = math.inf if group["growth_rate"] is None else group["growth_rate"]
        group["d"] = min(group["d_max"], group["d"] * limit)
