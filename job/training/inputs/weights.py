"""The pretrained weights that a manifest names: ImageNet's, those of a file or object, or none."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from job.errors import DataError, JobError, ObjectMissing, StorageError, UnusablePlace
from job.manifest.models import Model
from job.storage import Store, is_remote, open_store, read_uri
from job.storage.staged import IMAGENET_WEIGHTS
from job.training.engine.model import Weights
from job.training.inputs.cache import find_cached, store_cached
from job.training.inputs.download import receive
from job.training.inputs.state_dict import find_network

IMAGENET_SHA256 = {"resnet18-f37072fd.pth": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"}
"""The whole SHA-256 of torchvision's files, where it is known. The eight digits in a file's name guard against
accidents, but not against a forger."""


def imagenet_url(network: str) -> str:
    """Where torchvision downloads its first ImageNet weights of `network` from.

    It ends in `<network>-<first eight digits of the SHA-256>.pth`.
    """
    return f"https://download.pytorch.org/models/{IMAGENET_WEIGHTS[network]}"


def load_weights(config: Model, *, data: str | None, cache: Path | None, url: str | None = None) -> Weights | None:
    """The weights that `config` names. `imagenet` comes from a cache, else from where the data are staged, else from
    the download.

    Raises `DataError` if they are missing, corrupt, not finite or of another network. Nothing in a file is executed.
    """
    if config.weights == "none":
        return None
    if config.weights == "imagenet":  # its digest is known, so there is no need to search the file for the network
        url = url or imagenet_url(config.name)
        advice = "stage it in a bucket with `job stage`, or name a local file in model.weights"
        content = _read_imagenet(url, data=data, cache=cache, advice=advice)
        return Weights(_parse(content, source=Path(url).name), hashlib.sha256(content).hexdigest())
    content = _read_own(config.weights)
    state = find_network(_parse(content, source=config.weights), network=config.name, source=config.weights)
    return Weights(state, hashlib.sha256(content).hexdigest())


def stage_imagenet(store: Store, url: str, *, data: str | None, cache: Path | None) -> str:
    """Put the verified file of `url` into `store`; returns its URI. It comes from the cache, `data` or the download."""
    name = Path(url).name
    advice = "leave the weights out with --no-weights, or stage them from a machine that can download them"
    store.write(name, _read_imagenet(url, data=data, cache=cache, advice=advice))
    return store.locate(name)


def _read_own(source: str) -> bytes:
    try:
        return read_uri(source)
    except (StorageError, UnusablePlace) as error:
        if is_remote(source) and not isinstance(error, ObjectMissing):
            raise
        raise DataError(f"weights {source}: not found; give a .pth or .safetensors file, imagenet or none") from error


def _read_imagenet(url: str, *, data: str | None, cache: Path | None, advice: str) -> bytes:
    """torchvision's file, which the cache keeps. Raises `DataError` if it is corrupt, or cannot be downloaded.

    That message ends with `advice`.
    """
    name = Path(url).name
    for folder in (cache, Path(torch.hub.get_dir()) / "checkpoints"):  # the second is torchvision's own
        found = find_cached(folder, name)
        if found is not None:
            return _verified(found.read_bytes(), place=str(found))
    if data is not None:
        staged = open_store(data)
        with contextlib.suppress(ObjectMissing):  # not staged: downloaded below
            content = _verified(staged.read(name), place=staged.locate(name))
            store_cached(cache, name, content)
            return content
    content = _verified(b"".join(receive(url, advice=advice)), place=url)
    store_cached(cache, name, content)
    return content


def _verified(content: bytes, *, place: str) -> bytes:
    """`content`, if its SHA-256 is the one of `place`. Raises `DataError`."""
    seen = hashlib.sha256(content).hexdigest()
    expected = _expected_sha256(place)
    if not seen.startswith(expected):
        raise DataError(f"{place}: corrupt: sha256 {seen} must begin with {expected}; fetch it again")
    return content


def _expected_sha256(place: str) -> str:
    """All digits of the SHA-256 if they are known, else those that torch.hub's convention puts into the name."""
    name = Path(place).name
    return IMAGENET_SHA256.get(name) or Path(name).stem.rpartition("-")[2]


def _parse(content: bytes, *, source: str) -> Any:
    """What the file holds, without executing any of it."""
    if not content:
        raise DataError(f"weights {source}: is empty (0 bytes); fetch it again, or write it again with torch.save")
    try:
        if source.endswith(".safetensors"):
            import safetensors.torch

            return safetensors.torch.load(content)
        # a Namespace holds plain values; torchvision's recipes save their arguments as one
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except JobError:  # raised by a signal
        raise
    except Exception as error:  # a hostile file makes the parsers raise nearly anything, and advise to trust the file
        raise DataError(
            f"weights {source}: damaged, or holds more than tensors: {type(error).__name__}{_objects_in(content)}, "
            "nothing in it was executed; write it with torch.save(model.state_dict(), FILE) or safetensors"
        ) from error


def _objects_in(content: bytes) -> str:
    """The classes and functions that a pickle would have called, for the message; empty if they cannot be found."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception:  # noqa: BLE001 - no pickle, or a damaged one
        return ""
    shown = ", ".join(sorted(name for name in names if name.isprintable())[:3])[:120]
    return f" ({shown})" if shown else ""
