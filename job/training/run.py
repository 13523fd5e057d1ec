"""One run from manifest to result.json: stage, resume, train, publish, commit.

staged data and weights → TrainingState ← newest checkpoint
train_epochs → epoch records → history, progress, checkpoints (behind the training)
last evaluation → plots, model, result.json (last, only if absent)
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from job.errors import Interruption, JobError, ObjectExists, ObjectMissing
from job.logs import RecordedLog, get_logger
from job.manifest import Manifest
from job.runs import Divergence, Environment, Progress, RunKeys, RunResult, Timings, configuration_digest, run_id
from job.storage import Store, open_store
from job.training.artefacts import (
    ArtefactWriter,
    check_owner,
    checkpoint_artefacts,
    history_lines,
    read_progress,
    remove_old_checkpoints,
    restore_newest,
)
from job.training.batches import BatchSource, batch_bounds, split_data
from job.training.control import Control
from job.training.data import ImageData, load_data
from job.training.device import choose_device, memory_errors
from job.training.environment import describe_environment
from job.training.loop import Diverged, Epoch, Sources, train_epochs
from job.training.model import build_model, load_weights
from job.training.results import Outcome, build_result, draw_plots, model_bytes
from job.training.state import TrainingState


@dataclass(frozen=True)
class RunSettings:
    """Where and how to run; nothing here changes what is computed, but for threads and device in the last bits."""

    output: str
    """A folder or s3:// URI."""
    experiment: str = "default"
    data: str | None = None
    """Where the data set lies: a folder or s3:// URI; None for the cache, then the download."""
    cache: Path = Path("~/.cache/job")
    device: str = "auto"
    num_threads: int | None = None
    """None for the cores that this process may use."""
    time_budget_seconds: float | None = None
    checkpoint_interval_seconds: float = 10.0
    """Least time between checkpoints of whole epochs; the last epoch always gets one."""
    price_per_hour: float | None = None
    """USD, for the estimated cost."""


@dataclass(frozen=True)
class Finished:
    """What `run_manifest` gives back."""

    result: RunResult
    store: Store
    keys: RunKeys
    was_complete: bool
    """The result was there before; nothing was trained and nothing written."""


def run_manifest(
    manifest: Manifest,
    settings: RunSettings,
    *,
    control: Control,
    log: RecordedLog,
    on_start: Callable[[TrainingState], None] = lambda _state: None,
    startup_seconds: float = 0.0,
) -> Finished:
    """Train what `manifest` says, or carry on from its newest checkpoint, or find it done.

    `control` stops the training; `on_start` is told once when it begins. Raises the `JobError` that says what
    to do; for an `Interruption` the checkpoint is saved.
    """
    store = open_store(settings.output)
    keys = RunKeys(settings.experiment, run_id(manifest))
    structlog.contextvars.bind_contextvars(run=keys.run_id)
    finished = _read_result(store, keys)
    if finished is not None:
        get_logger().info("run_already_complete", result=store.locate(keys.result))
        return finished
    check_owner(store, keys, manifest=manifest.model_dump(mode="json"))
    run = _Run(manifest, settings, store, keys, control=control, log=log, startup_seconds=startup_seconds)
    try:
        with memory_errors():
            return run.train(on_start)
    except BaseException as error:
        run.record_failure(error)
        raise


