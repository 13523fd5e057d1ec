"""The checkpoints of a run: each is written with its digest, and the newest whole one is found again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from job.errors import ConflictError, DataError, ObjectMissing
from job.logs import get_logger
from job.runs import KEPT_CHECKPOINTS, CheckpointDigest, checkpoint_digest_key
from job.training.record.folder import RunFolder

if TYPE_CHECKING:
    from job.training.engine.device import Precision


def checkpoint_artefacts(
    key: str, content: bytes, *, configuration: str, precision: Precision | None = None
) -> dict[str, bytes]:
    """A checkpoint and, after it, the digest that makes it count."""
    digest = CheckpointDigest(
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        configuration=configuration,
        precision=precision,
    )
    return {key: content, checkpoint_digest_key(key): digest.model_dump_json().encode()}


def remove_old_checkpoints(folder: RunFolder, *, written: str) -> None:
    """Keep the newest checkpoints up to `written`, the key of the one that was just stored.

    Only those with a digest count: one whose writer was killed before it wrote the digest must not push out a whole
    one. What lies beyond `written` stays until the training has passed it: it may be unusable, or another container's.
    A digest goes before its checkpoint: half a removal leaves nothing that counts.
    """
    names = folder.store.list_keys(folder.keys.checkpoints)
    behind = [key for key in names if key.endswith(".pt") and key <= written]
    kept = [key for key in behind if checkpoint_digest_key(key) in names][-KEPT_CHECKPOINTS:]
    old = [key for key in behind if key not in kept]
    folder.store.delete([name for key in old for name in (checkpoint_digest_key(key), key)])


def find_precision(folder: RunFolder) -> str | None:
    """The precision in which the run's newest checkpoint was trained; None where there is none, or nobody knows.

    Of a checkpoint from before 2026-11-29, whose digest does not say it, the checkpoint itself may; else it is that of
    the attempt before.
    """
    store, names = folder.store, folder.store.list_keys(folder.keys.checkpoints)
    for key in sorted((name for name in names if name.endswith(".pt")), reverse=True):
        if checkpoint_digest_key(key) not in names:
            continue
        try:
            digest = CheckpointDigest.model_validate_json(store.read(checkpoint_digest_key(key)))
            return digest.precision or _infer_precision(folder, key)
        except (ValidationError, ObjectMissing, DataError):
            continue  # when it is restored, it is passed over with a warning
    return None


def _infer_precision(folder: RunFolder, key: str) -> str | None:
    from job.training.engine.state import read_precision  # torch is imported late

    earlier = folder.read_environment()
    found = read_precision(folder.store.read(key), source=folder.store.locate(key))
    return found or (earlier.precision if earlier else None)


def restore_newest(folder: RunFolder, *, configuration: str, restore: Callable[[bytes, str], None]) -> str | None:
    """Give the newest whole checkpoint to `restore`, with its place; returns its key, or None when there is none.

    A checkpoint without digest, or different from it, is passed over with a warning.
    Raises `ConflictError` when one belongs to another configuration.
    """
    log, store = get_logger(), folder.store
    names = store.list_keys(folder.keys.checkpoints)
    for key in sorted((name for name in names if name.endswith(".pt")), reverse=True):
        place = store.locate(key)
        if checkpoint_digest_key(key) not in names:
            log.warning("checkpoint_ignored", checkpoint=place, reason="no digest: its upload did not finish")
            continue
        try:
            restore(_read_checkpoint(folder, key, configuration=configuration), place)
        except (ValidationError, ObjectMissing, DataError) as error:
            log.warning("checkpoint_ignored", checkpoint=place, reason=str(error).splitlines()[0])
            continue
        log.info("checkpoint_restored", checkpoint=place)
        return key
    return None


def _read_checkpoint(folder: RunFolder, key: str, *, configuration: str) -> bytes:
    """The checkpoint's content, if it is whole and belongs to this configuration."""
    store = folder.store
    digest = CheckpointDigest.model_validate_json(store.read(checkpoint_digest_key(key)))
    if digest.configuration != configuration:
        raise ConflictError(
            f"{store.locate(key)}: belongs to configuration {digest.configuration}, not {configuration}"
        )
    content = store.read(key)
    if hashlib.sha256(content).hexdigest() != digest.sha256:
        raise DataError(f"{store.locate(key)}: differs from its digest")
    return content
