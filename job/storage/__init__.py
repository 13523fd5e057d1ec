"""Places for artefacts. `open_store` opens one. boto3 is imported only for `s3://`."""

from __future__ import annotations

from pathlib import Path

from job.errors import UsageError
from job.places import is_remote, parse_place
from job.storage.ahead import read_ahead
from job.storage.base import Store
from job.storage.folder import FolderStore, reported
from job.storage.pages import NO_S3, quote_page

__all__ = [
    "NO_S3", "FolderStore", "Store", "is_remote", "open_store", "quote_page", "read_ahead", "read_uri", "reported",
]  # fmt: skip


def open_store(location: str) -> Store:
    """The store at a folder's path or an `s3://BUCKET/PREFIX`. Raises `UsageError` if `location` is neither."""
    place = parse_place(location)
    if not is_remote(place):
        return FolderStore(Path(place))
    from job.storage.s3 import S3Store

    return S3Store(place)


def read_uri(location: str) -> bytes:
    """The bytes of one file or `s3://` object.

    Raises `UsageError` if `location` names neither; else `ObjectMissing`, `AccessDeniedError` or `StorageError`.
    """
    place = parse_place(location)
    if is_remote(place):
        bucket, _, key = place.removeprefix("s3://").partition("/")
        folder, _, name = key.rpartition("/")
        if not name:
            raise UsageError(f"{place}: names no object; must be s3://BUCKET/KEY")
        return open_store(f"s3://{bucket}/{folder}").read(name)
    path = Path(place)
    return FolderStore(path.parent).read(path.name)
