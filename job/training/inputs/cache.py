"""The folder that keeps downloads and decoded images from one run to the next. Runs go on without it."""

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

ADVICE = "name a folder that can be written with --cache"


def expand_cache(named: Path) -> Path | None:
    """The folder that `named` means, `~` spelt out; None where this user has no home directory."""
    try:
        return named.expanduser()
    except RuntimeError:
        return None


def find_cached(cache: Path | None, key: str) -> Path | None:
    """The file that the cache has under `key`, if it has one that this user may read."""
    path = cache / key if cache else None
    return path if path and os.path.isfile(path) and os.access(path, os.R_OK) else None  # noqa: PTH113 - Path's raises


def store_cached(cache: Path | None, key: str, content: bytes) -> Path | None:
    """Keep `content` for later runs; returns where. None where it cannot be kept, and a warning says why."""
    try:
        if cache is None:
            raise HostError("this user has no home directory")
        FolderStore(cache).write(key, content)
    except JobError as error:
        get_logger().warning("cache_not_written", file=key, reason=str(error), advice=ADVICE)
        return None
    return cache / key


def writable_folder(cache: Path | None) -> Path:
    """The cache, or, where it cannot be written, a temporary folder that goes when this process ends.

    For what is needed as files. Raises `HostError` where the disk is full, or no folder can be written at all.
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
