"""What `job stage` leaves in a place, by name: whoever puts it there and whoever looks for it agree here.

SHA256SUMS.json is written after the files of a data set, so where it stands all of them are there. A person's own
images are one object for each size, and the `StagedImages` beside it are written last.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, ValidationError

from job.errors import DataError, ObjectMissing
from job.runs import SCHEMA_VERSION, Record
from job.storage.base import Store

SUMS_NAME = "SHA256SUMS.json"
FOLDERS = {"stl10": "stl10_binary", "cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
"""The folder of each data set that can be staged, by its name in a manifest: that of its official archive."""
IMAGENET_WEIGHTS = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
}
"""The file of torchvision's IMAGENET1K_V1 weights, by network."""


def is_staged(store: Store, dataset: str) -> bool:
    """Whether the data set of this name lies in `store`. Raises the errors of the store, but none if it is missing."""
    try:
        store.read(f"{FOLDERS[dataset]}/{SUMS_NAME}")
    except ObjectMissing:
        return False
    return True


def has_weights(store: Store, network: str) -> bool:
    """Whether the ImageNet weights of `network` lie in `store`. Raises as `is_staged` does."""
    name = IMAGENET_WEIGHTS[network]
    return name in store.list_keys(name)


class StagedImages(Record):
    """images.json: what is in the images.safetensors beside it."""

    schema_version: int = SCHEMA_VERSION
    size: int
    """Width and height of the images in pixels."""
    classes: Annotated[list[str], Field(min_length=2)]
    num_train: Annotated[int, Field(ge=1)]
    num_test: Annotated[int, Field(ge=1)]
    size_bytes: int
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of images.safetensors."""
    data_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """What runs record as theirs: the digest of classes, pixels and labels, wherever they were read from."""


def images_key(size: int) -> str:
    """The key of a person's own images, decoded to `size` pixels. Several sizes may lie beside each other."""
    return f"folder-{size}px/images.safetensors"


def contents_key(size: int) -> str:
    """The key of the `StagedImages` beside them."""
    return f"folder-{size}px/images.json"


def read_staged_images(store: Store, size: int) -> StagedImages | None:
    """What was staged in `store` at `size` pixels; None if nothing was. Raises `DataError` and the store's errors."""
    key = contents_key(size)
    try:
        return StagedImages.model_validate_json(store.read(key))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise DataError(
            f"{store.locate(key)}: does not say what was staged; stage the images again: {advise_staging(store, size)}"
        ) from error


def find_staged_sizes(store: Store) -> list[int]:
    """The sizes at which own images are staged in `store`, ascending."""
    found = (re.fullmatch(r"folder-(\d+)px/images\.json", key) for key in store.list_keys("folder-"))
    return sorted(int(match[1]) for match in found if match)


def advise_staging(store: Store, size: int) -> str:
    """The command that puts images of `size` pixels into `store`."""
    return f"`job stage {store.uri} --dataset folder --size {size} --data FOLDER`"
