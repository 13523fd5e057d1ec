"""The list of the page's sentences: each has the numbers that it prints, none is left out, and the example ships it.

Whether these numbers are those of the records is test_numbers_of_the_example.py's question.
"""

from __future__ import annotations

import html
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from job.report.analysis.elsewhere import find_elsewhere
from job.report.analysis.reference import SideBySide, compare_with
from job.report.analysis.sentences import Sentence, list_sentences
from job.report.analysis.setup import describe_setup
from job.report.analysis.study import Study, build_studies
from job.report.read.load import read_runs
from job.report.read.reference import read_reference
from job.report.render.chapter import Chapter, Drawing
from job.report.render.grids import build_leaderboard_grid
from job.report.render.page import render_page
from job.report.render.sentences import render_sentences
from job.runs import RunResult
from job.storage import FolderStore
from tests.records import build_study, diverged, made_by, make_manifest, make_result, make_study
from tests.traces import find_printed, list_untraced

EXAMPLE = Path(__file__).parents[2] / "docs/example-report"
NOT_ABOUT_THESE_RUNS = (
    "Shaded: within reach",  # how to read the leaderboard
    "Expected best accuracy after k",
    "Times are set beside each other only where",
    "and a seed that diverged counts",
)


def runs_of(optimizer: str, seeds: Iterable[int], **fields: Any) -> list[RunResult]:
    return [make_result(make_manifest(optimizer, seed=seed, **fields)) for seed in seeds]


def made(runs: list[RunResult], **facts: Any) -> list[RunResult]:
    return [made_by(run, **facts) for run in runs]


