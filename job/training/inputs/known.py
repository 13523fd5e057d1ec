"""Digests of what was read before, so that a finished run is compared with it without reading it again.

A digest is kept in the cache under what its place says of the content: of a file its size, times and inode, of an
object its ETag. Whatever changed since has another such name. Readable without torch.
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
"""A file that changed so shortly before may change again within the same tick of its file system's clock (FAT's has
two seconds), which its times would not show: such a name is not trusted. git calls these files racy."""


class KnownDigests:
    """SHA-256 by a name that changes with the content."""

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
        """Keep it, where there is a name and the cache can be written: nothing depends on it but time."""
        if name is not None and self._store is not None:
            with contextlib.suppress(StorageError, AccessDeniedError, HostError, UnusablePlace):
                self._store.write(name, sha256.encode())


def name_folder(listing: Listing, *, size: int) -> str | None:
    """A name for the images of `listing`, decoded to `size` pixels; None where a file changed a moment ago."""
    now = time.time()
    name = hashlib.sha256(f"folder {DECODING} {size} {listing.root.resolve()}".encode(errors="surrogateescape"))
    for path in listing.paths:
        try:
            status = path.stat()
        except OSError:
            return None
        if max(status.st_mtime, status.st_ctime) > now - RACY_SECONDS:
            return None
        # ctime and inode tell of a file that was replaced by one of the same size and time, as rsync does
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)
        name.update(f"\0{listing.name(path)}\0{stamp}".encode(errors="surrogateescape"))
    return name.hexdigest()


def name_object(location: str) -> str | None:
    """A name for the content of an `s3://` object; None for a path, whose file is as quickly read as named.

    Raises what the store raises where it cannot be asked.
    """
    if not is_remote(location):
        return None
    parent, _, key = location.rpartition("/")
    version = open_store(parent).list_versions(key).get(key)
    return None if version is None else hashlib.sha256(f"object {location} {version}".encode()).hexdigest()
