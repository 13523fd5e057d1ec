"""Decodes all images of a data set once, and tells a person what is in them. All faults are told at once."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from job.errors import DataError
from job.places import show_path
from job.training.engine.image_data import ImageData, Images
from job.training.inputs.decoding import decode_and_measure
from job.training.inputs.encoded import EncodedData, EncodedImage
from job.training.inputs.listing import refuse

WINDOW = 8
"""Images in memory before they are decoded, for every thread."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one image."""

    name: str
    pixels: Images | None
    """(3, size, size) uint8; None if it cannot be decoded."""
    fault: str = ""
    width: int = 0
    height: int = 0
    digest: bytes = b""
    """Of its file's bytes."""

    @property
    def is_grey(self) -> bool:
        """Whether its three channels are equal."""
        pixels = self.pixels
        return pixels is not None and bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())


@dataclass(frozen=True)
class Survey:
    """A data set, decoded, and what a person should know of it, a sentence each."""

    data: ImageData
    notes: list[str]


def decode_all(source: EncodedData, *, size: int, num_threads: int) -> Survey:
    """All images of `source`, each `size` pixels square.

    Raises one `DataError` for what is wrong with the data set as a whole and with single images.
    """
    images: Images = np.empty((source.num_images, 3, size, size), dtype=np.uint8)
    labels = np.zeros(source.num_images, dtype=np.int64)
    faults, notes = [*source.faults], _Notes(size, source.num_train)
    with ThreadPoolExecutor(num_threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata and of sizes, which `decoding` checks
        work = partial(_look, size=size)
        for place, (label, seen) in enumerate(_map(work, source.images(), pool, num_ahead=WINDOW * num_threads)):
            labels[place] = label
            if seen.pixels is None:
                faults.append(seen.fault)
                continue
            images[place] = seen.pixels
            notes.add(place, seen)
    refuse(faults)
    num = source.num_train
    data = ImageData(source.classes, images[:num], labels[:num], images[num:], labels[num:])
    return Survey(data, [*source.notes, *notes.tell(), *_tell_balance(data)])


def _map(
    work: partial[Seen], images: Iterable[EncodedImage], pool: ThreadPoolExecutor, *, num_ahead: int
) -> Iterator[tuple[int, Seen]]:
    """Label and sight of every image, in order. At most `num_ahead` are in memory undecoded."""
    waiting = iter(images)
    while window := list(itertools.islice(waiting, num_ahead)):
        yield from zip((image.label for image in window), pool.map(work, window), strict=True)


def _look(image: EncodedImage, *, size: int) -> Seen:
    name = show_path(image.name)
    try:
        content = image.read()
        pixels, (width, height) = decode_and_measure(image.name, content, size=size)
    except OSError as error:
        return Seen(name, None, f"{name}: cannot be read: {error.strerror}")
    except DataError as error:
        return Seen(name, None, str(error))
    return Seen(name, pixels, "", width, height, hashlib.sha256(content).digest())


class _Notes:
    """Counts what is worth knowing of single images, each with an example."""

    def __init__(self, size: int, num_train: int) -> None:
        self._size, self._num_train = size, num_train
        self._found: dict[str, list[str]] = {}
        self._train: dict[bytes, str] = {}

    def add(self, place: int, seen: Seen) -> None:
        """Look at the image at `place`."""
        if min(seen.width, seen.height) < self._size:
            self._note(f"smaller than {self._size} pixels, and enlarged", f"{seen.name}, {seen.width}x{seen.height}")
        if max(seen.width, seen.height) >= 2 * min(seen.width, seen.height):
            self._note("at least twice as long as wide: only the square in the middle is used", seen.name)
        if seen.is_grey:
            self._note("grey: all three channels are equal", seen.name)
        if place < self._num_train:
            self._train[seen.digest] = seen.name
        elif seen.digest in self._train:
            self._note("tested on and trained on", f"{seen.name}, the same file as {self._train[seen.digest]}")

    def _note(self, what: str, example: str) -> None:
        self._found.setdefault(what, []).append(example)

    def tell(self) -> Iterator[str]:
        """A sentence for each kind."""
        for what, examples in self._found.items():
            many = "1 image is" if len(examples) == 1 else f"{len(examples):,} images are"
            yield f"{many} {what} ({'such as ' if len(examples) > 1 else ''}{examples[0]})"


def _tell_balance(data: ImageData) -> Iterator[str]:
    """A sentence if a class has much fewer training images than another."""
    counts = np.bincount(data.train_labels, minlength=len(data.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= 2 * counts[least]:
        yield (
            f"the classes are uneven: {counts[most]:,} training images of {data.classes[most]}, "
            f"{counts[least]:,} of {data.classes[least]}"
        )
