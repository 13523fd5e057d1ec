"""The training loop: yields a record per epoch, knows neither files nor storage nor signals."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from job.runs import Divergence, EpochRecord, Scores
from job.training.engine.averaging import evaluate_average
from job.training.engine.batches import BatchSource, batch_bounds
from job.training.engine.diagnostics import build_diagnostics
from job.training.engine.evaluation import Evaluation, Evaluator
from job.training.engine.state import Pause, TrainingState
from job.training.engine.step import TrainingStep


@dataclass(frozen=True)
class Sources:
    """The batches of each part of the data."""

    train: BatchSource
    validation: BatchSource | None
    test: BatchSource


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave."""

    record: EpochRecord
    test: Evaluation


class Diverged(Exception):
    """The loss was not finite: a result of the comparison, not a failure."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(f"loss not finite in epoch {divergence.epoch}, step {divergence.step}")
        self.divergence = divergence


def train_epochs(state: TrainingState, sources: Sources) -> Generator[Pause | Epoch, None, None]:
    """Train from where `state` is to the manifest's last epoch, and evaluate after each epoch.

    Pauses after every training step and every batch of an evaluation; gives an `Epoch` when one is whole. Whoever stops
    before the end closes the iterator (`contextlib.closing`): until then the time of the part under way runs on. Within
    an epoch the host never waits for the device.
    Raises `Diverged` after the first epoch with a loss that is not finite.
    """
    take_step = TrainingStep(state, sources.train)
    evaluate_test = Evaluator(state.model, sources.test, device=state.device)
    evaluate_validation = (
        Evaluator(state.model, sources.validation, device=state.device) if sources.validation else None
    )
    while state.epoch < state.manifest.epochs:
        with state.timed("train_seconds"):
            while state.step < state.num_steps:
                take_step()
                yield Pause()
            _check_finite(state)
        evaluated_before = state.evaluate_seconds
        with state.timed("evaluate_seconds"):
            yield from evaluate_average(state, sources.train)
            test = yield from evaluate_test.steps()
            validation = (yield from evaluate_validation.steps()) if evaluate_validation else None
        record = _build_record(
            state, sources, test, validation, evaluate_seconds=state.evaluate_seconds - evaluated_before
        )
        state.finish_epoch(record)
        yield Epoch(record, test)


def _check_finite(state: TrainingState) -> None:
    broken = torch.nonzero(~torch.isfinite(state.losses))
    if len(broken):
        raise Diverged(Divergence(epoch=state.epoch + 1, step=int(broken[0]) + 1))


def _build_record(
    state: TrainingState,
    sources: Sources,
    test: Evaluation,
    validation: Evaluation | None,
    *,
    evaluate_seconds: float,
) -> EpochRecord:
    """The record of the epoch just evaluated. Raises `Diverged` when only the evaluation shows it."""
    test_scores = test.scores()
    if test_scores.loss is None:
        raise Diverged(Divergence(epoch=state.epoch + 1, step=state.num_steps))
    num_train = len(sources.train.part)
    sizes = [end - start for start, end in batch_bounds(num_train, state.manifest.batch_size)]
    loss = (state.losses.cpu().double() * torch.tensor(sizes)).sum().item() / num_train
    num_evaluated = len(test.labels) + (len(validation.labels) if validation else 0)
    return EpochRecord(
        epoch=state.epoch + 1,
        train=Scores(loss=loss, top1=state.num_correct.item() / num_train),
        test=test_scores,
        validation=validation.scores() if validation else None,
        learning_rate=state.learning_rate(state.global_step - 1),
        diagnostics=build_diagnostics(state.measured_steps, state.norms, state.meter),
        train_seconds=state.train_seconds,
        evaluate_seconds=state.evaluate_seconds,
        train_images_per_second=num_train / state.train_seconds,
        evaluate_images_per_second=num_evaluated / evaluate_seconds,
    )
