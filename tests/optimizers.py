"""Every optimizer with every attribute away from its default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

CONFIGURED: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (
        torch.optim.Adam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}
        | {"decoupled_weight_decay": True},
    ),
    "adamw": (
        torch.optim.AdamW,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True},
    ),
    "adamax": (torch.optim.Adamax, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    "nadam": (
        torch.optim.NAdam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.02}
        | {"decoupled_weight_decay": True},
    ),
    "radam": (
        torch.optim.RAdam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "adagrad": (
        torch.optim.Adagrad,
        {"lr": 0.02, "lr_decay": 0.3, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-3},
    ),
    "adadelta": (torch.optim.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    "rmsprop": (
        torch.optim.RMSprop,
        {"lr": 0.02, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.5, "centered": True},
    ),
    "sgd": (
        torch.optim.SGD,
        {"lr": 0.02, "momentum": 0.5, "dampening": 0.0, "weight_decay": 0.1, "nesterov": True},
    ),
    "adafactor": (
        torch.optim.Adafactor,
        {"lr": 0.02, "beta2_decay": -0.6, "eps": (1e-4, 0.01), "d": 1.5, "weight_decay": 0.1},
    ),
    "asgd": (torch.optim.ASGD, {"lr": 0.02, "lambd": 0.1, "alpha": 0.5, "t0": 3.0, "weight_decay": 0.1}),
    "rprop": (torch.optim.Rprop, {"lr": 0.02, "etas": (0.6, 1.4), "step_sizes": (1e-3, 0.03)}),
    "muon": (
        torch.optim.Muon,
        {"lr": 0.02, "weight_decay": 0.2, "momentum": 0.5, "nesterov": False, "ns_coefficients": (3.0, -3.2, 1.2)}
        | {"eps": 1e-3, "ns_steps": 2, "adjust_lr_fn": "match_rms_adamw"}
        | {"adamw_lr": 0.01, "adamw_betas": (0.8, 0.95), "adamw_eps": 1e-3, "adamw_weight_decay": 0.1},
    ),
}
"""Every attribute away from its default, so that one lost on the way changes the weights."""
ALONE = [name for name in CONFIGURED if name != "muon"]
"""Those that train all weights with torch's class alone."""
