"""`job report`: its files, its exit codes and its page, whatever the runs hold."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from job.manifest.optimizers import OPTIMIZERS
from job.runs import EpochRecord, RunResult, Scores
from job.storage import Store, open_store
from tests.conftest import Answer
from tests.optimizers import CONFIGURED
from tests.records import diverged, made_by, make_manifest, make_result, make_study, on_device, store_results

Job = Callable[..., Answer]
HOSTILE = "<script>alert('x')</script>$\\frac$"


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/study"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report over 28 runs, two seeds each, beside the published study."""
    from job.report import read_reference, write_report

    folder = tmp_path_factory.mktemp("study")
    store = open_store(str(folder))
    store_results(store, *make_study(seeds=2))
    write_report(store, reference=read_reference("lab-report"))
    return folder / "report"


def short(optimizer: str, accuracy: float | None = None, **options: Any) -> RunResult:
    manifest = make_manifest(optimizer, seed=options.pop("seed", 0), epochs=2)
    return make_result(manifest, accuracy=accuracy, **options)


def rows(store: Store, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(store.read(f"report/{name}").decode())))


def read_page(folder: Path) -> str:
    """The page with plain blanks, where it has some at which no line may end."""
    return (folder / "index.html").read_text().replace("\u00a0", " ")


def test_files_hold_the_numbers_best_first(job: Job, output: str) -> None:
    store = open_store(output)
    store_results(store, short("adam", 0.432), short("adagrad", 0.876))
    answer = job("report", output)
    assert answer.exit_code == 0
    assert answer.stdout.strip() == f"{output}/report/index.html"
    page = store.read("report/index.html").decode().replace("\u00a0", " ")
    assert page.index("87.6 %") < page.index("43.2 %")
    assert [(row["optimizer"], float(row["score"])) for row in rows(store, "results.csv")] == [
        ("adagrad", 0.876), ("adam", 0.432),
    ]  # fmt: skip
    epochs = [(row["name"], row["epoch"], float(row["test_top1"])) for row in rows(store, "epochs.csv")]
    assert ("adagrad", "2", 0.876) in epochs
    assert len(epochs) == 4
    table = pd.read_parquet(io.BytesIO(store.read("report/results.parquet")))
    assert list(table["score"]) == [0.876, 0.432]
    assert list(table["optimizer.betas"][1]) == [0.9, 0.999]
    assert [row["label"] for row in rows(store, "leaderboard.csv")] == ["Adagrad", "Adam"]
    (listed,) = json.loads(store.read("report/sentences.json"))["experiments"]
    page = html.unescape(page)
    assert len(listed["sentences"]) > 5
    assert all(sentence["text"] in page for sentence in listed["sentences"])
    assert "## default: Not yet known: Adagrad leads" in store.read("report/report.md").decode()


def test_report_over_all_optimizers_calls_each_by_torchs_name(job: Job, tmp_path: Path) -> None:
    """Also where its attributes are pairs and nulls, as Rprop's and Muon's are."""
    store = open_store(str(tmp_path))
    store_results(store, *(
        make_result(make_manifest(name, seed=seed, epochs=2, **CONFIGURED[name][1]), accuracy=0.4 + 0.03 * place)
        for place, name in enumerate(OPTIMIZERS) for seed in (0, 1)
    ))  # fmt: skip
    answer = job("report", tmp_path)
    assert answer.exit_code == 0, answer.stderr
    page = store.read("report/index.html").decode().replace("\u00a0", " ")
    assert all(kind.__name__ in page for kind in OPTIMIZERS.values())
    assert {row["optimizer"] for row in rows(store, "results.csv")} == OPTIMIZERS.keys()
    table = pd.read_parquet(io.BytesIO(store.read("report/results.parquet"))).set_index("optimizer")
    assert table["optimizer.eps"]["adafactor"].tolist() == ["[0.0001, 0.01]"] * 2
    assert table["optimizer.eps"]["adam"].tolist() == ["0.001"] * 2
    assert table["optimizer.betas"]["adam"].iloc[0].tolist() == [0.8, 0.95]


