"""Artefacts are written behind the training, in order, and of the checkpoints only a whole one counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from structlog.testing import capture_logs

from job.errors import AccessDeniedError, ConflictError, DataError, StorageError
from job.manifest import Manifest, Since
from job.runs import KEPT_CHECKPOINTS, CheckpointDigest, RunKeys, checkpoint_digest_key
from job.storage import FolderStore
from job.training.record.checkpoints import checkpoint_artefacts, remove_old_checkpoints, restore_newest
from job.training.record.folder import RunFolder
from job.training.record.writer import ArtefactWriter
from tests.records import make_manifest

KEYS = RunKeys("first", "adam-s0-0123456789")
OURS, ANOTHER = "0123456789", "9876543210"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


class SlowStore(FolderStore):
    """Stores nothing before the test says `go`, and notes what it stored."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.go = threading.Event(), threading.Event()
        self.written: list[str] = []

    def write(self, key: str, content: bytes) -> None:
        self.begun.set()
        assert self.go.wait(120)
        self.written.append(key)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowStore]:
    store = SlowStore(tmp_path)
    yield store
    store.go.set()


class BrokenStore(FolderStore):
    """Refuses the keys that it is told to refuse."""

    refused = frozenset({"refused"})

    def write(self, key: str, content: bytes) -> None:
        if key in self.refused:
            raise StorageError(f"{key}: refused")
        super().write(key, content)


# Writing


def test_artefacts_are_stored_in_order_and_what_follows_them_comes_last(slow: SlowStore) -> None:
    slow.go.set()
    with closing(ArtefactWriter(slow)) as writer:
        writer.write({"b": b"", "a": b""}, then=lambda: slow.written.append("then"))
        writer.write({"c": b""})
        writer.flush()
    assert slow.written == ["b", "a", "then", "c"]


def test_first_batch_does_not_hold_up_the_training(slow: SlowStore) -> None:
    with closing(ArtefactWriter(slow)) as writer:
        writer.write({"a": b""})  # would wait for ever if it waited
        assert slow.written == []
        assert not writer.is_idle
        slow.go.set()
        writer.flush()
        assert writer.is_idle
        assert slow.written == ["a"]


def test_second_batch_waits_until_the_first_is_stored(slow: SlowStore) -> None:
    with closing(ArtefactWriter(slow)) as writer:
        writer.write({"a": b""})
        second = threading.Thread(target=writer.write, args=({"b": b""},))
        second.start()
        second.join(0.1)
        assert second.is_alive()
        slow.go.set()
        second.join(120)
        assert not second.is_alive()
        assert slow.written[0] == "a"


