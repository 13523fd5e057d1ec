"""How fast a set-up of Adadelta learns at its start, from three batches: `python -m tests.benchmarks.first_slope`.

The first update of a weight with gradient g is -lr * sqrt(eps) / sqrt((1 - rho) * g^2 + eps) * g (Zeiler 2012,
arXiv:1212.5701, algorithm 1, with both averages zero before it). Its inner product with the gradient of images that it
was not made of is by how much it lowers their loss, to first order. This tells set-ups apart in seconds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from job.manifest.models import Normalization
from job.training.engine.batches import BatchSource, Part
from job.training.engine.image_data import ImageData
from job.training.inputs.datasets.folder import load_folder

BATCH_SIZE, NUM_BATCHES = 50, 3
PARTS = ("layer1", "layer2", "layer3", "layer4", "fc")


@dataclass(frozen=True)
class SetUp:
    """What is changed against the lab report's Adadelta."""

    name: str
    lr: float = 0.001
    rho: float = 0.9
    eps: float = 1e-6
    image_size: int | None = None
    normalization: Normalization = "imagenet"
    batch_norm: bool = True
    """Whether BatchNorm takes the statistics of the batch."""


BASE = SetUp("as torch's defaults, lr 0.001")
SETUPS = (
    BASE,
    replace(BASE, name="no normalisation of the inputs", normalization="none"),
    replace(BASE, name="BatchNorm with its running statistics", batch_norm=False),
    replace(BASE, name="images of 224 pixels", image_size=224),
    replace(BASE, name="rho 0.95", rho=0.95),
    replace(BASE, name="rho 0.99", rho=0.99),
    replace(BASE, name="rho 0.95, eps 1e-7 (Keras' defaults)", rho=0.95, eps=1e-7),
    replace(BASE, name="rho 0.95, eps 1e-8", rho=0.95, eps=1e-8),
    replace(BASE, name="eps 1e-8", eps=1e-8),
    replace(BASE, name="lr 0.0001", lr=0.0001),
)


def measure_slopes(setup: SetUp, data: ImageData, state: dict[str, Tensor]) -> dict[str, float]:
    """By how many nats the first update of each part of the network lowers the loss of other images."""
    torch.manual_seed(0)
    model: nn.Module = resnet18(num_classes=len(data.classes))
    model.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")}, strict=False)
    model.train(setup.batch_norm)
    part = Part(torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(part)))
    gradients = []
    for index in order[: NUM_BATCHES * BATCH_SIZE].split(BATCH_SIZE):
        batch = Part(part.images[index], part.labels[index])
        source = BatchSource(batch, image_size=setup.image_size, normalization=setup.normalization)
        loss = functional.cross_entropy(model(next(source.evaluation(BATCH_SIZE))), batch.labels)
        weights = dict(model.named_parameters())
        gradients.append(dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True)))
    first, *others = gradients
    slopes = dict.fromkeys(PARTS, 0.0)
    for name, gradient in first.items():
        other = torch.stack([found[name] for found in others]).mean(0)
        update = setup.lr * setup.eps**0.5 * gradient / torch.sqrt((1 - setup.rho) * gradient**2 + setup.eps)
        slopes[name.partition(".")[0] if name.partition(".")[0] in PARTS else "layer1"] += float((update * other).sum())
    return slopes


def main() -> None:
    """Print a row of Markdown for every set-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_folder(options.data, size=96, cache=None, num_threads=1)
    state = torch.load(options.weights, weights_only=True)
    print(f"| set-up | nats a step | of it {', '.join(PARTS)} |\n|---|---|---|")
    for setup in SETUPS:
        slopes = measure_slopes(setup, data, state)
        shares = " ".join(f"{slope:.5f}" for slope in slopes.values())
        print(f"| {setup.name} | {sum(slopes.values()):.5f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