def test_every_figure_is_in_the_page_the_markdown_and_the_folder(study: Path) -> None:
    names = {path.with_suffix("").relative_to(study).as_posix() for path in study.glob("figures/*/*.svg")}
    assert names == {path.with_suffix("").relative_to(study).as_posix() for path in study.glob("figures/*/*.png")}
    assert len(names) > 25
    page = read_page(study)
    ids = set(re.findall(r'<figure id="([^"]+)">', page))
    assert ids == {re.sub(r"[^a-z0-9]+", "-", name) for name in names}
    assert set(re.findall(r"\]\((figures/\S+)\.png\)", (study / "report.md").read_text())) == names


def test_no_line_ends_between_a_number_and_its_percent_sign(study: Path) -> None:
    page = (study / "index.html").read_text()
    assert not re.findall(r"\d %", page)
    assert len(re.findall("\\d\u00a0%", page)) > 100


def test_every_part_of_the_answer_is_on_the_page(study: Path) -> None:
    page = read_page(study)
    folds = re.findall(r"^<summary>([^<?]+\??)", page, flags=re.MULTILINE)
    assert [fold.strip() for fold in folds] == [
        "Why?", "What does each attribute do?", "How do all configurations compare?", "How did the training go?",
        "Which classes and images are hard?", "What does it cost?", "What does tuning buy?",
        "How does the published study compare?", "How was it done, and what does the answer rest on?",
        "What is missing?", "Every run",
    ]  # fmt: skip
    for link in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{link}"' in page
    assert "n = 2 common seeds" in page
    assert "epochs: 10 there, 6 here" in page
    assert "another budget: 10 epochs of 5,000 training images there, 6 epochs of" in page


def test_ids_are_unique_on_the_page(study: Path) -> None:
    ids = [value for name, value in Elements(read_page(study)).attributes if name == "id"]
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("blank_report")
def test_experiments_and_data_sets_are_not_compared_with_each_other(job: Job, tmp_path: Path) -> None:
    folder = make_manifest("sgd", epochs=2, dataset={"name": "folder"})
    store_results(
        open_store(str(tmp_path)),
        short("adam", experiment="a"),
        short("adam", experiment="b"),
        make_result(folder, experiment="b"),
    )
    assert job("report", tmp_path).exit_code == 0
    page = read_page(tmp_path / "report")
    titles = re.findall(r"<h2[^>]*><small>([^:]+):", page)
    assert "a" in titles
    assert len([title for title in titles if re.fullmatch(r"b, (?:folder|stl10)-\w{6}", title)]) == 2
    assert len(re.findall(r"</small>[^<]+, with nothing to compare it with yet</h2>", page)) == 3


