"""Why the numbers are as they are: rules from measured evidence to a sentence with its numbers and a picture.

A rule is a function from `Evidence` to a `Reason`, or to None where its evidence is not in the data. Each says
what was measured and what it agrees with; none claims a cause that was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from job.report.reasons.attributes import explain_attribute, explain_by_first_step, explain_weight_decay
from job.report.reasons.evidence import Evidence, Reason
from job.report.reasons.fit import (
    explain_divergence,
    explain_epoch_noise,
    explain_gap,
    explain_overfitting,
    explain_unfinished,
)
from job.report.reasons.steps import (
    explain_growing_weights,
    explain_overwriting,
    explain_shrinking_steps,
    explain_tiny_steps,
)

__all__ = ["RULES", "Evidence", "Reason", "find_reasons"]

RULES: Sequence[Callable[[Evidence], Reason | None]] = (
    explain_overwriting,
    explain_tiny_steps,
    explain_shrinking_steps,
    explain_gap,
    explain_overfitting,
    explain_unfinished,
    explain_epoch_noise,
    explain_growing_weights,
    explain_weight_decay,
    explain_attribute,
    explain_by_first_step,
    explain_divergence,
)


def find_reasons(evidence: Evidence) -> list[Reason]:
    """What the rules find, in their order."""
    return [reason for rule in RULES if (reason := rule(evidence)) is not None]
