"""Why the numbers are as they are: rules from measured evidence to a sentence with its numbers and a picture.

A rule is a function from `Evidence` to a `Reason`, or to None where its evidence is not in the data. Its docstring
states the claim, the contrast (against what it is one) and the counter-evidence that it looks for. Three things hold
for all: what is compared was trained alike; a claim holds in every seed that both sides have, never only in a mean;
configurations of which a run diverged are left to the rule about divergence. None claims a cause that was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from job.report.analysis.reasons.attributes import explain_attribute, explain_weight_decay
from job.report.analysis.reasons.divergence import explain_divergence
from job.report.analysis.reasons.endings import explain_epoch_noise, explain_unfinished
from job.report.analysis.reasons.evidence import Evidence, Reason
from job.report.analysis.reasons.first_steps import explain_overwriting, explain_tiny_steps
from job.report.analysis.reasons.fit import explain_gap, explain_overfitting
from job.report.analysis.reasons.order import explain_by_first_step
from job.report.analysis.reasons.steps import explain_growing_weights, explain_shrinking_steps

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
