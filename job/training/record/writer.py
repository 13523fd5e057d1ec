"""Artefacts are written behind the training, so that the device does not wait for storage."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from time import perf_counter

from job.storage import Store


class ArtefactWriter:
    """Writes to `store` in a thread of its own, in order, with at most one batch of artefacts waiting.

    `waited_seconds` is how long the training stood still for storage. What a write raises comes out of the next call.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="artefacts")
        self._pending: Future[None] | None = None
        self.waited_seconds = 0.0

    def close(self) -> None:
        """Wait for what is being written; what waits behind it is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def is_idle(self) -> bool:
        return self._pending is None or self._pending.done()

    def write(self, artefacts: dict[str, bytes], *, then: Callable[[], None] | None = None) -> None:
        """Write these in order, then call `then`. Waits only for the batch before."""
        self.flush()
        self._pending = self._pool.submit(copy_context().run, self._write, artefacts, then)

    def flush(self) -> None:
        """Wait until everything is stored."""
        start = perf_counter()
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                pending.result()
        finally:
            self.waited_seconds += perf_counter() - start

    def _write(self, artefacts: dict[str, bytes], then: Callable[[], None] | None) -> None:
        for key, content in artefacts.items():
            self._store.write(key, content)
        if then is not None:
            then()
