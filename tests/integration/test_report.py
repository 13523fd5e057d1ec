"""`job report`: one page over the runs, whatever they hold."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from job.manifest import Manifest
from job.runs import (
    BestEpoch,
    Diagnostics,
    Divergence,
    EpochRecord,
    GroupDiagnostics,
    RunKeys,
    RunResult,
    Scores,
    Timings,
)
from job.storage import open_store
from tests.conftest import TINY, Answer

Job = Callable[..., Answer]
HOSTILE = "<script>alert('x')</script>$\\frac$"


def epoch(number: int, top1: float) -> EpochRecord:
    group = GroupDiagnostics(
        num_weights=10, gradient_norm=[1.0], update_norm=[0.1], weight_norm=[2.0],
        update_to_weight=[0.05], update_rms=[0.03],
    )  # fmt: skip
    return EpochRecord(
        epoch=number,
        train=Scores(loss=1 / number, top1=top1),
        test=Scores(loss=1.5 / number, top1=top1, top5=0.99),
        learning_rate=0.001,
        diagnostics=Diagnostics(steps=[0], backbone=group, fc=group),
        train_seconds=2.0,
        evaluate_seconds=1.0,
        train_images_per_second=20.0,
        evaluate_images_per_second=20.0,
    )


def result(name: str, top1: float, *, classes: tuple[str, str] = ("cat", "dog"), diverged: bool = False) -> RunResult:
    history = [] if diverged else [epoch(1, top1 / 2), epoch(2, top1)]
    return RunResult(
        run_id=f"{name}-s0-0123456789",
        experiment="default",
        attempt_id="a",
        manifest=Manifest.model_validate(TINY | {"name": name}),
        status="diverged" if diverged else "completed",
        divergence=Divergence(epoch=1, step=3) if diverged else None,
        classes=list(classes),
        num_train=40,
        num_validation=0,
        num_test=20,
        num_parameters=1,
        final=None if diverged else history[-1].test,
        best=None if diverged else BestEpoch(epoch=2, chosen_on="test", test=history[-1].test),
        class_accuracy=[] if diverged else [top1, None],
        confusion=[] if diverged else [[15, 5], [0, 0]],
        history=history,
        timings=Timings(startup=1, staging=1, train=4, evaluate=2, upload=0, total=8),
        train_images_per_second=None if diverged else 20.0,
        peak_memory_bytes=1,
        attempts=1,
        lost_seconds=0,
        estimated_cost_usd=None,
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def store_results(output: str, *results: RunResult) -> None:
    for each in results:
        open_store(output).write(RunKeys("default", each.run_id).result, each.model_dump_json().encode())


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/study"


def test_page_and_table_hold_the_numbers_best_first(job: Job, output: str) -> None:
    store_results(output, result("adam", 0.4321), result("adagrad", 0.8765))
    answer = job("report", output)
    assert answer.exit_code == 0
    assert answer.stdout.strip() == f"{output}/report/index.html"
    page = open_store(output).read("report/index.html").decode()
    assert "43.21 %" in page
    assert page.index("87.65 %") < page.index("43.21 %")
    rows = list(csv.DictReader(io.StringIO(open_store(output).read("report/epochs.csv").decode())))
    assert [(row["name"], row["epoch"], float(row["test_top1"])) for row in rows][1] == ("adagrad", "2", 0.8765)


def test_figures_and_numbers_of_every_run_are_on_the_page(job: Job, output: str) -> None:
    store_results(output, result("adam", 0.4321), result("sgd", 0.25))
    assert job("report", output).exit_code == 0
    page = open_store(output).read("report/index.html").decode()
    for name in ("adam", "sgd"):
        for figure in ("Loss", "Accuracy", "Confusion matrix", "Class-wise accuracy"):
            assert f"{figure}, {name}" in page
        assert f'href="#{name}-s0-0123456789"' in page
        assert f'id="{name}-s0-0123456789"' in page
    assert "best in epoch 2: 43.21 %" in page
    assert "40 training and 20 test images" in page
    assert "lr 0.001" in page


def test_second_report_replaces_the_first(job: Job, output: str) -> None:
    store_results(output, result("adam", 0.4321))
    assert job("report", output).exit_code == 0
    store_results(output, result("sgd", 0.25))
    assert job("report", output).exit_code == 0
    assert "2 finished" in open_store(output).read("report/index.html").decode()


class Elements(HTMLParser):
    """Tags and attributes of a page, and the text outside of elements that a browser would run or load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_page_loads_nothing(job: Job, tmp_path: Path) -> None:
    store_results(str(tmp_path), result("adam", 0.5))
    assert job("report", tmp_path).exit_code == 0
    page = (tmp_path / "report/index.html").read_text()
    elements = Elements(page)
    assert elements.tags.count("svg") == 4
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(elements.tags)
    loading = [value for name, value in elements.attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
    assert len(loading) > 10
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loading)
    assert not re.findall(r"url\((?!#)|@import", page)


