"""The network: torchvision's ResNet18 with its pretrained weights and a new, seeded fc."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from job.errors import DataError, ObjectMissing
from job.manifest.models import Model
from job.storage import FolderStore, Store, open_store, read_uri

IMAGENET = ResNet18_Weights.IMAGENET1K_V1
IMAGENET_FILE = Path(IMAGENET.url).name
"""`resnet18-<first eight digits of its SHA-256>.pth`."""


@dataclass(frozen=True)
class Weights:
    """A verified state dict and the digest of the file that it came from."""

    state: dict[str, Tensor]
    sha256: str


def build_model(config: Model, weights: Weights | None, *, num_classes: int, seed: int) -> nn.Module:
    """The network with `num_classes` outputs; for one seed, fc starts the same whatever the weights.

    Raises `DataError` when the weights are another network's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = resnet18(weights=None, num_classes=num_classes)
    if weights is not None:
        backbone = {key: value for key, value in weights.state.items() if not key.startswith("fc.")}
        backbone |= {key: value for key, value in model.state_dict().items() if key.startswith("fc.")}
        try:
            model.load_state_dict(backbone)
        except RuntimeError as error:
            raise DataError(f"weights {config.weights}: not a state dict of {config.name}: {error}") from error
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.") or not config.freeze_backbone
    return model


def train_mode(model: nn.Module, *, freeze_backbone: bool) -> None:
    """Set training mode; the BatchNorm statistics of a frozen backbone stay as they are."""
    model.train(not freeze_backbone)


def load_weights(config: Model, *, data: str | None, cache: Path) -> Weights | None:
    """The weights that `config` names. `imagenet` is looked for where the data are staged, then downloaded.

    Raises `DataError` for what is missing, corrupt or no state dict; nothing in a file is executed.
    """
    if config.weights == "none":
        return None
    if config.weights == "imagenet":
        content = _read_imagenet(data, cache=cache)
        source = IMAGENET_FILE
    else:
        source = config.weights
        try:
            content = read_uri(source)
        except ObjectMissing as error:
            raise DataError(
                f"weights {source}: not found; give a .pth or .safetensors file, imagenet or none"
            ) from error
    return Weights(_parse_state(content, source=source), hashlib.sha256(content).hexdigest())


def stage_imagenet(store: Store, *, data: str | None, cache: Path) -> str:
    """Put torchvision's verified file into `store`, from `data`, the cache or its download; returns its URI."""
    store.write(IMAGENET_FILE, _read_imagenet(data, cache=cache))
    return store.locate(IMAGENET_FILE)


def fetch_imagenet(cache: Path) -> Path:
    """torchvision's file in the cache, downloaded unless it is there. Raises `DataError`."""
    path = cache / IMAGENET_FILE
    if not path.is_file():
        try:
            torch.hub.download_url_to_file(IMAGENET.url, str(path), hash_prefix=_hash_prefix(), progress=False)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{IMAGENET.url}: cannot be downloaded ({error}); stage it in a bucket with `job stage`, "
                "or name a local file in model.weights"
            ) from error
    return path


def _read_imagenet(data: str | None, *, cache: Path) -> bytes:
    path = cache / IMAGENET_FILE
    if data is not None and not path.is_file():
        with contextlib.suppress(ObjectMissing):  # not staged: downloaded below
            FolderStore(cache).write(IMAGENET_FILE, open_store(data).read(IMAGENET_FILE))
    path = fetch_imagenet(cache)
    content = path.read_bytes()
    seen = hashlib.sha256(content).hexdigest()
    if not seen.startswith(_hash_prefix()):
        raise DataError(f"{path}: corrupt: sha256 {seen} must begin with {_hash_prefix()}; remove it and run again")
    return content


def _hash_prefix() -> str:
    return Path(IMAGENET_FILE).stem.rpartition("-")[2]


def _parse_state(content: bytes, *, source: str) -> dict[str, Tensor]:
    try:
        if source.endswith(".safetensors"):
            import safetensors.torch

            return safetensors.torch.load(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, OSError, AttributeError) as error:
        raise DataError(f"weights {source}: cannot be read as a state dict: {error}") from error
    except Exception as error:  # SafetensorError derives from Exception alone
        if type(error).__name__ != "SafetensorError":
            raise
        raise DataError(f"weights {source}: cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"weights {source}: not a state dict: names mapped to tensors are expected")
    return state
