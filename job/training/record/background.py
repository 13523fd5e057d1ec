"""What goes on behind the training of a run: the completion of the one before. Readable without torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Self

from job.runs import RunResult


class Completions:
    """Completes each run behind the training of the next one, one at a time."""

    def __init__(self, *, on_result: Callable[[RunResult], None]) -> None:
        """`on_result` is called in the thread that uses this."""
        self._on_result = on_result
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="completion")
        self._pending: Future[RunResult] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def begin(self, completion: Callable[[], RunResult]) -> None:
        """Start it, once the one before is done; raises what that one raised."""
        previous, self._pending = self._pending, self._pool.submit(copy_context().run, completion)
        self._take(previous)

    def wait(self) -> None:
        """Until all are done; raises what the last one raised."""
        previous, self._pending = self._pending, None
        self._take(previous)

    def _take(self, completion: Future[RunResult] | None) -> None:
        if completion is not None:
            self._on_result(completion.result())
