"""`sentences.json`: every sentence of the page about the runs, with the numbers that it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from job.report.analysis.sentences import list_sentences
from job.report.render.chapter import Chapter

VERSION = 1


def render_sentences(chapters: Sequence[Chapter]) -> bytes:
    """By experiment, in the order of the page: the `place`, `text` and `numbers` of each sentence, as JSON."""
    experiments = [
        {
            "name": chapter.study.title,
            "sentences": [
                {"place": told.place, "text": told.text, "numbers": _shorten(told.numbers)}
                for told in list_sentences(
                    chapter.study, gallery=chapter.gallery, sides=chapter.sides, elsewhere=chapter.elsewhere
                )
            ],
        }
        for chapter in chapters
    ]
    document = {"version": VERSION, "experiments": experiments}
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode(errors="replace")


def _shorten(numbers: Mapping[str, float]) -> dict[str, float]:
    """Whole numbers without a point, others without the last digits, in which processors differ."""
    shortened = {name: float(f"{value:.12g}") for name, value in numbers.items()}
    return {name: int(value) if value.is_integer() else value for name, value in shortened.items()}
