"""Why the numbers are as they are: rules from measured evidence to a sentence with its numbers and a picture.

A rule is a function from `Evidence` to a `Reason`, or to None where its evidence is not in the data. Its docstring
states the claim, the contrast (against what it is one) and the counter-evidence that it looks for. Four things hold
for all: what is compared was trained alike; a claim holds in every seed that both sides have, never only in a mean;
configurations of which a run diverged are left to the rule about divergence; whether an accuracy differs is the
judgement's to say. None claims a cause that was not measured: a reason is marked `tested` only where runs changed the
cause that it names, and the accuracy moved as it says (`reason.STANDINGS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from job.report.analysis.reasons.attributes import explain_attributes
from job.report.analysis.reasons.divergence import explain_divergence
from job.report.analysis.reasons.endings import explain_epoch_noise, explain_unfinished
from job.report.analysis.reasons.evidence import Evidence
from job.report.analysis.reasons.first_steps import explain_overwriting
from job.report.analysis.reasons.fit import explain_gap, explain_overfitting
from job.report.analysis.reasons.order import explain_by_first_step
from job.report.analysis.reasons.pairs import explain_pairs
from job.report.analysis.reasons.reason import STANDINGS, Intervention, Reason, Standing
from job.report.analysis.reasons.steps import explain_growing_weights, explain_shrinking_steps
from job.report.analysis.reasons.table import FirstStep, compare_first_steps
from job.report.analysis.reasons.tiny_steps import explain_tiny_steps

__all__ = [
    "STANDINGS",
    "Evidence",
    "FirstStep",
    "Intervention",
    "Reason",
    "Standing",
    "compare_first_steps",
    "find_reasons",
]

Rule = Callable[[Evidence], Reason | None]
RULES: Sequence[Rule] = (
    explain_overwriting,
    explain_tiny_steps,
    explain_shrinking_steps,
    explain_gap,
    explain_overfitting,
    explain_unfinished,
    explain_epoch_noise,
    explain_growing_weights,
)
LAST_RULES: Sequence[Rule] = (explain_by_first_step, explain_divergence)


def find_reasons(evidence: Evidence) -> list[Reason]:
    """What the rules find: the pairs of the verdict, what was seen along the training, each attribute, all together."""
    return [
        *explain_pairs(evidence),
        *_apply(RULES, evidence),
        *explain_attributes(evidence),
        *_apply(LAST_RULES, evidence),
    ]


def _apply(rules: Sequence[Rule], evidence: Evidence) -> list[Reason]:
    return [reason for rule in rules if (reason := rule(evidence)) is not None]
