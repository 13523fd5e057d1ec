"""Each convolution of ResNet18 in each direction, by oneDNN and as a matrix product: what `choose_directions` goes by.

    python -m tests.benchmarks.convolutions --image-size 96 --batch-size 50

CPU-seconds of one thread, medians of interleaved rounds, as a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from job.training.convolution import Direction, MatrixConv2d, choose_directions
from job.training.device import Device

DIRECTIONS: tuple[Direction, ...] = ("output", "input", "weight")
Geometry = tuple[int, int, int, int, int]
"""Input and output channels, kernel size, stride, and width of the image."""


def list_layers(image_size: int) -> Counter[Geometry]:
    """The convolutions of ResNet18 and how often each is there."""
    network, found = resnet18().to("meta"), Counter[Geometry]()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, images, _output: found.update([(*_geometry(layer), images[0].shape[-1])])
            )
    network(torch.empty(2, 3, image_size, image_size, device="meta"))
    return found


def _geometry(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    return layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]


def measure_layer(geometry: Geometry, *, batch_size: int, dtype: torch.dtype, num_repeats: int) -> dict[str, float]:
    """CPU-seconds by `oneDNN output`, `product output` and so on."""
    in_channels, out_channels, size, stride, width = geometry
    layer = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=False)
    layer.to(dtype=dtype, memory_format=torch.channels_last)
    images = torch.randn(batch_size, in_channels, width, width, dtype=dtype).to(memory_format=torch.channels_last)
    works: dict[str, Callable[[], object]] = {}
    for kind, directions in (("oneDNN", frozenset[Direction]()), ("product", frozenset(DIRECTIONS))):
        works |= {f"{kind} {name}": work for name, work in _works(MatrixConv2d(layer, directions), images).items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(num_repeats + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    return {name: median(values[1:]) for name, values in seconds.items()}


def _works(layer: MatrixConv2d, images: Tensor) -> dict[str, Callable[[], object]]:
    def backward(of: Tensor, images: Tensor) -> Callable[[], object]:
        output = layer(images)
        gradient = torch.randn_like(output)
        return lambda: torch.autograd.grad(output, of, gradient, retain_graph=True)

    tracked = images.detach().requires_grad_()
    layer.weight.requires_grad_(False)
    works = {"output": lambda: layer(images), "input": backward(tracked, tracked)}
    layer.weight.requires_grad_()
    return works | {"weight": backward(layer.weight, images)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = Device(torch.device("cpu"), "bf16" if options.dtype == "bfloat16" else "fp32", 1)
    total = Counter[str]()
    print(f"{torch.backends.cpu.get_cpu_capability()}; ms by oneDNN → as a product; what is chosen is bold\n")
    print("| channels, kernel, stride, width | times |", " | ".join(DIRECTIONS), "|")
    print("|---|---:|", "---:|" * len(DIRECTIONS), sep="")
    for geometry, count in list_layers(options.image_size).items():
        seconds = measure_layer(
            geometry, batch_size=options.batch_size, dtype=getattr(torch, options.dtype), num_repeats=options.repeats
        )
        in_channels, out_channels, size, stride, width = geometry
        bold = choose_directions(nn.Conv2d(in_channels, out_channels, size, stride), device)
        cells = []
        for direction in DIRECTIONS:
            own, product = seconds[f"oneDNN {direction}"], seconds[f"product {direction}"]
            cell = f"{own * 1e3:.1f} → {product * 1e3:.1f}"
            cells.append(f"**{cell}**" if direction in bold else cell)
            total["oneDNN"] += count * own
            total["chosen"] += count * (product if direction in bold else own)
        print(
            f"| {in_channels} → {out_channels}, {size}, {stride}, {width} | {count} |",
            " | ".join(cells),
            "|",
            flush=True,
        )
    own, chosen = total["oneDNN"], total["chosen"]
    print(f"\nall: {own:.3f} s by oneDNN, {chosen:.3f} s as chosen: {own / chosen:.2f}×")


if __name__ == "__main__":
    main()
