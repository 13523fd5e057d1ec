"""Events: JSON lines in a container, warnings on a terminal, and everything in the run's log.jsonl."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import structlog

from job.logs import RecordedLog, configure_logs, get_logger


class Stream(io.StringIO):
    """Standard error, as a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Stream]:
    """Puts a "terminal" or a "container" in the place of standard error; not before the test, where pytest does."""

    def put(kind: str) -> Stream:
        stream = Stream(terminal=kind == "terminal")
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return put


def lines(text: str | bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def recorded(log: RecordedLog) -> list[dict[str, object]]:
    return lines(log.content())


def fail() -> None:
    raise ValueError("the reason")


def log_failure() -> None:
    try:
        fail()
    except ValueError:
        get_logger().exception("failed")


# In a container


def test_event_is_one_json_line_with_level_time_and_fields(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    configure_logs()
    get_logger().info("epoch_finished", epoch=3, test_top1=0.89, output="a\nb")
    (event,) = lines(container.getvalue())
    time = datetime.fromisoformat(str(event.pop("timestamp")))
    assert time.utcoffset() is not None
    assert event == {"event": "epoch_finished", "level": "info", "epoch": 3, "test_top1": 0.89, "output": "a\nb"}


def test_recorded_log_equals_what_was_logged(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    log = configure_logs()
    assert log.content() == b""
    get_logger().info("one", number=1)
    get_logger().warning("two", place="größe")
    log_failure()
    assert recorded(log) == lines(container.getvalue())
    assert [event["event"] for event in recorded(log)] == ["one", "two", "failed"]
    assert log.content().endswith(b"}\n")


def test_debug_events_are_neither_shown_nor_kept(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    log = configure_logs()
    get_logger().debug("detail")
    assert container.getvalue() == ""
    assert log.content() == b""


def test_context_is_bound_to_every_event_after_it(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    configure_logs()
    get_logger().info("before")
    structlog.contextvars.bind_contextvars(run="adam-s0-0123456789", attempt=2)
    get_logger().info("after", epoch=1)
    before, after = lines(container.getvalue())
    assert "run" not in before
    assert (after["run"], after["attempt"], after["epoch"]) == ("adam-s0-0123456789", 2, 1)


def test_exception_is_logged_with_its_traceback(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    configure_logs()
    log_failure()
    (event,) = lines(container.getvalue())
    assert event["level"] == "error"
    assert "ValueError: the reason" in str(event["exception"])
    assert "in fail" in str(event["exception"])


@pytest.mark.parametrize(
    "value",
    [Path("out"), {1, 2}, b"\xff", object(), ValueError("x"), datetime(2026, 1, 1), 1 + 2j, "\ud800", float("nan")],
    ids=["path", "set", "bytes", "object", "exception", "date", "complex", "surrogate", "nan"],
)
@pytest.mark.parametrize("kind", ["container", "terminal"])
def test_value_that_is_no_json_does_no_harm(stream: Callable[[str], Stream], kind: str, value: object) -> None:
    shown = stream(kind)
    log = configure_logs()
    get_logger().warning("odd", value=value)
    get_logger().warning("next")
    assert [event["event"] for event in recorded(log)] == ["odd", "next"]
    assert "odd" in shown.getvalue()
    assert "next" in shown.getvalue()


def test_path_is_logged_as_it_is_written(stream: Callable[[str], Stream]) -> None:
    container = stream("container")
    log = configure_logs()
    get_logger().info("staged", place=Path("data/stl10"))
    assert lines(container.getvalue())[0]["place"] == "data/stl10"
    assert recorded(log) == lines(container.getvalue())


def test_later_configuration_begins_a_new_log(stream: Callable[[str], Stream]) -> None:
    stream("container")
    first = configure_logs()
    get_logger().info("first")
    second = configure_logs()
    get_logger().info("second")
    assert [event["event"] for event in recorded(first)] == ["first"]
    assert [event["event"] for event in recorded(second)] == ["second"]


def test_stream_that_is_put_in_place_later_is_used(stream: Callable[[str], Stream]) -> None:
    """As a progress bar does, which else would be torn apart."""
    container = stream("container")
    configure_logs()
    later = stream("container")
    get_logger().info("late")
    assert container.getvalue() == ""
    assert lines(later.getvalue())[0]["event"] == "late"


# On a terminal


def test_terminal_is_shown_warnings_only_and_the_log_keeps_all(stream: Callable[[str], Stream]) -> None:
    terminal = stream("terminal")
    log = configure_logs()
    get_logger().info("epoch_finished", epoch=1)
    assert terminal.getvalue() == ""
    get_logger().warning("checkpoint_ignored", reason="no digest")
    assert "checkpoint_ignored" in terminal.getvalue()
    assert "no digest" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert [event["event"] for event in recorded(log)] == ["epoch_finished", "checkpoint_ignored"]


def test_exception_on_a_terminal_is_shown_and_kept(stream: Callable[[str], Stream]) -> None:
    terminal = stream("terminal")
    log = configure_logs()
    log_failure()
    assert "the reason" in terminal.getvalue()
    assert "ValueError: the reason" in str(recorded(log)[0]["exception"])


def test_what_a_library_warns_of_is_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure_logs()
    with warnings.catch_warnings():  # pytest has made every warning an error
        warnings.simplefilter("always")
        warnings.warn("the old way", DeprecationWarning, stacklevel=1)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("warning", "warning")
    assert (event["category"], event["reason"]) == ("DeprecationWarning", "the old way")
    assert json.loads(log.content()) == event
