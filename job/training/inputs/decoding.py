"""Turns one image file into a square of RGB pixels, upright and opaque, or raises a `DataError` that names the file.

check the header → decode → turn upright (EXIF) → onto white (transparency) → centre square → resize
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from job.errors import DataError
from job.places import show_path
from job.training.engine.image_data import Images

DECODING = 3
"""Raise this number when new code may decode a file to other pixels: what older code has cached is then not used."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow recognises a format by the content. For other formats it would start programs, such as Ghostscript."""
MAX_PIXELS = 100_000_000
"""A larger image is taken for a decompression bomb; the largest cameras have about this many pixels."""
BACKGROUND = (255, 255, 255)
"""The colour that shows through transparent pixels. Most such pictures were drawn for a white background."""
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""How to turn a picture upright, by its EXIF orientation (CIPA DC-008, tag 0x0112); 1 is upright already."""


def decode(path: Path | str, content: bytes, *, size: int) -> Images:
    """The image in `content`, the bytes of `path`, as (3, size, size) uint8: its centre square, resized.

    For an animation this is the first frame. `path` stands in messages alone. Raises `DataError` if `content` cannot be
    decoded.
    """
    return _fit(_decode(path, content), size)


def decode_and_measure(path: Path | str, content: bytes, *, size: int) -> tuple[Images, tuple[int, int]]:
    """What `decode` returns, and the width and height that the picture had."""
    rgb = _decode(path, content)
    return _fit(rgb, size), rgb.size


def _decode(path: Path | str, content: bytes) -> Image.Image:
    """The whole picture in RGB."""
    if not content:
        raise DataError(f"{show_path(path)}: is empty (0 bytes); fetch it again or remove it")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_header(path, image)
            image.load()
            return _opaque(_upright(image))
    except DataError:
        raise
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise DataError(
            f"{show_path(path)}: cannot be decoded as an image: cannot identify image file; "
            f"its content is none of {kinds}"
        ) from error
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        raise DataError(f"{show_path(path)}: cannot be decoded as an image: {error}") from error


def _fit(rgb: Image.Image, size: int) -> Images:
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    # cropped before it is resized, because resizing a thin strip as a whole would need gigabytes
    square = rgb.crop((left, top, left + side, top + side))
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square).transpose(2, 0, 1)


def _check_header(path: Path | str, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{show_path(path)}: {width}x{height} pixels are more than {MAX_PIXELS}")
    if image.mode.startswith(("I", "F")):  # convert would clip them to white
        raise DataError(f"{show_path(path)}: has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as a viewer shows it. For TIFF, Pillow has turned it already and removed the tag."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - without readable metadata the picture is not turned; it is whole all the same
        return image
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _opaque(image: Image.Image) -> Image.Image:
    """The image in RGB. Colours of transparent pixels are no part of it, because editors leave any value there."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    opaque = Image.new("RGB", rgba.size, BACKGROUND)
    opaque.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    return opaque
