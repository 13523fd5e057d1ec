"""The training loop: yields a record per epoch, knows neither files nor storage nor signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from job.runs import Divergence, EpochRecord, Scores
from job.training.batches import BatchSource, batch_bounds, plan_epoch
from job.training.diagnostics import build_diagnostics, is_measured
from job.training.evaluation import Evaluation, evaluate
from job.training.model import train_mode
from job.training.state import TrainingState


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


def train_epochs(state: TrainingState, sources: Sources, *, on_step: Callable[[], None]) -> Iterator[Epoch]:
    """Train from where `state` is to the manifest's last epoch, and evaluate after each epoch.

    `on_step` is called after every training step and evaluation batch; what it raises ends the training
    with `state` whole. Within an epoch the host never waits for the device.
    Raises `Diverged` after the first epoch with a loss that is not finite.
    """
    while state.epoch < state.manifest.epochs:
        with state.timed("train_seconds"):
            _train_epoch(state, sources.train, on_step=on_step)
            _check_finite(state)
        evaluated_before = state.evaluate_seconds
        with state.timed("evaluate_seconds"):
            test = evaluate(state.model, sources.test, device=state.device, on_step=on_step)
            validation = (
                evaluate(state.model, sources.validation, device=state.device, on_step=on_step)
                if sources.validation
                else None
            )
        record = _build_record(
            state, sources, test, validation, evaluate_seconds=state.evaluate_seconds - evaluated_before
        )
        state.history.append(record)
        state.epoch += 1
        state.begin_epoch()
        yield Epoch(record, test)


def _train_epoch(state: TrainingState, source: BatchSource, *, on_step: Callable[[], None]) -> None:
    """The steps of the present epoch that are still to do."""
    manifest, optimizer = state.manifest, state.optimizer
    images_shape = source.part.images.shape
    plan = plan_epoch(
        seed=manifest.seed, epoch=state.epoch + 1, num_images=images_shape[0], image_size=images_shape[-1]
    )
    bounds = batch_bounds(images_shape[0], manifest.batch_size)
    train_mode(state.model, freeze_backbone=manifest.model.freeze_backbone)
    for images, labels in source.training(plan, bounds[state.step :]):
        with state.device.autocast():
            logits = state.model(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=manifest.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        state.scaler.unscale_(optimizer)
        global_step = state.epoch * state.num_steps + state.step
        measured = is_measured(global_step)
        if measured:
            state.meter.before_step()
        state.scaler.step(optimizer)
        state.scaler.update()
        if measured:
            state.norms.append(state.meter.after_step())
            state.measured_steps.append(global_step)
        state.learning_rate = optimizer.param_groups[0]["lr"]
        state.schedule.step()
        state.losses[state.step] = loss.detach()
        state.num_correct += (logits.detach().argmax(1) == labels).sum()
        state.step += 1
        on_step()


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
        learning_rate=state.learning_rate,
        diagnostics=build_diagnostics(state.measured_steps, state.norms, state.meter.num_weights),
        train_seconds=state.train_seconds,
        evaluate_seconds=state.evaluate_seconds,
        train_images_per_second=num_train / state.train_seconds,
        evaluate_images_per_second=num_evaluated / evaluate_seconds,
    )
