"""Image files in `train/<class>/` and `test/<class>/`, decoded once and cached as one array.

`listing` says which files these are, and `decoding` turns each into pixels. Each thread has one file in memory.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from job.errors import DataError
from job.logs import get_logger
from job.places import show_path
from job.training.engine.image_data import ImageData, Images
from job.training.inputs.cache import find_cached, store_cached
from job.training.inputs.decoding import DECODING, decode
from job.training.inputs.listing import Listing, list_images, refuse


def load_folder(root: Path, *, size: int, cache: Path | None, num_threads: int) -> ImageData:
    """The images below `root`, each `size` pixels square. Raises `DataError` for what is missing or broken.

    The decoded arrays are kept in `cache` under a digest of every file's name and content, so a changed
    folder is decoded again and an unchanged one is not.
    """
    listing = list_images(root)
    listing.log_left_out()
    with ThreadPoolExecutor(num_threads) as pool:  # reading and decoding release the interpreter lock
        digests = _digest_files(listing, pool)
        key = f"folder/{_cache_key(listing, digests, size=size)}.npz"
        images = _load_cache(find_cached(cache, key))
        if images is None:
            images = _decode_files(listing, digests, pool, size=size)
            _store_cache(images, cache, key)
    num_train = len(listing.train)
    labels = [np.array([label for _, label in part], dtype=np.int64) for part in (listing.train, listing.test)]
    return ImageData(listing.classes, images[:num_train], labels[0], images[num_train:], labels[1])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{show_path(path)}: cannot be read: {error.strerror}") from error


def _digest_files(listing: Listing, pool: ThreadPoolExecutor) -> list[bytes]:
    """The SHA-256 of every image file."""
    digests = [b""] * len(listing.paths)

    def digest(index: int, path: Path) -> None:
        digests[index] = hashlib.sha256(_read(path)).digest()

    _for_each(listing.paths, digest, pool)
    return digests


def _cache_key(listing: Listing, digests: list[bytes], *, size: int) -> str:
    key = hashlib.sha256(f"v{DECODING} {size}".encode())
    for path, digest in zip(listing.paths, digests, strict=True):
        key.update(listing.name(path).encode(errors="surrogateescape"))
        key.update(digest)
    return key.hexdigest()[:32]


def _decode_files(listing: Listing, digests: list[bytes], pool: ThreadPoolExecutor, *, size: int) -> Images:
    """(num_images, 3, size, size) uint8."""
    images: Images = np.empty((len(listing.paths), 3, size, size), dtype=np.uint8)

    def fill(index: int, path: Path) -> None:
        content = _read(path)
        if hashlib.sha256(content).digest() != digests[index]:  # else the cache would keep it under a wrong digest
            raise DataError(
                f"{show_path(path)}: changed while it was read; "
                f"run again when nothing writes to {show_path(listing.root)}"
            )
        images[index] = decode(path, content, size=size)

    with warnings.catch_warnings():  # here and not in the threads, because the filters belong to the whole process
        warnings.simplefilter("ignore")  # Pillow warns about metadata, and about sizes, which `decode` checks
        _for_each(listing.paths, fill, pool)
    return images


def _for_each(paths: list[Path], work: Callable[[int, Path], None], pool: ThreadPoolExecutor) -> None:
    """Call `work` with every index and path. When all are done, raises one `DataError` for all faults."""

    def fault(index: int) -> str | None:
        try:
            work(index, paths[index])
        except DataError as error:
            return str(error)
        return None

    refuse([found for found in pool.map(fault, range(len(paths))) if found])


def _load_cache(path: Path | None) -> Images | None:
    """The cached images; None if there are none, or if they cannot be read."""
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
