"""What `job stage` leaves in a place, by name: whoever puts it there and whoever looks for it agree here.

SHA256SUMS.json is written after the files of a data set, so where it stands all of them are there.
"""

from __future__ import annotations

from job.errors import ObjectMissing
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
