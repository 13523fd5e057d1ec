"""One value of an attribute beside the baseline: which value is told, what it changed, and how it is named."""

from __future__ import annotations

from dataclasses import dataclass

from job.report.analysis.configurations import Configuration
from job.report.analysis.effects import Effect, OptimizerEffects
from job.report.analysis.estimates import Comparison
from job.report.analysis.reasons.evidence import APART, Contrast, Evidence
from job.report.analysis.reasons.interventions import are_same_size
from job.report.analysis.reasons.quantities import FIRST_STEPS, Change, choose_told, find_changes
from job.report.analysis.wording import show_attribute, show_value

MOST_CHANGES = 3
"""So many of the quantities that changed are told, the clearest ones."""


@dataclass(frozen=True)
class Case:
    """One value of an attribute beside the baseline."""

    effect: Effect
    contrast: Contrast
    comparison: Comparison
    changes: list[Change]
    num_values: int
    """How many values of the attribute were run beside the baseline's."""

    @property
    def subject(self) -> Configuration:
        return self.effect.configuration

    @property
    def baseline(self) -> Configuration:
        return self.contrast.others[0]

    @property
    def name(self) -> str:
        return show_attribute(self.effect.attribute)

    @property
    def setting(self) -> str:
        """`lr 0.0001 instead of 0.001`."""
        was = self.baseline.attributes.get(self.effect.attribute)
        return f"{self.name} {show_value(self.effect.value)} instead of {show_value(was)}"

    @property
    def first_steps(self) -> Change | None:
        """How the first steps changed, where they did at least twofold in every seed."""
        found = next((change for change in self.changes if change.quantity is FIRST_STEPS), None)
        own, other = (FIRST_STEPS.measure(self.contrast, own) for own in (self.subject, self.baseline))
        return None if are_same_size(own, other, within=APART) else found

    @property
    def told(self) -> list[Change]:
        """The changes that the sentence tells."""
        return choose_told(self.changes, most=MOST_CHANGES)

    @property
    def is_better(self) -> bool:
        return self.comparison.difference > 0


def choose_case(evidence: Evidence, optimizer: OptimizerEffects, attribute: str) -> Case | None:
    """The value that changed the accuracy most, before all others one that differs in nothing else."""
    own = [effect for effect in optimizer.effects if effect.attribute == attribute]
    pairs = [(effect, evidence.pair(effect.configuration, optimizer.baseline), effect.comparison) for effect in own]
    known = [entry for entry in pairs if entry[1] is not None and entry[2] is not None]
    if not known:
        return None
    effect, contrast, comparison = max(
        known, key=lambda entry: (not entry[2].unlike, abs(entry[2].difference)) if entry[2] else (False, 0.0)
    )
    if contrast is None or comparison is None:
        return None
    changes = find_changes(contrast, effect.configuration, optimizer.baseline)
    return Case(effect, contrast, comparison, changes, len(own))
