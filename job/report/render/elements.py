"""The elements of an SVG with few bytes: what looks alike shares its attributes, and paths go on relatively."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_hex
from matplotlib.path import Path
from matplotlib.transforms import Transform

TENTHS = 10
"""Coordinates have a tenth of a point."""
CURVES = {Path.CURVE3: "q", Path.CURVE4: "c"}


@dataclass
class Shape:
    """An element without children."""

    style: str
    """Attributes that shapes share."""
    name: str
    own: str
    """Attributes of its own."""
    text: str = ""


@dataclass
class Group:
    """Elements that belong together."""

    attributes: str
    key: object
    parts: list[Shape | Group] = field(default_factory=list)

    def find(self, key: object, attributes: str) -> Group:
        """The group with this key, if it is the last part; otherwise a new one."""
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Group) or last.key != key:
            last = Group(attributes, key)
            self.parts.append(last)
        return last

    def write(self) -> Iterator[str]:
        """The elements in the group, without its own tag."""
        for style, run in itertools.groupby(self.parts, key=lambda part: getattr(part, "style", None)):
            parts = list(run)
            if style is None:
                for part in parts:
                    if isinstance(part, Group):
                        yield f"<g {part.attributes}>"
                        yield from part.write()
                        yield "</g>"
                continue
            shapes = _merge([part for part in parts if isinstance(part, Shape)])
            if len(shapes) == 1:
                yield _write_shape(shapes[0], style)
            else:
                yield f"<g{style}>"
                yield from (_write_shape(shape, "") for shape in shapes)
                yield "</g>"


def _merge(shapes: Sequence[Shape]) -> list[Shape]:
    """Opaque paths of one style that carry no data are one path."""
    merged: list[Shape] = []
    for shape in shapes:
        last = merged[-1] if merged else None
        is_plain = shape.name == "path" and "fill-opacity" not in shape.style and shape.own.startswith(' d="')
        if last and is_plain and last.name == "path" and last.own.startswith(' d="'):
            last.own = f"{last.own[:-1]}{shape.own[4:]}"
        else:
            merged.append(shape)
    return merged


def _write_shape(shape: Shape, style: str) -> str:
    start = f"<{shape.name}{style}{shape.own}"
    return f"{start}>{shape.text}</{shape.name}>" if shape.text else f"{start}/>"


def write_path(path: Path, transform: Transform) -> str:
    """The data of a path: absolute to its starts, from there relatively."""
    written, last, here = "", "", np.zeros(2, dtype=int)
    for vertices, code in path.iter_segments(transform, simplify=False, curves=True):
        if code == Path.STOP:
            continue
        if code == Path.CLOSEPOLY:
            written, last = f"{written}z", "z"
            continue
        points = np.rint(TENTHS * np.asarray(vertices)).astype(int).reshape(-1, 2)
        if code == Path.MOVETO:
            written, last, here = f"{written}M{_join(points)}", "M", points[-1]
            continue
        steps = points - here
        if code == Path.LINETO and not steps.all():
            if not steps.any():
                continue
            command, numbers = ("h", steps[:, :1]) if steps[0, 0] else ("v", steps[:, 1:])
        else:
            command, numbers = CURVES.get(code, "l"), steps
        text = _join(numbers)
        joint = "" if text.startswith("-") else " "
        written += f"{joint}{text}" if command == last else f"{command}{text}"
        last, here = command, points[-1]
    return written


def _join(tenths: npt.NDArray[np.int_]) -> str:
    return " ".join(show_number(number / TENTHS) for number in tenths.ravel().tolist()).replace(" -", "-")


def show_number(value: float) -> str:
    """At most one decimal, without what need not be written: `12`, `.5`, `-3.1`."""
    text = f"{round(float(value), 1) + 0.0:.1f}".removesuffix(".0")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def show_colour(colour: Any) -> str:
    """`#0072b2`, or `#000` where three digits say it."""
    text = to_hex(colour)
    return f"#{text[1::2]}" if text[1::2] == text[2::2] else text