def test_only_the_time_that_the_training_stood_still_counts_as_waiting(
    slow: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def read_clock() -> float:
        """Nothing is stored before the flush has begun."""
        seen = now
        if now == 50:
            slow.go.set()
        return seen

    def take_seven_seconds() -> None:
        nonlocal now
        now += 7

    monkeypatch.setattr("job.training.record.writer.perf_counter", read_clock)
    with closing(ArtefactWriter(slow)) as writer:
        writer.write({"a": b""}, then=take_seven_seconds)
        now = 50.0  # the training goes on
        assert writer.waited_seconds == 0
        writer.flush()
        assert writer.waited_seconds == 7
        now = 100.0
        writer.flush()
        assert writer.waited_seconds == 7


@pytest.mark.parametrize("call", [ArtefactWriter.flush, lambda writer: writer.write({"later": b""})])
def test_what_a_write_raises_comes_out_of_the_next_call_and_only_there(
    tmp_path: Path, call: Callable[[ArtefactWriter], None]
) -> None:
    store = BrokenStore(tmp_path)
    follows: list[str] = []
    with closing(ArtefactWriter(store)) as writer:
        writer.write({"before": b"", "refused": b"", "after": b""}, then=lambda: follows.append("then"))
        with pytest.raises(StorageError, match="refused: refused"):
            call(writer)
        assert store.list_keys("") == ["before"]
        assert follows == []
        writer.write({"next": b""})
        writer.flush()
    assert store.list_keys("") == ["before", "next"]


def test_what_follows_a_batch_may_fail_as_well(store: FolderStore) -> None:
    def fail() -> None:
        raise AccessDeniedError("may not")

    with closing(ArtefactWriter(store)) as writer:
        writer.write({"a": b""}, then=fail)
        with pytest.raises(AccessDeniedError, match="may not"):
            writer.flush()


def test_batch_under_way_is_stored_before_the_block_ends(slow: SlowStore) -> None:
    with closing(ArtefactWriter(slow)) as writer:
        writer.write({"a": b"", "b": b""})
        assert slow.begun.wait(120)
        threading.Timer(0.05, slow.go.set).start()
    assert slow.written == ["a", "b"]


def test_nothing_written_needs_no_waiting(store: FolderStore) -> None:
    with closing(ArtefactWriter(store)) as writer:
        assert writer.is_idle
        writer.flush()
    assert writer.waited_seconds < 10


# Checkpoints


def save(store: FolderStore, epoch: int, *, step: int = 0, configuration: str = OURS) -> str:
    """Store a checkpoint whose content is its key; returns the key."""
    key = KEYS.checkpoint(epoch=epoch, step=step)
    for name, content in checkpoint_artefacts(key, key.encode(), configuration=configuration).items():
        store.write(name, content)
    return key


def restore(store: FolderStore) -> tuple[str | None, list[bytes], list[MutableMapping[str, Any]]]:
    """What `restore_newest` returned, what it restored, and the warnings on its way."""
    restored: list[bytes] = []
    with capture_logs() as events:
        key = restore_newest(
            RunFolder(store, KEYS), configuration=OURS, restore=lambda content, _place: restored.append(content)
        )
    return key, restored, [event for event in events if event["log_level"] == "warning"]


def test_digest_is_written_after_its_checkpoint_and_tells_its_content() -> None:
    key = KEYS.checkpoint(epoch=1, step=0)
    artefacts = checkpoint_artefacts(key, b"abc", configuration=OURS)
    assert list(artefacts) == [key, checkpoint_digest_key(key)]
    digest = CheckpointDigest.model_validate_json(artefacts[checkpoint_digest_key(key)])
    assert (digest.size_bytes, digest.configuration) == (3, OURS)
    assert digest.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1


def test_newest_checkpoint_is_restored(store: FolderStore) -> None:
    save(store, 1)
    save(store, 2)
    newest = save(store, 2, step=7)
    assert restore(store) == (newest, [newest.encode()], [])


def test_without_any_checkpoint_there_is_nothing_to_restore(store: FolderStore) -> None:
    assert restore(store) == (None, [], [])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.mark.parametrize(
    ("damaged", "damage", "reason"),
    [
        (".pt", truncate, "differs from its digest"),
        (".pt", change, "differs from its digest"),
        (".pt", lambda path: path.write_bytes(b""), "differs from its digest"),
        (".json", Path.unlink, "no digest: its upload did not finish"),
        (".json", truncate, "validation error"),
        (".json", lambda path: path.write_bytes(b"{}"), "validation errors"),
    ],
    ids=["truncated", "changed", "emptied", "digest missing", "digest truncated", "digest empty"],
)
def test_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    store: FolderStore, damaged: str, damage: Callable[[Path], object], reason: str
) -> None:
    whole, newest = save(store, 1), save(store, 2)
    damage(Path(store.locate(newest)).with_suffix(damaged))
    key, restored, (warning,) = restore(store)
    assert (key, restored) == (whole, [whole.encode()])
    assert (warning["event"], warning["checkpoint"]) == ("checkpoint_ignored", store.locate(newest))
    assert reason in str(warning["reason"])


def test_checkpoint_that_does_not_load_is_passed_over_with_a_warning(store: FolderStore) -> None:
    save(store, 1)
    newest = save(store, 2)
    tried: list[bytes] = []

    def load(content: bytes, place: str) -> None:
        tried.append(content)
        if len(tried) == 1:
            raise DataError(f"{place}: not a checkpoint")

    with capture_logs() as events:
        key = restore_newest(RunFolder(store, KEYS), configuration=OURS, restore=load)
    assert key == KEYS.checkpoint(epoch=1, step=0)
    assert tried == [newest.encode(), key.encode()]
    assert [event["event"] for event in events] == ["checkpoint_ignored", "checkpoint_restored"]


def test_without_a_whole_checkpoint_training_begins_anew(store: FolderStore) -> None:
    for epoch in (1, 2):
        truncate(Path(store.locate(save(store, epoch))))
    key, restored, warnings = restore(store)
    assert (key, restored, len(warnings)) == (None, [], 2)


def test_checkpoint_of_another_configuration_is_a_conflict(store: FolderStore) -> None:
    save(store, 1)
    save(store, 2, configuration=ANOTHER)
    with pytest.raises(ConflictError, match=f"configuration {ANOTHER}, not {OURS}") as caught:
        restore(store)
    assert caught.value.exit_code == 68


def test_two_newest_checkpoints_are_kept_with_their_digests(store: FolderStore) -> None:
    assert KEPT_CHECKPOINTS == 2
    keys = [save(store, epoch) for epoch in range(8, 12)] + [save(store, 11, step=3)]
    store.write(KEYS.model, b"")
    remove_old_checkpoints(RunFolder(store, KEYS), written=keys[-1])
    kept = [name for key in keys[-2:] for name in (key, checkpoint_digest_key(key))]
    assert store.list_keys(KEYS.checkpoints) == sorted(kept)
    assert store.list_keys(KEYS.model) == [KEYS.model]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_few_checkpoints_are_all_kept(store: FolderStore, number: int) -> None:
    for epoch in range(number):
        save(store, epoch + 1)
    remove_old_checkpoints(RunFolder(store, KEYS), written=KEYS.checkpoint(epoch=number, step=0))
    assert len(store.list_keys(KEYS.checkpoints)) == 2 * number


