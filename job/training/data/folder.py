"""Image files in `train/<class>/` and `test/<class>/`, decoded once and cached as one array."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from job.errors import DataError
from job.logs import get_logger
from job.training.data.base import ImageData, Images
from job.training.data.cache import find_cached, store_cached

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow goes by the content, and for others than these would start programs, such as Ghostscript."""
MAX_PIXELS = 100_000_000
"""A larger image is taken for a decompression bomb; the largest cameras have about this many."""


def load_folder(root: Path, *, size: int, cache: Path | None, num_threads: int) -> ImageData:
    """The images below `root`, each `size` pixels square. Raises `DataError` for what is missing or broken.

    The decoded arrays are kept in `cache` under a digest of every file's name and content, so a changed
    folder is decoded again and an unchanged one is not.
    """
    classes = tuple(_folders(root / "train"))
    different = sorted(set(classes) ^ set(_folders(root / "test")))
    if different:
        raise DataError(f"{root}: train/ and test/ must hold the same classes; only one has {', '.join(different)}")
    files = {part: _image_files(root / part, classes) for part in ("train", "test")}
    with ThreadPoolExecutor(num_threads) as pool:  # reading and decoding release the interpreter lock
        paths = [path for part in files.values() for path, _ in part]
        contents = list(pool.map(_read, paths))
        digest = hashlib.sha256(f"v2 {size}".encode())
        for path, content in zip(paths, contents, strict=True):
            digest.update(path.relative_to(root).as_posix().encode(errors="surrogateescape"))
            digest.update(hashlib.sha256(content).digest())
        key = f"folder/{digest.hexdigest()[:32]}.npz"
        images = _load_cache(find_cached(cache, key))
        if images is None:
            with warnings.catch_warnings():  # here, not in the threads: it is the process's state
                warnings.simplefilter("ignore")  # Pillow's remarks on metadata; sizes are checked in _decode
                pairs = zip(paths, contents, strict=True)
                images = np.stack(list(pool.map(lambda pair: _decode(*pair, size=size), pairs)))
            _store_cache(images, cache, key)
    num_train = len(files["train"])
    labels = {part: np.array([label for _, label in found], dtype=np.int64) for part, found in files.items()}
    return ImageData(classes, images[:num_train], labels["train"], images[num_train:], labels["test"])


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; images belong into train/<class>/ and test/<class>/ below --data")
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise DataError(f"{root}: holds {len(names)} class folders; at least 2 are needed")
    strange = [name for name in names if not name.isprintable()]
    if strange:  # such as Latin-1, which no result could name
        raise DataError(f"{root}: the class folder {strange[0]!r} must have a printable UTF-8 name; rename it")
    return names


def _image_files(root: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """All image files with their label, in a stable order. A link may not lead out of the folder."""
    found: list[tuple[Path, int]] = []
    inside = root.resolve()
    for label, name in enumerate(classes):
        files = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not files:
            raise DataError(f"{root / name}: holds no image files ({', '.join(sorted(SUFFIXES))})")
        for path in (root / name, *files):
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise DataError(f"{path}: is a link out of {root}; put a copy there instead")
        found += [(path, label) for path in files]
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _decode(path: Path, content: bytes, *, size: int) -> Images:
    """One image as (3, size, size) uint8: the centre square, resized."""
    file = io.BytesIO(content)
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check_header(path, image)
            rgb = image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        reason = str(error).replace(f" {file!r}", "")  # Pillow quotes what it was given
        raise DataError(f"{path}: cannot be decoded as an image: {reason}") from error
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side))  # first: a thin strip, scaled whole, would need gigabytes
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square).transpose(2, 0, 1).copy()


def _check_header(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{path}: {width}x{height} pixels are more than {MAX_PIXELS}")
    if image.mode.startswith(("I", "F")):  # convert would clip them to white
        raise DataError(f"{path}: has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")


def _load_cache(path: Path | None) -> Images | None:
    """The cached images, or None where there are none that can be read."""
    if path is None:
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            images: Images = arrays["images"]
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        get_logger().warning("data_cache_corrupt", path=str(path), reason=str(error))
        return None
    return images


def _store_cache(images: Images, cache: Path | None, key: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=images)
    if stored := store_cached(cache, key, buffer.getvalue()):
        get_logger().info("data_cached", path=str(stored), num_images=len(images))
