"""Reasons for what attributes did: what they changed in the steps and in the weights."""

from __future__ import annotations

import numpy as np

from job.report.configurations import Configuration
from job.report.effects import Effect
from job.report.figures import Picture, draw_cloud, draw_lines
from job.report.measurements import mean_curve
from job.report.reasons.evidence import Evidence, Reason
from job.report.wording import part, points, show_attribute, show_comparison, show_p, show_value, times

NOTABLE_EFFECT = 0.01
"""A point of accuracy, where the seeds do not decide."""
NOTABLE_RATIO = 2.0
NOTABLE_NORM = 0.01
LEAST_CONFIGURATIONS = 6
LEAST_CORRELATION = 0.6
SIGNIFICANT = 0.01


def explain_weight_decay(evidence: Evidence) -> Reason | None:
    """What weight decay did to the norm of the weights, against the baseline without or with less of it."""
    found = []
    for optimizer in evidence.effects:
        before = evidence.measured.last(optimizer.baseline, "backbone_weight_norm")
        for effect in optimizer.effects:
            after = evidence.measured.last(effect.configuration, "backbone_weight_norm")
            if effect.attribute == "optimizer.weight_decay" and before and after:
                found.append((abs(after / before - 1), optimizer.baseline, effect, before, after))
    found = [entry for entry in found if entry[0] >= NOTABLE_NORM]
    if not found:
        return None
    _, baseline, effect, before, after = max(found, key=lambda entry: entry[0])
    was = baseline.attributes["optimizer.weight_decay"]
    change = f"{100 * (after / before - 1):+.1f} %".replace("-", "−")
    sentence = (
        f"With weight decay {show_value(effect.value)} instead of {show_value(was)} the backbone's norm in the last "
        f"epoch is {after:.1f} instead of {before:.1f} ({change}) under {baseline.label}"
    )
    numbers = {"norm": after, "baseline_norm": before}
    if effect.comparison:
        numbers["effect"] = effect.comparison.difference
        sentence += f"; the test accuracy changes by {show_comparison(effect.comparison)} points"
    picture = Picture(
        "reason-weight-decay",
        "Norm of the backbone's weights, mean of each epoch.",
        draw_lines(
            evidence.epoch_lines("backbone_weight_norm", [baseline, effect.configuration]),
            title="What weight decay does to the weights", xlabel="epoch", ylabel="norm of the weights",
        ),
    )  # fmt: skip
    return Reason("Weight decay holds the weights down" if after < before else "Weight decay and the weights",
                  f"{sentence}.", numbers, picture)  # fmt: skip


def explain_attribute(evidence: Evidence) -> Reason | None:
    """The attribute with the largest effect that also changed the size of the first steps."""
    found: list[tuple[float, Configuration, Effect, float, float]] = []
    for optimizer in evidence.effects:
        before = _size(evidence, optimizer.baseline)
        for effect in optimizer.effects:
            after, comparison = _size(evidence, effect.configuration), effect.comparison
            if not before or not after or comparison is None:
                continue
            changed = max(after / before, before / after) >= NOTABLE_RATIO
            if changed and (comparison.decided or abs(comparison.difference) >= NOTABLE_EFFECT):
                found.append((abs(comparison.difference), optimizer.baseline, effect, before, after))
    if not found:
        return None
    _, baseline, effect, before, after = max(found, key=lambda entry: entry[0])
    name = show_attribute(effect.attribute)
    was = show_value(baseline.attributes.get(effect.attribute))
    ratio = f"{times(after / before)} times larger" if after > before else f"{times(before / after)} times smaller"
    difference = effect.comparison.difference if effect.comparison else 0.0
    sentence = (
        f"The largest effect that goes with the steps: {name} {show_value(effect.value)} instead of {was} makes the "
        f"first ten updates of {baseline.label} {ratio} ({part(after)} of the backbone's norm instead of "
        f"{part(before)}), and changes the accuracy by {show_comparison(effect.comparison)} points"
    )
    if effect.comparison is not None and not effect.comparison.decided:
        sentence += ", which these seeds do not make certain"
    picture = Picture(
        "reason-attribute",
        "Size of the first ten updates, as a fraction of the backbone's norm (logarithmic).",
        draw_lines(
            evidence.step_lines("update_to_weight", [baseline, effect.configuration]),
            title=f"What {name} does to the first steps", xlabel="step", ylabel="update / weight", logarithmic=True,
        ),
    )  # fmt: skip
    numbers = {"update_to_weight": after, "baseline_update_to_weight": before, "effect": difference}
    return Reason(f"How {name} works", f"{sentence}.", numbers, picture)


def explain_by_first_step(evidence: Evidence) -> Reason | None:
    """Across configurations, the size of the first steps goes with the accuracy."""
    known = [(each, _size(evidence, each)) for each in evidence.configurations if each.scores]
    sized = [(each, size) for each, size in known if size]
    if len(sized) < LEAST_CONFIGURATIONS:
        return None
    sizes, scores = np.array([size for _, size in sized]), np.array([each.mean for each, _ in sized])
    if np.ptp(sizes) == 0 or np.ptp(scores) == 0:
        return None
    from scipy import stats  # takes a second to import, so only where it is needed

    rho, p = (float(value) for value in stats.spearmanr(sizes, scores))
    if abs(rho) < LEAST_CORRELATION or p > SIGNIFICANT:
        return None
    low, high = sizes.min(), sizes.max()
    smaller, larger = scores[sizes <= np.median(sizes)].mean(), scores[sizes > np.median(sizes)].mean()
    sentence = (
        f"Over all {len(sized)} configurations the accuracy goes with the size of the first ten updates (from "
        f"{part(low)} to {part(high)} of the backbone's norm): the larger, the "
        f"{'lower' if rho < 0 else 'higher'}, Spearman's rank correlation {rho:+.2f} ({show_p(p)}). The half with the "
        f"larger ones is {points(larger - smaller)} points apart from the other"
    ).replace("-", "−")
    picture = Picture(
        "reason-step-and-accuracy",
        "A dot per configuration: mean of its first ten updates over the backbone's norm, and its accuracy.",
        draw_cloud(
            [(_family(each), each.optimizer, size, each.mean) for each, size in sized],
            title="First updates and accuracy", xlabel="update / weight (logarithmic)", ylabel="test top-1",
            logarithmic=True,
        ),
    )  # fmt: skip
    return Reason("Step size and accuracy go together", f"{sentence}.", {"rho": rho, "p": p}, picture)


def _size(evidence: Evidence, configuration: Configuration) -> float | None:
    steps = mean_curve(evidence.measured.steps(configuration, "update_to_weight"))
    known = steps[np.isfinite(steps)]
    return float(known.mean()) if known.size else None


def _family(configuration: Configuration) -> str:
    return configuration.label.split(" ", 1)[0]
