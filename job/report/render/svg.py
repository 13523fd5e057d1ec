"""Small SVGs: what matplotlib draws, written with few bytes, and with marks for a script to find the data by.

matplotlib's own SVG of a chart of four lines has 20 to 30 kB: every number has six decimals, every path its own style,
every mark a definition with an id. Here coordinates have one decimal and follow each other relatively, what looks alike
shares its attributes, and lines are clipped by their numbers, so that there are no ids at all. Hatches and gradients
are not written: no chart has them.

Groups of the class `series` hold all that belongs to one line: band, line and marks, with `data-label` and
`data-optimizer`; within them a group `seeds` has the single seeds, and marks carry in `data-v` what they show. The
marks of a line are one path: its `data-v` has a text for each of its parts, with `|` between them. Groups of the class
`legend` have the same `data-label`.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Transform
from PIL import Image

from job.plots import STYLE, fit_label, lay_out
from job.report.render.elements import Group, Shape, show_colour, show_number, write_path

NUM_OF_CIRCLE = 26
"""Codes of matplotlib's path of a circle."""
LONGEST = 400
"""Characters of what a mark shows."""
FINENESS = 2.0
"""Pixels of an image to a point."""
FONT = "DejaVu Sans,Verdana,sans-serif"
"""The layout is measured with the first; Verdana is as wide."""


@dataclass(frozen=True)
class Tag:
    """Which data an artist shows."""

    label: str
    optimizer: str = ""
    marks: Sequence[str] = ()
    """What each of its marks shows, in words."""
    kind: str = "series"
    """`series` or `legend`."""
    is_seed: bool = False

    def put(self, artist: Artist) -> None:
        """Let `artist` carry the tag into the SVG."""
        artist.set_gid(json.dumps(self.__dict__))

    @property
    def key(self) -> tuple[str, str]:
        """What tells groups apart."""
        return self.kind, self.label


