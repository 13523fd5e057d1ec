"""Folders of runs that tools read from a disk: each is written beside its place and then moved there, whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from job.errors import UsageError
from job.places import is_remote
from job.storage import reported


def local_folder(place: str, *, tool: str) -> Path:
    """`place` as a folder of this machine. Raises `UsageError` if it is none."""
    if is_remote(place):
        raise UsageError(f"--into {place}: {tool} reads folders of this machine; name one")
    folder = Path(place)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--into {place}: is a file; must be a folder")
    return folder.absolute()


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """An empty folder to fill. After the block it stands at `target`, in place of what was there."""
    with reported(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
        try:
            made.chmod(0o777 & ~_umask())
            yield made
            if target.exists():
                shutil.rmtree(target)
            os.replace(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
