"""The report as Markdown, for a pull request or a wiki: the sentences, the tables, and links to the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from job.report.analysis.reasons import STANDINGS
from job.report.analysis.times import RULE
from job.report.analysis.wording import name_optimizer
from job.report.render.chapter import Chapter, Drawing
from job.report.render.grid import Grid
from job.report.render.grids import build_holes_grid


def render_markdown(chapters: Sequence[Chapter], holes: pd.DataFrame, *, source: str) -> str:
    """The report, GitHub's dialect. Strings from records are escaped, so that they stay text."""
    lines = ["# Which optimizer, which settings, and why?", "", f"The runs in {_text(source)}.", ""]
    if not chapters:
        lines += ["No run has finished here yet.", ""]
    for chapter in chapters:
        lines += _chapter(chapter)
    if len(holes):
        lines += ["## What is missing", "", f"{len(holes)} runs without a usable result, or diverged.", ""]
        lines += _table(build_holes_grid(holes))
    return "\n".join(lines)


def _chapter(chapter: Chapter) -> Iterator[str]:
    study = chapter.study
    yield from _answer(chapter)
    if study.reasons:
        yield from ("### Why?", "")
        for reason, drawing, shown in chapter.told_reasons:
            told = f"**{_text(reason.title)}** ({STANDINGS[reason.standing]}). {_text(reason.sentence)}"
            yield from (told, "", _image(drawing) if shown is reason else f"Figure: see {_text(shown.title)}.", "")
        yield from _table(chapter.first_steps_grid)
    yield from _effects(chapter)
    yield from ("### How do all configurations compare?", "", _text(study.order), "")
    yield from _table(chapter.leaderboard_grid)
    if chapter.gallery:
        yield from ("### Which images are hard?", "", _text(chapter.gallery.sentence), "")
    for title, drawings in (
        ("How did the training go?", chapter.curves),
        ("Which classes are hard?", chapter.classes),
    ):
        if drawings:
            yield from (f"### {title}", "")
            yield from _images(drawings)
    if chapter.cost or study.times_apart:
        told = f"{study.times_apart} {RULE}" if study.times_apart else RULE
        yield from ("### What does it cost?", "", _text(told), "")
        yield from _images(chapter.cost)
    if study.budget:
        yield from ("### What does tuning buy?", "")
        yield from _table(chapter.budget_grid)
        yield from _images(chapter.budget)
    yield from _reference(chapter)
    yield from ("### How was it done?", "", f"{_text(study.verdict.sentence)}", "")
    for sentence in (*study.verdict.notes, *study.facts):
        yield f"- {_text(sentence)}"
    yield from ("", "| | |", "|---|---|")
    yield from (f"| {_text(line.name)} | {_text(line.value)} |" for line in chapter.setup.lines)
    yield ""


def _answer(chapter: Chapter) -> Iterator[str]:
    """What stands on the page's first screen."""
    answer = chapter.study.answer
    yield from (f"## {_text(chapter.study.title)}: {_text(answer.headline)}", "")
    if answer.by_how_much:
        yield from (f"**{_text(answer.by_how_much)}**", "")
    told = [("How sure", answer.how_sure), ("Settings", answer.settings)]
    yield from (f"- *{title}:* {_text(sentence)}" for title, sentence in told if sentence)
    if chapter.elsewhere:
        yield f"- *Elsewhere:* {_text(chapter.elsewhere.sentence)}"
    yield from (f"- *Why:* {_text(reason.gist)} ({STANDINGS[reason.standing]})" for reason in answer.why)
    yield from (f"- *Not known:* {_text(sentence)}" for sentence in answer.unknown)
    yield ""
    if answer.manifest:
        yield from ("```json", answer.manifest.replace("<", "\\u003c").replace("`", "\\u0060"), "```", "")
    yield from _images(chapter.ranking)


def _effects(chapter: Chapter) -> Iterator[str]:
    if not chapter.study.effects:
        return
    yield from ("### What does each attribute do?", "")
    yield from _images(chapter.sensitivity)
    for effects, drawings, grid in zip(chapter.study.effects, chapter.effects, chapter.effects_grids, strict=True):
        yield from (f"#### {name_optimizer(effects.optimizer)}", "")
        yield from (f"{_text(sentence)}\n" for sentence in effects.summary)
        yield from _table(grid)
        yield from _images(drawings)
    yield from _images(chapter.values)


def _reference(chapter: Chapter) -> Iterator[str]:
    sides, grid = chapter.sides, chapter.reference_grid
    if sides is None or grid is None:
        return
    yield from ("### How does the published study compare?", "", f"{_text(sides.source)}. {_text(sides.orders or '')}")
    yield ""
    yield from _table(grid)
    yield from (f"- {_text(difference)}" for difference in sides.differences)
    yield ""
    for remarks in sides.remarks:
        yield from (f"{_text(remarks.title)}:", "", *(f"- {_text(line)}" for line in remarks.lines), "")
    yield from _images(chapter.reference)


def _table(grid: Grid) -> Iterator[str]:
    yield f"| {' | '.join(_text(column) for column in grid.columns)} |"
    yield f"|{'---|' * len(grid.columns)}"
    for row in grid.rows:
        cells = [f"{own.text} ({own.note})" if own.note else own.text for own in row.cells]
        cells[0] += " ●" if row.is_marked else ""
        yield f"| {' | '.join(map(_text, cells))} |"
    yield ""
    if any(row.is_marked for row in grid.rows):
        yield from ("● Within reach of the best: nothing is shown to be better.", "")


def _images(drawings: Sequence[Drawing]) -> Iterator[str]:
    for drawing in drawings:
        yield from (_image(drawing), "")


def _image(drawing: Drawing) -> str:
    return f"![{_text(drawing.caption)}]({drawing.path}.png)"


def _text(text: str) -> str:
    """`text` with what Markdown and HTML would act on escaped, on one line."""
    flat = "".join(character if character.isprintable() else " " for character in text)
    escaped = flat.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_|~\[\]])", r"\\\1", escaped)
