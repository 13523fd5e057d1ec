"""The update rules side by side: the first step that each predicts, the one that was measured, and what that tells."""

from __future__ import annotations

from dataclasses import dataclass

from job.report.analysis.configurations import Configuration
from job.report.analysis.numbers import Numbers, list_values, name_number
from job.report.analysis.reasons.evidence import Evidence
from job.report.analysis.reasons.sizes import (
    FIRST_GRADIENT,
    FIRST_RMS,
    FIRST_UPDATE,
    PREDICTED_RMS,
    FirstStepSize,
    measure_first_step,
)
from job.report.analysis.reasons.update_rules import UPDATE_RULES, UpdateRule
from job.report.analysis.wording import name_optimizer, part, times

AS_PREDICTED = 1.05
"""A twentieth: what gradients that are zero take away."""
NEARLY = 1.5
"""The formula takes every gradient to be as large as their root mean square; where eps counts, that is so much too
large at most (measured on a pretrained ResNet18: 1.25)."""
USUAL = 1e-3
"""An update of a thousandth of the weights is usual (https://cs231n.github.io/neural-networks-3/, "Ratio of
weights:updates")."""
FAR = 10.0


@dataclass(frozen=True)
class FirstStep:
    """The first step of one configuration; sizes are root mean squares over the weights, means over the runs."""

    configuration: Configuration
    rule: UpdateRule
    size: FirstStepSize
    takeaway: str
    """What the reader should take from it, a sentence."""

    @property
    def numbers(self) -> Numbers:
        """What the takeaway rests on."""
        label, size = self.configuration.label, self.size
        numbers = list_values(FIRST_RMS, {label: size.measured}) | list_values(FIRST_UPDATE, {label: size.relative})
        numbers |= list_values(FIRST_GRADIENT, {label: size.gradient_rms})
        numbers[name_number(f"{FIRST_UPDATE}, relative to a usual one,", label)] = size.relative / USUAL
        if size.predicted is not None and size.ratio:
            numbers[name_number(PREDICTED_RMS, label)] = size.predicted
            numbers[name_number(f"{FIRST_RMS} relative to the predicted one", label)] = size.ratio
        return numbers

    @property
    def optimizer(self) -> str:
        """As a manifest names it."""
        return self.configuration.optimizer

    @property
    def predicted(self) -> float | None:
        """None where no formula predicts it."""
        return self.size.predicted

    @property
    def measured(self) -> float:
        """Of the first update that was recorded."""
        return self.size.measured

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return self.size.ratio


def compare_first_steps(evidence: Evidence) -> list[FirstStep]:
    """A line for each configuration shown of which the first step was measured, in the order of the verdict."""
    found = []
    for configuration in evidence.shown:
        size = measure_first_step(evidence, configuration)
        if size is not None:
            rule = UPDATE_RULES[configuration.optimizer]
            found.append(FirstStep(configuration, rule, size, _tell(configuration, size)))
    return found


def _tell(configuration: Configuration, size: FirstStepSize) -> str:
    return f"{_tell_fit(configuration, size)}; {_tell_relative(size)}."


def _tell_fit(configuration: Configuration, size: FirstStepSize) -> str:
    """Whether the formula predicts the step, and why it may not."""
    name, ratio = name_optimizer(configuration.optimizer), size.ratio
    if ratio is None:
        return f"No formula of {name} predicts its first step from the gradient"
    if 1 / AS_PREDICTED < ratio < AS_PREDICTED:
        return "The step is what the rule predicts"
    if 1 / NEARLY < ratio <= 1 / AS_PREDICTED and size.eps:
        return (
            f"The step is {times(1 / ratio)} times smaller than predicted, because eps counts and not all gradients "
            f"are as large as their root mean square of {size.gradient_rms:.3g}"
        )
    word, factor = ("smaller", 1 / ratio) if ratio < 1 else ("larger", ratio)
    return f"The step is {times(factor)} times {word} than the rule predicts, which it does not explain"


def _tell_relative(size: FirstStepSize) -> str:
    weights = "backbone's" if size.group == "backbone" else "last layer's"
    told = f"it changes the {weights} weights by {part(size.relative)} of their norm"
    if size.relative >= FAR * USUAL:
        return f"{told}, {times(size.relative / USUAL)} times the usual thousandth"
    if size.relative <= USUAL / FAR:
        return f"{told}, {times(USUAL / size.relative)} times less than the usual thousandth"
    return told
