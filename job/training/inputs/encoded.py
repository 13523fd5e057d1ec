"""Images as they lie in files, before they are decoded: what a folder of image files and a table of images both are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from job.training.inputs.left_out import is_hidden
from job.training.inputs.listing import list_with_faults

TABLE_SUFFIXES = (".parquet", ".arrow")
"""Endings of files that hold a table of images."""


@dataclass(frozen=True)
class EncodedImage:
    """One image with its label."""

    name: Path | str
    """What messages call it: its path, or its file and row."""
    label: int
    read: Callable[[], bytes]
    """Its bytes. Raises `OSError`."""


@dataclass(frozen=True)
class EncodedData:
    """A data set whose images are not read yet."""

    classes: tuple[str, ...]
    num_train: int
    num_test: int
    images: Callable[[], Iterable[EncodedImage]]
    """The training images, then the test images. Raises `DataError`."""
    faults: list[str]
    """What must be mended before it is a data set. The images can be looked at all the same."""
    notes: list[str]
    """What a person should know of it."""

    @property
    def num_images(self) -> int:
        return self.num_train + self.num_test


def find_images(root: Path) -> EncodedData:
    """The image files in `train/<class>/` and `test/<class>/` below `root`. Raises `DataError` if there are no such."""
    listing, faults = list_with_faults(root)
    listing.log_left_out()
    return EncodedData(
        classes=listing.classes,
        num_train=len(listing.train),
        num_test=len(listing.test),
        images=lambda: (EncodedImage(path, label, path.read_bytes) for path, label in listing.train + listing.test),
        faults=faults,
        notes=[],
    )


def is_table(path: Path) -> bool:
    """Whether `path` is a table of images, or a folder of such and not of image files."""
    if path.is_file():
        return path.suffix in TABLE_SUFFIXES
    train = path / "train"
    if train.is_dir() and any(below.is_dir() and not is_hidden(below) for below in train.iterdir()):
        return False
    return any(True for suffix in TABLE_SUFFIXES for _ in path.rglob(f"*{suffix}"))
