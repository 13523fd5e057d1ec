"""One training step: a function of what lies on the device, so that a GPU can replay it as a graph."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from job.training.engine.batches import BatchSource, batch_bounds, plan_epoch
from job.training.engine.diagnostics import is_measured
from job.training.engine.model import train_mode
from job.training.engine.optimizers import can_be_captured, set_learning_rate
from job.training.engine.schedule_free import AdamWScheduleFree
from job.training.engine.state import TrainingState


class TrainingStep:
    """Takes the steps of an epoch, one a call. Within an epoch the host never waits for the device.

    Batches of full size are graphed; a smaller one at the end of an epoch is launched kernel by kernel.
    """

    def __init__(self, state: TrainingState, source: BatchSource) -> None:
        self._state, self._source = state, source
        self._bounds = batch_bounds(len(source.part), state.manifest.batch_size)
        device = state.device
        self._within_batch = torch.arange(state.manifest.batch_size, device=device.torch_device)
        self._planned_epoch: int | None = None
        can_be_graphed = can_be_captured(state.manifest.optimizer) and not state.scaler.is_enabled()  # it reads back
        graphed = device.graphed if can_be_graphed else lambda function: function
        self._full = {measured: graphed(partial(self._take, None, measured=measured)) for measured in (True, False)}

    def __call__(self) -> None:
        """Take the state's next step."""
        state = self._state
        if self._planned_epoch != state.epoch:
            self._plan_epoch()
        start, end = self._bounds[state.step]
        if isinstance(state.optimizer, AdamWScheduleFree):
            state.optimizer.train()
        measured = is_measured(state.global_step)
        set_learning_rate(state.optimizer, state.learning_rate(state.global_step))
        if end - start == state.manifest.batch_size:
            norms = self._full[measured]()
        else:
            positions = torch.arange(start, end, device=state.device.torch_device)
            norms = self._take(positions, measured=measured)
        if norms is not None:
            state.norms.append(norms.clone())
            state.measured_steps.append(state.global_step)
        state.step += 1

    def _plan_epoch(self) -> None:
        """Draw the order of the state's present epoch, and set the network to training."""
        state, part = self._state, self._source.part
        plan = plan_epoch(
            seed=state.manifest.seed, epoch=state.epoch + 1, num_images=len(part), image_size=part.images.shape[-1]
        )
        self._source.follow(plan)
        train_mode(state.model, state.manifest.model)
        self._planned_epoch = state.epoch

    def _take(self, positions: Tensor | None, *, measured: bool) -> Tensor | None:
        """Forward, backward and update with the images at `positions` of the epoch's order.

        None means a batch of full size: where it begins follows from the number of the step, which lies on the device.
        Returns what `StepMeter.after_step` gives, where it is `measured`.
        """
        state, optimizer, scaler = self._state, self._state.optimizer, self._state.scaler
        if positions is None:
            positions = state.device_step * len(self._within_batch) + self._within_batch
        images, labels = self._source.batch(positions)
        with state.device.autocast():
            logits = state.model(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=state.manifest.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        if measured:
            state.meter.before_step()
        scaler.step(optimizer)
        scaler.update()
        norms = state.meter.after_step() if measured else None
        state.losses.index_copy_(0, state.device_step, loss.detach().view(1))
        state.num_correct += (logits.detach().argmax(1) == labels).sum()
        state.device_step += 1
        return norms
