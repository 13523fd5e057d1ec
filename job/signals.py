"""The signals with which a terminal or a scheduler ends a program: all are taken alike."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from job.errors import Terminated

ENDING_SIGNALS = (
    signal.SIGTERM,  # container engines, Slurm, systemd, a shutdown
    signal.SIGINT,  # Ctrl-C
    signal.SIGQUIT,  # Ctrl-\
    signal.SIGHUP,  # a terminal that closes, a connection that is lost
    signal.SIGXCPU,  # a limit of CPU time, as of `ulimit -t`
    signal.SIGUSR1,  # Slurm's --signal, Grid Engine's warning before it stops a job
    signal.SIGUSR2,  # LSF's end of a job's time, Grid Engine's warning before it kills one
    *((signal.SIGPWR,) if hasattr(signal, "SIGPWR") else ()),  # an init system's word of a power failure; not on a Mac
)
"""Each of them ends a program that does not handle it.

SIGALRM, SIGVTALRM, SIGPROF and SIGIO do so too and are not here: they come from timers and files that a program has set
up for itself, and a library that does so (a profiler, a time-out) brings its own handler, which must stay.
"""


def take_endings(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call `handler` for each of `ENDING_SIGNALS`, but for those that this process was started to ignore (nohup)."""
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def raise_on_ending() -> None:
    """Let the first of these signals raise `Terminated` in the main thread; those after it change nothing."""
    is_first = True

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise Terminated(f"stopped by {signal.Signals(number).name}")

    take_endings(handle)
