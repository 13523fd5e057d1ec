"""What one image file becomes: upright, opaque, square; and what stays as it always was."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from job.errors import DataError
from job.training.inputs.decoding import decode
from tests.unit.test_folder import picture

SIZE = 16
WHITE = 255
ORIENTATION = 0x0112
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What a viewer does with each EXIF orientation."""


def encoded(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(content: bytes, *, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8."""
    return decode(Path("picture"), content, size=size).transpose(1, 2, 0)


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_picture_is_turned_upright_as_its_exif_says(kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(picture(3, height=16, width=16), kind, exif=oriented(orientation), **options)
    np.testing.assert_array_equal(pixels_of(content), TURNED[orientation](picture(3)))


@pytest.mark.parametrize("orientation", TURNED)
def test_jpeg_is_turned_before_its_centre_is_cut_out(orientation: int) -> None:
    """35 by 16 pixels, so that the centre is half a pixel to one side: the upright picture decides to which."""
    smooth = np.stack(np.broadcast_arrays(np.arange(35) * 7, np.arange(16)[:, None] * 15, 90), axis=-1).astype(np.uint8)
    content = encoded(smooth, "JPEG", quality=95, subsampling=0, exif=oriented(orientation))
    stored = np.asarray(Image.open(io.BytesIO(content)))
    upright = TURNED[orientation](stored)
    top, left = ((length - 16) // 2 for length in upright.shape[:2])
    np.testing.assert_array_equal(pixels_of(content), upright[top : top + 16, left : left + 16])


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0no TIFF header", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(9), oriented(0), oriented(9)],
    ids=["text", "cut short", "zero", "nine"],
)
def test_picture_whose_exif_makes_no_sense_stays_as_it_is(exif: bytes | Image.Exif) -> None:
    content = encoded(picture(3), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels_of(content), picture(3))


def alpha_picture(mode: str, hidden: int) -> Image.Image:
    """Left half opaque and grey, right half transparent above `hidden`."""
    channels = {"RGBA": 3, "LA": 1}[mode]
    pixels = np.full((SIZE, SIZE, channels + 1), 100, dtype=np.uint8)
    pixels[:, SIZE // 2 :, :channels] = hidden
    pixels[:, :, channels] = 255
    pixels[:, SIZE // 2 :, channels] = 0
    return Image.fromarray(pixels)


def palette_picture(hidden: int) -> Image.Image:
    index = np.zeros((SIZE, SIZE), dtype=np.uint8)
    index[:, SIZE // 2 :] = 1
    image = Image.frombytes("P", (SIZE, SIZE), index.tobytes())
    image.putpalette([100, 100, 100, hidden, hidden, hidden])
    return image


def key_picture(mode: str, hidden: int) -> Image.Image:
    return palette_picture(hidden).convert(mode)


TRANSPARENT: dict[str, Callable[[int], bytes]] = {
    "RGBA in PNG": lambda hidden: encoded(alpha_picture("RGBA", hidden), "PNG"),
    "RGBA in WebP": lambda hidden: encoded(alpha_picture("RGBA", hidden), "WEBP", lossless=True, exact=True),
    "RGBA in TIFF": lambda hidden: encoded(alpha_picture("RGBA", hidden), "TIFF"),
    "LA in PNG": lambda hidden: encoded(alpha_picture("LA", hidden), "PNG"),
    "palette with alpha in PNG": lambda hidden: encoded(palette_picture(hidden), "PNG", transparency=bytes([255, 0])),
    "key colour of a palette in PNG": lambda hidden: encoded(palette_picture(hidden), "PNG", transparency=1),
    "key colour of RGB in PNG": lambda hidden: encoded(key_picture("RGB", hidden), "PNG", transparency=(hidden,) * 3),
    "key colour of grey in PNG": lambda hidden: encoded(key_picture("L", hidden), "PNG", transparency=hidden),
    "key colour of a GIF": lambda hidden: encoded(palette_picture(hidden), "GIF", transparency=1),
}


@pytest.mark.parametrize("write", TRANSPARENT.values(), ids=TRANSPARENT.keys())
def test_what_lies_below_transparent_pixels_is_white_whatever_it_was(write: Callable[[int], bytes]) -> None:
    seen = [pixels_of(write(hidden)) for hidden in (0, 37, 200)]
    for pixels in seen:
        assert (pixels[:, : SIZE // 2] == 100).all()
        assert (pixels[:, SIZE // 2 :] == WHITE).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    pixels = np.full((SIZE, SIZE, 4), (100, 0, 200, 128), dtype=np.uint8)
    assert (np.abs(pixels_of(encoded(pixels, "PNG")).astype(int) - [177, 127, 227]) <= 1).all()


def test_hidden_colours_do_not_bleed_into_the_edges_when_it_is_resized() -> None:
    """Black and white below what is transparent, and white instead: resized first, they would differ."""
    pixels = np.full((64, 64, 4), 255, dtype=np.uint8)
    pixels[::3, :, 3] = 0
    spoilt = pixels.copy()
    spoilt[::3, :, :3] = 0
    np.testing.assert_array_equal(pixels_of(encoded(spoilt, "PNG")), pixels_of(encoded(pixels, "PNG")))


def older_decoding(content: bytes, size: int) -> np.ndarray:
    """As the first release decoded, word for word."""
    with Image.open(io.BytesIO(content)) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side))
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square)


def plain(mode: str) -> Image.Image:
    image = Image.fromarray(picture(8, height=41, width=58))
    return image.quantize(16) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "BMP"), ("RGB", "WEBP"), ("RGB", "TIFF"), ("RGB", "PPM"), ("L", "PNG"),
     ("L", "JPEG"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("RGBA", "PNG"),
     ("RGBA", "WEBP"), ("LA", "PNG"), ("YCbCr", "JPEG")],
)  # fmt: skip
@pytest.mark.parametrize("size", [16, 41, 50])
def test_picture_that_is_upright_and_opaque_is_decoded_as_ever(mode: str, kind: str, size: int) -> None:
    """Bit for bit: results name the digest of their images, and an alpha channel that hides nothing changes nothing."""
    content = encoded(plain(mode), kind)
    np.testing.assert_array_equal(pixels_of(content, size=size), older_decoding(content, size))


def test_messages_name_the_file_and_no_object_of_python() -> None:
    with pytest.raises(DataError) as caught:
        decode(Path("cat.jpg"), b"<html>404</html>", size=SIZE)
    assert str(caught.value).startswith("cat.jpg: cannot be decoded as an image: ")
    assert "object at" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_of_a_jpeg_that_cannot_be_parsed_does_not_spoil_it() -> None:
    smooth = encoded(Image.new("RGB", (SIZE, SIZE), (10, 200, 30)), "JPEG")
    segment = b"Exif\0\0II*\0\xff\xff\xff\xff"
    content = smooth[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + smooth[2:]
    np.testing.assert_array_equal(pixels_of(content), pixels_of(smooth))
