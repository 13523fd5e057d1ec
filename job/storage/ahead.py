"""Reads many objects while the caller works on those that are there, without ever holding all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from job.errors import ObjectMissing
from job.storage.base import Store

NUM_READERS = 10
"""So many threads read at once, because botocore keeps this many connections in its pool by default."""
NUM_AHEAD = 40
"""Objects that have been read, or are being read, and that the caller has not yet taken."""


def read_ahead(store: Store, keys: Iterable[str]) -> Generator[tuple[str, bytes | None], None, None]:
    """Each key with its object, in the order of `keys`; None where nothing is under the key (any more).

    Raises what `Store.read` raises, when the object's turn comes. A caller that stops midway reads no more.
    """
    waiting: deque[tuple[str, Future[bytes | None]]] = deque()
    with ThreadPoolExecutor(NUM_READERS) as readers:
        try:
            for key in keys:
                waiting.append((key, readers.submit(_read, store, key)))
                if len(waiting) >= NUM_AHEAD:
                    first, content = waiting.popleft()
                    yield first, content.result()
            while waiting:
                first, content = waiting.popleft()
                yield first, content.result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except ObjectMissing:
        return None
