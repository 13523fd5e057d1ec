"""A run is stopped at a step, and only there once it has begun."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from job.errors import Terminated, TimeBudgetUsed
from job.signals import ENDING_SIGNALS, raise_on_ending
from job.training.control import Control


def started(*, time_budget_seconds: float | None = None) -> Control:
    """A control whose run has started."""
    control = Control(time_budget_seconds=time_budget_seconds)
    control.take_signals()
    if time_budget_seconds is not None:
        time.sleep(2 * time_budget_seconds)
    with control.starting():
        pass
    return control


def test_signal_before_a_run_starts_ends_the_process_at_once() -> None:
    Control().take_signals()
    with pytest.raises(Terminated, match="SIGTERM before the first step"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_signal_while_a_run_starts_ends_it_at_once() -> None:
    control = started()
    with pytest.raises(Terminated, match="SIGTERM before the first step"), control.starting():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_every_ending_signal_is_taken_like_sigterm(number: signal.Signals) -> None:
    control = started()
    signal.raise_signal(number)
    with pytest.raises(Terminated, match=number.name) as caught:
        control.check()
    assert caught.value.exit_code == 143


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_signal_that_was_ignored_at_the_start_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise_on_ending()
    Control().take_signals()
    signal.raise_signal(number)


def test_signal_while_a_failure_is_recorded_does_not_cut_it_short() -> None:
    control = Control()
    control.take_signals()
    with pytest.raises(OSError, match="its own fault"), control.starting():
        raise OSError("its own fault")
    signal.raise_signal(signal.SIGTERM)  # while the failure is being recorded
    with pytest.raises(Terminated):
        control.check_before_run()


def test_signal_that_a_library_swallowed_stops_the_run_at_its_first_step() -> None:
    control = Control()
    control.take_signals()
    with control.starting(), contextlib.suppress(Exception):  # as libraries do
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Terminated):
        control.check()


def test_signal_during_training_waits_for_the_next_pause() -> None:
    control = started()
    control.check()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # an impatient second one changes nothing
    with pytest.raises(Terminated, match="SIGTERM"):
        control.check()


def test_time_budget_ends_with_its_own_code() -> None:
    control = Control(time_budget_seconds=0.001)
    time.sleep(0.002)
    with pytest.raises(TimeBudgetUsed, match=r"0\.001 s") as caught:
        control.check()
    assert caught.value.exit_code == 75


def test_budget_counts_only_when_something_was_gained() -> None:
    control = started(time_budget_seconds=0.001)
    control.check(has_gained=False)  # a batch of the evaluation that the attempt before did not finish
    with pytest.raises(TimeBudgetUsed, match="the start-up alone takes longer"):
        control.check(has_gained=True)


def test_signal_is_heeded_before_anything_is_gained() -> None:
    control = started(time_budget_seconds=0.001)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Terminated):
        control.check(has_gained=False)


def test_used_budget_lets_the_first_run_start_and_stops_before_the_next() -> None:
    """Else a budget smaller than the start-up would never let an attempt make progress."""
    control = Control(time_budget_seconds=0.001)
    time.sleep(0.002)
    control.check_before_run()
    with control.starting():
        pass
    with pytest.raises(TimeBudgetUsed):
        control.check_before_run()


def test_signal_between_two_runs_stops_before_the_second() -> None:
    control = started()
    control.check()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Terminated, match="SIGTERM"):
        control.check_before_run()
