"""Reasons for what attributes did: what they changed in the steps and in the weights."""

from __future__ import annotations

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.effects import Effect
from job.report.analysis.estimates import Comparison
from job.report.analysis.measurements import Floats
from job.report.analysis.reasons.evidence import Contrast, Evidence, Reason, divide
from job.report.analysis.reasons.first_steps import APART
from job.report.analysis.reasons.order import NOTABLE_EFFECT, find_sign
from job.report.analysis.wording import (
    join,
    part,
    show_attribute,
    show_comparison,
    show_size,
    show_value,
    times,
)

NOTABLE_NORM = 0.01
"""A hundredth of the norm: seeds differ by less."""


def explain_weight_decay(evidence: Evidence) -> Reason | None:
    """Claim: another weight decay led to other norms of the weights.

    Contrast: the baseline, which differs in nothing else, seed by seed. Counter-evidence: a seed in which the norm
    changes the other way or hardly; then nothing is said.
    """
    found: list[tuple[float, Contrast, Effect, float, float]] = []
    for optimizer in evidence.effects:
        for effect in optimizer.effects:
            contrast = evidence.pair(effect.configuration, optimizer.baseline)
            if effect.attribute != "optimizer.weight_decay" or contrast is None:
                continue
            after = contrast.epochs(effect.configuration, "backbone_weight_norm")[:, -1]
            before = contrast.epochs(optimizer.baseline, "backbone_weight_norm")[:, -1]
            change = divide(after, before) - 1
            if np.all(change >= NOTABLE_NORM) or np.all(change <= -NOTABLE_NORM):
                found.append(
                    (float(np.abs(change).mean()), contrast, effect, float(after.mean()), float(before.mean()))
                )
    found = [entry for entry in found if _is_alone(entry[2])] or found
    if not found:
        return None
    _, contrast, effect, after_norm, before_norm = max(found, key=lambda entry: entry[0])
    baseline = contrast.others[0]
    was = baseline.attributes["optimizer.weight_decay"]
    change_of_norm = f"{100 * (after_norm / before_norm - 1):+.1f} %".replace("-", "−")
    sentence = (
        f"With weight decay {show_value(effect.value)} instead of {show_value(was)} the backbone's norm in the last "
        f"epoch is {after_norm:.1f} instead of {before_norm:.1f} under {baseline.label} ({change_of_norm}, of this "
        f"sign {contrast.everywhere})"
    )
    numbers = {"norm": after_norm, "baseline_norm": before_norm}
    if effect.comparison:
        numbers["effect"] = effect.comparison.difference
        sentence += f". The accuracy differs by {show_comparison(effect.comparison)} points{_doubt(effect)}"
    picture = Picture(
        "reason-weight-decay",
        "Norm of the backbone's weights, mean of each epoch.",
        LineChart(
            evidence.epoch_lines("backbone_weight_norm", [baseline, effect.configuration]),
            title="What weight decay does to the weights", xlabel="epoch", ylabel="norm of the weights",
        ),
    )  # fmt: skip
    held = (effect.value > was) == (after_norm < before_norm)
    title = "Weight decay holds the weights down" if held else "Weights with and without weight decay"
    return Reason(title, f"{sentence}.", numbers, picture)


def explain_attribute(evidence: Evidence) -> Reason | None:
    """Claim: of the single changes that changed the size of the first steps, this one changed accuracy most.

    Contrast: the baseline, which differs in nothing else, seed by seed. Counter-evidence: a seed in which the steps
    did not change twofold or the accuracy changed the other way; then the change does not count.
    """
    found: list[tuple[Comparison, Contrast, Effect, float, float]] = []
    for optimizer in evidence.effects:
        for effect in optimizer.effects:
            contrast, comparison = evidence.pair(effect.configuration, optimizer.baseline), effect.comparison
            if contrast is None or comparison is None:
                continue
            after, before = (
                _sizes(contrast, configuration) for configuration in (effect.configuration, optimizer.baseline)
            )
            agree = find_sign(_differences(effect.configuration, optimizer.baseline))
            notable = comparison.decided or abs(comparison.difference) >= NOTABLE_EFFECT
            if agree and notable and (np.all(after >= APART * before) or np.all(before >= APART * after)):
                found.append((comparison, contrast, effect, float(after.mean()), float(before.mean())))
    found = [entry for entry in found if _is_alone(entry[2])] or found
    if not found:
        return None
    comparison, contrast, effect, after_size, before_size = max(found, key=lambda entry: abs(entry[0].difference))
    baseline, difference = contrast.others[0], comparison.difference
    name, was = show_attribute(effect.attribute), show_value(baseline.attributes.get(effect.attribute))
    ratio = max(after_size / before_size, before_size / after_size)
    word = "higher" if difference > 0 else "lower"
    sentence = (
        f"With {name} {show_value(effect.value)} instead of {was} the first ten updates of {baseline.label} are "
        f"{times(ratio)} times {'larger' if after_size > before_size else 'smaller'} (on average {part(after_size)} of "
        f"the backbone's norm instead of {part(before_size)}), and its accuracy is {word} by "
        f"{show_size(comparison)} points, {contrast.everywhere}{_doubt(effect)}"
    )
    if len(found) > 1:
        sentence += (
            f". Of the {len(found)} changes of a single attribute that make these updates at least twice as large or "
            "small and change the accuracy with one sign, this one changes it most"
        )
    picture = Picture(
        "reason-attribute",
        "Size of the first ten updates, as a fraction of the backbone's norm (logarithmic).",
        LineChart(
            evidence.step_lines("update_to_weight", [baseline, effect.configuration]),
            title=f"What {name} does to the first steps", xlabel="step", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    numbers = {"update_to_weight": after_size, "baseline_update_to_weight": before_size, "effect": difference}
    return Reason(f"{name} changed the first steps and the accuracy", f"{sentence}.", numbers, picture)


def _differences(ours: Configuration, theirs: Configuration) -> list[float]:
    """Our scores minus theirs, a number per common seed."""
    return [ours.scores[seed] - theirs.scores[seed] for seed in ours.scores.keys() & theirs.scores.keys()]


def _sizes(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds,) mean update/weight over the first ten steps."""
    sizes: Floats = contrast.steps(configuration, "update_to_weight").mean(axis=1)
    return sizes


def _doubt(effect: Effect) -> str:
    """Said beside an effect that the statistics do not decide, and why they do not."""
    comparison = effect.comparison
    if comparison is None or comparison.decided:
        return ""
    if comparison.unlike:
        return f", but not by the attribute alone: {join(list(comparison.unlike))}"
    if comparison.low is None:
        return ", which says nothing about certainty"
    if comparison.answer == "equal":
        return ", which is practically nothing"
    return ", which these seeds do not make certain"


def _is_alone(effect: Effect) -> bool:
    """Whether nothing but the attribute is known to differ."""
    return effect.comparison is None or not effect.comparison.unlike
