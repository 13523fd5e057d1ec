"""Objects that are read ahead of the work on them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from job.errors import StorageError
from job.storage import FolderStore, read_ahead
from job.storage.ahead import NUM_AHEAD


class SlowStore(FolderStore):
    """A folder that counts what was read of it, and takes longer for some keys than for others."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.num_read = 0
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        with self._lock:
            self.num_read += 1
        time.sleep(0.002 * (int(key) % 3))
        if key == "13":
            raise StorageError("13: broken")
        return super().read(key)


@pytest.fixture
def store(tmp_path: Path) -> SlowStore:
    for number in range(100):
        if number != 7:
            (tmp_path / str(number)).write_text(f"content of {number}")
    return SlowStore(tmp_path)


def test_objects_come_in_the_order_of_their_keys_and_missing_ones_as_none(store: SlowStore) -> None:
    keys = [str(number) for number in range(99, 13, -1)] + ["7"]
    expected: list[tuple[str, bytes | None]] = [(key, f"content of {key}".encode()) for key in keys[:-1]]
    assert list(read_ahead(store, keys)) == [*expected, ("7", None)]


def test_no_more_is_read_ahead_than_may_lie_in_memory(store: SlowStore) -> None:
    contents = read_ahead(store, [str(number) for number in range(14, 100)])
    next(contents)
    time.sleep(0.3)
    assert store.num_read <= NUM_AHEAD
    contents.close()
    time.sleep(0.1)
    assert store.num_read <= NUM_AHEAD


def test_fault_is_raised_when_the_turn_of_its_object_comes(store: SlowStore) -> None:
    contents = read_ahead(store, ["11", "12", "13", "14"])
    assert [key for key, _ in (next(contents), next(contents))] == ["11", "12"]
    with pytest.raises(StorageError, match="broken"):
        next(contents)
