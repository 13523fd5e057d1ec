"""What may stop a run from outside: signals and its own time budget."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType

from job.errors import Terminated, TimeBudgetUsed
from job.signals import take_endings

HEARTBEAT_SECONDS = 15.0
"""Progress is reported at least so often; what is silent for much longer is lost."""


class Control:
    """Asked after every step, for all runs of a process.

    While a run starts, a signal ends it at once. From its first step on, a signal waits until it is asked for: in the
    middle of a step, statistics and weights do not belong together, and what is being written is written to its end.
    The time budget is asked for only once an attempt has gained something that its checkpoint keeps. So a budget that
    is shorter than the start-up, or than an evaluation, still comes to an end: each attempt gains at least one
    training step or one whole evaluation.
    """

    def __init__(self, *, time_budget_seconds: float | None = None) -> None:
        """The time budget begins now; it is more than 0, or None for none."""
        self._began = perf_counter()
        self._budget = time_budget_seconds
        self._startup_seconds = 0.0
        self._show_step: Callable[[], None] = lambda: None
        self._has_gained: Callable[[], bool] = lambda: True
        self._signal: int | None = None
        self._has_stepped = False
        self._signals_wait = False
        self._heartbeat = perf_counter()

    def begin(self) -> None:
        """Take the ending signals from now on: the first one raises `Terminated` wherever the main thread is."""
        take_endings(self._handle)

    def begin_run(self, *, show_step: Callable[[], None] = lambda: None) -> None:
        """Raises as `on_step` after an earlier run; the first one always steps."""
        self.begin()
        self._signals_wait, self._show_step = False, show_step
        if self._has_stepped:
            self._stop_if_due()
        self.stop_if_signalled()

    @contextmanager
    def until_training(self) -> Iterator[None]:
        """In the block a signal raises `Terminated` at once, until `begin_steps`.

        Once the block has ended, in whatever way, signals wait, so that word of it can be left.
        """
        try:
            yield
        finally:
            self._signals_wait = True
            self._has_gained = lambda: True  # and the training is let go

    def begin_steps(self, *, has_gained: Callable[[], bool] = lambda: True) -> None:
        """From here a signal waits for `on_step`. `has_gained` tells whether this attempt is further than its start."""
        self._signals_wait = self._has_stepped = True
        self._has_gained = has_gained
        self._startup_seconds = perf_counter() - self._began

    def on_step(self) -> None:
        """Raises `Terminated` or `TimeBudgetUsed` when it is time to stop."""
        self._show_step()
        self._stop_if_due()

    def stop_if_signalled(self) -> None:
        """Raises `Terminated` after a signal, whatever the time budget says."""
        if self._signal is not None:
            raise Terminated(f"stopped by {signal.Signals(self._signal).name}; the same command carries on")

    def _stop_if_due(self) -> None:
        self.stop_if_signalled()
        if self._budget is None or perf_counter() - self._began <= self._budget or not self._has_gained():
            return
        message = f"the time budget of {self._budget:g} s is used; the same command carries on"
        if self._startup_seconds > self._budget:
            message += (
                f", but the start-up alone takes longer ({self._startup_seconds:.1f} s), so that an attempt trains "
                "hardly more than one step; give a larger --time-budget"
            )
        raise TimeBudgetUsed(message)

    def is_heartbeat_due(self) -> bool:
        """True once every `HEARTBEAT_SECONDS`."""
        now = perf_counter()
        if now - self._heartbeat < HEARTBEAT_SECONDS:
            return False
        self._heartbeat = now
        return True

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        is_first = self._signal is None
        self._signal = number
        if is_first and not self._signals_wait:
            raise Terminated(f"stopped by {signal.Signals(number).name} before the first step")
