"""The names under which a sentence lists the numbers that it rests on: `accuracy of Adam`, `difference Adam − SGD`.

Accuracies, differences and sizes relative to something are fractions; a ratio of two sides is that of the larger one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from job.report.analysis.estimates import Comparison, Estimate
from job.report.analysis.wording import show_attribute

Numbers = dict[str, float]


def name_number(quantity: str, label: str) -> str:
    """`accuracy of Adam lr 0.01`."""
    return f"{quantity} of {label}"


def name_difference(ours: str, theirs: str) -> str:
    """`difference Adam − SGD`: ours minus theirs."""
    return f"difference {ours} − {theirs}"


def list_values(quantity: str, values: Mapping[str, float]) -> Numbers:
    """A number for each label of `values`."""
    return {name_number(quantity, label): float(value) for label, value in values.items()}


def list_ratio(quantity: str, ours: tuple[str, float], theirs: tuple[str, float]) -> Numbers:
    """How many times the larger of two is the smaller; each is a label and its value."""
    (smaller, least), (larger, most) = sorted((ours, theirs), key=lambda own: own[1])
    return {f"{name_number(quantity, larger)} / {smaller}": most / least} if least > 0 else {}


def list_estimate(label: str, estimate: Estimate | None) -> Numbers:
    """An accuracy and its interval, as far as there are any."""
    if estimate is None:
        return {}
    name = name_number("accuracy", label)
    return _keep_known({name: estimate.mean, f"{name}, low": estimate.low, f"{name}, high": estimate.high})


def list_comparison(ours: str, theirs: str, comparison: Comparison | None) -> Numbers:
    """Ours minus theirs with its interval, p and the number of common seeds, as far as there are any."""
    if comparison is None:
        return {}
    name = name_difference(ours, theirs)
    low, high = comparison.on_new_images or (None, None)
    return _keep_known(
        {
            name: comparison.difference,
            f"{name}, low": comparison.low,
            f"{name}, high": comparison.high,
            f"{name}, p": comparison.p,
            f"{name}, num_common_seeds": comparison.num,
            f"{name}, low on new images": low,
            f"{name}, high on new images": high,
        }
    )


def list_setting(attribute: str, label: str, value: Any) -> Numbers:
    """The value of an attribute, or each of its parts; nothing where it is no number."""
    name = name_number(show_attribute(attribute), label)
    if isinstance(value, tuple):
        return {f"{name}, part {place}": float(part) for place, part in enumerate(value, start=1)}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {name: float(value)} if is_number else {}


def _keep_known(numbers: Mapping[str, float | None]) -> Numbers:
    return {name: float(value) for name, value in numbers.items() if value is not None}
