"""`job status --html` writes a page of a sweep that runs: it is right, small and quiet, and written when it changes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from job.cli.live import LivePage
from job.manifest import Sweep
from job.plan import SweepPlan, build_plan, plan_key
from job.runs import AttemptRecord, Progress, RunKeys, RunResult, runs_prefix
from job.storage import FolderStore, open_store
from job.submit.status import observe_sweep
from tests.conftest import Answer
from tests.integration.test_report_in_browser import AXE, DESKTOP, PHONE, Browser, browser
from tests.pace import slowness
from tests.records import make_result

__all__ = ["browser"]  # a fixture

Job = Callable[..., Answer]
LIVE = "report/live.html"
NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
SWEEP = {
    "name": "rates",
    "seeds": [0, 1],
    "defaults": {"epochs": 4, "dataset": {"name": "synthetic"}},
    "blocks": [
        {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": [0.01, 0.001]}},
        {"base": {"optimizer": {"name": "sgd", "lr": 0.1}}},
    ],
}


def plan_sweep(store: FolderStore, **fields: object) -> SweepPlan:
    plan = build_plan(Sweep.model_validate(SWEEP | fields), source="sweep.json")
    store.write(plan_key("rates"), plan.model_dump_json().encode())
    return plan


class Runs:
    """What the runs of a sweep leave in an output while they train."""

    def __init__(self, store: FolderStore, plan: SweepPlan) -> None:
        self.store = store
        self.results: list[RunResult] = [make_result(run.manifest, experiment="rates") for run in plan.runs]

    def train(self, number: int, *, epochs: int, state: Any = "running", **more: Any) -> None:
        """The run `number` reports that so many epochs are done, each in 100 s, on a machine of $3.60 an hour."""
        result, keys = self.results[number], self.keys(number)
        attempt = AttemptRecord(
            number=1, started_at=NOW, ended_at=NOW, seconds=100 * epochs, usd_per_hour=None if number == 5 else 3.6
        )
        progress = Progress(
            run_id=result.run_id, state=state, attempt=1, epoch=epochs, step=0, num_epochs=4, num_steps=10,
            trained_seconds=100 * epochs, attempt_records=[attempt], updated_at=NOW, **more,
        )  # fmt: skip
        history = "".join(f"{record.model_dump_json()}\n" for record in result.history[:epochs])
        self.store.write(keys.history, history.encode())
        self.store.write(keys.progress, progress.model_dump_json().encode())
        if state in ("completed", "diverged"):
            self.store.write(keys.result, result.model_dump_json().encode())

    def keys(self, number: int) -> RunKeys:
        return RunKeys("rates", self.results[number].run_id)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "out")


@pytest.fixture
def runs(store: FolderStore) -> Runs:
    """Of six runs one is done, two train, one has failed, one waits, and one has no price."""
    runs = Runs(store, plan_sweep(store))
    runs.train(0, epochs=4, state="completed")
    runs.train(1, epochs=2)
    runs.train(2, epochs=1)
    runs.train(3, epochs=1, state="failed", error="no <b>memory</b>", exit_code=69)
    runs.train(5, epochs=2, state="interrupted")
    return runs


def refresh(page: LivePage, store: FolderStore, *, now: datetime = NOW) -> bool:
    versions = store.list_versions(runs_prefix("rates"))
    return page.refresh(observe_sweep(store, "rates", listed=versions, now=now), versions, now=now)


def text_of(store: FolderStore) -> str:
    page = store.read(LIVE).decode().replace("\u00a0", " ")
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_page_tells_how_far_the_sweep_is_what_it_costs_and_what_went_wrong(store: FolderStore, runs: Runs) -> None:
    assert refresh(LivePage(store, "rates"), store)
    said = text_of(store)
    assert "rates: 42 % trained" in said  # 4 + 2 + 1 + 1 + 0 + 2 of 24 epochs
    assert "Runs 1 done, 2 running, 1 failed, 1 waiting, 1 interrupted" in said
    assert "Machine time 0.28 h" in said  # 1000 s
    assert "Cost so far $0.80, without 1 run on machines whose price is not known" in said  # 800 s
    assert "no &lt;b&gt;memory&lt;/b&gt;" in said
    assert "failed, exit code 69" in said
    # 2 + 3 + 4 + 2 epochs are left for two machines, at 100 s each
    assert "Time left about 9 min" in said
    assert "Adam, lr 0.001" in said
    assert "As of 2026-11-29 03:00:00 UTC" in said
    assert runs.results[1].run_id in said


def test_running_curves_are_in_the_page(store: FolderStore, runs: Runs) -> None:
    refresh(LivePage(store, "rates"), store)
    page = store.read(LIVE).decode().replace("\u00a0", " ")
    mean = sum(result.history[0].test.top1 for result in (runs.results[0], runs.results[3])) / 2
    # what a point tells: the mean of the two seeds of the first configuration, of which one is done and one has failed
    assert f"epoch 1: {100 * mean + 1e-9:.1f} %" in page
    assert "Adam, lr 0.01" in page
    assert "SGD" in page


def test_page_is_written_only_when_something_has_changed(store: FolderStore, runs: Runs) -> None:
    page = LivePage(store, "rates")
    assert refresh(page, store)
    first = store.read(LIVE)
    assert not refresh(page, store, now=NOW + timedelta(seconds=15))
    assert store.read(LIVE) == first
    runs.train(1, epochs=3)
    assert refresh(page, store, now=NOW + timedelta(seconds=30))
    assert "03:00:30 UTC" in text_of(store)


class CountingStore(FolderStore):
    """Remembers what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.seen: list[str] = []

    def read(self, key: str) -> bytes:
        self.seen.append(key)
        return super().read(key)


