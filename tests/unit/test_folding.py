"""The network that evaluates against the one that trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from job.training.engine.folding import FoldedModel

IMAGES = torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.enable_grad()
def trained(model: nn.Module, *, num_steps: int) -> nn.Module:
    """With weights and statistics that are no longer those of the start."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    for _ in range(num_steps):
        optimizer.zero_grad()
        model(IMAGES * 3 + 1).square().mean().backward()
        optimizer.step()
    return model


def test_logits_are_those_of_the_model_in_evaluation_mode() -> None:
    model = trained(resnet18(num_classes=10), num_steps=2)
    folded = FoldedModel(model)
    folded.refresh()
    assert model.training  # as it was
    with torch.no_grad():
        torch.testing.assert_close(folded(IMAGES), model.eval()(IMAGES), rtol=1e-4, atol=1e-4)


def test_weights_and_statistics_are_those_of_the_last_refresh_and_stay_in_their_memory() -> None:
    model = resnet18(num_classes=10)
    folded = FoldedModel(model)
    folded.refresh()
    places = [weight.data_ptr() for weight in folded.parameters()]
    with torch.no_grad():
        before = folded(IMAGES)
        trained(model, num_steps=2)
        assert torch.equal(folded(IMAGES), before)
        folded.refresh()
        assert not torch.allclose(folded(IMAGES), before)
        torch.testing.assert_close(folded(IMAGES), model.eval()(IMAGES), rtol=1e-4, atol=1e-4)
    assert [weight.data_ptr() for weight in folded.parameters()] == places


def test_network_whose_layers_do_not_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        FoldedModel(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
