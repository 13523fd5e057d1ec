"""A rename that fails where the name is taken, for file systems without hard links: exclusive creation of a claim.

Readers see the file whole or not at all, as with a link: it is moved to its name while a claim beside it keeps others
out.
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
"""Begins like a temporary file, which no store lists."""
CLAIM_SECONDS = 10.0
"""A claim is held for milliseconds. One that stays so long was left by a process that was killed, and is taken over."""
PAUSE_SECONDS = 0.02


def move_if_absent(source: Path, target: Path) -> None:
    """Rename `source` to `target`. Raises `FileExistsError` where there is one; of two writers at once one succeeds."""
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
    """Of several that wait one does it, since the name can be moved away once; the others find another holder."""
    aside = claim.with_name(f"{CLAIM_PREFIX}{uuid.uuid4().hex}")
    if _read(claim) == holder:
        with suppress(FileNotFoundError):
            os.rename(claim, aside)  # noqa: PTH104
    aside.unlink(missing_ok=True)
