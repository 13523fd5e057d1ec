"""A run on its device: stage, resume, train; then what is left for `Completion`.

staged data and weights → TrainingState ← newest checkpoint
train_epochs → epoch records → history, progress, checkpoints (behind the training)
last evaluation → record, samples, weights → Completion
"""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from job.errors import Interruption
from job.logs import get_logger
from job.manifest import Manifest
from job.runs import Divergence, Environment, RunKeys, configuration_digest
from job.storage import Store
from job.training.control import Control
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.loop import Diverged, Epoch, Sources, train_epochs
from job.training.engine.model import build_model
from job.training.engine.state import TrainingState
from job.training.inputs.datasets import ImageData
from job.training.inputs.finished import check_same_inputs
from job.training.inputs.loading import Inputs
from job.training.machine import EnergyMeter, choose_device, describe_environment
from job.training.preflight import check_gradients
from job.training.record.attempt import Journal
from job.training.record.completion import Completion
from job.training.record.result import Outcome, build_result, choose_samples, model_bytes
from job.training.record.writer import (
    ArtefactWriter,
    checkpoint_artefacts,
    history_lines,
    read_environment,
    remove_old_checkpoints,
    restore_newest,
)
from job.training.settings import RunSettings


@dataclass(frozen=True)
class Staged:
    """Everything a training needs, on the device."""

    data: ImageData
    state: TrainingState
    sources: Sources
    environment: Environment
    preflight_seconds: float


def execute(
    manifest: Manifest,
    settings: RunSettings,
    *,
    store: Store,
    keys: RunKeys,
    writer: ArtefactWriter,
    journal: Journal,
    control: Control,
    inputs: Inputs,
    started: float,
    staging_seconds: float,
    on_start: Callable[[TrainingState], None],
) -> Completion:
    """The second half of `run_manifest`; `started` is when the process or run began, by `perf_counter`."""
    startup_seconds = perf_counter() - started - staging_seconds
    staging = perf_counter()
    staged = stage(manifest, settings, inputs)
    staging_seconds += perf_counter() - staging - staged.preflight_seconds
    outcome = _train(staged, store, keys, writer=writer, journal=journal, control=control,
                     settings=settings, on_start=on_start)  # fmt: skip
    result = build_result(
        outcome,
        run_id=keys.run_id,
        experiment=keys.experiment,
        attempt_id=uuid.uuid4().hex,
        attempts=journal.attempt,
        lost_seconds=journal.lost_seconds,
        startup_seconds=startup_seconds,
        staging_seconds=staging_seconds,
        preflight_seconds=staged.preflight_seconds,
        environment=staged.environment,
    )
    journal.end_training()
    return Completion(
        result=result,
        samples=choose_samples(outcome),
        weights=model_bytes(outcome.state.model),
        store=store,
        keys=keys,
        writer=writer,
        journal=journal,
        control=control,
        started=started,
        price_per_hour=settings.price_per_hour,
    )


def stage(manifest: Manifest, settings: RunSettings, inputs: Inputs) -> Staged:
    """Data, network and optimizer, ready on the device, in a precision whose gradients were found right."""
    gc.collect()  # a step and its graph hold each other: without this the run before might still fill the device
    verified = inputs.load_data(manifest, settings)
    data = verified.data
    device = choose_device(
        settings,
        precision=manifest.precision,
        deterministic=manifest.deterministic,
        image_size=manifest.image_size or data.train_images.shape[-1],
    )
    weights = inputs.load_weights(manifest, settings)
    model = build_model(manifest.model, weights, num_classes=len(data.classes), seed=manifest.seed)
    parts = split_data(
        data, validation_fraction=manifest.dataset.validation_fraction, seed=manifest.seed, device=device.torch_device
    )
    size = manifest.image_size
    sources = Sources(
        train=BatchSource(parts.train, image_size=size, augmentation=manifest.augmentation),
        validation=BatchSource(parts.validation, image_size=size) if parts.validation else None,
        test=BatchSource(parts.test, image_size=size),
    )
    num_steps = len(batch_bounds(len(parts.train), manifest.batch_size))
    started = perf_counter()
    device, checks = check_gradients(device, model, sources.train, manifest)
    preflight_seconds = perf_counter() - started
    device.reset_peak_memory()
    environment = describe_environment(
        device, checks=checks, data_sha256=verified.sha256, weights_sha256=weights.sha256 if weights else None
    )
    state = TrainingState(manifest, model, device=device, num_steps=num_steps)
    return Staged(data, state, sources, environment, preflight_seconds)


def _train(
    staged: Staged,
    store: Store,
    keys: RunKeys,
    *,
    writer: ArtefactWriter,
    journal: Journal,
    control: Control,
    settings: RunSettings,
    on_start: Callable[[TrainingState], None],
) -> Outcome:
    """Resume and train to the end, publishing as it goes."""
    state, environment = staged.state, staged.environment
    configuration = configuration_digest(state.manifest)
    earlier = read_environment(store, keys)
    restored = restore_newest(
        store,
        keys,
        configuration=configuration,
        restore=lambda content, place: state.restore(content, data_sha256=environment.data_sha256, source=place),
    )
    if restored and earlier:
        check_same_inputs(earlier, environment, place=store.locate(keys.environment))
    writer.write({keys.environment: environment.model_dump_json(indent=1).encode()})
    journal.begin_training(state)
    get_logger().info(
        "training_started", epoch=state.epoch, step=state.step, num_epochs=state.manifest.epochs,
        device=environment.device, precision=environment.precision, num_threads=environment.num_threads,
    )  # fmt: skip
    on_start(state)
    energy = EnergyMeter(state.device)
    last: Epoch | None = None
    divergence: Divergence | None = None
    checkpointed = perf_counter()

    def on_step() -> None:
        control.on_step()
        if control.is_heartbeat_due() and writer.is_idle:
            writer.write(journal.progress("running"))

    def checkpoint() -> dict[str, bytes]:
        key = keys.checkpoint(epoch=state.epoch, step=state.step)
        content = state.serialise(data_sha256=environment.data_sha256)
        return checkpoint_artefacts(key, content, configuration=configuration)

    def clean() -> None:
        remove_old_checkpoints(store, keys)

    began = state.epoch, state.step
    control.begin_steps(has_gained=lambda: (state.epoch, state.step) != began)
    try:
        for last in train_epochs(state, staged.sources, on_step=on_step):
            _log_epoch(last)
            artefacts = {keys.history: history_lines(state.history)} | journal.progress("running") | journal.log()
            due = perf_counter() - checkpointed >= settings.checkpoint_interval_seconds
            if due or state.epoch == state.manifest.epochs:
                writer.write(checkpoint() | artefacts, then=clean)
                checkpointed = perf_counter()
            else:
                writer.write(artefacts)
    except Diverged as error:
        divergence = error.divergence
        get_logger().warning("training_diverged", epoch=divergence.epoch, step=divergence.step)
    except Interruption as error:
        get_logger().info("training_interrupted", reason=str(error), epoch=state.epoch, step=state.step)
        writer.write(checkpoint(), then=clean)
        writer.flush()
        raise
    return Outcome(staged.data, state, staged.sources, last, divergence, energy.joules())


def _log_epoch(epoch: Epoch) -> None:
    record = epoch.record
    get_logger().info(
        "epoch_finished", epoch=record.epoch, train_loss=record.train.loss and round(record.train.loss, 4),
        train_top1=round(record.train.top1, 4), test_loss=record.test.loss and round(record.test.loss, 4),
        test_top1=round(record.test.top1, 4), images_per_second=round(record.train_images_per_second, 1),
    )  # fmt: skip
