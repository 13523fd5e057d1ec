"""`sentences.json`: every sentence of the page about the runs, with the numbers that it rests on."""

from __future__ import annotations

import json
from collections.abc import Sequence

from job.report.analysis.sentences import list_sentences
from job.report.render.chapter import Chapter

VERSION = 1


def render_sentences(chapters: Sequence[Chapter]) -> bytes:
    """By experiment, in the order of the page: the `place`, `text` and `numbers` of each sentence, as JSON."""
    experiments = [
        {
            "name": chapter.study.title,
            "sentences": [
                {"place": told.place, "text": told.text, "numbers": dict(told.numbers)}
                for told in list_sentences(chapter.study, gallery=chapter.gallery, sides=chapter.sides)
            ],
        }
        for chapter in chapters
    ]
    document = {"version": VERSION, "experiments": experiments}
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode(errors="replace")
