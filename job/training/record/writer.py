"""Writing a run's artefacts while it trains, and finding its newest good checkpoint again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from time import perf_counter

from pydantic import ValidationError

from job.errors import ConflictError, DataError, ObjectMissing, UsageError
from job.logs import get_logger
from job.manifest import Manifest
from job.runs import (
    KEPT_CHECKPOINTS,
    CheckpointDigest,
    Environment,
    EpochRecord,
    RunKeys,
    RunResult,
    checkpoint_digest_key,
)
from job.storage import NO_S3, Store, is_remote, quote_page


class ArtefactWriter:
    """Writes to `store` behind the training, in order, with at most one batch of artefacts waiting.

    `waited_seconds` is the time the training stood still for storage. What a write raises comes out of the
    next call.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="artefacts")
        self._pending: Future[None] | None = None
        self.waited_seconds = 0.0

    def close(self) -> None:
        """After what is being written; what waits behind it is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def is_idle(self) -> bool:
        return self._pending is None or self._pending.done()

    def write(self, artefacts: dict[str, bytes], *, then: Callable[[], None] | None = None) -> None:
        """Write these in order, then call `then`; waits only for the batch before."""
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


def checkpoint_artefacts(key: str, content: bytes, *, configuration: str) -> dict[str, bytes]:
    """A checkpoint and, after it, the digest that makes it count."""
    digest = CheckpointDigest(
        size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), configuration=configuration
    )
    return {key: content, checkpoint_digest_key(key): digest.model_dump_json().encode()}


def remove_old_checkpoints(store: Store, keys: RunKeys) -> None:
    """Keep the newest ones; the digest goes first, so that half a removal leaves nothing that counts."""
    checkpoints = [key for key in store.list_keys(keys.checkpoints) if key.endswith(".pt")]
    old = checkpoints[:-KEPT_CHECKPOINTS]
    store.delete([name for key in old for name in (checkpoint_digest_key(key), key)])


def restore_newest(
    store: Store, keys: RunKeys, *, configuration: str, restore: Callable[[bytes, str], None]
) -> str | None:
    """Give the newest whole checkpoint to `restore` with its place; returns the key, or None without one.

    A checkpoint without digest, or different from it, is passed over with a warning.
    Raises `ConflictError` when one belongs to another configuration.
    """
    log = get_logger()
    names = store.list_keys(keys.checkpoints)
    for key in sorted((name for name in names if name.endswith(".pt")), reverse=True):
        place = store.locate(key)
        if checkpoint_digest_key(key) not in names:
            log.warning("checkpoint_ignored", checkpoint=place, reason="no digest: its upload did not finish")
            continue
        try:
            restore(_read_checkpoint(store, key, configuration=configuration), place)
        except (ValidationError, ObjectMissing, DataError) as error:
            log.warning("checkpoint_ignored", checkpoint=place, reason=str(error).splitlines()[0])
            continue
        log.info("checkpoint_restored", checkpoint=place)
        return key
    return None


def _read_checkpoint(store: Store, key: str, *, configuration: str) -> bytes:
    """The checkpoint's content, if it is whole and belongs to this configuration."""
    digest = CheckpointDigest.model_validate_json(store.read(checkpoint_digest_key(key)))
    if digest.configuration != configuration:
        raise ConflictError(
            f"{store.locate(key)}: belongs to configuration {digest.configuration}, not {configuration}"
        )
    content = store.read(key)
    if hashlib.sha256(content).hexdigest() != digest.sha256:
        raise DataError(f"{store.locate(key)}: differs from its digest")
    return content


def read_result(store: Store, keys: RunKeys) -> RunResult | None:
    """The run's result, if it is complete. Raises `ConflictError` for what is no result."""
    try:
        content = store.read(keys.result)
        return RunResult.model_validate_json(content)
    except ObjectMissing:
        return None
    except ValidationError as error:
        page = quote_page(content) if is_remote(store.uri) else None
        if page:
            raise UsageError(
                f"{store.locate(keys.result)}: the answer is no result but a page in HTML, {page!r}; {NO_S3}"
            ) from error
        fault = str(error).partition("\n")[0]
        raise ConflictError(f"{store.locate(keys.result)}: not a result ({fault}); remove it and run again") from error


def read_environment(store: Store, keys: RunKeys) -> Environment | None:
    """What an earlier attempt at the run depended on, if it came so far."""
    try:
        return Environment.model_validate_json(store.read(keys.environment))
    except (ObjectMissing, ValidationError):
        return None


def history_lines(history: list[EpochRecord]) -> bytes:
    """The content of history.jsonl."""
    return "".join(f"{record.model_dump_json()}\n" for record in history).encode()


def check_owner(store: Store, keys: RunKeys, *, manifest: Manifest) -> None:
    """Raises `ConflictError` when another configuration's manifest lies under this run.

    One that an earlier version wrote is read as this version would: fields that it did not know have their defaults.
    """
    try:
        found = type(manifest).model_validate_json(store.read(keys.manifest))
    except ObjectMissing:
        return
    except ValidationError:
        found = None
    if found != manifest:
        raise ConflictError(
            f"{store.locate(keys.manifest)}: another configuration lies under this run id; "
            "name another --output or --experiment"
        )
