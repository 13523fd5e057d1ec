"""The folder that keeps downloads and decoded images from one run to the next. Runs work without it too."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache as once
from pathlib import Path

from job.errors import HostError, JobError
from job.logs import get_logger
from job.storage import FolderStore, reported

ADVICE = "let --cache name a folder that this user may write to"


def expand_cache(named: Path) -> Path | None:
    """`named` with `~` replaced by the home directory; None if this user has no home directory."""
    try:
        return named.expanduser()
    except RuntimeError:
        return None


def find_cached(cache: Path | None, key: str) -> Path | None:
    """The path of the file that the cache has under `key`; None if there is none that this user may read."""
    path = cache / key if cache else None
    return path if path and os.path.isfile(path) and os.access(path, os.R_OK) else None  # noqa: PTH113 - Path's raises


def store_cached(cache: Path | None, key: str, content: bytes) -> Path | None:
    """Keep `content` for later runs, and return its path. If it cannot be kept, warns why and returns None."""
    try:
        if cache is None:
            raise HostError("this user has no home directory")
        FolderStore(cache).write(key, content)
    except JobError as error:
        get_logger().warning("cache_not_written", file=key, reason=str(error), advice=ADVICE)
        return None
    return cache / key


def writable_folder(cache: Path | None) -> Path:
    """The cache or, if it cannot be written, a temporary folder that is removed when this process ends.

    This is for content that is needed as files. Raises `HostError` if the disk is full, or if no folder can be written.
    """
    try:
        if cache is None:
            reason = "this user has no home directory"
        else:
            _probe(cache)
            return cache
    except HostError:
        raise
    except JobError as error:
        reason = str(error)
    folder = _temporary_folder()
    get_logger().warning("cache_not_writable", reason=reason, used_instead=str(folder), advice=ADVICE)
    return folder


def _probe(folder: Path) -> None:
    with reported(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@once
def _temporary_folder() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="job-cache-"))
    except OSError as error:
        raise HostError(f"no folder of this machine can be written ({error.strerror}); {ADVICE}") from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
