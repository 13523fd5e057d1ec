"""Ten classes of generated shapes and textures: a task that needs no download and that no linear model solves.

Colours, places, sizes and phases are random, and so is whether the figure or the ground is lighter. The mean image of
every class is therefore about the same grey, and only the form tells the classes apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from job.training.engine.image_data import ImageData, Images, Labels

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TAU = 2 * np.pi
NOISE = 12.0
"""Standard deviation of the pixel noise, on the scale from 0 to 255."""


def load_synthetic(*, size: int, num_train: int, num_test: int) -> ImageData:
    """The generated data set. The same arguments always give the same images."""
    train_images, train_labels = _generate(num_train, size=size, stream=1)
    test_images, test_labels = _generate(num_test, size=size, stream=2)
    return ImageData(tuple(FORMS), train_images, train_labels, test_images, test_labels)


def _generate(num_images: int, *, size: int, stream: int) -> tuple[Images, Labels]:
    random = np.random.default_rng((20_260_101, stream))
    labels = np.arange(num_images, dtype=np.int64) % len(FORMS)
    coordinates = np.linspace(-1, 1, size, dtype=np.float32)
    images = np.empty((num_images, 3, size, size), dtype=np.uint8)
    forms = list(FORMS.values())
    for index, label in enumerate(labels):
        centre = random.uniform(-0.35, 0.35, 2)
        x, y = coordinates[None, :] - centre[0], coordinates[:, None] - centre[1]
        figure = forms[label](x, y, random.uniform(0.4, 0.6), random.uniform(0, TAU))[None]
        light, dark = random.uniform(135, 255, (3, 1, 1)), random.uniform(0, 120, (3, 1, 1))
        inside, outside = (light, dark) if random.random() < 0.5 else (dark, light)
        noise = random.normal(0, NOISE, (3, size, size))
        images[index] = np.clip(np.where(figure, inside, outside) + noise, 0, 255)
    return images, labels


def _disc(x: Field, y: Field, scale: float, _phase: float) -> Mask:
    return np.hypot(x, y) < scale


def _ring(x: Field, y: Field, scale: float, _phase: float) -> Mask:
    return np.abs(np.hypot(x, y) - scale) < scale / 3.5


def _square(x: Field, y: Field, scale: float, _phase: float) -> Mask:
    return np.maximum(np.abs(x), np.abs(y)) < scale * 0.85


def _triangle(x: Field, y: Field, scale: float, _phase: float) -> Mask:
    return (y < scale * 0.8) & (y > 2.2 * np.abs(x) - scale * 1.1)


def _plus(x: Field, y: Field, scale: float, _phase: float) -> Mask:
    near, far = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return (near < scale / 4) & (far < scale * 1.2)


def _stripes(angle: float) -> Callable[[Field, Field, float, float], Mask]:
    def form(x: Field, y: Field, scale: float, phase: float) -> Mask:
        wave: Field = np.sin((x * np.cos(angle) + y * np.sin(angle)) * TAU / scale + phase)
        return wave > 0

    return form


def _checks(x: Field, y: Field, scale: float, phase: float) -> Mask:
    waves: Field = np.sin(x * TAU / scale + phase) * np.sin(y * TAU / scale + phase)
    return waves > 0


FORMS: dict[str, Callable[[Field, Field, float, float], Mask]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "plus": _plus,
    "vertical": _stripes(0.0),
    "horizontal": _stripes(np.pi / 2),
    "rising": _stripes(np.pi / 4),
    "falling": _stripes(-np.pi / 4),
    "checks": _checks,
}