def test_checkpoints_without_a_digest_push_out_none_that_is_whole(store: FolderStore) -> None:
    """Their writers were killed before the digest; what is stored after them lies before them by name."""
    whole = save(store, 8, step=100)
    for step in (200, 300):
        Path(store.locate(save(store, 8, step=step))).with_suffix(".json").unlink()
    written = save(store, 8, step=150)
    remove_old_checkpoints(RunFolder(store, KEYS), written=written)
    assert {whole, written} <= {*store.list_keys(KEYS.checkpoints)}
    passed = save(store, 9)
    remove_old_checkpoints(RunFolder(store, KEYS), written=passed)
    kept = [name for key in (written, passed) for name in (key, checkpoint_digest_key(key))]
    assert store.list_keys(KEYS.checkpoints) == sorted(kept)


def test_half_a_removal_leaves_nothing_that_counts(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old, newer, newest = (save(store, epoch) for epoch in (1, 2, 3))
    deleted: list[str] = []
    monkeypatch.setattr(store, "delete", lambda keys: deleted.extend(keys))
    remove_old_checkpoints(RunFolder(store, KEYS), written=newest)
    assert deleted == [checkpoint_digest_key(old), old]
    assert newer in store.list_keys("")
    assert newest in store.list_keys("")


# What earlier attempts left


def test_manifest_of_the_same_configuration_is_ours(store: FolderStore) -> None:
    RunFolder(store, KEYS).check_owner(make_manifest(epochs=1))
    backwards = dict(reversed(json.loads(make_manifest(epochs=1).model_dump_json()).items()))
    store.write(KEYS.manifest, json.dumps(backwards, indent=3).encode())
    RunFolder(store, KEYS).check_owner(make_manifest(epochs=1))


class LaterManifest(Manifest):
    """The manifest of a later version."""

    clip_norm: Annotated[float, Since("0.2.0")] = 0.0


def test_manifest_of_before_a_field_was_added_is_ours_while_the_field_stands_at_its_default(store: FolderStore) -> None:
    store.write(KEYS.manifest, make_manifest().model_dump_json().encode())
    now = make_manifest().model_dump()
    RunFolder(store, KEYS).check_owner(LaterManifest.model_validate(now))
    with pytest.raises(ConflictError):
        RunFolder(store, KEYS).check_owner(LaterManifest.model_validate(now | {"clip_norm": 1.0}))


@pytest.mark.parametrize(
    "content",
    [make_manifest(epochs=2).model_dump_json().encode(), b"garbage", b"", b"\xff\xfe", b"null", b"{}", b"[" * 100_000],
    ids=lambda content: repr(content[:20]),
)
def test_other_manifest_under_the_run_id_is_a_conflict(store: FolderStore, content: bytes) -> None:
    store.write(KEYS.manifest, content)
    with pytest.raises(ConflictError, match=r"manifest\.json: another configuration lies under this run id") as caught:
        RunFolder(store, KEYS).check_owner(make_manifest(epochs=1))
    assert caught.value.exit_code == 68


def test_progress_of_an_earlier_attempt_is_read(store: FolderStore) -> None:
    assert RunFolder(store, KEYS).read_progress() is None
    record = {"run_id": KEYS.run_id, "state": "running", "attempt": 3, "epoch": 2, "step": 1, "num_epochs": 10,
              "num_steps": 100, "updated_at": "2026-01-01T00:00:00Z", "added_later": True}  # fmt: skip
    store.write(KEYS.progress, json.dumps(record).encode())
    progress = RunFolder(store, KEYS).read_progress()
    assert progress is not None
    assert (progress.attempt, progress.epoch, progress.lost_seconds) == (3, 2, 0.0)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff", b"{}", b"[]", b'{"attempt": "x"}'])
def test_progress_that_cannot_be_read_is_passed_over_with_a_warning(store: FolderStore, content: bytes) -> None:
    store.write(KEYS.progress, content)
    with capture_logs() as events:
        assert RunFolder(store, KEYS).read_progress() is None
    assert [event["event"] for event in events] == ["progress_ignored"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b"\xff"])
def test_result_that_cannot_be_read_is_a_conflict(store: FolderStore, content: bytes) -> None:
    assert RunFolder(store, KEYS).read_result() is None
    store.write(KEYS.result, content)
    with pytest.raises(ConflictError, match=r"result\.json: not a result .* remove it and run again") as caught:
        RunFolder(store, KEYS).read_result()
    assert caught.value.exit_code == 68
