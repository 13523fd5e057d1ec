"""What the runs of one process share: the data set and the pretrained weights, which are read and verified once, and
their digests. A digest that is known already is found without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from job.manifest import models

if TYPE_CHECKING:  # the command makes an `Inputs` before it imports torch
    from job.manifest import Manifest
    from job.training.engine.image_data import ImageData
    from job.training.engine.model import Weights
    from job.training.settings import RunSettings

Value = TypeVar("Value")


@dataclass(frozen=True)
class VerifiedData:
    """A data set and its digest."""

    data: ImageData
    sha256: str


class Inputs:
    """Keeps the last data set and the last weights for the next run that names the same ones."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[object, object]] = {}
        self._met: set[object] = set()

    def load_data(self, manifest: Manifest, settings: RunSettings) -> VerifiedData:
        """The data set of `manifest`, from `job.training.inputs.datasets.load_data`. This needs no torch."""
        from job.cpus import available_cpus
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.datasets import load_data
        from job.training.inputs.known import KnownDigests

        def load() -> VerifiedData:
            cache = expand_cache(settings.cache)
            name = _name_data(manifest.dataset, settings)  # before reading: files that change later get another name
            data = load_data(
                manifest.dataset,
                data=settings.data,
                cache=cache,
                num_threads=settings.num_threads or available_cpus(),
            )
            verified = VerifiedData(data, data.sha256())
            KnownDigests(cache).remember(name, verified.sha256)
            return verified

        return self._keep("data", (manifest.dataset, settings.data), load)

    def load_weights(self, manifest: Manifest, settings: RunSettings) -> Weights | None:
        """The weights that `manifest` names, from `job.training.inputs.weights.load_weights`."""
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.weights import load_weights

        def load() -> Weights | None:
            return load_weights(manifest.model, data=settings.data, cache=expand_cache(settings.cache))

        return self._keep("weights", (manifest.model, settings.data), load)

    def data_sha256(self, manifest: Manifest, settings: RunSettings) -> str:
        """The digest of what `load_data` returns. Neither an unchanged folder nor staged images are read."""
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.known import KnownDigests
        from job.training.inputs.staged import find_staged

        def find() -> str:
            if isinstance(manifest.dataset, models.Folder) and settings.data is not None:
                staged = find_staged(settings.data, size=manifest.dataset.size)
                if staged is not None:
                    return staged.data_sha256
            known = KnownDigests(expand_cache(settings.cache)).find(_name_data(manifest.dataset, settings))
            return known or self.load_data(manifest, settings).sha256

        return self._keep("data digest", (manifest.dataset, settings.data), find)

    def weights_sha256(self, source: str, settings: RunSettings) -> str:
        """The digest of the file or object `source`. Raises the errors of the stores."""
        from job.storage import read_uri
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.known import KnownDigests, name_object

        def find() -> str:
            known, name = KnownDigests(expand_cache(settings.cache)), name_object(source)
            digest = known.find(name) or hashlib.sha256(read_uri(source)).hexdigest()
            known.remember(name, digest)
            return digest

        return self._keep("weights digest", source, find)

    def is_new(self, remark: object) -> bool:
        """Whether no run of this process has made this remark before."""
        is_new = remark not in self._met
        self._met.add(remark)
        return is_new

    def _keep(self, kind: str, wanted: object, load: Callable[[], Value]) -> Value:
        if kind not in self._kept or self._kept[kind][0] != wanted:
            self._kept.pop(kind, None)  # freed first, because two data sets may not fit into memory
            self._kept[kind] = wanted, load()
        return self._kept[kind][1]  # type: ignore[return-value]


def _name_data(dataset: models.Dataset, settings: RunSettings) -> str | None:
    """The name that `known` gives to a local folder of images; None for other data, because reading them is quick."""
    from job.training.inputs.known import name_folder
    from job.training.inputs.listing import list_images

    if not isinstance(dataset, models.Folder) or settings.data is None:
        return None
    if not (Path(settings.data) / "train").is_dir():  # staged, and told by its digest
        return None
    return name_folder(list_images(Path(settings.data)), size=dataset.size)
