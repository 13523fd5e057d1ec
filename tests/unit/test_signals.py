"""What ends a command reaches what it has started."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from job.errors import Terminated
from job.signals import raise_on_ending
from job.submit.processes import run_processes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_reaches_the_processes_of_a_sweep(tmp_path: Path, number: signal.Signals) -> None:
    """Else they would go on without anyone who knows of them."""
    started, stopped = tmp_path / "started", tmp_path / "stopped"
    script = f"trap 'touch {stopped}; exit 143' TERM; touch {started}; while :; do sleep 0.05; done"

    def send() -> None:
        while not started.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    raise_on_ending()
    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(Terminated, match=number.name):
        list(run_processes([["sh", "-c", script]], jobs=1))
    assert stopped.exists()


def test_processes_are_stopped_where_nobody_listens_any_more(tmp_path: Path) -> None:
    """As when a signal meets the command while it prints, and not while it waits."""
    stopped, started = tmp_path / "stopped", tmp_path / "started"
    wait = f"trap 'touch {stopped}; exit 143' TERM; touch {started}; while :; do sleep 0.05; done"
    quick = f"while [ ! -e {started} ]; do sleep 0.05; done"
    ended = run_processes([["sh", "-c", quick], ["sh", "-c", wait]], jobs=2)
    assert next(ended).index == 0
    ended.close()
    assert stopped.exists()


def test_timers_of_libraries_keep_their_handlers() -> None:
    timers = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)
    before = [signal.getsignal(number) for number in timers]
    raise_on_ending()
    assert [signal.getsignal(number) for number in timers] == before


@pytest.mark.skipif(not hasattr(signal, "SIGPWR"), reason="this system has no SIGPWR")
def test_power_failure_ends_a_command() -> None:
    raise_on_ending()
    with pytest.raises(Terminated, match="SIGPWR"):
        signal.raise_signal(signal.SIGPWR)


def test_second_signal_changes_nothing() -> None:
    raise_on_ending()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
