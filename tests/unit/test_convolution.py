"""The gradients of wide kernels as matrix products, against torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from job.training.engine import convolution, winograd
from job.training.engine.convolution import MIN_CHANNELS, WideConv2d, input_gradient, weight_gradient
from job.training.engine.resnet import NETWORKS


def shapes() -> Iterator[tuple[int, int, int, int]]:
    """Kernel size, stride, padding and size of the images."""
    for size, padding in ((1, 0), (3, 1), (3, 0), (5, 2)):
        for stride in (1, 2, 3):
            for extent in (5, 6, 9):
                yield size, stride, padding, extent


def gradients(layer: nn.Conv2d, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and the gradients of images and kernel of a loss that weighs every number differently."""
    images = images.clone().requires_grad_()
    output = layer(images)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    of_images, of_kernel = torch.autograd.grad((output * weights).sum(), [images, layer.weight])
    return output.detach(), of_images, of_kernel


def takes_product(layer: nn.Conv2d, images: Tensor) -> bool:
    node = layer(images).grad_fn
    return node is not None and node.name() == "_ConvolutionBackward"


@contextmanager
def without_onednn() -> Iterator[None]:
    setattr(torch.backends.mkldnn, "enabled", False)  # noqa: B010 - torch's annotations know no setter
    try:
        yield
    finally:
        setattr(torch.backends.mkldnn, "enabled", True)  # noqa: B010


@pytest.mark.parametrize("shape", list(shapes()))
@pytest.mark.parametrize("most_numbers", [1, 1 << 23], ids=["image by image", "at once"])
@pytest.mark.parametrize("min_saving", [0, 100], ids=["in tiles", "in patches"])
def test_products_are_the_gradients_in_double_precision(
    shape: tuple[int, int, int, int], most_numbers: int, min_saving: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, stride, padding, extent = shape
    monkeypatch.setattr(convolution, "MAX_PATCH_NUMBERS", most_numbers)
    monkeypatch.setattr(convolution, "MIN_SAVING", min_saving)
    torch.manual_seed(0)
    images = torch.randn(3, 4, extent, extent + 1, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(6, 4, size, size, dtype=torch.float64, requires_grad=True)
    output = nn.functional.conv2d(images, kernel, None, stride, padding)
    gradient = torch.randn_like(output)
    expected = torch.autograd.grad(output, [images, kernel], gradient)
    with torch.no_grad():
        of_images = input_gradient(images, kernel, gradient, stride=stride, padding=padding)
        of_kernel = weight_gradient(images, gradient, size=size, stride=stride, padding=padding)
    for found, wanted in zip((of_images, of_kernel), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_tiles_are_taken_where_they_save_a_third_of_the_multiplications() -> None:
    """STL-10's 96 pixels give maps of 12, 6 and 3, ImageNet's 224 those of 28, 14 and 7; 8 and 4 come of 64 and 128."""
    with_tiles = {extent for extent in range(1, 29) if convolution._tiles_save(3, 1, torch.Size([extent, extent]))}
    assert {3, 6, 7, 8, 12, 14, 28} <= with_tiles
    assert with_tiles.isdisjoint({1, 2, 4})
    assert winograd.count_products(12, 6) == 25 * 4 * 2
    assert not convolution._tiles_save(3, 2, torch.Size([12, 12]))
    assert not convolution._tiles_save(5, 1, torch.Size([12, 12]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layer_differs_from_torch_s_by_the_rounding_of_its_gradients(
    stride: int, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    wide = WideConv2d(32, MIN_CHANNELS, 3, stride=stride, padding=1, bias=False).to(memory_format=memory_format)
    plain = nn.Conv2d(32, MIN_CHANNELS, 3, stride=stride, padding=1, bias=False).to(memory_format=memory_format)
    plain.load_state_dict(wide.state_dict())
    images = torch.randn(5, 32, 6, 6).to(memory_format=memory_format)
    assert takes_product(wide, images)
    (output, of_images, of_kernel), expected = gradients(wide, images), gradients(plain, images)
    assert torch.equal(output, expected[0])
    if stride == 1:
        assert (of_images - expected[1]).norm() < 1e-5 * expected[1].norm()
    else:
        assert torch.equal(of_images, expected[1])
    assert (of_kernel - expected[2]).norm() < 1e-5 * expected[2].norm()
    assert all(torch.equal(*pair) for pair in zip(gradients(wide, images), (output, of_images, of_kernel), strict=True))


def test_where_onednn_is_off_or_the_precision_lower_it_is_torch_s_layer() -> None:
    """So the check of a run's first gradients has a reference that shares no kernel with the training."""
    torch.manual_seed(0)
    wide = WideConv2d(32, MIN_CHANNELS, 3, padding=1, bias=False)
    plain = nn.Conv2d(32, MIN_CHANNELS, 3, padding=1, bias=False)
    plain.load_state_dict(wide.state_dict())
    images = torch.randn(5, 32, 6, 6)
    with without_onednn():
        assert not takes_product(wide, images)
        assert all(torch.equal(*pair) for pair in zip(gradients(wide, images), gradients(plain, images), strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        assert not takes_product(wide, images)
        assert all(torch.equal(*pair) for pair in zip(gradients(wide, images), gradients(plain, images), strict=True))


def test_frozen_kernel_gets_no_gradient_and_its_images_still_do() -> None:
    wide = WideConv2d(8, MIN_CHANNELS, 3, padding=1, bias=False).requires_grad_(False)
    images = torch.randn(2, 8, 4, 4, requires_grad=True)
    wide(images).sum().backward()
    assert wide.weight.grad is None
    assert images.grad is not None


def test_wide_kernels_of_3x3_are_those_of_the_last_three_layers() -> None:
    for name in ("resnet18", "resnet50"):
        wide = {key.split(".")[0] for key, layer in NETWORKS[name](10).named_modules() if isinstance(layer, WideConv2d)}
        assert wide == {"layer2", "layer3", "layer4"}, name
