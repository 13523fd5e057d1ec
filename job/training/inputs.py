"""What runs of one process share: the data set and the pretrained weights, read and verified once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the command makes an `Inputs` before it imports torch
    from job.manifest import Manifest
    from job.training.data import ImageData
    from job.training.model import Weights
    from job.training.settings import RunSettings

Value = TypeVar("Value")


@dataclass(frozen=True)
class VerifiedData:
    """A data set and the digest of all of it."""

    data: ImageData
    sha256: str


class Inputs:
    """Keeps the last data set and the last weights for the next run that names the same ones."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[object, object]] = {}

    def load_data(self, manifest: Manifest, settings: RunSettings) -> VerifiedData:
        """As `job.training.data.load_data`, without torch."""
        from job.cpus import available_cpus
        from job.training.data import load_data
        from job.training.data.cache import expand_cache

        def load() -> VerifiedData:
            data = load_data(
                manifest.dataset,
                data=settings.data,
                cache=expand_cache(settings.cache),
                num_threads=settings.num_threads or available_cpus(),
            )
            return VerifiedData(data, data.sha256())

        return self._keep("data", (manifest.dataset, settings.data), load)

    def load_weights(self, manifest: Manifest, settings: RunSettings) -> Weights | None:
        """As `job.training.model.load_weights`."""
        from job.training.data.cache import expand_cache
        from job.training.model import load_weights

        def load() -> Weights | None:
            return load_weights(manifest.model, data=settings.data, cache=expand_cache(settings.cache))

        return self._keep("weights", (manifest.model, settings.data), load)

    def _keep(self, kind: str, wanted: object, load: Callable[[], Value]) -> Value:
        if kind not in self._kept or self._kept[kind][0] != wanted:
            self._kept.pop(kind, None)  # two data sets may not fit into memory
            self._kept[kind] = wanted, load()
        return self._kept[kind][1]  # type: ignore[return-value]
