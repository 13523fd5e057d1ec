"""What may stop a run from outside: signals and its own time budget."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import perf_counter
from types import FrameType

from job.errors import Terminated, TimeBudgetUsed

HEARTBEAT_SECONDS = 15.0
"""Progress is reported at least so often; what is silent for much longer is lost."""


class Control:
    """Asked after every step, for all runs of a process.

    A signal before the training of a run ends the process at once, then at the end of a step: in the middle of one,
    statistics and weights do not belong together.
    """

    def __init__(self, *, time_budget_seconds: float | None = None) -> None:
        self._deadline = perf_counter() + time_budget_seconds if time_budget_seconds else None
        self._budget = time_budget_seconds
        self._show_step: Callable[[], None] = lambda: None
        self._signal: int | None = None
        self._in_steps = False
        self._heartbeat = perf_counter()

    def begin_run(self, *, show_step: Callable[[], None] = lambda: None) -> None:
        """Take SIGTERM and SIGINT from now on. Raises as `on_step` after an earlier run; the first one always steps."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        if self._in_steps:
            self._stop_if_due()
        self._in_steps, self._show_step = False, show_step

    def begin_steps(self) -> None:
        """From here a signal waits for `on_step`."""
        self._in_steps = True

    def on_step(self) -> None:
        """Raises `Terminated` or `TimeBudgetUsed` when it is time to stop."""
        self._show_step()
        self._stop_if_due()

    def _stop_if_due(self) -> None:
        if self._signal is not None:
            raise Terminated(f"stopped by {signal.Signals(self._signal).name}; the same command carries on")
        if self._deadline is not None and perf_counter() > self._deadline:
            raise TimeBudgetUsed(f"the time budget of {self._budget:g} s is used; the same command carries on")

    def is_heartbeat_due(self) -> bool:
        """True once every `HEARTBEAT_SECONDS`."""
        now = perf_counter()
        if now - self._heartbeat < HEARTBEAT_SECONDS:
            return False
        self._heartbeat = now
        return True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        first = self._signal is None
        self._signal = number
        if first and not self._in_steps:
            raise Terminated(f"stopped by {signal.Signals(number).name} before the first step")
