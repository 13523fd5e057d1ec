"""What a training leaves when its device is free again, and the plots that are drawn of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import nn

from job.manifest import Manifest
from job.runs import Divergence, Efficiency, Environment, EpochRecord
from job.training.engine.evaluation import Evaluation, Evaluator
from job.training.engine.image_data import ImageData
from job.training.engine.loop import Epoch
from job.training.machine import count_flop, measure_efficiency
from job.training.record.predictions import Predictions, read_predictions
from job.training.stage import Staged

if TYPE_CHECKING:  # it imports matplotlib, which no training waits for
    from job import plots

NUM_SAMPLES = 16
"""Half of them right and half of them wrong, where there are as many."""


@dataclass(frozen=True)
class Outcome:
    """A training that came to its end. Nothing in it lies on the device."""

    manifest: Manifest
    environment: Environment
    classes: tuple[str, ...]
    num_train: int
    num_validation: int
    num_test: int
    num_parameters: int
    history: list[EpochRecord]
    divergence: Divergence | None
    class_accuracy: list[float | None]
    """Top-1 of each class on the test images after the last whole epoch; empty without one before a divergence."""
    confusion: list[list[int]]
    """Counts, rows true and columns predicted classes; empty as `class_accuracy` is."""
    predictions: Predictions | None
    """Of the same evaluation; None where `class_accuracy` is empty."""
    samples_npz: bytes | None
    """Pictures of images that were wrong in it, the content of samples.npz; None where `predictions` is."""
    samples: list[plots.Sample]
    weights: bytes
    """The network as safetensors."""
    train_seconds: float
    evaluate_seconds: float
    """Both over all attempts."""
    train_images_per_second: float | None
    peak_memory_bytes: int
    efficiency: Efficiency


def read_outcome(
    staged: Staged, last: Epoch | None, *, divergence: Divergence | None, energy_joules: float | None
) -> Outcome:
    """Read from the device what is left to keep. `last` is the last epoch of this attempt; None when it had none."""
    state, sources, data = staged.state, staged.sources, staged.data
    test = _last_evaluation(staged, last, divergence=divergence)
    num_train = len(sources.train.part)
    trained = sum(record.train_seconds for record in state.history)
    images_per_second = len(state.history) * num_train / trained if state.history else None
    image_size = state.manifest.image_size or data.test_images.shape[-1]
    predictions = read_predictions(test, epoch=state.history[-1].epoch, test_sha256=data.test_sha256) if test else None
    return Outcome(
        manifest=state.manifest,
        environment=staged.environment,
        classes=data.classes,
        num_train=num_train,
        num_validation=len(sources.validation.part) if sources.validation else 0,
        num_test=len(sources.test.part),
        num_parameters=sum(weight.numel() for weight in state.model.parameters()),
        history=state.history,
        divergence=divergence,
        class_accuracy=test.class_accuracy() if test else [],
        confusion=test.confusion() if test else [],
        predictions=predictions,
        samples_npz=predictions.samples_npz(data.test_images) if predictions else None,
        samples=choose_samples(test, data) if test else [],
        weights=model_bytes(state.model),
        train_seconds=state.total_seconds("train_seconds"),
        evaluate_seconds=state.total_seconds("evaluate_seconds"),
        train_images_per_second=images_per_second,
        peak_memory_bytes=state.device.peak_memory_bytes(),
        efficiency=measure_efficiency(
            state.device,
            flop_per_image=count_flop(state.model, image_size=image_size),
            images_per_second=images_per_second,
            energy_joules=energy_joules,
        ),
    )


def _last_evaluation(staged: Staged, last: Epoch | None, *, divergence: Divergence | None) -> Evaluation | None:
    """The test evaluation of the last whole epoch; None when there was none before a divergence."""
    if last is not None:
        return last.test
    if not staged.state.history or divergence:
        return None
    return Evaluator(staged.state.model, staged.sources.test, device=staged.state.device)()


def draw_plots(outcome: Outcome) -> dict[str, bytes]:
    """PNG files by name. Without a whole epoch there is nothing to draw."""
    from job import plots

    if not outcome.confusion:
        return {}
    history, classes, title = outcome.history, outcome.classes, outcome.manifest.name
    figures = {
        "loss": plots.draw_loss(history, title=title),
        "accuracy": plots.draw_accuracy(history, title=title),
        "confusion": plots.draw_confusion(outcome.confusion, classes=classes, title=title),
        "class_accuracy": plots.draw_class_accuracy(
            outcome.class_accuracy, classes=classes, top1=history[-1].test.top1, title=title
        ),
        "samples": plots.draw_samples(outcome.samples, title=title),
    }
    return {name: plots.render(figure) for name, figure in figures.items()}


def choose_samples(test: Evaluation, data: ImageData) -> list[plots.Sample]:
    """Some right and some wrong predictions, spread evenly over the test images in their order."""
    from job import plots

    probabilities, predicted = test.logits.softmax(1).max(1)
    right = (predicted == test.labels).cpu()
    chosen = [*_spread(torch.nonzero(right)), *_spread(torch.nonzero(~right))]
    return [
        plots.Sample(
            image=data.test_images[index],
            true_class=data.classes[int(data.test_labels[index])],
            predicted_class=data.classes[int(predicted[index])],
            probability=float(probabilities[index]),
        )
        for index in chosen
    ]


def _spread(indices: torch.Tensor) -> list[int]:
    wanted = min(NUM_SAMPLES // 2, len(indices))
    places = torch.linspace(0, len(indices) - 1, wanted).long() if wanted else torch.empty(0, dtype=torch.int64)
    return [int(index) for index in indices.flatten()[places]]


def model_bytes(model: nn.Module) -> bytes:
    """The weights as safetensors, in torchvision's names and torch's usual memory layout."""
    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})
