"""Which files are pictures, judged by their names and their first bytes. `decoding` reads some of these kinds."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp",
            ".ppm", ".pgm", ".pbm", ".pnm"}  # fmt: skip
"""Endings of the kinds of picture that `decoding` reads."""
OTHER_SUFFIXES = {".heic", ".heif", ".hif", ".heics", ".avif", ".avifs", ".jxl", ".jp2", ".j2k", ".jpx", ".jpf", ".jxr",
                  ".svg", ".psd", ".psb", ".xcf", ".ico", ".tga", ".pcx", ".exr", ".hdr", ".eps", ".dib", ".pam",
                  ".pfm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}  # fmt: skip
"""Endings of the kinds of picture that `decoding` does not read."""
SIGNATURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (0, b"II*\0"),  # TIFF
    (0, b"MM\0*"),
    (0, b"II+\0"),  # BigTIFF
    (0, b"MM\0+"),
    (8, b"WEBP"),
    # the kinds that are not read
    *((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1",
                                         b"avif", b"avis", b"crx ")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n"),
    (0, b"\xff\x0a"),  # JPEG XL without a container
    (0, b"\0\0\0\x0cjP  \r\n\x87\n"),  # JPEG 2000
    (0, b"\xff\x4f\xff\x51"),  # JPEG 2000 without a container
    (0, b"8BPS"),  # Photoshop
)  # fmt: skip
"""How pictures begin, as offset and bytes, for files whose names do not tell."""
HEADERS = (
    # BMP: its two letters could begin any file, but the size of its second header has few values
    re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    # PBM, PGM, PPM and PAM: numbers or a comment follow; in a text, words would follow
    re.compile(rb"P[1-6]\s+(#|\d+\s+(#|\d+\s))|P7\s+(#|WIDTH\s)"),
)
HEADER_BYTES = 64


def has_picture_name(path: Path) -> bool:
    """Whether the name of `path` is that of a picture, of a kind that `decoding` reads or not."""
    return path.suffix.lower() in SUFFIXES | OTHER_SUFFIXES


def looks_like_picture(path: Path) -> bool:
    """Whether the file begins as a picture does. Raises `OSError`."""
    with path.open("rb") as file:
        beginning = file.read(HEADER_BYTES)
    return any(beginning[offset:].startswith(signature) for offset, signature in SIGNATURES) or any(
        header.match(beginning) for header in HEADERS
    )
