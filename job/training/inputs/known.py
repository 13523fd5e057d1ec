"""Remembers digests of data and weights, so that a finished run is compared with them without reading them again.

The cache keeps a digest under a name that changes with the content: for files it is made of their sizes, times and
inodes, for an S3 object of its ETag. This module can be imported without torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from pathlib import Path

from job.errors import AccessDeniedError, HostError, StorageError, UnusablePlace
from job.storage import FolderStore, is_remote, open_store
from job.training.inputs.decoding import DECODING
from job.training.inputs.listing import Listing

RACY_SECONDS = 2.0
"""A file that changed less than this long ago gets no name. It might change again within the same tick of its file
system's clock (FAT's has two seconds), and its times would not show that. git calls such files racy."""


class KnownDigests:
    """SHA-256 digests, each under a name that changes with the content."""

    def __init__(self, cache: Path | None) -> None:
        self._store = FolderStore(cache / "digests") if cache else None

    def find(self, name: str | None) -> str | None:
        """The digest that was remembered under `name`, if any."""
        if name is None or self._store is None:
            return None
        try:
            digest = self._store.read(name).decode(errors="replace")
        except (StorageError, AccessDeniedError, UnusablePlace):
            return None
        return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None

    def remember(self, name: str | None, sha256: str) -> None:
        """Keep `sha256` under `name`, if there is one and the cache can be written. Otherwise only time is lost."""
        if name is not None and self._store is not None:
            with contextlib.suppress(StorageError, AccessDeniedError, HostError, UnusablePlace):
                self._store.write(name, sha256.encode())


def name_folder(listing: Listing, *, size: int) -> str | None:
    """A name for the images of `listing`, decoded to `size` pixels; None if a file changed a moment ago."""
    now = time.time()
    name = hashlib.sha256(f"folder {DECODING} {size} {listing.root.resolve()}".encode(errors="surrogateescape"))
    for path in listing.paths:
        try:
            status = path.stat()
        except OSError:
            return None
        if max(status.st_mtime, status.st_ctime) > now - RACY_SECONDS:
            return None
        # ctime and inode show that a file was replaced by one of the same size and mtime, as rsync does
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)
        name.update(f"\0{listing.name(path)}\0{stamp}".encode(errors="surrogateescape"))
    return name.hexdigest()


def name_object(location: str) -> str | None:
    """A name for the content of an `s3://` object; None for a path, because its file is read as quickly as named.

    Raises the errors of the store if it cannot be asked.
    """
    if not is_remote(location):
        return None
    parent, _, key = location.rpartition("/")
    version = open_store(parent).list_versions(key).get(key)
    return None if version is None else hashlib.sha256(f"object {location} {version}".encode()).hexdigest()
