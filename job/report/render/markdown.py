"""The report as Markdown, for a pull request or a wiki: the sentences, the tables, and links to the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from job.report.analysis.study import Study
from job.report.analysis.times import RULE
from job.report.analysis.wording import (
    NOTHING,
    name_optimizer,
    percent,
    points,
    show_attribute,
    show_comparison,
    show_estimate,
    show_p,
    show_time,
    show_value,
)
from job.report.render.chapter import Chapter, Drawing
from job.report.render.page import MOST_ROWS


def render_markdown(chapters: Sequence[Chapter], holes: pd.DataFrame, *, source: str) -> str:
    """The report, GitHub's dialect. Strings from records are escaped, so that they stay text."""
    lines = ["# Which optimizer, which settings, and why?", "", f"The runs in {_text(source)}.", ""]
    if not chapters:
        lines += ["No run has finished here yet.", ""]
    for chapter in chapters:
        lines += _chapter(chapter)
    if len(holes):
        rows = [(hole.run_id, hole.experiment, hole.kind, hole.reason) for hole in holes.head(MOST_ROWS).itertuples()]
        lines += ["## Holes", "", f"{len(holes)} runs without a usable result, or diverged.", ""]
        lines += _table(("run", "experiment", "what", "why"), rows)
    return "\n".join(lines)


def _chapter(chapter: Chapter) -> Iterator[str]:
    study = chapter.study
    yield from (f"## {_text(study.title)}", "", f"**{_text(study.verdict.sentence)}**", "")
    for sentence in (*study.verdict.notes, *study.facts):
        yield f"- {_text(sentence)}"
    yield from ("", "### Leaderboard", "")
    yield from (_text(study.order), "")
    yield from _leaderboard(study)
    if study.reasons:
        yield from ("### Reasons", "")
        for reason, drawing in zip(study.reasons, chapter.reasons, strict=True):
            yield from (f"**{_text(reason.title)}.** {_text(reason.sentence)}", "", _image(drawing), "")
    if study.effects:
        yield from ("### What each attribute does", "")
    for effects, drawings in zip(study.effects, chapter.effects, strict=True):
        yield from (f"#### {name_optimizer(effects.optimizer)}", "")
        yield from (f"{_text(sentence)}\n" for sentence in effects.summary)
        yield from _table(
            ("attribute", "value", "baseline", "effect in points [95 %]", "p"),
            (
                (
                    show_attribute(effect.attribute), show_value(effect.value),
                    show_value(effects.baseline.attributes.get(effect.attribute)),
                    effect.why_not_compared or show_comparison(effect.comparison),
                    show_p(effect.comparison.p if effect.comparison else None),
                )
                for effect in effects.effects[:MOST_ROWS]
            ),
        )  # fmt: skip
        yield from _images(drawings)
    for title, drawings in (("Curves", chapter.curves), ("Classes", chapter.classes)):
        if drawings:
            yield from (f"### {title}", "")
            yield from _images(drawings)
    if chapter.cost or study.times_apart:
        told = f"{study.times_apart} {RULE}" if study.times_apart else RULE
        yield from ("### Accuracy against cost", "", _text(told), "")
        yield from _images(chapter.cost)
    yield from _budget(chapter)
    yield from _reference(chapter)


def _leaderboard(study: Study) -> Iterator[str]:
    yield from _table(
        (
            "configuration", "within reach", "seeds", "test top-1 [95 %]", "points to leader [95 %]", "common seeds",
            "p", "top-5", "test loss", f"epochs to {percent(study.target, 0)}",
            *([] if study.times_apart else ["images/s"]),
            *(["validation top-1"] if study.is_validated else []),
            *(["made with"] if study.was_made_differently else []),
        ),
        (
            (
                line.configuration.title, "yes" if line.within_reach else "", len(line.configuration.outcomes),
                show_estimate(line.score),
                show_comparison(line.behind), line.behind.num if line.behind else NOTHING,
                show_p(line.behind.p if line.behind else None),
                percent(line.top5), _number(line.loss, 3), show_time(line.reach.epochs, 1),
                *([] if study.times_apart else [_number(line.images_per_second, 0)]),
                *([percent(line.validation)] if study.is_validated else []),
                *([line.made_with] if study.was_made_differently else []),
            )
            for line in study.standings[:MOST_ROWS]
        ),
    )  # fmt: skip


def _budget(chapter: Chapter) -> Iterator[str]:
    if chapter.study.budget:
        yield from ("### What tuning buys", "")
        yield from _table(
            ("optimizer", "configurations", "default", "its top-1", "tuned", "its top-1"),
            (
                (
                    name_optimizer(line.optimizer), len(line.expected), line.default.label, line.default.told_score,
                    line.tuned.label, line.tuned.told_score,
                )
                for line in chapter.study.budget
            ),
        )  # fmt: skip
        yield from _images(chapter.budget)


def _reference(chapter: Chapter) -> Iterator[str]:
    sides = chapter.sides
    if sides is None:
        return
    yield from ("### Published study", "", f"{_text(sides.source)}. {_text(sides.orders or '')}", "")
    yield from _table(
        ("optimizer", "top-1 published", "top-1 here", "points apart", "top-5 published", "top-5 here", "ours"),
        (
            (
                name_optimizer(pair.optimizer), percent(pair.published.top1), percent(pair.top1),
                NOTHING if pair.top1 is None else points(pair.top1 - pair.published.top1),
                percent(pair.published.top5), percent(pair.top5),
                pair.ours.title if pair.ours else "no finished run",
            )
            for pair in sides.pairs
        ),
    )  # fmt: skip
    yield from (f"- {_text(difference)}" for difference in sides.differences)
    yield ""
    for remarks in sides.remarks:
        yield from (f"{_text(remarks.title)}:", "", *(f"- {_text(line)}" for line in remarks.lines), "")
    yield from _images(chapter.reference)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_text(str(cell)) for cell in row)} |"
    yield ""


def _images(drawings: Sequence[Drawing]) -> Iterator[str]:
    for drawing in drawings:
        yield from (_image(drawing), "")


def _image(drawing: Drawing) -> str:
    return f"![{_text(drawing.caption)}]({drawing.path}.png)"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _text(text: str) -> str:
    """`text` with what Markdown and HTML would act on escaped, on one line."""
    flat = "".join(character if character.isprintable() else " " for character in text)
    escaped = flat.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_|~\[\]])", r"\\\1", escaped)
