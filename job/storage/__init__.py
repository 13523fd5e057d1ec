"""Places for artefacts. `open_store` is the way in; boto3 is imported only for `s3://`."""

from __future__ import annotations

from pathlib import Path

from job.errors import UsageError
from job.storage.base import Store
from job.storage.folder import FolderStore, reported

__all__ = ["FolderStore", "Store", "is_remote", "open_store", "read_uri", "reported"]


def is_remote(location: str) -> bool:
    """Whether `location` is a URI and not a path."""
    return "://" in location


def open_store(location: str) -> Store:
    """The store at a folder's path or an `s3://BUCKET/PREFIX`. Raises `UsageError` for another scheme."""
    if not is_remote(location):
        return FolderStore(Path(location))
    if not location.startswith("s3://"):
        raise UsageError(f"{location}: only folders and s3:// are understood")
    from job.storage.s3 import S3Store

    return S3Store(location)


def read_uri(location: str) -> bytes:
    """The bytes of one file or `s3://` object. Raises `ObjectMissing`, `AccessDeniedError` or `StorageError`."""
    parent, _, name = location.rpartition("/")
    if is_remote(location):
        return open_store(parent).read(name)
    path = Path(location)
    return FolderStore(path.parent).read(path.name)
