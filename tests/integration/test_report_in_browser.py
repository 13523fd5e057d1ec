"""The page in a real Chromium, driven over its debugging protocol: quiet, offline, sortable, readable on a phone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job.report import read_reference, write_report
from job.storage import open_store
from tests.records import make_study, store_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Browser:
    """One page; `events` holds all that the browser has told of it."""

    def __init__(self, address: str) -> None:
        websocket = pytest.importorskip("websocket", reason="websocket-client is not installed")
        self._socket = websocket.create_connection(address, timeout=60)
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, url: str, *, width: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=url)
        for _ in range(600):
            if self.evaluate("document.readyState") == "complete" and self.evaluate("location.href") != "about:blank":
                return
            time.sleep(0.1)
        raise TimeoutError(url)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    store = open_store(str(folder))
    store_results(store, *make_study(seeds=2))
    store.write("default/runs/<img src=x onerror=alert(1)>/progress.json", b"{}")
    written = write_report(store, reference=read_reference("lab-report"))
    return Path(written.location).as_uri()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    profile = tmp_path / "profile"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=log)
    try:
        port_file = profile / "DevToolsActivePort"
        for _ in range(600):
            if port_file.is_file() and port_file.read_text().count("\n") >= 1:
                break
            time.sleep(0.1)
        port, path = port_file.read_text().splitlines()[:2]
        whole = Browser(f"ws://127.0.0.1:{port}{path}")
        target = whole.call("Target.createTarget", url="about:blank")["targetId"]
        whole.close()
        one = Browser(f"ws://127.0.0.1:{port}/devtools/page/{target}")
        for domain in ("Page", "Runtime", "Log", "Network"):
            one.call(f"{domain}.enable")
        yield one
        one.close()
    finally:
        process.terminate()
        process.wait(30)


def test_page_is_quiet_and_asks_the_network_for_nothing(browser: Browser, page: str) -> None:
    browser.open(page, width=1200)
    time.sleep(0.5)
    browser.evaluate("1")  # collects the events until here
    told = [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert told == []
    assert [event for event in browser.events if event["method"] == "Runtime.consoleAPICalled"] == []
    asked = {
        event["params"]["request"]["url"].split(":")[0]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data"}
    files = [event for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    assert [
        each["params"]["request"]["url"] for each in files if each["params"]["request"]["url"].startswith("file")
    ] == [page]


def test_every_figure_is_drawn_and_has_a_caption(browser: Browser, page: str) -> None:
    browser.open(page, width=1200)
    sizes = browser.evaluate(
        "[...document.querySelectorAll('figure')].map(f => [f.querySelector('svg').getBoundingClientRect().width,"
        "f.querySelector('svg').getBoundingClientRect().height, f.querySelector('figcaption').textContent.length,"
        "f.querySelectorAll('svg path, svg circle, svg image').length])"
    )
    assert len(sizes) > 25
    for width, height, caption, shapes in sizes:
        assert width > 200
        assert height > 60
        assert caption > 20
        assert shapes > 2


def column(browser: Browser, index: int) -> list[str]:
    rows = f"[...document.querySelector('table.sortable').tBodies[0].rows].map(r => r.cells[{index}].textContent)"
    return browser.evaluate(rows)


def test_leaderboard_sorts_by_any_column_and_back(browser: Browser, page: str) -> None:
    browser.open(page, width=1200)
    before = column(browser, 2)
    click = "document.querySelectorAll('table.sortable')[0].querySelectorAll('th button')[{}].click()"
    browser.evaluate(click.format(2))
    numbers = [float(text.split(" %")[0]) for text in column(browser, 2) if text != "–"]  # it diverged
    assert numbers == sorted(numbers)
    assert browser.evaluate("document.querySelectorAll('th')[2].getAttribute('aria-sort')") == "ascending"
    browser.evaluate(click.format(2))
    assert column(browser, 2) == before
    browser.evaluate(click.format(0))
    assert column(browser, 0) == sorted(column(browser, 0), key=str.lower)
    browser.evaluate(click.format(8))
    reached = [not text.startswith("–") for text in column(browser, 8)]
    assert reached == sorted(reached, reverse=True)  # those without a value stay below


@pytest.mark.parametrize("width", [390, 1200])
def test_page_needs_no_sideways_scrolling(browser: Browser, page: str, width: int) -> None:
    browser.open(page, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("innerWidth") == width
    wide = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg') &&"
        f"e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_text_in_figures_is_legible_on_a_phone(browser: Browser, page: str) -> None:
    browser.open(page, width=390)
    heights = browser.evaluate(
        "[...document.querySelectorAll('figure:not([id*=confusion]) svg text')].map(t => "
        "parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width /"
        "t.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert len(heights) > 200
    assert min(heights) > 7


def test_hostile_run_id_is_text(browser: Browser, page: str) -> None:
    browser.open(page, width=1200)
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.evaluate("document.body.textContent")


def test_page_prints_on_a_few_sheets(browser: Browser, page: str) -> None:
    browser.open(page, width=1200)
    assert len(browser.call("Page.printToPDF")["data"]) > 10_000
