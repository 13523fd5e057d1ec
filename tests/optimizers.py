"""Every optimizer with every attribute away from its default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm.optim
import torch

from tests.plain_optimizers import PlainProdigy, PlainScheduleFree

timm_optim: Any = timm.optim  # it exports its classes without saying so

_ADAM = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
_SGD = {"lr": 0.02, "momentum": 0.5, "dampening": 0.0, "weight_decay": 0.1, "nesterov": True}
_CAUTIOUS = {"caution": True, "corrected_weight_decay": True}

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
    "adabelief": (
        timm_optim.AdaBelief,
        _ADAM
        | {"amsgrad": True, "decoupled_decay": False, "fixed_decay": True, "rectify": False}
        | {"degenerated_to_sgd": False},
    ),
    "adamp": (timm_optim.AdamP, _ADAM | {"delta": 0.5, "wd_ratio": 0.3, "nesterov": True, "caution": True}),
    "adan": (timm_optim.Adan, _ADAM | {"betas": (0.9, 0.8, 0.95), "no_prox": True, "caution": True}),
    "adopt": (timm_optim.Adopt, _ADAM | _CAUTIOUS | {"clip_exp": 0.2, "decoupled": True}),
    "lamb": (
        timm_optim.Lamb,
        _ADAM
        | _CAUTIOUS
        | {"bias_correction": False, "grad_averaging": False, "max_grad_norm": 0.5}
        | {"trust_clip": True, "always_adapt": True, "decoupled_decay": True},
    ),
    "laprop": (timm_optim.LaProp, _ADAM | _CAUTIOUS),
    "lars": (timm_optim.Lars, _SGD | {"trust_coeff": 0.1, "eps": 1e-3, "trust_clip": True, "always_adapt": True}),
    "lion": (timm_optim.Lion, {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1} | _CAUTIOUS),
    "madgrad": (
        timm_optim.MADGRAD,
        {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3, "decoupled_decay": True},
    ),
    "mars": (
        timm_optim.Mars,
        _ADAM
        | {"gamma": 0.1, "mars_type": "lion", "optimize_1d": True, "lr_1d_factor": 0.5, "betas_1d": (0.7, 0.9)}
        | {"caution": True},
    ),
    "nadamw": (timm_optim.NAdamW, _ADAM | _CAUTIOUS | {"clipping_threshold": 0.8}),
    "novograd": (
        timm_optim.NvNovoGrad,
        _ADAM | {"grad_averaging": True, "amsgrad": True, "decoupled_decay": True, "corrected_weight_decay": True},
    ),
    "rmsproptf": (
        timm_optim.RMSpropTF,
        {"lr": 0.02, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.5, "centered": True}
        | _CAUTIOUS
        | {"decoupled_decay": True, "lr_in_momentum": False},
    ),
    "sgdw": (timm_optim.SGDW, _SGD | _CAUTIOUS),
    "adamwschedulefree": (PlainScheduleFree, _ADAM | {"r": 1.0, "weight_lr_power": 1.0}),
    "prodigy": (
        PlainProdigy,
        _ADAM
        | {"lr": 0.5, "beta3": 0.9, "decouple": False, "use_bias_correction": True, "safeguard_warmup": True}
        | {"d0": 1e-3, "d_coef": 2.0, "growth_rate": 1.5},
    ),
}
"""Every attribute away from its default, so that one lost on the way changes the weights."""
ALONE = [name for name in CONFIGURED if name != "muon"]
"""Those that train all weights with one class."""
LIBRARIES = [name for name in ALONE if not CONFIGURED[name][0].__module__.startswith("tests.")]
"""Those whose class is torch's or timm's."""
