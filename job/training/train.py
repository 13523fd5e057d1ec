"""A training from its newest checkpoint to its end: what it yields is shown, reported and saved as it comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import assert_never

from job.errors import Interruption
from job.logs import get_logger
from job.runs import Divergence
from job.training.control import Control
from job.training.engine.loop import Diverged, Epoch, train_epochs
from job.training.engine.state import Pause, TrainingState
from job.training.machine import EnergyMeter
from job.training.record.attempt import Attempt
from job.training.record.outcome import Outcome, read_outcome
from job.training.settings import RunSettings
from job.training.stage import Staged


def train(
    staged: Staged,
    attempt: Attempt,
    *,
    settings: RunSettings,
    control: Control,
    show: Callable[[TrainingState], None],
) -> Outcome:
    """Resume and train to the end; returns what is left of it when the device is free again.

    Raises an `Interruption` when it is time to stop, after the checkpoint is stored.
    """
    state = staged.state
    attempt.resume(state, staged.environment)
    get_logger().info(
        "training_started", epoch=state.epoch, step=state.step, num_epochs=state.manifest.epochs,
        device=staged.environment.device, precision=staged.environment.precision,
        num_threads=staged.environment.num_threads, graphs=staged.environment.graphs,
    )  # fmt: skip
    energy = EnergyMeter(state.device)
    began, saved = (state.epoch, state.step), perf_counter()
    saved_at, most_seconds = began, settings.checkpoint_age_seconds or math.inf
    last: Epoch | None = None
    divergence: Divergence | None = None
    try:
        with closing(train_epochs(state, staged.sources)) as events:
            for event in events:
                show(state)
                attempt.follow(state)
                match event:
                    case Pause():
                        control.check(has_gained=(state.epoch, state.step) != began)
                        if perf_counter() - saved >= most_seconds and _is_worth_saving(state, saved_at, attempt):
                            attempt.save_step(state)
                            saved, saved_at = perf_counter(), (state.epoch, state.step)
                    case Epoch():
                        last = event
                        _log_epoch(last)
                        is_due = perf_counter() - saved >= settings.checkpoint_interval_seconds
                        is_due = is_due or state.epoch == state.manifest.epochs
                        attempt.save_epoch(state, with_checkpoint=is_due)
                        if is_due:
                            saved, saved_at = perf_counter(), (state.epoch, state.step)
                    case _:
                        assert_never(event)
    except Diverged as error:
        divergence = error.divergence
        get_logger().warning("training_diverged", epoch=divergence.epoch, step=divergence.step)
    except Interruption as error:
        get_logger().info("training_interrupted", reason=str(error), epoch=state.epoch, step=state.step)
        attempt.save_checkpoint(state)
        raise
    return read_outcome(staged, last, divergence=divergence, energy_joules=energy.joules())


def _is_worth_saving(state: TrainingState, saved_at: tuple[int, int], attempt: Attempt) -> bool:
    """Not between two batches of an evaluation, which begins anew in any case, nor while storage is behind."""
    return (state.epoch, state.step) != saved_at and attempt.is_idle


def _log_epoch(epoch: Epoch) -> None:
    record = epoch.record
    get_logger().info(
        "epoch_finished", epoch=record.epoch, train_loss=record.train.loss and round(record.train.loss, 4),
        train_top1=round(record.train.top1, 4), test_loss=record.test.loss and round(record.test.loss, 4),
        test_top1=round(record.test.top1, 4), images_per_second=round(record.train_images_per_second, 1),
    )  # fmt: skip
