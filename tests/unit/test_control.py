"""A run is stopped at a step, and only there once it has begun."""

from __future__ import annotations

import os
import signal
import time

import pytest

from job.errors import Terminated, TimeBudgetUsed
from job.signals import ENDING_SIGNALS, raise_on_ending
from job.training import control
from job.training.control import Control


def test_signal_before_the_first_step_ends_the_process_at_once() -> None:
    Control().begin_run()
    with pytest.raises(Terminated, match="SIGTERM before the first step"):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_every_ending_signal_is_taken_like_sigterm(number: signal.Signals) -> None:
    stopped = Control()
    stopped.begin_run()
    stopped.begin_steps()
    signal.raise_signal(number)
    with pytest.raises(Terminated, match=number.name) as caught:
        stopped.on_step()
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_signal_that_was_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise_on_ending()
    Control().begin_run()
    signal.raise_signal(number)


def test_signal_during_the_word_of_a_failure_does_not_cut_it_short() -> None:
    stopped = Control()
    stopped.begin_run()
    with pytest.raises(OSError, match="its own fault"), stopped.until_training():
        raise OSError("its own fault")
    signal.raise_signal(signal.SIGTERM)  # while the failure is being recorded
    with pytest.raises(Terminated):
        stopped.begin_run()


def test_signal_that_a_library_swallowed_stops_the_run_at_its_first_step() -> None:
    stopped = Control()
    stopped.begin_run()
    try:
        signal.raise_signal(signal.SIGTERM)
    except Exception:  # noqa: BLE001 - as libraries do
        stopped.begin_steps()
    with pytest.raises(Terminated):
        stopped.on_step()


def test_signal_during_training_waits_for_the_next_step() -> None:
    stopped = Control()
    stopped.begin_run()
    stopped.begin_steps()
    stopped.on_step()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # an impatient second one changes nothing
    with pytest.raises(Terminated, match="SIGTERM"):
        stopped.on_step()


def test_time_budget_ends_with_its_own_code() -> None:
    limited = Control(time_budget_seconds=0.001)
    time.sleep(0.002)
    with pytest.raises(TimeBudgetUsed, match=r"0\.001 s") as caught:
        limited.on_step()
    assert caught.value.exit_code == 75


def test_budget_is_asked_for_only_when_something_was_gained() -> None:
    gained = False
    limited = Control(time_budget_seconds=0.001)
    time.sleep(0.002)
    limited.begin_run()
    limited.begin_steps(has_gained=lambda: gained)
    limited.on_step()  # a batch of the evaluation that the attempt before did not finish
    gained = True
    with pytest.raises(TimeBudgetUsed, match="the start-up alone takes longer"):
        limited.on_step()


def test_signal_is_heeded_before_anything_is_gained() -> None:
    stopped = Control(time_budget_seconds=0.001)
    stopped.begin_run()
    stopped.begin_steps(has_gained=lambda: False)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Terminated):
        stopped.on_step()


def test_used_budget_lets_the_first_run_step_and_stops_before_the_next() -> None:
    """Else a budget smaller than the start-up would never let an attempt make progress."""
    limited = Control(time_budget_seconds=0.001)
    time.sleep(0.002)
    limited.begin_run()
    limited.begin_steps()
    with pytest.raises(TimeBudgetUsed):
        limited.on_step()
    with pytest.raises(TimeBudgetUsed):
        limited.begin_run()


def test_signal_between_two_runs_stops_before_the_second() -> None:
    stopped = Control()
    stopped.begin_run()
    stopped.begin_steps()
    stopped.on_step()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated, match="SIGTERM"):
        stopped.begin_run()


def test_heartbeat_is_due_once_in_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    beating = Control()
    assert not beating.is_heartbeat_due()
    monkeypatch.setattr(control, "HEARTBEAT_SECONDS", 0.0)
    assert beating.is_heartbeat_due()
