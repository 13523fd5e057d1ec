"""A run is stopped at a step, and only there once it has begun."""

from __future__ import annotations

import os
import signal
import time

import pytest

from job.errors import Terminated, TimeBudgetUsed
from job.training import control
from job.training.control import Control


def test_signal_before_the_first_step_ends_the_process_at_once() -> None:
    Control().begin_run()
    with pytest.raises(Terminated, match="SIGTERM before the first step"):
        os.kill(os.getpid(), signal.SIGTERM)


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
