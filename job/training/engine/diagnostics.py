"""What the optimizer does to the weights, measured at some steps without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from job.runs import FIRST_STEPS, GROUPS, MEASURED_EVERY, Diagnostics, GroupDiagnostics


def is_measured(step: int) -> bool:
    """Whether the step with this number since the start of training is one to measure."""
    return step < FIRST_STEPS or step % MEASURED_EVERY == 0


class StepMeter:
    """Norms of gradient, weights and update around one optimizer step, and how far the weights are from their start."""

    def __init__(self, model: nn.Module) -> None:
        """The weights of `model` as they are now count as its start, so make it before a checkpoint is restored."""
        trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        fc = [weight for name, weight in trained if name.startswith("fc.")]
        backbone = [weight for name, weight in trained if not name.startswith("fc.")]
        self._groups = [backbone, fc] if backbone else [fc]
        self.num_weights = [sum(weight.numel() for weight in group) for group in self._groups]
        self._start = self._copy_weights()
        self._before: list[list[Tensor]] = []

    def before_step(self) -> None:
        """Call with the gradients in place, before the optimizer steps."""
        self._before = self._copy_weights()

    def after_step(self) -> Tensor:
        """Norms of gradient, update and weights: (groups, 3) float32 on the device."""
        rows = []
        for group, before in zip(self._groups, self._before, strict=True):
            gradients = [weight.grad for weight in group if weight.grad is not None]
            rows.append(
                torch.stack([get_total_norm(tensors) for tensors in (gradients, _subtract(group, before), before)])
            )
        self._before = []
        return torch.stack(rows)

    def measure_distances(self) -> list[float]:
        """Euclidean norm of the weights minus those at the start of training, one a group; waits for the device."""
        pairs = zip(self._groups, self._start, strict=True)
        return [float(get_total_norm(_subtract(group, start))) for group, start in pairs]

    def _copy_weights(self) -> list[list[Tensor]]:
        return [[weight.detach().clone() for weight in group] for group in self._groups]


def _subtract(weights: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach() - other for weight, other in zip(weights, others, strict=True)]


def build_diagnostics(steps: list[int], norms: list[Tensor], meter: StepMeter) -> Diagnostics:
    """The record of an epoch that has just ended; `norms` are what `meter.after_step` gave, one for each of `steps`."""
    values = torch.stack(norms).cpu() if norms else torch.empty(0, len(meter.num_weights), 3)
    measured = zip(meter.num_weights, meter.measure_distances(), strict=True)
    groups = [_build_group(values[:, index], *numbers) for index, numbers in enumerate(measured)]
    backbone = groups[0] if len(groups) == len(GROUPS) else None
    return Diagnostics(steps=steps, backbone=backbone, fc=groups[-1])


def _build_group(values: Tensor, num_weights: int, distance: float) -> GroupDiagnostics:
    gradient, update, weight = values.unbind(1)
    return GroupDiagnostics(
        num_weights=num_weights,
        gradient_norm=_finite(gradient),
        update_norm=_finite(update),
        weight_norm=_finite(weight),
        update_to_weight=_finite(update / weight),
        update_rms=_finite(update / math.sqrt(num_weights)),
        distance_from_start=distance if math.isfinite(distance) else None,
    )


def _finite(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