class _Run:
    """The parts of a run that are under way, so that a failure at any point can be recorded."""

    def __init__(
        self,
        manifest: Manifest,
        settings: RunSettings,
        store: Store,
        keys: RunKeys,
        *,
        control: Control,
        log: RecordedLog,
        startup_seconds: float,
    ) -> None:
        self.manifest, self.settings, self.store, self.keys = manifest, settings, store, keys
        self.control, self.log, self.startup_seconds = control, log, startup_seconds
        self.configuration = configuration_digest(manifest)
        self.started = perf_counter()
        self.previous = read_progress(store, keys)
        self.attempt = self.previous.attempt + 1 if self.previous else 1
        self.lost_seconds = self.previous.lost_seconds if self.previous else 0.0
        self.state: TrainingState | None = None

        structlog.contextvars.bind_contextvars(attempt=self.attempt)

    def train(self, on_start: Callable[[TrainingState], None]) -> Finished:
        get_logger().info("run_started", output=self.store.uri, experiment=self.keys.experiment)
        self.store.write(self.keys.manifest, self.manifest.model_dump_json(indent=1).encode())
        self.store.write(self.keys.progress, self._progress("starting"))
        staging = perf_counter()
        data, state, sources, environment = self._stage()
        self.store.write(self.keys.environment, environment.model_dump_json(indent=1).encode())
        staging_seconds = perf_counter() - staging
        data_sha256 = environment.data_sha256
        restore_newest(
            self.store,
            self.keys,
            configuration=self.configuration,
            restore=lambda content, source: state.restore(content, data_sha256=data_sha256, source=source),
        )
        self.state = state

        if self.previous:
            self.lost_seconds += max(0.0, self.previous.trained_seconds - state.trained_seconds)
        get_logger().info(
            "training_started", epoch=state.epoch, step=state.step, num_epochs=self.manifest.epochs,
            device=environment.device, precision=environment.precision, num_threads=environment.num_threads,
        )  # fmt: skip
        on_start(state)
        with ArtefactWriter(self.store) as writer:
            last, divergence = self._train_epochs(state, sources, writer, data_sha256=data_sha256)
            outcome = Outcome(data, state, sources, last, divergence)
            self.store_artefacts(writer, outcome)
            timings = Timings(
                startup=self.startup_seconds,
                staging=staging_seconds,
                train=sum(record.train_seconds for record in state.history) + state.train_seconds,
                evaluate=sum(record.evaluate_seconds for record in state.history) + state.evaluate_seconds,
                upload=writer.waited_seconds,
                total=self.startup_seconds + perf_counter() - self.started,
            )
        return self._commit(outcome, timings)

    def _stage(self) -> tuple[ImageData, TrainingState, Sources, Environment]:
        """Data, network and optimizer, ready on the device."""
        manifest, settings = self.manifest, self.settings
        device = choose_device(
            settings.device,
            precision=manifest.precision,
            deterministic=manifest.deterministic,
            num_threads=settings.num_threads,
        )
        cache = settings.cache.expanduser()
        data = load_data(manifest.dataset, data=settings.data, cache=cache, num_threads=device.num_threads)
        weights = load_weights(manifest.model, data=settings.data, cache=cache)
        model = build_model(manifest.model, weights, num_classes=len(data.classes), seed=manifest.seed)
        parts = split_data(
            data,
            validation_fraction=manifest.dataset.validation_fraction,
            seed=manifest.seed,
            device=device.torch_device,
        )
        size = manifest.image_size
        sources = Sources(
            train=BatchSource(parts.train, image_size=size, augmentation=manifest.augmentation),
            validation=BatchSource(parts.validation, image_size=size) if parts.validation else None,
            test=BatchSource(parts.test, image_size=size),
        )
        num_steps = len(batch_bounds(len(parts.train), manifest.batch_size))
        state = TrainingState(manifest, model, device=device, num_steps=num_steps)
        environment = describe_environment(
            device, data_sha256=data.sha256(), weights_sha256=weights.sha256 if weights else None
        )
        return data, state, sources, environment

    def _train_epochs(
        self, state: TrainingState, sources: Sources, writer: ArtefactWriter, *, data_sha256: str
    ) -> tuple[Epoch | None, Divergence | None]:
        """Train to the end, publishing as it goes. The last epoch is None where none was evaluated."""
        last: Epoch | None = None
        checkpointed = perf_counter()

        def on_step() -> None:
            self.control.on_step()
            if self.control.is_heartbeat_due() and writer.is_idle:
                writer.write({self.keys.progress: self._progress("running")})

        def checkpoint() -> dict[str, bytes]:
            key = self.keys.checkpoint(epoch=state.epoch, step=state.step)
            content = state.serialise(data_sha256=data_sha256)
            return checkpoint_artefacts(key, content, configuration=self.configuration)

        def clean() -> None:
            remove_old_checkpoints(self.store, self.keys)

        try:
            for last in train_epochs(state, sources, on_step=on_step):
                _log_epoch(last)
                artefacts = {
                    self.keys.history: history_lines(state.history),
                    self.keys.progress: self._progress("running"),
                    self.keys.log: self.log.content(),
                }
                due = perf_counter() - checkpointed >= self.settings.checkpoint_interval_seconds
                if due or state.epoch == self.manifest.epochs:
                    artefacts = checkpoint() | artefacts
                    checkpointed = perf_counter()
                writer.write(artefacts, then=clean)
        except Diverged as error:
            get_logger().warning("training_diverged", epoch=error.divergence.epoch, step=error.divergence.step)
            return last, error.divergence
        except Interruption as error:
            get_logger().info("training_interrupted", reason=str(error), epoch=state.epoch, step=state.step)
            writer.write(checkpoint(), then=clean)
            writer.flush()
            raise
        return last, None

    def store_artefacts(self, writer: ArtefactWriter, outcome: Outcome) -> None:
        """Everything but the result, so that a result never stands without them."""
        plots = draw_plots(outcome, title=self.manifest.name)
        writer.write(
            {
                **{self.keys.plot(name): content for name, content in plots.items()},
                self.keys.model: model_bytes(outcome.state.model),
                self.keys.history: history_lines(outcome.state.history),
            }
        )
        writer.flush()

    def _commit(self, outcome: Outcome, timings: Timings) -> Finished:
        result = build_result(
            outcome,
            run_id=self.keys.run_id,
            experiment=self.keys.experiment,
            attempt_id=uuid.uuid4().hex,
            attempts=self.attempt,
            lost_seconds=self.lost_seconds,
            timings=timings,
            price_per_hour=self.settings.price_per_hour,
        )
        self.store.write(self.keys.progress, self._progress(result.status))
        get_logger().info(
            "run_finished", status=result.status, test_top1=result.final and result.final.top1,
            total_seconds=round(timings.total, 2), result=self.store.locate(self.keys.result),
        )  # fmt: skip
        self.store.write(self.keys.log, self.log.content())
        try:
            self.store.create(self.keys.result, result.model_dump_json(indent=1).encode())
        except ObjectExists:
            found = _read_result(self.store, self.keys)
            if found is None:
                raise
            if found.result.attempt_id != result.attempt_id:
                get_logger().info("run_completed_elsewhere", result=self.store.locate(self.keys.result))
                return found
        return Finished(result, self.store, self.keys, was_complete=False)

    def record_failure(self, error: BaseException) -> None:
        """Leave word of what happened, as far as the storage still takes it."""
        code = error.exit_code if isinstance(error, JobError) else 1
        state = "interrupted" if isinstance(error, Interruption) else "failed"
        message = str(error).partition("\n")[0] or type(error).__name__
        get_logger().info("run_stopped", state=state, exit_code=code, reason=message)
        with contextlib.suppress(JobError):
            self.store.write(self.keys.progress, self._progress(state, error=message, exit_code=code))
            self.store.write(self.keys.log, self.log.content())

    def _progress(self, state: Any, *, error: str | None = None, exit_code: int | None = None) -> bytes:
        training = self.state
        record = training.history[-1] if training and training.history else None
        return (
            Progress(
                run_id=self.keys.run_id,
                state=state,
                attempt=self.attempt,
                epoch=training.epoch if training else 0,
                step=training.step if training else 0,
                num_epochs=self.manifest.epochs,
                num_steps=training.num_steps if training else 0,
                loss=record.train.loss if record else None,
                test_top1=record.test.top1 if record else None,
                images_per_second=record.train_images_per_second if record else None,
                trained_seconds=training.trained_seconds if training else self._previous_seconds(),
                lost_seconds=self.lost_seconds,
                updated_at=datetime.now(UTC),
                error=error,
                exit_code=exit_code,
            )
            .model_dump_json(indent=1)
            .encode()
        )

    def _previous_seconds(self) -> float:
        """Before the checkpoint is read, what the attempt before had trained still counts."""
        return self.previous.trained_seconds if self.previous else 0.0


def _read_result(store: Store, keys: RunKeys) -> Finished | None:
    try:
        content = store.read(keys.result)
    except ObjectMissing:
        return None
    return Finished(RunResult.model_validate_json(content), store, keys, was_complete=True)


def _log_epoch(epoch: Epoch) -> None:
    record = epoch.record
    get_logger().info(
        "epoch_finished", epoch=record.epoch, train_loss=record.train.loss and round(record.train.loss, 4),
        train_top1=round(record.train.top1, 4), test_loss=record.test.loss and round(record.test.loss, 4),
        test_top1=round(record.test.top1, 4), images_per_second=round(record.train_images_per_second, 1),
    )  # fmt: skip
