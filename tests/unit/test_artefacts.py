"""Writing behind the training, and finding the newest good checkpoint."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import structlog

from job.errors import ConflictError, StorageError
from job.runs import RunKeys, checkpoint_digest_key
from job.storage import FolderStore
from job.training.artefacts import (
    ArtefactWriter,
    check_owner,
    checkpoint_artefacts,
    read_result,
    remove_old_checkpoints,
    restore_newest,
)
from job.training.journal import read_progress

KEYS = RunKeys("default", "adam-s0-0123456789")
CONFIGURATION = "0123456789"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


class SlowStore(FolderStore):
    """Writes only when told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.allowed = threading.Event()

    def write(self, key: str, content: bytes) -> None:
        assert self.allowed.wait(timeout=30)
        super().write(key, content)


def save(store: FolderStore, *, epoch: int, step: int = 0, configuration: str = CONFIGURATION) -> str:
    key = KEYS.checkpoint(epoch=epoch, step=step)
    content = f"epoch {epoch} step {step}".encode()
    for name, part in checkpoint_artefacts(key, content, configuration=configuration).items():
        store.write(name, part)
    return key


def restore(store: FolderStore) -> tuple[str | None, list[bytes]]:
    restored: list[bytes] = []
    key = restore_newest(
        store, KEYS, configuration=CONFIGURATION, restore=lambda content, _place: restored.append(content)
    )
    return key, restored


def test_at_most_one_batch_waits(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    with ArtefactWriter(store) as writer:
        writer.write({"first": b"1"})
        assert not writer.is_idle
        second = threading.Thread(target=writer.write, args=({"second": b"2"},))
        second.start()
        second.join(timeout=0.2)
        assert second.is_alive(), "the second batch must wait for the first"
        store.allowed.set()
        second.join(timeout=30)
        writer.flush()
    assert store.list_keys("") == ["first", "second"]
    assert writer.waited_seconds >= 0.2


def test_failed_write_comes_out_of_the_next_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with ArtefactWriter(FolderStore(tmp_path)) as writer:
        writer.write({"file/below": b""})
        with pytest.raises(StorageError, match="file"):
            writer.write({"other": b""})


def test_newest_checkpoint_is_the_one_furthest_on(store: FolderStore) -> None:
    save(store, epoch=1)
    save(store, epoch=2)
    newest = save(store, epoch=2, step=7)
    assert restore(store) == (newest, [b"epoch 2 step 7"])


@pytest.mark.parametrize("damage", [b"epoch 3 ste", b"epoch 3 step 1", b""])
def test_damaged_checkpoint_gives_way_to_the_one_before(damage: bytes, store: FolderStore) -> None:
    before = save(store, epoch=2)
    store.write(save(store, epoch=3), damage)
    with structlog.testing.capture_logs() as events:
        assert restore(store) == (before, [b"epoch 2 step 0"])
    assert [event["event"] for event in events] == ["checkpoint_ignored", "checkpoint_restored"]


def test_checkpoint_without_its_digest_does_not_count(store: FolderStore) -> None:
    before = save(store, epoch=1)
    store.delete([checkpoint_digest_key(save(store, epoch=2))])
    assert restore(store)[0] == before


def test_without_a_checkpoint_training_starts_anew(store: FolderStore) -> None:
    assert restore(store) == (None, [])


def test_checkpoint_of_another_configuration_is_a_conflict(store: FolderStore) -> None:
    save(store, epoch=1, configuration="abcdefabcd")
    with pytest.raises(ConflictError, match="abcdefabcd") as caught:
        restore(store)
    assert caught.value.exit_code == 68


def test_two_checkpoints_are_kept(store: FolderStore) -> None:
    kept = [save(store, epoch=epoch) for epoch in (1, 2, 3)][1:]
    remove_old_checkpoints(store, KEYS)
    assert store.list_keys(KEYS.checkpoints) == sorted([*kept, *map(checkpoint_digest_key, kept)])


def test_another_configuration_under_the_run_is_a_conflict(store: FolderStore) -> None:
    check_owner(store, KEYS, manifest={"name": "adam"})
    store.write(KEYS.manifest, b'{"name": "adam"}')
    check_owner(store, KEYS, manifest={"name": "adam"})
    for content in (b'{"name": "sgd"}', b"{"):
        store.write(KEYS.manifest, content)
        with pytest.raises(ConflictError, match=r"manifest\.json"):
            check_owner(store, KEYS, manifest={"name": "adam"})


def test_result_that_is_none_is_not_taken_for_complete(store: FolderStore) -> None:
    assert read_result(store, KEYS) is None
    store.write(KEYS.result, b"{}")
    with pytest.raises(ConflictError, match="remove it"):
        read_result(store, KEYS)


def test_broken_progress_is_passed_over(store: FolderStore) -> None:
    assert read_progress(store, KEYS) is None
    store.write(KEYS.progress, b"not json")
    assert read_progress(store, KEYS) is None
