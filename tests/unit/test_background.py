"""The completion of a run goes on behind the training of the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from job.errors import DataError
from job.runs import RunResult
from job.training.record.background import Completions
from tests.records import make_manifest, make_result

FIRST, SECOND = (make_result(make_manifest("adam", seed=seed)) for seed in (0, 1))


def complete_as(run: RunResult, log: list[str], *, after: threading.Event | None = None) -> Callable[[], RunResult]:
    def complete() -> RunResult:
        assert after is None or after.wait(120)
        log.append(f"{run.manifest.seed} completed")
        return run

    return complete


def fail() -> RunResult:
    raise DataError("its own fault")


def test_completion_does_not_hold_up_who_begins_it() -> None:
    log: list[str] = []
    go = threading.Event()
    with Completions(on_result=lambda found: log.append(f"{found.manifest.seed} shown")) as completions:
        completions.begin(complete_as(FIRST, log, after=go))
        log.append("1 trained")
        go.set()
        completions.begin(complete_as(SECOND, log))
        completions.wait()
    assert log.index("1 trained") < log.index("0 completed") < log.index("0 shown") < log.index("1 shown")


def test_failure_comes_out_with_the_next_one_which_is_completed_all_the_same() -> None:
    log: list[str] = []
    with Completions(on_result=lambda found: log.append(f"{found.manifest.seed} shown")) as completions:
        completions.begin(fail)
        with pytest.raises(DataError, match="its own fault"):
            completions.begin(complete_as(SECOND, log))
        completions.wait()
    assert log == ["1 completed", "1 shown"]


def test_leaving_early_waits_for_what_is_being_completed() -> None:
    log: list[str] = []
    go = threading.Event()
    with Completions(on_result=lambda _found: log.append("shown")) as completions:
        completions.begin(complete_as(FIRST, log, after=go))
        threading.Timer(0.2, go.set).start()
    assert log == ["0 completed"]
