"""From a manifest to everything that its training needs, on the device and found right there."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from job.manifest import Manifest
from job.runs import Environment
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.image_data import ImageData
from job.training.engine.loop import Sources
from job.training.engine.model import build_model
from job.training.engine.state import TrainingState
from job.training.inputs.loading import Inputs
from job.training.machine import choose_device, describe_environment
from job.training.preflight import check_gradients
from job.training.settings import RunSettings


@dataclass(frozen=True)
class Staged:
    """Everything that a training needs, on the device."""

    data: ImageData
    state: TrainingState
    sources: Sources
    environment: Environment
    preflight_seconds: float


def stage(manifest: Manifest, settings: RunSettings, inputs: Inputs, *, trained_in: str | None = None) -> Staged:
    """Data, network and optimizer, ready on the device, in a precision whose gradients were found right.

    `trained_in` is the precision of the checkpoint that is to be restored, where there is one. Raises `DataError` for
    unusable data or weights, and `HostError` for a machine that cannot do it.
    """
    gc.collect()  # a step and its graph hold each other: without this, the run before might still fill the device
    verified = inputs.load_data(manifest, settings)
    data = verified.data
    device = choose_device(
        settings,
        precision=manifest.precision,
        trained_in=trained_in,
        deterministic=manifest.deterministic,
        image_size=manifest.image_size or data.train_images.shape[-1],
    )
    weights = inputs.load_weights(manifest, settings)
    model = build_model(manifest.model, weights, num_classes=len(data.classes), seed=manifest.seed)
    parts = split_data(
        data, validation_fraction=manifest.dataset.validation_fraction, seed=manifest.seed, device=device.torch_device
    )
    build_source = partial(BatchSource, image_size=manifest.image_size, normalization=manifest.normalization)
    sources = Sources(
        train=build_source(parts.train, augmentation=manifest.augmentation),
        validation=build_source(parts.validation) if parts.validation else None,
        test=build_source(parts.test),
    )
    started = perf_counter()
    is_free = manifest.precision == "auto" and settings.auto_precision is None and trained_in is None
    device, checks = check_gradients(device, model, sources.train, manifest, may_replace=is_free)
    preflight_seconds = perf_counter() - started
    device.reset_peak_memory()
    environment = describe_environment(
        device,
        checks=checks,
        data_sha256=verified.sha256,
        weights_sha256=weights.sha256 if weights else None,
        instance_type=settings.host.instance_type,
    )
    num_steps = len(batch_bounds(len(parts.train), manifest.batch_size))
    state = TrainingState(manifest, model, device=device, num_steps=num_steps, data_sha256=verified.sha256)
    return Staged(data, state, sources, environment, preflight_seconds)
