"""Which numbers a sentence of the report prints, and whether each is one of those that it says it rests on.

These are names and not measurements, and need no source: a configuration's label (`Adam lr 0.01, eps 1e-08`), a
schedule with its options, a version (`2.15.0`), a commit (`1234567`), a seed by its name (`seeds 0 and 1`,
`(Adam: 0 and 1)`), the first two epochs (`epoch 1`), years and numbers of publications (`Zeiler 2012`,
`arXiv:1212.5701`), the 1 of a formula or a fraction (`1 − alpha`, `1/sqrt`, `1/1,000`), and the 0 that an average
starts at. What stands within a word (`top-1`, `stl10`) or is a word (`one`, `both`) is no number here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.report.analysis.reasons import Reason

NUMBER = r"(?<![\w.\-])[+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?"
_VALUE = rf"(?:{NUMBER}|\([^()]*\)|true|false|none)"
_ATTRIBUTES = {"lr", *Manifest.model_fields, *(name for kind in OPTIMIZERS.values() for name in kind.model_fields)}
_SETTING = rf"(?:model\.\w+|{'|'.join(sorted(_ATTRIBUTES, key=len, reverse=True))}) {_VALUE}"
NAMES = (
    rf"\b(?:{'|'.join(kind.__name__ for kind in OPTIMIZERS.values())}) {_SETTING}(?:, {_SETTING})*",
    r"\bseeds? \d+(?:(?:, | and )\d+)*\b",
    r"\bepoch [12]\b(?! of)",
    r"\b(?:[A-Z][a-z]+ |arXiv:)\d{4}(?:\.\d+)?\b",
    r"\b1(?: − [a-z]|/)",
    r"\bstarts? at 0\b",
    rf"\b(?:none|cosine|onecycle)(?:, [a-z_]+ {NUMBER})+",
    r": \d+(?:(?:, | and )\d+)*(?=[;)])",
    r"\b\d+\.\d+\.\d+\b",
    r"\b[0-9a-f]{7}\b",
)


def _times(value: float) -> set[str]:
    sizes = [size for size in (value, 1 / value if value else 0.0) if size >= 1]
    return {f"{size:,.0f}" if size >= 10 else f"{size:.1f}" for size in sizes} | {
        shown for size in sizes for shown in (f"{size:.2f}", f"{size:g}")
    }


def _percent(value: float) -> set[str]:
    hundredths = 100 * abs(value) + 1e-9  # halves go up
    shown = {f"{hundredths:.1f}", f"{hundredths:.0f}"}
    return shown | {f"{hundredths:,.0f}" if abs(value) >= 1 else f"{hundredths:.3g}"}


def _points(value: float) -> set[str]:
    return {f"{100 * abs(value):.1f}"}


def _points_as_set(value: float) -> set[str]:
    return _points(value) | {f"{100 * abs(value):g}"}


def _p(value: float) -> set[str]:
    return {"0.001"} if value < 0.001 else {f"{value:.2g}" if value < 0.1 else f"{value:.2f}"}


def _plain(value: float) -> set[str]:
    shown = {f"{abs(value):g}", f"{abs(value):.3g}"}
    shown |= {f"{abs(value):.1f}", f"{abs(value):.2f}"} if abs(value) >= 1 else set()
    shown |= {f"{abs(value):.3f}"} if abs(value) >= 0.1 else set()
    return shown | ({f"{value:,.0f}"} if value == int(value) else set())


def find_printed(text: str) -> list[re.Match[str]]:
    """The places of the numbers of `text` that are no part of a name."""
    for name in NAMES:
        text = re.sub(name, lambda found: " " * len(found.group()), text)
    return list(re.finditer(NUMBER, text))


def list_untraced(text: str, numbers: Mapping[str, float]) -> list[str]:
    """The numbers that `text` prints and that are none of `numbers` in the way the page rounds: percent, points, times,
    p, and counts and sizes as they are."""
    untraced = []
    for found in find_printed(text):
        kinds = _find_kinds(text[: found.start()], text[found.end() :])
        shown = found.group().lstrip("+−")
        if not any(
            shown in kind(value) or shown.replace(",", "") in kind(value)
            for kind in kinds
            for name, value in numbers.items()
            if (kind is _p) == name.endswith(", p")
        ):
            untraced.append(found.group())
    return untraced


def _find_kinds(before: str, after: str) -> list[Callable[[float], set[str]]]:
    """How a number may be rounded, by what stands around it."""
    if re.search(r"p [=<] $", before):
        return [_p]
    if re.match(r" %", after):
        return [_percent]
    if re.search(r"\[(?:[^\[\]]*, )?$", before) or re.match(r"(?: \[[^\[\]]*\])? points?\b", after):
        return [_points_as_set]
    if re.match(r" times|-fold", after):
        return [_times]
    return [_plain, _points]


def check_reason(reason: Reason) -> None:
    """Every number that the reason prints is among its numbers."""
    for text in (reason.sentence, reason.gist):
        assert list_untraced(text, reason.numbers) == [], f"{text}\n{dict(reason.numbers)}"
