"""What may stop a run from outside: signals, and the time budget of the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType

from job.errors import Terminated, TimeBudgetUsed
from job.signals import take_endings


class Control:
    """Asked between two steps whether to stop. One for all runs of a process.

    While a run starts, a signal ends it at once. From its first step on, a signal waits until it is asked for: in the
    middle of a step, statistics and weights do not belong together, and what is being written is written to its end.
    The time budget counts only once an attempt has gained something that its checkpoint keeps. So a budget that is
    shorter than the start-up, or than an evaluation, still comes to an end: each attempt gains at least one training
    step or one whole evaluation.
    """

    def __init__(self, *, time_budget_seconds: float | None = None) -> None:
        """The time budget begins now; it is more than 0, or None for none."""
        self._began = perf_counter()
        self._budget = time_budget_seconds
        self._startup_seconds: float | None = None
        """Until the first training of the process began; None before."""
        self._signal: int | None = None
        self._raises_at_once = True

    def take_signals(self) -> None:
        """Handle the ending signals from now on. Until a run has started, the first one raises `Terminated`."""
        take_endings(self._handle)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A run starts in this block: a signal raises `Terminated` wherever the main thread is.

        After the block, however it ends, signals wait, so that a failure is recorded whole.
        """
        self._raises_at_once = True
        try:
            self.check_signal()
            yield
        finally:
            self._raises_at_once = False
        if self._startup_seconds is None:
            self._startup_seconds = perf_counter() - self._began

    def check(self, *, has_gained: bool = True) -> None:
        """Raises `Terminated` or `TimeBudgetUsed` when it is time to stop.

        `has_gained` says whether this attempt is further than where it started.
        """
        self.check_signal()
        if self._budget is None or perf_counter() - self._began <= self._budget or not has_gained:
            return
        message = f"the time budget of {self._budget:g} s is used; the same command carries on"
        if self._startup_seconds is not None and self._startup_seconds > self._budget:
            message += (
                f", but the start-up alone takes longer ({self._startup_seconds:.1f} s), so that an attempt trains "
                "hardly more than one step; give a larger --time-budget"
            )
        raise TimeBudgetUsed(message)

    def check_before_run(self) -> None:
        """Raises as `check` does. The first training of a process always starts, however short the budget."""
        self.check(has_gained=self._startup_seconds is not None)

    def check_signal(self) -> None:
        """Raises `Terminated` after a signal, whatever the time budget says."""
        if self._signal is not None:
            raise Terminated(f"stopped by {signal.Signals(self._signal).name}; the same command carries on")

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        is_first = self._signal is None
        self._signal = number
        if is_first and self._raises_at_once:
            raise Terminated(f"stopped by {signal.Signals(number).name} before the first step")
