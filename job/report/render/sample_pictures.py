"""Test images side by side, one small JPEG for each group. It is encoded anew, so no byte of a run's files is in it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from job.report.analysis.samples import Gallery, SampleGroup

MAX_BYTES = 40_000
"""All pictures of a gallery together, as they stand in the page: in base64."""
QUALITIES = (85, 75, 65, 55, 45)
"""Of JPEG, as libjpeg counts: the first with which all pictures fit is taken. Where none does, fewer are shown."""
BLOCK = 16
"""JPEG's blocks with halved colour, in pixels. A tile is a multiple of it, so that none bleeds into the next."""


@dataclass(frozen=True)
class SampleSheet:
    """The images of one group in one row, each `tile` pixels square, from left to right."""

    group: SampleGroup
    jpeg: bytes
    tile: int

    @property
    def width(self) -> int:
        """In pixels; the height is `tile`."""
        return self.tile * len(self.group.images)

    @property
    def data_uri(self) -> str:
        """What `src` of an `<img>` or `href` of an SVG's `<image>` takes."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"

    @property
    def alt(self) -> str:
        """What stands for the picture where it is not seen."""
        return f"{self.group.title}. {'; '.join(image.caption for image in self.group.images)}."


def draw_samples(gallery: Gallery, *, max_bytes: int = MAX_BYTES) -> list[SampleSheet]:
    """A sheet for every group of `gallery` of which there are images, all of one quality.

    Together they take at most `max_bytes` in the page; where even one image of each group takes more, there is none.
    """
    groups = [group for group in gallery.groups if group.images]
    for most in range(max((len(group.images) for group in groups), default=0), 0, -1):
        for quality in QUALITIES:
            sheets = [_draw(replace(group, images=group.images[:most]), quality=quality) for group in groups]
            if sum(len(sheet.data_uri) for sheet in sheets) <= max_bytes:
                return sheets
    return []


def _draw(group: SampleGroup, *, quality: int) -> SampleSheet:
    tile = max(BLOCK, group.images[0].image.shape[1] // BLOCK * BLOCK)
    sheet = Image.fromarray(np.concatenate([_fit(image.image, tile) for image in group.images], axis=1))
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=quality, optimize=True)
    return SampleSheet(group, encoded.getvalue(), tile)


def _fit(image: npt.NDArray[np.uint8], tile: int) -> npt.NDArray[np.uint8]:
    """(tile, tile, 3) uint8."""
    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    return np.asarray(picture.resize((tile, tile), Image.Resampling.LANCZOS))
