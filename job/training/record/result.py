"""From a finished training to its record, plots and weights. Plots are drawn of the record, without the device."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import torch
from safetensors.torch import save
from torch import nn

from job import plots
from job.runs import BestEpoch, Divergence, Environment, EpochRecord, RunResult, Timings
from job.training.engine.evaluation import Evaluation, Evaluator
from job.training.engine.loop import Epoch, Sources
from job.training.engine.state import TrainingState
from job.training.inputs.datasets import ImageData
from job.training.machine import count_flop, measure_efficiency

NUM_SAMPLES = 16
"""Half of them right and half of them wrong, where there are as many."""


@dataclass(frozen=True)
class Outcome:
    """A training that came to its end."""

    data: ImageData
    state: TrainingState
    sources: Sources
    last: Epoch | None
    """The last evaluated epoch of this attempt; None when it had none to do."""
    divergence: Divergence | None
    energy_joules: float | None = None

    @cached_property
    def last_test(self) -> Evaluation | None:
        """The test evaluation of the last whole epoch; None when there was none before a divergence."""
        if self.last is not None:
            return self.last.test
        if not self.state.history or self.divergence:
            return None
        return Evaluator(self.state.model, self.sources.test, device=self.state.device)()


def build_result(
    outcome: Outcome,
    *,
    run_id: str,
    experiment: str,
    attempt_id: str,
    attempts: int,
    lost_seconds: float,
    startup_seconds: float,
    staging_seconds: float,
    preflight_seconds: float,
    environment: Environment,
) -> RunResult:
    """The content of result.json as it stands when the training is over; `complete_result` gives it its end."""
    state, sources, data = outcome.state, outcome.sources, outcome.data
    history, test = state.history, outcome.last_test
    num_images = len(history) * len(sources.train.part)
    trained = sum(record.train_seconds for record in history)
    images_per_second = num_images / trained if history else None
    return RunResult(
        run_id=run_id,
        experiment=experiment,
        attempt_id=attempt_id,
        manifest=state.manifest,
        status="diverged" if outcome.divergence else "completed",
        divergence=outcome.divergence,
        classes=list(data.classes),
        num_train=len(sources.train.part),
        num_validation=len(sources.validation.part) if sources.validation else 0,
        num_test=len(sources.test.part),
        num_parameters=sum(weight.numel() for weight in state.model.parameters()),
        final=history[-1].test if history else None,
        best=choose_best(history),
        class_accuracy=test.class_accuracy() if test else [],
        confusion=test.confusion() if test else [],
        history=history,
        timings=Timings(
            startup=startup_seconds,
            staging=staging_seconds,
            preflight=preflight_seconds,
            train=state.total_seconds("train_seconds"),
            evaluate=state.total_seconds("evaluate_seconds"),
            upload=0.0,
            total=0.0,
        ),
        train_images_per_second=images_per_second,
        peak_memory_bytes=state.device.peak_memory_bytes(),
        efficiency=measure_efficiency(
            state.device,
            flop_per_image=count_flop(state.model, image_size=state.manifest.image_size or data.test_images.shape[-1]),
            images_per_second=images_per_second,
            energy_joules=outcome.energy_joules,
        ),
        environment=environment,
        attempts=attempts,
        lost_seconds=lost_seconds,
        estimated_cost_usd=None,
        finished_at=datetime.now(UTC),
    )


def complete_result(
    result: RunResult, *, upload_seconds: float, total_seconds: float, price_per_hour: float | None
) -> RunResult:
    """`result` with what is known only once its artefacts are stored."""
    timings = result.timings.model_copy(update={"upload": upload_seconds, "total": total_seconds})
    parts = (timings.startup, timings.staging, timings.preflight, timings.train, timings.evaluate, timings.upload)
    cost = price_per_hour * (sum(parts) + result.lost_seconds) / 3600 if price_per_hour is not None else None
    return result.model_copy(update={"timings": timings, "estimated_cost_usd": cost, "finished_at": datetime.now(UTC)})


def choose_best(history: list[EpochRecord]) -> BestEpoch | None:
    """The epoch with the highest top-1 on the validation part, or on the test images where there is none.

    Of equals the first counts.
    """
    if not history:
        return None
    held_out = history[0].validation is not None
    best = max(history, key=lambda record: (record.validation or record.test).top1)
    return BestEpoch(epoch=best.epoch, chosen_on="validation" if held_out else "test", test=best.test)


def draw_plots(result: RunResult, samples: list[plots.Sample]) -> dict[str, bytes]:
    """PNG files by name. Without a whole epoch there is nothing to draw."""
    if not result.confusion:
        return {}
    history, classes, title = result.history, result.classes, result.manifest.name
    figures = {
        "loss": plots.draw_loss(history, title=title),
        "accuracy": plots.draw_accuracy(history, title=title),
        "confusion": plots.draw_confusion(result.confusion, classes=classes, title=title),
        "class_accuracy": plots.draw_class_accuracy(
            result.class_accuracy, classes=classes, top1=history[-1].test.top1, title=title
        ),
        "samples": plots.draw_samples(samples, title=title),
    }
    return {name: plots.render(figure) for name, figure in figures.items()}


def choose_samples(outcome: Outcome) -> list[plots.Sample]:
    """Some right and some wrong predictions, spread evenly over the test images in their order."""
    data, test = outcome.data, outcome.last_test
    if test is None:
        return []
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
