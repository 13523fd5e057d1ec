"""Between training and evaluation, for an optimizer that evaluates other weights than those that it trains."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from job.training.engine.batches import BatchSource, batch_bounds, plan_epoch
from job.training.engine.model import train_mode
from job.training.engine.schedule_free import AdamWScheduleFree
from job.training.engine.state import Pause, TrainingState


def evaluate_average(state: TrainingState, source: BatchSource) -> Iterator[Pause]:
    """Put the weights in place that the optimizer evaluates, where they are others than those that it trains.

    The statistics of BatchNorm were averaged at the weights that are trained, so they are taken anew: over all batches
    of the epoch, as `source` drew them. Pauses after each. Nothing is learnt from it, and it ends the same if it is
    interrupted and begun again.
    """
    if not isinstance(state.optimizer, AdamWScheduleFree):
        return
    state.optimizer.eval()
    train_mode(state.model, state.manifest.model)
    norms = [layer for layer in state.model.modules() if isinstance(layer, nn.BatchNorm2d) and layer.training]
    if not norms:
        return
    part = source.part
    source.follow(
        plan_epoch(
            seed=state.manifest.seed, epoch=state.epoch + 1, num_images=len(part), image_size=part.images.shape[-1]
        )
    )
    momentum = [layer.momentum for layer in norms]
    try:
        for layer in norms:
            layer.reset_running_stats()
            layer.momentum = None  # then each batch counts the same
        for start, end in batch_bounds(len(part), state.manifest.batch_size):
            images, _ = source.batch(torch.arange(start, end, device=state.device.torch_device))
            with torch.no_grad(), state.device.autocast():
                state.model(images)
            yield Pause()
    finally:
        for layer, value in zip(norms, momentum, strict=True):
            layer.momentum = value
