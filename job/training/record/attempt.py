"""One attempt at a run: everything that is said about the run, and kept of it, while it is under way."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import structlog

from job.errors import Interruption, JobError, OutOfMemoryError
from job.logs import get_logger, recorded_log
from job.manifest import Manifest
from job.runs import AttemptRecord, Environment, EpochRecord, Progress, configuration_digest
from job.secrets import redact
from job.training.inputs.finished import check_same_inputs
from job.training.record.checkpoints import (
    checkpoint_artefacts,
    find_precision,
    remove_old_checkpoints,
    restore_newest,
)
from job.training.record.folder import RunFolder
from job.training.record.machine_time import MachineTime
from job.training.record.writer import ArtefactWriter

if TYPE_CHECKING:  # an attempt begins before torch is imported
    from job.training.engine.state import TrainingState

HEARTBEAT_SECONDS = 15.0
"""Progress is reported at least this often. A run that is silent for much longer counts as lost."""
CPU_ALLOCATION_FAILED = "DefaultCPUAllocator"
"""How torch's allocator begins its complaint, which is a plain RuntimeError."""


@dataclass(frozen=True)
class Reached:
    """How far the training is, in the names of `Progress`. Holds plain values, so that it keeps no memory in use."""

    trained_seconds: float
    epoch: int = 0
    step: int = 0
    num_steps: int = 0
    loss: float | None = None
    test_top1: float | None = None
    images_per_second: float | None = None

    @classmethod
    def read(cls, state: TrainingState) -> Self:
        """As far as `state` is now."""
        record = state.history[-1] if state.history else None
        return cls(
            trained_seconds=state.trained_seconds,
            epoch=state.epoch,
            step=state.step,
            num_steps=state.num_steps,
            loss=record.train.loss if record else None,
            test_top1=record.test.top1 if record else None,
            images_per_second=record.train_images_per_second if record else None,
        )


