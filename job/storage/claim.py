"""A rename that fails if the target exists, for file systems without hard links.

A process first creates the claim, a file beside the target. Only the process that has created it may rename its file
to the target; all others wait. Readers see the target whole or not at all, as with a hard link.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLAIM_PREFIX = ".partial-claim-"
"""It begins as temporary files do, which no store lists."""
CLAIM_SECONDS = 10.0
"""A claim is held for milliseconds. If one stays this long, a killed process has left it, and others remove it."""
PAUSE_SECONDS = 0.02


def move_if_absent(source: Path, target: Path) -> None:
    """Rename `source` to `target`. Raises `FileExistsError` if `target` exists. Of two writers only one succeeds."""
    with _claim(target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.replace(source, target)


@contextmanager
def _claim(target: Path) -> Iterator[None]:
    claim = target.with_name(f"{CLAIM_PREFIX}{target.name}")
    seen, since = b"", time.monotonic()
    while True:
        try:
            descriptor = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            break
        except FileExistsError:
            holder = _read(claim)
            if holder != seen:
                seen, since = holder, time.monotonic()
            elif time.monotonic() - since > CLAIM_SECONDS:
                _take_away(claim, holder)
            time.sleep(PAUSE_SECONDS)
    try:
        try:
            os.write(descriptor, uuid.uuid4().bytes)
        finally:
            os.close(descriptor)
        yield
    finally:
        claim.unlink(missing_ok=True)


def _read(claim: Path) -> bytes:
    try:
        return claim.read_bytes()
    except FileNotFoundError:
        return b""


def _take_away(claim: Path, holder: bytes) -> None:
    """Remove the claim of `holder`. It is renamed first, because only one of several waiting processes can do that."""
    aside = claim.with_name(f"{CLAIM_PREFIX}{uuid.uuid4().hex}")
    if _read(claim) == holder:
        with suppress(FileNotFoundError):
            os.rename(claim, aside)  # noqa: PTH104
    aside.unlink(missing_ok=True)
