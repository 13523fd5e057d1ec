"""The first step of a configuration: as its formula predicts it, and as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.reasons.evidence import Evidence
from job.report.analysis.reasons.predictions import Start, predict_first_step, start_factor
from job.runs import GROUPS

FIRST_UPDATE = "first update relative to the weights"
FIRST_RMS = "first update per weight"
PREDICTED_RMS = "predicted first update per weight"
FIRST_GRADIENT = "root mean square of the first gradient"
"""How these are called among the numbers of a sentence."""


@dataclass(frozen=True)
class FirstStepSize:
    """Means over the runs of root mean squares over the weights: of the backbone, or of fc where it is frozen."""

    group: str
    measured: float
    """Of the first update."""
    predicted: float | None
    """None for an optimizer without a prediction."""
    gradient_rms: float
    """Of the first gradient."""
    relative: float
    """Norm of the first update over the norm of the weights."""
    eps: float | None
    """The optimizer's, where it is a single number."""
    lr: float
    """Of the first step, with what the schedule makes of it."""

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return self.measured / self.predicted if self.predicted else None


def measure_first_step(evidence: Evidence, configuration: Configuration) -> FirstStepSize | None:
    """None where the first step of no run was measured."""
    measured = evidence.measured
    for group in GROUPS:
        updates, gradients, update_norms, weights, relatives = (
            _first(measured.steps(configuration, quantity, group=group))
            for quantity in ("update_rms", "gradient_norm", "update_norm", "weight_norm", "update_to_weight")
        )
        known = np.isfinite([updates, gradients, update_norms, weights, relatives]).all(axis=0) & (updates > 0)
        if known.any():
            break
    else:
        return None
    manifest, num_steps = measured.manifest(configuration), measured.num_steps(configuration)
    roots = update_norms[known] / updates[known]  # the root of the number of weights: rms = norm / root
    predictions = [
        predict_first_step(manifest, start=Start(gradient / root, weight / root), num_steps=num_steps)
        for gradient, weight, root in zip(gradients[known], weights[known], roots, strict=True)
    ]
    whole = [prediction for prediction in predictions if prediction is not None]
    eps: Any = getattr(manifest.optimizer, "eps", None)
    factor = start_factor(manifest.schedule, num_epochs=manifest.epochs, num_steps=num_steps)
    return FirstStepSize(
        group,
        measured=float(updates[known].mean()),
        predicted=sum(whole) / len(whole) if whole else None,
        gradient_rms=float((gradients[known] / roots).mean()),
        relative=float(relatives[known].mean()),
        eps=eps if isinstance(eps, float) else None,
        lr=manifest.optimizer.lr * factor,
    )


def _first(steps: Floats) -> Floats:
    """(num_runs,) the value at the first step."""
    return steps[:, 0] if steps.size else np.full(len(steps), np.nan)
