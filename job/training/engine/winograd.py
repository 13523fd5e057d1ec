"""Both gradients of a convolution with 3x3 kernels, in tiles of 3x3 outputs: 25 multiplications where there were 81.

Lavin, Gray 2016, "Fast Algorithms for Convolutional Neural Networks" (arXiv:1509.09308): F(3x3, 3x3), at the points 0,
1, -1, 2 and infinity. A patch, a kernel and a tile are taken to 5x5 numbers each by a small matrix; there a convolution
is a product number by number, so that over all channels it is 25 matrix products.

Here `images` are (N, H, W, in), a `gradient` is that of the outputs (N, H', W', out), and kernels are (out, in, 3, 3).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

KERNEL = 3
TILE = 3
"""Outputs of a tile along a side."""
PATCH = TILE + KERNEL - 1
"""Inputs that they come of, along a side."""


def _on_both_sides(rows: list[list[float]]) -> Tensor:
    """The matrix that does to the numbers of a square, row by row, what `rows` does to its rows and its columns."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(matrix, matrix)


_OF_PATCH = _on_both_sides(
    [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]]
)
_OF_KERNEL = _on_both_sides(
    [[1 / 2, 0, 0], [-1 / 2, -1 / 2, -1 / 2], [-1 / 6, 1 / 6, -1 / 6], [1 / 6, 1 / 3, 2 / 3], [0, 0, 1]]
)
_OF_TILE = _on_both_sides([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [0, 0, 1]])


def count_products(height: int, width: int) -> int:
    """Multiplications for a pair of channels where the output has this size; without tiles there are 9 H' W'."""
    return PATCH**2 * _count_tiles(height) * _count_tiles(width)


def _count_tiles(size: int) -> int:
    """Along a side with so many outputs; the last one may overhang."""
    return -(-size // TILE)


def weight_gradient(images: Tensor, gradient: Tensor, *, padding: int) -> Tensor:
    """The gradient (out, in, 3, 3) of the kernels."""
    height, width = gradient.shape[1:3]
    patches = _patches(images, height, width, padding=padding)
    tiles = functional.pad(gradient, (0, 0, 0, -width % TILE, 0, -height % TILE))
    products = torch.bmm(_transform(_OF_TILE, _squares(tiles, TILE)).transpose(1, 2), patches)  # (25, out, in)
    kernels = _OF_KERNEL.t().to(products) @ products.flatten(1)
    return kernels.view(KERNEL, KERNEL, gradient.shape[3], images.shape[3]).permute(2, 3, 0, 1)


def input_gradient(gradient: Tensor, kernels: Tensor, height: int, width: int, *, padding: int) -> Tensor:
    """The gradient (N, H, W, in) of images of this size: `gradient` under the kernels, which are turned by 180°."""
    num_inputs = kernels.shape[1]
    patches = _patches(gradient, height, width, padding=KERNEL - 1 - padding)
    turned = _transform(_OF_KERNEL.flip(1), kernels.permute(2, 3, 0, 1))
    products = torch.bmm(patches, turned)  # (25, tiles, in)
    tiles = _OF_TILE.t().to(products) @ products.flatten(1)
    down, across = _count_tiles(height), _count_tiles(width)
    squares = tiles.view(TILE, TILE, -1, down, across, num_inputs).permute(2, 3, 0, 4, 1, 5)
    return squares.reshape(-1, down * TILE, across * TILE, num_inputs)[:, :height, :width]


def _patches(images: Tensor, height: int, width: int, *, padding: int) -> Tensor:
    """(25, tiles, channels): what every tile of an output of this size comes of, transformed."""
    below, right = (_count_tiles(size) * TILE + KERNEL - 1 - padding for size in (height, width))
    padded = functional.pad(images, (0, 0, padding, right - images.shape[2], padding, below - images.shape[1]))
    return _transform(_OF_PATCH, _squares(padded, PATCH))


def _squares(images: Tensor, side: int) -> Tensor:
    """(side, side, N, down, across, channels): the squares of this side, a tile from one to the next."""
    return images.unfold(1, side, TILE).unfold(2, side, TILE).permute(4, 5, 0, 1, 2, 3)


def _transform(matrix: Tensor, squares: Tensor) -> Tensor:
    """(25, ..., columns) of squares (side, side, ..., columns)."""
    numbers = squares.reshape(matrix.shape[1], -1)
    return (matrix.to(numbers) @ numbers).view(PATCH**2, -1, squares.shape[-1])