@pytest.mark.usefixtures("blank_report")
def test_hardware_its_utilisation_and_energy_are_told(job: Job, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    h100 = on_device(short("adam"), "NVIDIA H100", utilisation=0.314, joules=1500.0)
    store_results(store, h100)
    job("report", tmp_path)
    page = store.read("report/index.html").decode().replace("\u00a0", " ")
    assert "Trained on NVIDIA H100 in bf16." in page
    assert "31.4 %" in page
    assert '<td data-value="1.5">1.50</td>' in page
    store_results(store, on_device(short("adagrad"), "NVIDIA L4", utilisation=None, joules=None), short("rmsprop"))
    job("report", tmp_path)
    text = store.read("report/report.md").decode()
    assert "Trained on NVIDIA H100 in bf16 (1), NVIDIA L4 in bf16 (1) and unrecorded (1): times" in text


def test_cpu_report_is_without_columns_that_would_be_empty(study: Path) -> None:
    page = read_page(study)
    assert "Trained on" not in page
    assert "kJ a run" not in page


@pytest.mark.usefixtures("blank_report")
def test_experiment_option_leaves_the_others_out(job: Job, tmp_path: Path) -> None:
    store_results(open_store(str(tmp_path)), short("adam", experiment="a"), short("sgd", experiment="b"))
    assert job("report", tmp_path, "--experiment", "b").exit_code == 0
    assert [row["optimizer"] for row in rows(open_store(str(tmp_path)), "results.csv")] == ["sgd"]
    answer = job("report", tmp_path, "--experiment", "c")
    assert answer.exit_code == 2
    assert "there are: a, b" in answer.stderr
    assert job("report", tmp_path, "--experiment", "../x").exit_code == 2


@pytest.mark.usefixtures("blank_report")
def test_target_option_decides_what_is_reached(job: Job, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store_results(store, make_result(make_manifest("adam", epochs=3), top1=[0.3, 0.5, 0.7]))
    assert job("report", tmp_path, "--target", "0.5").exit_code == 0
    (row,) = rows(store, "results.csv")
    assert (float(row["epochs_to_target"]), float(row["seconds_to_target"])) == (2, 40)
    assert float(row["usd_to_target"]) == pytest.approx(0.03 * 2 / 3)
    assert "epochs to 50 %" in read_page(tmp_path / "report")
    assert job("report", tmp_path, "--target", "85").exit_code == 2


@pytest.mark.usefixtures("blank_report")
def test_reference_option_sets_a_study_beside(job: Job, tmp_path: Path) -> None:
    store_results(open_store(str(tmp_path)), short("adam", 0.8))
    path = tmp_path / "published.json"
    path.write_text(json.dumps({"source": "Someone & others", "optimizers": {"adam": {"top1": 0.7}}}))
    assert job("report", tmp_path, "--reference", path).exit_code == 0
    page = read_page(tmp_path / "report")
    assert "Someone &amp; others" in page
    assert "+10.0" in page
    path.write_text("{}")
    answer = job("report", tmp_path, "--reference", path)
    assert answer.exit_code == 66
    assert "published.json: is no published study" in answer.stderr


@pytest.mark.usefixtures("blank_report")
def test_strict_report_is_written_and_fails_on_holes(job: Job, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store_results(store, short("adam", 0.5), diverged(short("sgd")))
    assert job("report", tmp_path, "--strict").exit_code == 0  # a divergence is a result
    store.write("default/runs/broken-s0-0123456789/result.json", b'{"half": ')
    store.write("default/runs/started-s0-0123456789/progress.json", b"{}")
    assert job("report", tmp_path).exit_code == 0
    answer = job("report", tmp_path, "--strict")
    assert answer.exit_code == 3
    assert answer.stderr.strip().endswith("not every run has a usable result: 2 corrupt")
    assert answer.stdout.strip().endswith("report/index.html")
    page = read_page(tmp_path / "report")
    for text in ("broken-s0-0123456789", "result.json is no result", "started-s0-0123456789", "epoch 1, step 3"):
        assert text in page
    assert {row["kind"] for row in rows(store, "holes.csv")} == {"corrupt", "diverged"}


@pytest.mark.usefixtures("blank_report")
def test_script_can_ask_whether_something_is_shown(job: Job, tmp_path: Path) -> None:
    results = [
        make_result(make_manifest(name, seed=seed), accuracy=accuracy + seed / 500)
        for name, accuracy in (("adagrad", 0.9), ("adam", 0.8))
        for seed in range(3)
    ]
    store_results(open_store(str(tmp_path)), *results)
    answer = job("report", tmp_path, "--fail-unless", "adagrad > adam", "--fail-unless", "adagrad >= adam")
    assert answer.exit_code == 0
    (experiment,) = json.loads((tmp_path / "report" / "report.json").read_bytes())["experiments"]
    assert experiment["recommended"]["label"] == "Adagrad"
    answer = job("report", tmp_path, "--fail-unless", "adam > adagrad")
    assert answer.exit_code == 3
    assert "error: default: not adam > adagrad: Adagrad is better" in answer.stderr
    (tmp_path / "report" / "index.html").unlink()
    answer = job("report", tmp_path, "--fail-unless", "adam = adagrad")
    assert answer.exit_code == 2
    assert not (tmp_path / "report" / "index.html").exists()
    (experiment,) = _read_experiments(job, tmp_path, "--margin", "0.2")
    assert [pair["answer"] for pair in experiment["comparisons"]] == ["equal"]


def _read_experiments(job: Job, output: Path, *options: str) -> list[dict[str, Any]]:
    assert job("report", output, *options).exit_code == 0
    experiments: list[dict[str, Any]] = json.loads((output / "report" / "report.json").read_bytes())["experiments"]
    return experiments


def test_mistyped_place_is_told_and_not_made(job: Job, tmp_path: Path) -> None:
    answer = job("report", tmp_path / "mistyped")
    assert answer.exit_code == 2
    assert answer.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path}/mistyped: nothing is here")
    assert not (tmp_path / "mistyped").exists()


def test_output_where_no_run_has_finished_says_so(job: Job, tmp_path: Path) -> None:
    open_store(str(tmp_path)).write("default/runs/started-s0-0123456789/progress.json", b"{}")
    answer = job("report", tmp_path)
    assert answer.exit_code == 0
    assert "no_results" in answer.stderr
    assert "No run has finished here yet" in read_page(tmp_path / "report")


def test_place_that_cannot_be_read_is_told_with_its_exit_code(job: Job, bucket: str) -> None:
    answer = job("report", f"{bucket}-that-is-not-there/study")
    assert answer.exit_code == 67
    assert answer.stderr.strip().splitlines()[-1].startswith(f"error: {bucket}-that-is-not-there/study")


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


def test_page_loads_nothing_and_runs_one_script_of_its_own(study: Path) -> None:
    page = read_page(study)
    elements = Elements(page)
    assert elements.tags.count("script") == 2  # one is data
    assert page.count('<script type="application/json"') == 1
    assert not {"link", "iframe", "object", "embed", "base"} & set(elements.tags)
    loading = [
        value or "" for name, value in elements.attributes if name in ("src", "href", "xlink:href", "srcset", "data")
    ]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loading)
    assert not re.findall(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def assert_harmless(page: str) -> None:
    elements = Elements(page)
    assert elements.tags.count("script") == 2
    assert "img" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]


def test_hostile_names_do_no_harm(job: Job, tmp_path: Path) -> None:
    classes = [HOSTILE, '"><img src=x onerror=alert(1)>', *(f"class {index}" for index in range(8))]
    weights = make_manifest("adam", epochs=2, model={"weights": '"><img src=y>'})
    store = open_store(str(tmp_path))
    store_results(store, short("adam", 0.5, classes=classes), make_result(weights, classes=classes))
    store.write("<img src=z>/runs/<script>alert(2)</script>/progress.json", b"{}")
    store.write('"onload="x/sweep.json', json.dumps({"runs": [{"run_id": "<img src=w>|`x`"}]}).encode())
    assert job("report", tmp_path).exit_code == 0
    page = read_page(tmp_path / "report")
    assert "&lt;script&gt;" in page
    assert "&lt;img src=w&gt;" in page
    assert_harmless(page)
    markdown = (tmp_path / "report/report.md").read_text()
    assert "<img" not in markdown
    assert "<script" not in markdown
    assert all(path.parent.parent.name == "figures" for path in (tmp_path / "report/figures").rglob("*.svg"))


def test_hostile_place_does_no_harm(job: Job, tmp_path: Path) -> None:
    output = tmp_path / "<img src=x> & co"
    store_results(open_store(str(output)), short("adam", 0.5))
    assert job("report", output).exit_code == 0
    page = read_page(output / "report")
    assert "&lt;img src=x&gt; &amp; co" in page
    assert_harmless(page)


def test_run_that_diverged_after_a_whole_epoch_shows_what_it_had(job: Job, tmp_path: Path) -> None:
    """As a resumed run leaves it: a history, and no evaluation of this attempt."""
    store_results(open_store(str(tmp_path)), diverged(short("sgd", 0.5), epoch=2))
    assert job("report", tmp_path).exit_code == 0
    page = read_page(tmp_path / "report")
    assert "epoch 2, step 3" in page
    assert "default-confusion" not in page


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which Adam always finished, and SGD was far ahead until it diverged with one of three seeds."""
    from job.report import write_report

    folder = tmp_path_factory.mktemp("unlucky")
    store = open_store(str(folder))
    adam = [make_result(make_manifest("adam", seed=seed, epochs=3), accuracy=0.7 + seed / 100) for seed in range(3)]
    sgd = [make_result(make_manifest("sgd", seed=seed, epochs=3), accuracy=0.95 + seed / 200) for seed in range(3)]
    hot = [make_result(make_manifest("adam", seed=seed, epochs=3, lr=1.0), accuracy=0.9) for seed in range(3)]
    store_results(store, *adam, *sgd[:2], diverged(sgd[2], epoch=3), *(diverged(run, epoch=3) for run in hot))
    write_report(store)
    return folder / "report"


def test_divergence_stands_in_every_table_and_never_as_a_score(unlucky: Path) -> None:
    store = open_store(str(unlucky.parent))
    results = rows(store, "results.csv")
    lost = [row for row in results if row["status"] == "diverged"]
    assert [(row["score"], row["final_top1"], row["train_top1"], row["diverged_epoch"]) for row in lost] == [
        ("", "", "", "3.0")
    ] * 4
    assert results[-4:] == lost
    table = pd.read_parquet(unlucky / "results.parquet")
    assert table.loc[table["status"] == "diverged", "score"].isna().all()
    board = [
        (row["label"], row["num_seeds"], row["num_seeds_diverged"], row["score"][:4], row["difference_to_leader"][:5])
        for row in rows(store, "leaderboard.csv")
    ]
    assert board == [
        ("Adam", "3", "0", "0.71", ""), ("SGD", "2", "1", "0.66", "-0.04"), ("Adam lr 1", "0", "3", "0.1", "-0.61"),
    ]  # fmt: skip
    markdown = (unlucky / "report.md").read_text()
    assert "| SGD (1 of 3 seeds diverged) ● | 3 | 66.9 %" in markdown
    assert "| Adam lr 1 (3 of 3 seeds diverged) | 3 | 10.0 % " in markdown
    assert "| lr | 1 | 0.001 | −61.0 \\[" in markdown


def test_divergence_stands_on_the_page_and_in_the_figures(unlucky: Path) -> None:
    page = read_page(unlucky)
    assert "</small>Not yet known: Adam leads, but not for certain</h2>" in page
    (verdict,) = re.findall(r"<strong>(Not yet known: [^<]+)</strong>", page)
    assert verdict.startswith("Not yet known: Adam 71.0 % [")
    assert "SGD 66.9 % [" in verdict
    assert "(1 of 3 seeds diverged)" in verdict
    assert "SGD finished with 2 of 3 seeds, so with 9 % to 99 % of all." in page
    assert re.search(
        r'class="reach"><th scope="row">SGD <span class="soft">\(1 of 3 seeds diverged\)</span></th>', page
    )
    assert "; 4 diverged." in page
    assert "a seed that diverged counts as guessing" in page
    figure = page[page.index('<figure id="figures-default-accuracy"') :].split("</figure>")[0]
    assert "each run has a line of its own, with a cross" in figure
    assert "SGD (1 of 3 seeds diverged)" in figure
    effect = page[page.index('<figure id="figures-default-sensitivity-lr"') :].split("</figure>")[0]
    assert "A cross: diverged with some seed, or, at the foot, with every seed." in effect
    confusion = page[page.index('<figure id="figures-default-confusion"') :].split("</figure>")[0]
    assert "2 seeds; 1 of 3 seeds diverged (SGD)" in confusion


def test_nothing_of_a_diverged_run_is_averaged(unlucky: Path) -> None:
    """Class-wise accuracy and confusion matrices are over the seeds that finished."""
    from job.report.analysis.study import build_studies
    from job.report.read.load import load_runs

    (study,) = build_studies(load_runs(str(unlucky.parent)))
    sgd = next(line for line in study.standings if line.configuration.optimizer == "sgd")
    own = study.runs.runs[study.runs.runs["run"].isin(sgd.configuration.finished)]
    assert len(own) == 2
    assert sgd.top5 == pytest.approx(own["score_top5"].mean())
    assert (sgd.reach.num_reached, sgd.reach.num) == (2, 3)


@pytest.mark.usefixtures("blank_report")
def test_times_that_cannot_be_compared_are_left_out_with_the_reason(job: Job, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    slow = short("adagrad", 0.8).model_copy(update={"train_images_per_second": 40.0})
    store_results(store, short("adam", 0.7), slow)
    assert job("report", tmp_path).exit_code == 0
    page = read_page(tmp_path / "report")
    reason = "Times are not compared: the images per second of the same work differ 6.2-fold between runs (40 to 250)."
    assert reason in page
    assert "differ less than 1.5-fold between runs" in page
    assert "accuracy-time" not in page
    text = (tmp_path / "report/report.md").read_text()
    for column in ("seconds to it", "USD to it", "images/s", "USD a run", "seconds of training"):
        assert column not in page + text
    tables = re.findall(r"<thead>(.*?)</thead>\n<tbody>\n(.*?</tr>)", page, re.S)
    assert len(tables) > 2
    for head, line in tables:
        assert head.count("<th ") == len(re.findall("<t[hd][ >]", line))
    assert reason in text
    assert [row["times_comparable"] for row in rows(store, "leaderboard.csv")] == ["False", "False"]


@pytest.mark.usefixtures("blank_report")
def test_what_made_the_runs_stands_in_every_table(job: Job, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store_results(store, made_by(short("adam", 0.7), torch="2.11.0"), made_by(short("adagrad", 0.8), torch="2.15.0"))
    assert job("report", tmp_path).exit_code == 0
    assert {row["optimizer"]: row["torch"] for row in rows(store, "results.csv")} == {
        "adam": "2.11.0", "adagrad": "2.15.0",
    }  # fmt: skip
    board = {row["optimizer"]: (row["made_with"], row["unlike_leader"]) for row in rows(store, "leaderboard.csv")}
    assert board == {"adagrad": ("torch 2.15.0", ""), "adam": ("torch 2.11.0", "torch 2.11.0 against 2.15.0")}
    page, markdown = ((tmp_path / "report" / name).read_text() for name in ("index.html", "report.md"))
    for text in (page, markdown):
        assert "but not in the optimizer alone: torch 2.15.0 against 2.11.0." in text
        assert "Not all runs were made alike: torch 2.15.0 (1 run) and 2.11.0 (1 run)." in text
        assert "made with" in text


@pytest.mark.usefixtures("blank_report")
def test_row_of_a_validated_run_is_of_one_epoch(job: Job, tmp_path: Path) -> None:
    manifest = make_manifest("adam", dataset={"name": "stl10", "validation_fraction": 0.1})
    result = make_result(manifest, top1=[0.5, 0.9, 0.7, 0.6], num_validation=500)
    history = [
        record.model_copy(update={"validation": Scores(loss=1.0, top1=value)})
        for record, value in zip(result.history, [0.4, 0.8, 0.7, 0.7], strict=True)
    ]
    best = {"epoch": 2, "chosen_on": "validation", "test": history[1].test}
    store = open_store(str(tmp_path))
    store_results(store, make_result(manifest, top1=[0.5, 0.9, 0.7, 0.6], history=history, best=best))
    assert job("report", tmp_path).exit_code == 0
    (row,) = rows(store, "leaderboard.csv")
    chosen = history[1]
    assert [float(row[name]) for name in ("score", "top5", "test_loss", "train_top1", "validation_top1")] == [
        0.9, chosen.test.top5, chosen.test.loss, chosen.train.top1, 0.8,
    ]  # fmt: skip
    assert chosen.test.top5 is not None
    markdown = (tmp_path / "report/report.md").read_text()
    assert f"| Adam ● | 1 | 90.0 % | {100 * chosen.test.top5:.1f} % | {chosen.test.loss:.3f} |" in markdown


def test_only_diverged_runs_give_a_report_too(job: Job, tmp_path: Path) -> None:
    store_results(open_store(str(tmp_path)), diverged(short("sgd")), diverged(short("adam")))
    assert job("report", tmp_path).exit_code == 0
    page = read_page(tmp_path / "report")
    assert "No run has finished with a score here yet: all 2 diverged." in page


def test_result_without_any_finite_loss_is_shown(job: Job, tmp_path: Path) -> None:
    scores = Scores(loss=None, top1=0.1, top5=None)
    result = short("sgd", 0.1)
    record: EpochRecord = result.history[0].model_copy(update={"train": scores, "test": scores})
    changed = result.model_copy(update={"final": scores, "history": [record]})
    store_results(open_store(str(tmp_path)), changed)
    assert job("report", tmp_path).exit_code == 0
    assert "10.0 %" in read_page(tmp_path / "report")


def test_hundred_classes_stay_legible(job: Job, tmp_path: Path) -> None:
    classes = [f"class {index}" for index in range(100)]
    result = short(
        "adam", 0.5, classes=classes, class_accuracy=[index / 100 for index in range(100)],
        confusion=[[int(row == column) for column in range(100)] for row in range(100)],
    )  # fmt: skip
    store_results(open_store(str(tmp_path)), result)
    assert job("report", tmp_path).exit_code == 0
    assert "the 100 classes, the easiest on the left" in read_page(tmp_path / "report")
