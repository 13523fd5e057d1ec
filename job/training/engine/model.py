"""The network: one of torchvision's ResNets with a new, seeded fc."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from job.manifest.models import Model
from job.training.engine.resnet import NETWORKS


@dataclass(frozen=True)
class Weights:
    """The network's state dict, by its own names, and the digest of the file that it came from."""

    state: dict[str, Tensor]
    sha256: str


def build_model(config: Model, weights: Weights | None, *, num_classes: int, seed: int) -> nn.Module:
    """The network with `num_classes` outputs; for one seed, fc starts the same whatever the weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[config.name](num_classes)
    if weights is not None:
        backbone = {key: value for key, value in weights.state.items() if not key.startswith("fc.")}
        backbone |= {key: value for key, value in model.state_dict().items() if key.startswith("fc.")}
        model.load_state_dict(backbone)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.") or not config.freeze_backbone
    return model


def train_mode(model: nn.Module, config: Model) -> None:
    """Set training mode, with the BatchNorm statistics that `config` names."""
    statistics = config.batch_norm or ("running" if config.freeze_backbone else "batch")
    model.train()
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(statistics == "batch")
