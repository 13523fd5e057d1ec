"""Convolutions as matrix products equal torch's own, in every direction."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from job.training import convolution
from job.training.convolution import MatrixConv2d, choose_directions, use_products
from job.training.device import Device
from job.training.folding import FoldedModel

CPU = Device(torch.device("cpu"), "fp32", 1)
ALL = frozenset({"output", "input", "weight"})
LAYERS = {
    "stem": nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
    "3x3": nn.Conv2d(8, 12, 3, padding=1, bias=False),
    "3x3 of stride 2": nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
    "1x1 of stride 2": nn.Conv2d(8, 12, 1, stride=2, bias=False),
}


def gradients(layer: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """Output, and gradients of images and weight."""
    images = images.detach().requires_grad_()
    output = layer(images)
    factors = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    of_images, of_weight = torch.autograd.grad((output * factors).sum(), [images, layer.weight])
    return [output.detach(), of_images, of_weight]


@pytest.mark.parametrize("directions", [ALL, {"output"}, {"input"}, {"weight"}], ids=str)
@pytest.mark.parametrize("size", [1, 5, 8])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_those_of_torch(
    name: str, size: int, directions: frozenset[str], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(LAYERS[name]).double().to(memory_format=layout)
    images = torch.randn(2, layer.in_channels, size, size + 2, dtype=torch.float64).to(memory_format=layout)
    own = gradients(MatrixConv2d(layer, frozenset(directions)), images)
    for found, expected in zip(own, gradients(layer, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_images_and_gradients_may_lie_anyhow_in_memory(name: str) -> None:
    """Every second image, row and column of a larger tensor, and a gradient that is one number expanded."""
    torch.manual_seed(0)
    layer = copy.deepcopy(LAYERS[name]).double()
    images = torch.randn(6, layer.in_channels, 12, 14, dtype=torch.float64)[::2, :, ::2, ::2].requires_grad_()
    found, expected = (
        torch.autograd.grad(kind(images).sum(), [images, layer.weight]) for kind in (MatrixConv2d(layer, ALL), layer)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_pass_torchs_numerical_check(name: str) -> None:
    layer = MatrixConv2d(copy.deepcopy(LAYERS[name]).double(), ALL)
    images = torch.randn(1, layer.in_channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (images,))


def test_autocast_computes_in_bf16_and_gives_float32_gradients() -> None:
    torch.manual_seed(0)
    layer = copy.deepcopy(LAYERS["3x3 of stride 2"])
    images = torch.randn(4, 8, 6, 6)
    exact = gradients(layer, images)
    with torch.autocast("cpu", torch.bfloat16):
        output = MatrixConv2d(layer, ALL)(images)
        found = gradients(MatrixConv2d(layer, ALL), images)
    assert output.dtype is torch.bfloat16
    assert [one.dtype for one in found[1:]] == [torch.float32] * 2
    for one, expected in zip(found, exact, strict=True):
        assert (one - expected).norm() < 0.01 * expected.norm()


@pytest.mark.usefixtures("avx2")
def test_network_keeps_its_parameters_names_and_gradients() -> None:
    torch.manual_seed(0)
    plain = resnet18(num_classes=10)
    own = copy.deepcopy(plain)
    kept = dict(own.named_parameters())
    use_products(own, CPU)
    assert sum(isinstance(layer, MatrixConv2d) for layer in own.modules()) == 10  # all of the last two stages
    assert list(own.state_dict()) == list(plain.state_dict())
    assert all(weight is kept[name] for name, weight in own.named_parameters())
    images, labels = torch.randn(4, 3, 40, 40), torch.tensor([0, 1, 2, 3])
    for model in (plain, own):
        functional.cross_entropy(model.train()(images), labels).backward()
    for (name, found), expected in zip(own.named_parameters(), plain.parameters(), strict=True):
        assert found.grad is not None, name
        assert expected.grad is not None, name
        assert (found.grad - expected.grad).norm() <= 1e-3 * expected.grad.norm(), name


@pytest.mark.usefixtures("avx2")
def test_evaluation_is_torchs_own_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    plain = resnet18(num_classes=10).eval()
    own = copy.deepcopy(plain)
    use_products(own, CPU)
    monkeypatch.setattr(convolution, "_Convolution", None)  # would be called by nothing
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(own(images), plain(images))
        folded = [FoldedModel(model) for model in (own, plain)]
        for model in folded:
            model.refresh()
        assert torch.equal(*(model(images) for model in folded))
    assert torch.equal(*(model(images) for model in folded))  # with its bias where gradients are recorded as well


@pytest.mark.parametrize(
    ("device", "capability", "amx", "chosen"),
    [
        (CPU, "AVX2", False, [0, 0, 0, 1, 1, 2, 3]),
        (CPU, "AVX512", True, [0] * 7),  # not measured
        (replace(CPU, arithmetic="bf16"), "AVX512", True, [0, 0, 3, 3, 3, 3, 3]),
        (replace(CPU, arithmetic="bf16"), "AVX512", False, [0] * 7),  # not measured
        (replace(CPU, arithmetic="bf16"), "AVX2", False, [0] * 7),
        (replace(CPU, arithmetic="fp16"), "AVX512", True, [0] * 7),
        (Device(torch.device("cuda"), "bf16", 1), "AVX512", True, [0] * 7),
        (Device(torch.device("cuda"), "fp32", 1), "AVX2", False, [0] * 7),
    ],
)
def test_directions_follow_arithmetic_and_cpu(
    device: Device, capability: str, amx: bool, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    names = ("conv1", "layer2.0.conv2", "layer2.0.downsample.0", "layer3.0.conv1", "layer3.1.conv2", "layer4.0.conv1",
             "layer4.1.conv2")  # fmt: skip
    network = resnet18()
    layers = [network.get_submodule(name) for name in names]
    assert [len(choose_directions(layer, device)) for layer in layers if isinstance(layer, nn.Conv2d)] == chosen


@pytest.mark.usefixtures("avx2")
def test_frozen_backbone_trains_the_last_layer_alone() -> None:
    network = resnet18(num_classes=10)
    use_products(network, CPU)
    for name, weight in network.named_parameters():
        weight.requires_grad = name.startswith("fc.")
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert {name for name, weight in network.named_parameters() if weight.grad is not None} == {"fc.weight", "fc.bias"}
