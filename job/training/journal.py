"""What a run tells while it is under way: progress.json for those who watch it, log.jsonl for those who ask why."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from job.errors import Interruption, JobError, ObjectMissing
from job.logs import RecordedLog, get_logger
from job.runs import Progress, RunKeys
from job.storage import Store
from job.training.state import TrainingState

State = Literal["starting", "running", "interrupted", "failed", "completed", "diverged"]


class Journal:
    """One attempt at a run, and what earlier attempts left behind."""

    def __init__(self, store: Store, keys: RunKeys, *, num_epochs: int, log: RecordedLog) -> None:
        self._store, self._keys, self._num_epochs, self._log = store, keys, num_epochs, log
        self._previous = read_progress(store, keys)
        self._training: TrainingState | None = None
        self.attempt = self._previous.attempt + 1 if self._previous else 1
        self.lost_seconds = self._previous.lost_seconds if self._previous else 0.0

    def begin_training(self, training: TrainingState) -> None:
        """From here progress is read from `training`; what an earlier attempt did beyond it is lost."""
        self._training = training
        if self._previous:
            self.lost_seconds += max(0.0, self._previous.trained_seconds - training.trained_seconds)

    def progress(self, state: State, *, error: str | None = None, exit_code: int | None = None) -> dict[str, bytes]:
        """progress.json as it stands now, by its key."""
        training, previous = self._training, self._previous
        record = training.history[-1] if training and training.history else None
        progress = Progress(
            run_id=self._keys.run_id,
            state=state,
            attempt=self.attempt,
            epoch=training.epoch if training else 0,
            step=training.step if training else 0,
            num_epochs=self._num_epochs,
            num_steps=training.num_steps if training else 0,
            loss=record.train.loss if record else None,
            test_top1=record.test.top1 if record else None,
            images_per_second=record.train_images_per_second if record else None,
            # until the checkpoint is read, what the attempt before had trained still counts
            trained_seconds=training.trained_seconds if training else previous.trained_seconds if previous else 0.0,
            lost_seconds=self.lost_seconds,
            updated_at=datetime.now(UTC),
            error=error,
            exit_code=exit_code,
        )
        return {self._keys.progress: progress.model_dump_json(indent=1).encode()}

    def log(self) -> dict[str, bytes]:
        """log.jsonl as it stands now, by its key."""
        return {self._keys.log: self._log.content()}

    def record_failure(self, error: BaseException) -> None:
        """Leave word of what happened, as far as the storage still takes it."""
        code = error.exit_code if isinstance(error, JobError) else 1
        state: State = "interrupted" if isinstance(error, Interruption) else "failed"
        message = str(error).partition("\n")[0] or type(error).__name__
        message = message.encode(errors="backslashreplace").decode()  # a file's name may be no UTF-8
        get_logger().info("run_stopped", state=state, exit_code=code, reason=message)
        with contextlib.suppress(JobError):
            for key, content in (self.progress(state, error=message, exit_code=code) | self.log()).items():
                self._store.write(key, content)


def read_progress(store: Store, keys: RunKeys) -> Progress | None:
    """What an earlier attempt reported last, if any."""
    try:
        return Progress.model_validate_json(store.read(keys.progress))
    except ObjectMissing:
        return None
    except ValidationError:
        get_logger().warning("progress_ignored", reason="not a progress record")
        return None