def render_svg(figure: Figure) -> bytes:
    """The figure as an SVG, the same bytes for the same figure. The layout of the first format holds."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # a browser has one that has it
        lay_out(figure, "svg")
        width, height = (float(side) * 72 for side in figure.get_size_inches())
        renderer = _Renderer(width, height)
        figure.draw(renderer)
    size = f"{show_number(width)} {show_number(height)}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{show_number(width)}pt" '
        f'height="{show_number(height)}pt" font-family="{FONT}" fill="none" stroke-linejoin="round">'
    )
    return f"{head}{''.join(renderer.write())}</svg>\n".encode()


class _Renderer(RendererBase):
    def __init__(self, width: float, height: float) -> None:
        super().__init__()
        self._width, self._height = width, height
        self._flip = Affine2D().scale(1, -1).translate(0, height)
        self._tags: list[Tag | None] = [None]
        self._radii: dict[bytes, str] = {}
        self._shapes, self._texts = Group("", None), Group("", None)

    def write(self) -> Iterator[str]:
        """The elements, texts above everything else."""
        yield from self._shapes.write()
        yield from self._texts.write()

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self._width, self._height

    def get_image_magnification(self) -> float:
        return FINENESS

    def open_group(self, s: str, gid: str | None = None) -> None:  # noqa: ARG002 - matplotlib's name of its kind
        self._tags.append(Tag(**json.loads(gid)) if gid else self._tags[-1])

    def close_group(self, s: str) -> None:  # noqa: ARG002
        self._tags.pop()

    def draw_path(self, gc: GraphicsContextBase, path: Path, transform: Transform, rgbFace: Any = None) -> None:  # noqa: N803
        style = _style(gc, rgbFace)
        if style and (d := write_path(_clip(gc, path.transformed(transform), rgbFace), self._flip)):
            self._add(Shape(style, "path", f' d="{d}"'))

    def draw_markers(
        self, gc: GraphicsContextBase, marker_path: Path, marker_trans: Transform, path: Path, trans: Transform,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:  # fmt: skip
        style, tag, bounds = _style(gc, rgbFace), self._tags[-1], gc.get_clip_rectangle()
        is_round = len(np.asarray(marker_path.vertices)) == NUM_OF_CIRCLE
        mark = marker_path.transformed(marker_trans)
        places: list[tuple[str, float, float]] = []
        for place, (x, y) in enumerate(np.asarray(trans.transform(path.vertices))):
            if not style or not np.isfinite([x, y]).all():
                continue
            if bounds and not bounds.padded(1).contains(x, y):  # a band is a mark at the origin
                self.draw_path(gc, mark, Affine2D().translate(x, y), rgbFace)
                continue
            places.append((tag.marks[place] if tag and place < len(tag.marks) else "", float(x), float(y)))
        if is_round and (len(places) == 1 or not _is_plain(gc, rgbFace)):
            radius = self._find_radius(mark)
            for text, x, y in places:
                own = f' cx="{show_number(x)}" cy="{show_number(self._height - y)}" r="{radius}"'
                self._add(Shape(style, "circle", f"{_tell([text])}{own}"))
        elif is_round and places:  # ends of lines without a length
            width = 2 * float(self._find_radius(mark)) + gc.get_linewidth()
            style = f' stroke="{show_colour(rgbFace)}" stroke-width="{show_number(width)}" stroke-linecap="round"'
            d = "".join(write_path(Path([(x, y)]), self._flip) + "h0" for _, x, y in places)
            self._add(Shape(style, "path", f'{_tell([text for text, _, _ in places])} d="{d}"'))
        elif places:
            d = "".join(write_path(mark, Affine2D().translate(x, y) + self._flip) for _, x, y in places)
            self._add(Shape(style, "path", f'{_tell([text for text, _, _ in places])} d="{d}"'))

    def _find_radius(self, circle: Path) -> str:
        """Found once for each size: a figure may have thousands, and matplotlib solves equations for their extents."""
        vertices = np.asarray(circle.vertices).tobytes()
        if vertices not in self._radii:
            self._radii[vertices] = show_number(circle.get_extents().width / 2)
        return self._radii[vertices]

    def draw_image(self, gc: GraphicsContextBase, x: float, y: float, im: npt.ArrayLike, transform: Any = None) -> None:  # noqa: ARG002
        buffer = io.BytesIO()
        pixels = np.asarray(im, dtype=np.uint8)[::-1]
        image = Image.fromarray(pixels).convert("RGB")
        few = image.getcolors(256)
        (image.quantize(len(few)) if few else image).save(buffer, format="png", optimize=True)
        height, width = (side / FINENESS for side in pixels.shape[:2])
        place = f' x="{show_number(x)}" y="{show_number(self._height - y - height)}"'
        place += f' width="{show_number(width)}" height="{show_number(height)}"'
        content = base64.b64encode(buffer.getvalue()).decode()
        self._add(Shape("", "image", f'{place} href="data:image/png;base64,{content}"'))

    def draw_text(
        self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties, angle: float,
        ismath: Any = False, mtext: Text | None = None,  # noqa: ARG002
    ) -> None:  # fmt: skip
        anchor = mtext.get_horizontalalignment() if mtext else "left"
        shift = {"center": 0.5, "right": 1.0}.get(anchor, 0.0) * self.get_text_width_height_descent(s, prop, False)[0]
        turn = np.deg2rad(angle)
        x, y = x + shift * float(np.cos(turn)), y - shift * float(np.sin(turn))
        place = f' x="{show_number(x)}" y="{show_number(y)}"'
        place += f' transform="rotate({show_number(-angle)} {show_number(x)} {show_number(y)})"' if angle else ""
        style = f' font-size="{show_number(prop.get_size_in_points())}" fill="{show_colour(gc.get_rgb())}"'
        style += {"center": ' text-anchor="middle"', "right": ' text-anchor="end"'}.get(anchor, "")
        style += ' font-weight="bold"' if prop.get_weight() in ("bold", 700) else ""
        self._add(Shape(style, "text", place, escape(s)))

    def _add(self, shape: Shape) -> None:
        tag = self._tags[-1]
        if tag is None:
            (self._texts if shape.name == "text" else self._shapes).parts.append(shape)
            return
        own = f'class="{tag.kind}" data-label={_quote(tag.label)}'
        own += f" data-optimizer={_quote(tag.optimizer)}" if tag.optimizer else ""
        group = self._shapes.find(tag.key, own)
        (group.find("seeds", 'class="seeds"') if tag.is_seed else group).parts.append(shape)


def _quote(text: str) -> str:
    return quoteattr(fit_label(text, LONGEST))


def _tell(texts: Sequence[str]) -> str:
    """The attribute with what marks show; empty where they tell nothing."""
    return (
        f" data-v={quoteattr('|'.join(fit_label(text.replace('|', '/'), LONGEST) for text in texts))}"
        if any(texts)
        else ""
    )


def _is_plain(gc: GraphicsContextBase, face: Any) -> bool:
    """Whether a mark is opaque and of one colour."""
    style = _style(gc, face)
    return face is not None and "opacity" not in style and show_colour(face) == show_colour(gc.get_rgb())


def _style(gc: GraphicsContextBase, face: Any) -> str:
    """Fill and stroke as attributes; empty where nothing would be seen."""
    forced = gc.get_alpha() if gc.get_forced_alpha() else None
    line = gc.get_rgb()
    fill = 0.0 if face is None else (forced if forced is not None else (face[3] if len(face) > 3 else 1.0))
    stroke = 0.0 if not gc.get_linewidth() else (forced if forced is not None else line[3])
    style = ""
    if fill > 0:
        style += f' fill="{show_colour(face)}"' + (f' fill-opacity="{fill:.2g}"' if fill < 1 else "")
    if stroke > 0:
        width = gc.get_linewidth()
        style += f' stroke="{show_colour(line)}"' + (f' stroke-width="{show_number(width)}"' if width != 1 else "")
        style += f' stroke-opacity="{stroke:.2g}"' if stroke < 1 else ""
        _, dashes = gc.get_dashes()
        known = [] if dashes is None else np.atleast_1d(np.asarray(dashes, dtype=float)).tolist()
        style += f' stroke-dasharray="{" ".join(map(show_number, known))}"' if known else ""
    return style


def _clip(gc: GraphicsContextBase, path: Path, face: Any) -> Path:
    """`path` without what lies outside the axes."""
    bounds = gc.get_clip_rectangle()
    vertices = np.asarray(path.vertices, dtype=float)
    if bounds is None or not len(vertices):
        return path
    known = vertices[np.isfinite(vertices).all(axis=1)]
    room = bounds.padded(1)
    is_inside = (known >= room.min).all() and (known <= room.max).all()
    if is_inside:
        return path
    if face is None:
        return path.cleaned(clip=bounds.extents, remove_nans=True)
    return path.clip_to_bbox(bounds)
