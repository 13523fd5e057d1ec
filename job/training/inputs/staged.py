"""A person's own images as one object: written by `job stage`, fetched and verified by runs.

The object is a safetensors file, whose bytes depend on the images alone: staged again, they are the same object. It
goes through files, so that a data set is in memory once, as the arrays that the training needs.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from job.errors import DataError, ObjectMissing
from job.logs import get_logger
from job.storage import FolderStore, Store, is_remote, open_store, reported
from job.storage.staged import StagedImages, advise_staging, contents_key, images_key, read_staged_images
from job.training.engine.image_data import ImageData, Images, Labels
from job.training.inputs.cache import find_cached, writable_folder
from job.training.inputs.files import file_digest

TYPES = {"uint8": "U8", "int64": "I64"}
"""The names that safetensors has for numpy's types, https://github.com/huggingface/safetensors#format."""


def find_staged(data: str, *, size: int) -> StagedImages | None:
    """What `job stage` has put into `data` at `size` pixels; None for a folder of image files, and where nothing is.

    Raises `DataError` where what was staged cannot be told, and the errors of the stores.
    """
    if not is_remote(data) and (Path(data) / "train").is_dir():  # image files count, whatever lies beside them
        return None
    return read_staged_images(open_store(data), size)


def load_staged(data: str, contents: StagedImages, *, cache: Path | None) -> ImageData:
    """The images that `contents` describes. From a bucket they come through the cache. Raises `DataError`."""
    store, key = open_store(data), images_key(contents.size)
    if isinstance(store, FolderStore):
        path = store.root / key
        if not path.is_file():
            raise _missing(store, contents)
        _verify(path, store, contents)
    else:
        path = _fetch(store, contents, cache=cache)
    return _read(path, contents, place=store.locate(key))


def store_images(data: ImageData, store: Store, *, size: int, cache: Path | None) -> tuple[str, StagedImages]:
    """Put `data` into `store`; returns the URI of the object, and what was written beside it, last.

    An object that is there already is not sent again. One that differs is replaced, with a warning.
    """
    key = images_key(size)
    with tempfile.TemporaryDirectory(prefix=".stage-", dir=writable_folder(cache)) as folder:
        path = Path(folder) / "images.safetensors"
        with reported(str(path)):
            sha256 = write_arrays(path, _arrays_of(data), classes=data.classes)
        contents = StagedImages(
            size=size,
            classes=list(data.classes),
            num_train=len(data.train_labels),
            num_test=len(data.test_labels),
            size_bytes=path.stat().st_size,
            sha256=sha256,
            data_sha256=data.sha256(),
        )
        if _find_earlier(store, contents) != contents or not store.list_keys(key):
            store.upload(key, path)
            store.write(contents_key(size), contents.model_dump_json(indent=1).encode())
    return store.locate(key), contents


def write_arrays(path: Path, arrays: Mapping[str, Images | Labels], *, classes: tuple[str, ...]) -> str:
    """Write a safetensors file, array by array, without a copy of any; returns its SHA-256."""
    header: dict[str, object] = {"__metadata__": {"classes": json.dumps(classes)}}
    offset = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": TYPES[str(array.dtype)],
            "shape": array.shape,
            "data_offsets": (offset, offset + array.nbytes),
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of eight bytes
    with path.open("wb") as file:
        digest = hashlib.sha256()
        for piece in (len(text).to_bytes(8, "little"), text):
            _put(file, digest, memoryview(piece))
        for array in arrays.values():
            _put(file, digest, np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _put(file: BinaryIO, digest: hashlib._Hash, content: memoryview) -> None:
    file.write(content)
    digest.update(content)


def _arrays_of(data: ImageData) -> dict[str, Images | Labels]:
    """The labels stand first, so that theirs, which have eight bytes, begin at multiples of eight."""
    return {
        "train_labels": data.train_labels,
        "test_labels": data.test_labels,
        "train_images": data.train_images,
        "test_images": data.test_images,
    }


def _find_earlier(store: Store, contents: StagedImages) -> StagedImages | None:
    """What is staged there now. If it is another data set, a warning says so: runs may be using it."""
    try:
        earlier = read_staged_images(store, contents.size)
    except DataError:
        return None
    if earlier is not None and earlier.data_sha256 != contents.data_sha256:
        get_logger().warning(
            "staged_images_replaced",
            place=store.locate(images_key(contents.size)),
            num_images_before=earlier.num_train + earlier.num_test,
            consequence="runs that were made with the images before are refused (68) with these",
        )
    return earlier


def _fetch(store: Store, contents: StagedImages, *, cache: Path | None) -> Path:
    """The object as a file of the cache, which may be read-only. Only a whole one is kept there."""
    name = f"staged/{contents.sha256}.safetensors"
    found = find_cached(cache, name)
    if found is not None and file_digest(found, "sha256") == contents.sha256:
        return found
    folder = writable_folder(cache) / "staged"
    with reported(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            path = Path(temporary) / "images.safetensors"
            try:
                store.download(images_key(contents.size), path)
            except ObjectMissing as error:
                raise _missing(store, contents) from error
            _verify(path, store, contents)
            return path.rename(folder / Path(name).name)


def _read(path: Path, contents: StagedImages, *, place: str) -> ImageData:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
        data = ImageData(
            tuple(contents.classes), arrays["train_images"], arrays["train_labels"], arrays["test_images"],
            arrays["test_labels"],
        )  # fmt: skip
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{place}: is no file of staged images ({error}); stage them again") from error
    shape = (3, contents.size, contents.size)
    for images, labels, num in (
        (data.train_images, data.train_labels, contents.num_train),
        (data.test_images, data.test_labels, contents.num_test),
    ):
        if images.shape != (num, *shape) or labels.shape != (num,) or images.dtype != np.uint8:
            raise DataError(f"{place}: does not hold what the images.json beside it says; stage the images again")
    return data


def _missing(store: Store, contents: StagedImages) -> DataError:
    return DataError(
        f"{store.locate(images_key(contents.size))}: missing; stage the images again: "
        f"{advise_staging(store, contents.size)}"
    )


def _verify(path: Path, store: Store, contents: StagedImages) -> None:
    """Raises `DataError` if the file `path` is not the object that was staged."""
    seen = file_digest(path, "sha256")
    if seen != contents.sha256:
        raise DataError(
            f"{store.locate(images_key(contents.size))}: corrupt: sha256 is {seen}, must be {contents.sha256}; stage "
            f"the images again: {advise_staging(store, contents.size)}"
        )
