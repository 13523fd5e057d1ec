"""How the report writes names and numbers: accuracies in percent, differences in percentage points, few digits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from job.manifest.optimizers import OPTIMIZERS
from job.report.analysis.estimates import Comparison, Estimate
from job.report.analysis.inference.time_to_target import TimeToTarget

NOTHING = "–"
LAST_DIGITS = 1e-9
"""Percent: more than two ways to compute one mean differ by, so that each shows it alike, a half rounded up."""


def name_optimizer(name: str) -> str:
    """The optimizer's name in prose, as torch writes it. A published study may name one that is not ours."""
    return OPTIMIZERS[name].__name__ if name in OPTIMIZERS else name


def show_value(value: Any) -> str:
    """An attribute's value as one would write it in a manifest."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"({', '.join(show_value(part) for part in value)})"
    return f"{value:g}" if isinstance(value, float | int) else "none" if value is None else str(value)


def show_attribute(attribute: str) -> str:
    """The attribute's name without `optimizer.` in front."""
    return attribute.removeprefix("optimizer.")


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.886 as `88.6 %`."""
    if fraction is None or math.isnan(fraction):
        return NOTHING
    return f"{100 * fraction + LAST_DIGITS:.{digits}f} %"


def part(ratio: float) -> str:
    """A part of something, of any size and also more than the whole of it: `0.013 %`, `55 %`, `426 %`."""
    return f"{100 * ratio:,.0f} %" if ratio >= 1 else f"{100 * ratio:.3g} %"


def show_target(target: float) -> str:
    """The accuracy that was asked for, with as many digits as it was asked with: `85.5 %`."""
    return f"{100 * target:g} %"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: there is no −0.0


def show_estimate(estimate: Estimate | None) -> str:
    """`88.6 % [88.1, 89.1]`, or the bare mean where there is no interval."""
    return NOTHING if estimate is None else f"{percent(estimate.mean)}{_interval(estimate.low, estimate.high)}"


def show_comparison(comparison: Comparison | None) -> str:
    """`+3.1 [2.2, 4.0]` in points, or the bare difference."""
    if comparison is None:
        return NOTHING
    return f"{points(comparison.difference)}{_interval(comparison.low, comparison.high)}"


def show_size(comparison: Comparison) -> str:
    """The size of a difference whose direction the sentence says in words: `3.1 [2.2, 4.0]`."""
    sign = -1 if comparison.difference < 0 else 1
    bounds = [None if bound is None else sign * bound + 0.0 for bound in (comparison.low, comparison.high)]
    low, high = bounds[::sign]
    return f"{100 * abs(comparison.difference):.1f}{_interval(low, high)}"


def show_margin(margin: float) -> str:
    """`1 point`, `0.5 points`."""
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"


def show_time(time: TimeToTarget | None, digits: int) -> str:
    """`3.4 [2.0, 4.8]`, or `≥ 9.0 (1 of 3)` where not all runs reached the target."""
    if time is None:
        return NOTHING
    if time.num_reached < time.num:
        return f"≥ {time.mean:.{digits}f} ({time.num_reached} of {time.num})"
    interval = "" if time.low is None or time.high is None else f" [{time.low:.{digits}f}, {time.high:.{digits}f}]"
    return f"{time.mean:.{digits}f}{interval}"


def show_p(p: float | None) -> str:
    """`p = 0.012`, `p < 0.001`, or a dash."""
    return NOTHING if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"


def duration(seconds: float) -> str:
    """Seconds as seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def times(ratio: float) -> str:
    """A ratio with two or three digits: `10`, `2.4`, `1,050`."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def count(number: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def all_of(number: int) -> str:
    """`both`, `all 3`."""
    return "both" if number == 2 else f"all {number}"


def show_seeds(seeds: Iterable[int]) -> str:
    """The seeds, or how many where they are many."""
    listed = sorted(seeds)
    return join([str(seed) for seed in listed]) if len(listed) <= 10 else count(len(listed), "seed")


def join(words: list[str], *, last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" [{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")