@pytest.fixture(scope="module")
def chapters(tmp_path_factory: pytest.TempPathFactory) -> list[Chapter]:
    """Those of the example, with empty pictures."""
    folder = tmp_path_factory.mktemp("example")
    with tarfile.open(EXAMPLE / "records.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    studies = build_studies(read_runs(FolderStore(folder / "study")))
    sides = [compare_with(read_reference("lab-report"), studies[0]), *[None] * (len(studies) - 1)]
    return [
        replace(build_chapter(study, own), elsewhere=find_elsewhere(study, studies))
        for study, own in zip(studies, sides, strict=True)
    ]


def build_chapter(study: Study, sides: SideBySide | None) -> Chapter:
    nothing = Drawing("", "", b"", b"")
    warnings = [Drawing("", " ".join(own.warnings), b"", b"") for own in study.sensitivities]
    return Chapter(
        study, describe_setup(study), sides, None, [], ranking=[], sensitivity=warnings, values=[], curves=[],
        classes=[nothing], cost=[], effects=[[] for _ in study.effects], reasons=[nothing for _ in study.reasons],
        budget=[], reference=[],
    )  # fmt: skip


@pytest.fixture(scope="module")
def sentences(chapters: list[Chapter]) -> list[Sentence]:
    return [
        told
        for chapter in chapters
        for told in list_sentences(chapter.study, sides=chapter.sides, elsewhere=chapter.elsewhere)
    ]


def test_every_number_of_every_sentence_has_a_source(sentences: list[Sentence]) -> None:
    assert len(sentences) > 100
    for told in sentences:
        assert list_untraced(told.text, told.numbers) == [], told


def test_another_number_in_its_place_has_none(sentences: list[Sentence]) -> None:
    """Changed to what is none of the sentence's numbers, each printed number is noticed."""
    noticed = []
    for told in sentences:
        for found in find_printed(told.text):
            digits = found.group().replace(",", "").lstrip("+−")
            num_decimals = len(digits.partition(".")[2])
            other = "7e-13" if "e" in digits else f"{float(digits) * 1.37 + 10**-num_decimals:.{num_decimals}f}"
            spoilt = told.text[: found.start()] + other + told.text[found.end() :]
            noticed.append(list_untraced(spoilt, told.numbers) == [other])
    assert len(noticed) > 500
    assert sum(noticed) > 0.97 * len(noticed)  # the others are by chance another number of their sentence


def test_number_without_a_source_is_noticed() -> None:
    numbers = {"accuracy of Adam": 0.815, "difference Adam − SGD": -0.08, "difference Adam − SGD, p": 0.042}
    right = "Adam lr 0.1, eps 1e-08 gets 81.5 % right, 8.0 points fewer than SGD in epoch 1 (Zeiler 2012; p = 0.042)."
    assert list_untraced(right, numbers) == []
    assert list_untraced(right.replace("81.5", "81.6").replace("8.0", "8.1"), numbers) == ["81.6", "8.1"]
    assert list_untraced(right.replace("0.042", "0.041"), numbers) == ["0.041"]
    assert list_untraced("Adam has 0.042 of 3 runs.", numbers) == ["0.042", "3"]


STUDIES: dict[str, list[RunResult]] = {
    "many attributes, and a divergence": make_study(seeds=3),
    "other seeds": runs_of("adam", range(4)) + runs_of("adagrad", range(2)) + runs_of("sgd", [0, 7]),
    "no common seed": runs_of("adam", [0, 1]) + runs_of("adagrad", [2, 3]),
    "no common seed with one": runs_of("adam", [0, 1], lr=0.01, epochs=3)
    + runs_of("sgd", [0, 1], epochs=3)
    + runs_of("adagrad", [2, 3], lr=0.1, epochs=2),
    "one seed": runs_of("adam", [0]) + runs_of("adagrad", [0]) + runs_of("adam", [0], lr=0.01),
    "other budgets": runs_of("adam", range(3), epochs=4, batch_size=100) + runs_of("adagrad", range(3)),
    "left out": runs_of("adam", range(3)) + runs_of("adagrad", range(3)) + runs_of("sgd", range(3), epochs=4),
    "other versions": runs_of("adam", range(3)) + made(runs_of("adagrad", range(2)), torch="2.11.0"),
    "other devices": runs_of("adam", range(2)) + made(runs_of("adagrad", range(3)), device="NVIDIA L4", num_threads=4),
    "all diverged": [diverged(result) for result in runs_of("adam", range(3))],
    "some diverged": runs_of("adam", range(3))
    + [diverged(own) for own in runs_of("adam", [3])]
    + runs_of("sgd", range(4)),
    "schedules": runs_of("adam", range(2))
    + runs_of("adam", range(2), schedule={"name": "cosine", "warmup_epochs": 1.0}),
    "a single run": runs_of("adam", [0]),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_number_about_other_studies_has_a_source_too(name: str, tmp_path: Path) -> None:
    sides = read_reference("lab-report")
    study = build_study(tmp_path, *STUDIES[name])
    sentences = list_sentences(study, sides=compare_with(sides, study))
    assert sentences
    for told in sentences:
        assert list_untraced(told.text, told.numbers) == [], told


def test_page_has_these_sentences_and_no_other_with_a_number(
    chapters: list[Chapter], sentences: list[Sentence]
) -> None:
    """Beside tables, the set-up, the heads of folds, captions and what explains a rule or quotes a publication."""
    page = render_page(chapters, chapters[0].study.runs.holes, source="study").replace("\u00a0", " ")
    paragraphs = re.sub(r"<(style|script|header|footer|figure|table|pre|summary)\b.*?</\1>", "", page, flags=re.DOTALL)
    told = [sentence.text for sentence in sentences]
    for sentence in told:
        assert sentence in html.unescape(page), sentence
    quoted = [line for chapter in chapters if chapter.sides for own in chapter.sides.remarks for line in own.lines]
    for part in re.findall(r"<(?:p|li|dd|h2)\b[^>]*>(.*?)</(?:p|li|dd|h2)>", paragraphs, flags=re.DOTALL):
        rest = html.unescape(re.sub(r"<[^>]+>", "", part))
        for sentence in sorted([*told, *quoted], key=len, reverse=True):
            rest = rest.replace(sentence, "")
        if not any(opening in rest for opening in NOT_ABOUT_THESE_RUNS):
            assert list_untraced(rest.replace(chapters[0].sides.source if chapters[0].sides else "", ""), {}) == [], (
                rest
            )


def test_target_is_told_as_it_was_set(tmp_path: Path) -> None:
    study = build_study(tmp_path, make_result(make_manifest("adam"), accuracy=0.9), target=0.855)
    told = "are counted up to the first epoch with at least 85.5 % test top-1"
    assert told in [sentence.text for sentence in list_sentences(study)]
    assert told in render_page([build_chapter(study, None)], study.runs.holes, source="study").replace("\u00a0", " ")
    assert "epochs to 85.5 %" in build_leaderboard_grid(study).columns


def test_list_is_written_with_place_text_and_numbers(chapters: list[Chapter], sentences: list[Sentence]) -> None:
    written = json.loads(render_sentences(chapters))
    assert [each["name"] for each in written["experiments"]] == [chapter.study.title for chapter in chapters]
    listed = [each for experiment in written["experiments"] for each in experiment["sentences"]]
    assert [(own["place"], own["text"]) for own in listed] == [(own.place, own.text) for own in sentences]
    for own, told in zip(listed, sentences, strict=True):
        assert own["numbers"] == pytest.approx(told.numbers, rel=1e-11)


def test_shipped_list_is_what_the_report_says(chapters: list[Chapter]) -> None:
    """But for what rounding of another CPU may change in a Monte Carlo: bounds, p and the seeds that are needed."""
    shipped, own = (
        list(flatten(json.loads(content)))
        for content in ((EXAMPLE / "sentences.json").read_bytes(), render_sentences(chapters))
    )
    assert [place for place, _ in shipped] == [place for place, _ in own]
    for (place, theirs), (_, ours) in zip(shipped, own, strict=True):
        assert theirs.keys() == ours.keys(), place
        for name, value in ours.items():
            is_drawn = name.endswith((", low", ", high", ", p")) or name.startswith("num_seeds that find")
            limit = 0.01 + 0.1 * abs(value) if is_drawn else 1e-9 + 1e-6 * abs(value)
            assert abs(theirs[name] - value) <= limit, f"{place}: {name}"


def flatten(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Experiment, place and the text without its digits, which may be drawn; and the numbers."""
    for experiment in document["experiments"]:
        for told in experiment["sentences"]:
            text = re.sub(r"[\d.]+|[<=]", "", told["text"])
            yield f"{experiment['name']}, {told['place']}: {text}", told["numbers"]