def test_hostile_class_names_do_no_harm(job: Job, tmp_path: Path) -> None:
    store_results(str(tmp_path), result("adam", 0.5, classes=(HOSTILE, '"><img src=x onerror=alert(1)>')))
    assert job("report", tmp_path).exit_code == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "&lt;script&gt;" in page
    elements = Elements(page)
    assert not {"script", "img"} & set(elements.tags)
    assert not [name for name, _ in elements.attributes if name.startswith("on")]


def test_hostile_place_does_no_harm(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "<img src=x> & co"
    store_results(str(output), result("adam", 0.5))
    assert job("report", output).exit_code == 0
    page = (output / "report/index.html").read_text()
    assert "&lt;img src=x&gt; &amp; co" in page
    assert "img" not in Elements(page).tags


def test_diverged_broken_and_missing_runs_do_not_stop_the_report(job: Job, tmp_path: Path) -> None:
    store_results(str(tmp_path), result("adam", 0.5), result("sgd", 0.0, diverged=True))
    store = open_store(str(tmp_path))
    store.write("default/runs/broken-s0-0123456789/result.json", b'{"half": ')
    store.write("default/runs/started-s0-0123456789/progress.json", b"{}")
    answer = job("report", tmp_path)
    assert answer.exit_code == 0
    assert "result_ignored" in answer.stderr
    assert "broken-s0-0123456789" in answer.stderr
    page = (tmp_path / "report/index.html").read_text()
    assert "2 finished" in page
    assert "epoch 1, step 3" in page
    assert page.index("50.00 %") < page.index("<td>diverged")


def test_run_that_diverged_after_a_whole_epoch_shows_what_it_had(job: Job, tmp_path: Path) -> None:
    """As a resumed run leaves it: a history, and no evaluation of this attempt."""
    changes = {"status": "diverged", "divergence": Divergence(epoch=3, step=1), "confusion": [], "class_accuracy": []}
    store_results(str(tmp_path), result("sgd", 0.5).model_copy(update=changes))
    assert job("report", tmp_path).exit_code == 0
    page = (tmp_path / "report/index.html").read_text()
    assert Elements(page).tags.count("svg") == 2
    assert "epoch 3, step 1" in page


def test_result_without_any_finite_loss_is_shown(job: Job, tmp_path: Path) -> None:
    scores = Scores(loss=None, top1=0.1, top5=None)
    record = epoch(1, 0.1).model_copy(update={"train": scores, "test": scores})
    store_results(str(tmp_path), result("sgd", 0.1).model_copy(update={"final": scores, "history": [record]}))
    assert job("report", tmp_path).exit_code == 0
    assert "10.00 %" in (tmp_path / "report/index.html").read_text()


def test_empty_output_says_so(job: Job, output: str) -> None:
    answer = job("report", output)
    assert answer.exit_code == 0
    assert "no_results" in answer.stderr
    assert "No run has finished here yet" in open_store(output).read("report/index.html").decode()


def test_place_that_cannot_be_read_is_told_with_its_exit_code(job: Job, bucket: str) -> None:
    answer = job("report", f"{bucket}-that-is-not-there/study")
    assert answer.exit_code == 67
    assert answer.stderr.strip().splitlines()[-1].startswith(f"error: {bucket}-that-is-not-there/study")