def test_only_what_has_changed_is_read_again(store: FolderStore, runs: Runs) -> None:
    counting = CountingStore(store.root)
    page = LivePage(counting, "rates")
    refresh(page, counting)
    counting.seen.clear()
    runs.train(1, epochs=3)
    refresh(page, counting)
    assert [key for key in counting.seen if key.endswith("history.jsonl")] == [runs.keys(1).history]
    assert runs.keys(0).progress not in counting.seen


@pytest.mark.parametrize("content", [b"", b"not JSON\n", b'{"epoch": 1}\n'])
def test_history_that_cannot_be_read_costs_the_curve_alone(content: bytes, store: FolderStore, runs: Runs) -> None:
    store.write(runs.keys(1).history, content)
    refresh(LivePage(store, "rates"), store)
    assert "rates: 42 % trained" in text_of(store)


def test_plan_of_another_version_costs_the_names_alone(store: FolderStore, runs: Runs) -> None:
    content = store.read(plan_key("rates")).replace(b'"adam"', b'"adam-of-tomorrow"')
    store.write(plan_key("rates"), content)
    refresh(LivePage(store, "rates"), store)
    assert "rates: 42 % trained" in text_of(store)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_sweep_that_is_over_has_a_last_page_that_stays(
    place: str, job: Job, store: FolderStore, runs: Runs, bucket: str
) -> None:
    for number in range(6):
        runs.train(number, epochs=4, state="diverged" if number == 4 else "completed")
    output = open_store(bucket) if place == "bucket" else store
    for key in store.list_keys("") if place == "bucket" else ():
        output.write(key, store.read(key))
    answer = job("status", output.uri, "--watch", "--html")
    assert answer.exit_code == 0, answer.stderr
    assert f"rates: the live page is {output.locate(LIVE)}" in answer.stderr
    page = output.read(LIVE).decode()
    assert "<script" not in page
    assert f"job report {output.uri}" in page
    assert "6 done (1 diverged)" in page


def test_ten_thousand_runs_are_one_small_page(store: FolderStore) -> None:
    rates = [0.0001 * (1 + number) for number in range(500)]
    plan = plan_sweep(
        store, seeds=list(range(20)), blocks=[{"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": rates}}]
    )
    assert len(plan.runs) == 10_000
    some = Runs(store, plan.model_copy(update={"runs": plan.runs[:400]}))
    for number in range(400):
        some.train(number, epochs=1 + number % 3)
    page = LivePage(store, "rates")
    refresh(page, store)
    assert len(store.read(LIVE)) < 100_000
    assert "The first 50 of 400" in text_of(store)
    assert "8 of 400 configurations" in text_of(store)
    some.train(7, epochs=4)
    began = time.process_time()
    assert refresh(page, store)
    assert time.process_time() - began < 20 * slowness()  # of one core, the judgement of 10,000 runs included


@pytest.fixture
def live(store: FolderStore, runs: Runs) -> str:
    assert len(runs.results) == 6
    refresh(LivePage(store, "rates"), store)
    return Path(store.locate(LIVE)).as_uri()


def test_live_page_is_quiet_and_asks_the_network_for_nothing(browser: Browser, live: str) -> None:
    browser.open(live, width=1280)
    urls = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert urls == [live]
    assert [e for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []


@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE])
def test_axe_finds_nothing_in_the_live_page(browser: Browser, live: str, width: int, height: int) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci --prefix tests/browser")
    browser.open(live, width=width, height=height)
    browser.evaluate(AXE.read_text())
    found = browser.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
    )
    assert found == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


TIMER_OF_THE_TEST = "window.setInterval = (act, milliseconds) => { window.reloading = {act, milliseconds}; };"


def test_live_page_shows_what_is_new_until_somebody_stops_it(
    browser: Browser, live: str, store: FolderStore, runs: Runs
) -> None:
    """Its timer goes off when the test says so."""
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=TIMER_OF_THE_TEST)
    browser.open(live, width=1280)
    assert browser.evaluate("document.title") == "42 % of rates"
    assert browser.evaluate("reloading.milliseconds") == 20_000
    runs.train(1, epochs=4)
    refresh(LivePage(store, "rates"), store)
    browser.events.clear()
    browser.evaluate("setTimeout(reloading.act) && 0")
    browser.wait_for("Page.loadEventFired")
    assert browser.evaluate("document.title") == "50 % of rates"
    browser.evaluate("document.getElementById('pause').click()")
    assert browser.evaluate("document.getElementById('pause').textContent") == "Go on reloading"
    browser.evaluate("window.stays = true")
    browser.evaluate("reloading.act()")
    browser.evaluate("new Promise(done => setTimeout(done, 500))")  # time enough for a page to go away
    assert browser.evaluate("window.stays") is True