class Attempt:
    """Writes what a run tells and keeps: progress.json, log.jsonl, environment.json, history.jsonl, checkpoints.

    As a context manager it guards a part of the attempt: where the block fails, what was handed to the writer is
    stored, and progress and log say what happened. Several blocks may follow each other, in different threads.
    """

    def __init__(self, manifest: Manifest, folder: RunFolder, *, machine_time: MachineTime | None = None) -> None:
        """`machine_time` counts from the start of the attempt; without it from now.

        Raises `ConflictError` when the folder is another configuration's; nothing is written to it then.
        """
        folder.check_owner(manifest)
        self._manifest, self.folder, self._log = manifest, folder, recorded_log()
        self._previous = folder.read_progress()
        self.id = uuid.uuid4().hex
        self.number = self._previous.attempt + 1 if self._previous else 1
        self.lost_seconds = self._previous.lost_seconds if self._previous else 0.0
        """Training that was done and lost, over all attempts."""
        self.machine_time = machine_time or MachineTime()
        # until the checkpoint is read, what the attempt before had trained still counts
        self._reached = Reached(trained_seconds=self._previous.trained_seconds if self._previous else 0.0)
        self._writer = ArtefactWriter(folder.store)
        self._heartbeat = perf_counter()
        structlog.contextvars.bind_contextvars(run=folder.keys.run_id, attempt=self.number)
        get_logger().info("run_started", output=folder.store.uri, experiment=folder.keys.experiment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        failure = find_memory_error(error) or error
        self._writer.close()
        self._record_failure(failure)
        if failure is not error:
            raise failure from error

    @property
    def waited_seconds(self) -> float:
        """How long the attempt stood still for storage."""
        return self._writer.waited_seconds

    @property
    def records(self) -> list[AttemptRecord]:
        """Every attempt at the run, this one last and as it stands now."""
        earlier = self._previous.attempt_records if self._previous else []
        return [*earlier, self.machine_time.record(self.number)]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written."""
        return self._writer.is_idle

    def find_precision(self) -> str | None:
        """The precision in which the newest checkpoint was trained; None where there is no checkpoint."""
        return find_precision(self.folder)

    def open(self) -> None:
        """Put the manifest there, as a trial of the storage, and say that the run starts."""
        self.folder.store.probe(self.folder.keys.manifest, self._manifest.model_dump_json(indent=1).encode())
        self.write(self._progress("starting"))
        self.flush()

    def resume(self, state: TrainingState, environment: Environment) -> None:
        """Restore the newest whole checkpoint into `state`, if there is one, and record what the run depends on.

        Raises `ConflictError` where a checkpoint came of another configuration, or of other data or weights.
        """
        folder = self.folder
        earlier = folder.read_environment()
        restored = restore_newest(
            folder,
            configuration=configuration_digest(self._manifest),
            restore=lambda content, place: state.restore(content, source=place),
        )
        if restored and earlier:
            check_same_inputs(earlier, environment, place=folder.store.locate(folder.keys.environment))
        self.write({folder.keys.environment: environment.model_dump_json(indent=1).encode()})
        if self._previous:
            self.lost_seconds += max(0.0, self._previous.trained_seconds - state.trained_seconds)
        self._reached = Reached.read(state)

    def follow(self, state: TrainingState) -> None:
        """Note how far the training is, and report it when the last report is `HEARTBEAT_SECONDS` old."""
        self._reached = Reached.read(state)
        if perf_counter() - self._heartbeat >= HEARTBEAT_SECONDS:
            self._heartbeat = perf_counter()
            if self._writer.is_idle:
                self.write(self._progress("running"))

    def save_epoch(self, state: TrainingState, *, with_checkpoint: bool) -> None:
        """Write history, progress and log behind the training, and a checkpoint before them."""
        artefacts = {self.folder.keys.history: history_lines(state.history)}
        artefacts |= self._progress("running") | self._log_file()
        if with_checkpoint:
            self._writer.write(self._checkpoint(state) | artefacts, then=self._remove_older(state))
        else:
            self._writer.write(artefacts)

    def save_step(self, state: TrainingState) -> None:
        """Write a checkpoint behind the training, between two steps of an epoch, and progress and log after it."""
        get_logger().info("checkpoint_taken", epoch=state.epoch, step=state.step)
        artefacts = self._checkpoint(state) | self._progress("running") | self._log_file()
        self._writer.write(artefacts, then=self._remove_older(state))

    def save_checkpoint(self, state: TrainingState) -> None:
        """Write a checkpoint, and wait until it is stored."""
        self._writer.write(self._checkpoint(state), then=self._remove_older(state))
        self._writer.flush()

    def write(self, artefacts: dict[str, bytes]) -> None:
        """Write these behind what goes on, in order."""
        self._writer.write(artefacts)

    def flush(self) -> None:
        """Wait until everything is stored."""
        self._writer.flush()

    def end(self, status: Literal["completed", "diverged"]) -> None:
        """Say that the run came to its end, and wait until everything is stored."""
        self.write(self._progress(status) | self._log_file())
        self.flush()

    def close(self) -> None:
        """Nothing is written after this."""
        self._writer.close()

    def _checkpoint(self, state: TrainingState) -> dict[str, bytes]:
        """The files of a checkpoint, by their keys."""
        key = self.folder.keys.checkpoint(epoch=state.epoch, step=state.step)
        return checkpoint_artefacts(
            key,
            state.serialise(),
            configuration=configuration_digest(self._manifest),
            precision=state.device.precision,
        )

    def _remove_older(self, state: TrainingState) -> Callable[[], None]:
        """What is done once the checkpoint of `state` is stored."""
        written = self.folder.keys.checkpoint(epoch=state.epoch, step=state.step)
        return partial(remove_old_checkpoints, self.folder, written=written)

    def _progress(
        self,
        state: Literal["starting", "running", "interrupted", "failed", "completed", "diverged"],
        *,
        error: str | None = None,
        exit_code: int | None = None,
    ) -> dict[str, bytes]:
        """progress.json as it stands now, by its key."""
        progress = Progress(
            run_id=self.folder.keys.run_id,
            state=state,
            attempt=self.number,
            num_epochs=self._manifest.epochs,
            lost_seconds=self.lost_seconds,
            attempt_records=self.records,
            updated_at=datetime.now(UTC),
            error=error,
            exit_code=exit_code,
            **asdict(self._reached),
        )
        return {self.folder.keys.progress: progress.model_dump_json(indent=1).encode()}

    def _log_file(self) -> dict[str, bytes]:
        """log.jsonl as it stands now, by its key."""
        return {self.folder.keys.log: self._log.content()}

    def _record_failure(self, error: BaseException) -> None:
        """Say what happened, as far as the storage still takes it."""
        code = _exit_code(error)
        state: Literal["interrupted", "failed"] = "interrupted" if isinstance(error, Interruption) else "failed"
        message = redact(str(error)).partition("\n")[0] or type(error).__name__
        message = message.encode(errors="backslashreplace").decode()  # the name of a file may not be UTF-8
        get_logger().info("run_stopped", state=state, exit_code=code, reason=message)
        with contextlib.suppress(Exception):  # whatever goes wrong here, the failure itself is what counts
            for key, content in (self._progress(state, error=message, exit_code=code) | self._log_file()).items():
                self.folder.store.write(key, content)


def history_lines(history: list[EpochRecord]) -> bytes:
    """The content of history.jsonl."""
    return "".join(f"{record.model_dump_json()}\n" for record in history).encode()


def find_memory_error(error: BaseException) -> OutOfMemoryError | None:
    """The error with an exit code for torch's and Python's out-of-memory; None for any other error."""
    if type(error).__name__ == "OutOfMemoryError" and isinstance(error, RuntimeError):  # torch's
        return OutOfMemoryError(f"GPU memory does not suffice: {error}; lower batch_size or image_size")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and CPU_ALLOCATION_FAILED in str(error)):
        advice = "lower batch_size or image_size, or give the container more"
        return OutOfMemoryError(f"this machine's memory does not suffice: {error}; {advice}")
    return None


def _exit_code(error: BaseException) -> int:
    """What the process ends with, if nothing else happens."""
    if isinstance(error, JobError):
        return error.exit_code
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 1
