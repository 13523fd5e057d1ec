"""What a run tells while it is under way: progress.json for those who watch it, log.jsonl for those who ask why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from job.errors import Interruption, JobError, ObjectMissing
from job.logs import RecordedLog, get_logger
from job.runs import Progress, RunKeys
from job.secrets import redact
from job.storage import Store
from job.training.record.memory import memory_errors
from job.training.record.writer import ArtefactWriter

if TYPE_CHECKING:  # for an attempt begins before torch is imported
    from job.training.engine.state import TrainingState

State = Literal["starting", "running", "interrupted", "failed", "completed", "diverged"]


@dataclass(frozen=True)
class _Reached:
    """How far the training is, in the names of `Progress`."""

    trained_seconds: float
    """Until the checkpoint is read, what the attempt before had trained still counts."""
    epoch: int = 0
    step: int = 0
    num_steps: int = 0
    loss: float | None = None
    test_top1: float | None = None
    images_per_second: float | None = None


def _read_training(training: TrainingState) -> _Reached:
    record = training.history[-1] if training.history else None
    return _Reached(
        trained_seconds=training.trained_seconds,
        epoch=training.epoch,
        step=training.step,
        num_steps=training.num_steps,
        loss=record.train.loss if record else None,
        test_top1=record.test.top1 if record else None,
        images_per_second=record.train_images_per_second if record else None,
    )


class Journal:
    """One attempt at a run, and what earlier attempts left behind."""

    def __init__(self, store: Store, keys: RunKeys, *, num_epochs: int, log: RecordedLog) -> None:
        self._store, self._keys, self._num_epochs, self._log = store, keys, num_epochs, log
        self._previous = read_progress(store, keys)
        self._reached: Callable[[], _Reached] = lambda: _Reached(
            trained_seconds=self._previous.trained_seconds if self._previous else 0.0
        )
        self.attempt = self._previous.attempt + 1 if self._previous else 1
        self.lost_seconds = self._previous.lost_seconds if self._previous else 0.0

    def begin_training(self, training: TrainingState) -> None:
        """From here progress is read from `training`; what an earlier attempt did beyond it is lost."""
        self._reached = partial(_read_training, training)
        if self._previous:
            self.lost_seconds += max(0.0, self._previous.trained_seconds - training.trained_seconds)

    def end_training(self) -> None:
        """From here progress stays as it is, and the training is let go."""
        reached = self._reached()
        self._reached = lambda: reached

    def progress(self, state: State, *, error: str | None = None, exit_code: int | None = None) -> dict[str, bytes]:
        """progress.json as it stands now, by its key."""
        progress = Progress(
            run_id=self._keys.run_id,
            state=state,
            attempt=self.attempt,
            num_epochs=self._num_epochs,
            lost_seconds=self.lost_seconds,
            updated_at=datetime.now(UTC),
            error=error,
            exit_code=exit_code,
            **asdict(self._reached()),
        )
        return {self._keys.progress: progress.model_dump_json(indent=1).encode()}

    def log(self) -> dict[str, bytes]:
        """log.jsonl as it stands now, by its key."""
        return {self._keys.log: self._log.content()}

    def record_failure(self, error: BaseException) -> None:
        """Leave word of what happened, as far as the storage still takes it."""
        code = _exit_code(error)
        state: State = "interrupted" if isinstance(error, Interruption) else "failed"
        message = redact(str(error)).partition("\n")[0] or type(error).__name__
        message = message.encode(errors="backslashreplace").decode()  # a file's name may be no UTF-8
        get_logger().info("run_stopped", state=state, exit_code=code, reason=message)
        with contextlib.suppress(Exception):  # whatever goes wrong here, the failure itself is what counts
            for key, content in (self.progress(state, error=message, exit_code=code) | self.log()).items():
                self._store.write(key, content)


def _exit_code(error: BaseException) -> int:
    """What the process ends with where nothing else happens."""
    if isinstance(error, JobError):
        return error.exit_code
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 1


def read_progress(store: Store, keys: RunKeys) -> Progress | None:
    """What an earlier attempt reported last, if any."""
    try:
        return Progress.model_validate_json(store.read(keys.progress))
    except ObjectMissing:
        return None
    except ValidationError:
        get_logger().warning("progress_ignored", reason="not a progress record")
        return None


@contextlib.contextmanager
def recorded_failure(journal: Journal, writer: ArtefactWriter) -> Iterator[None]:
    """Where the block fails, what was handed to `writer` is stored, and the journal leaves word of the failure."""
    try:
        with memory_errors():
            yield
    except BaseException as error:
        writer.close()
        journal.record_failure(error)
        raise
