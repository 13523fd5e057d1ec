"""A store in a local folder. It writes and syncs a temporary file, then renames it; `create` links it instead, because
a link fails if the name is taken."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from job.errors import (
    AccessDeniedError,
    HostError,
    ObjectExists,
    ObjectMissing,
    StorageError,
    UnusablePlace,
    UsageError,
)
from job.storage.claim import move_if_absent

TEMPORARY_PREFIX = ".partial-"
NO_SUCH_CALL = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY}
"""How file systems say that they do not know an operation."""
NO_LINKS = NO_SUCH_CALL | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
"""How file systems such as SMB, exFAT and many of FUSE refuse a hard link to a file that was just made, link(2)."""
NO_FOLDER_SYNC = NO_SUCH_CALL | {errno.EBADF, errno.EISDIR}
"""How file systems refuse to open or sync a folder. They are trusted to keep its names without that."""
NO_SUCH_PLACE = NO_SUCH_CALL | {
    errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV, errno.EFBIG, errno.EILSEQ,
}  # fmt: skip
"""Errors that no further attempt mends, so that the user has to name another place."""


class FolderStore:
    """A `Store` below `root`, which is made when the first object is written."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(root)
        self._commit = "hard link"
        self._is_probed = False

    def read(self, key: str) -> bytes:
        with reported(self.locate(key)):
            return self._path(key).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        path = self._path(key)
        with reported(str(path)), _temporary(path, content) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    def upload(self, key: str, path: Path) -> None:
        target = self._path(key)
        with reported(str(target)), _temporary(target, path) as temporary:
            os.replace(temporary, target)
            _sync_folder(target.parent)

    def download(self, key: str, path: Path) -> None:
        with reported(self.locate(key)):
            shutil.copyfile(self._path(key), path)

    def copy(self, key: str, target: str) -> None:
        self.write(target, self.read(key))

    def create(self, key: str, content: bytes) -> None:
        path = self._path(key)
        with reported(str(path)), _temporary(path, content) as temporary:
            try:
                os.link(temporary, path)  # unlike a rename, it fails if the name is taken
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                self._commit = "exclusive creation"
                move_if_absent(temporary, path)
            _sync_folder(path.parent)

    def probe(self, key: str, content: bytes) -> None:
        self.write(key, content)
        if self._is_probed:
            return
        trial = (PurePosixPath(key).parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}").as_posix()
        try:
            self.create(trial, b"")
            with suppress(ObjectExists):
                self.create(trial, b"")
                raise UsageError(
                    f"{self.uri}: this file system creates a file again that exists already, so that two processes "
                    "could both commit a result; name another --output"
                )
        finally:
            self.delete([trial])
        self._is_probed = True
        import structlog  # not by `job validate`

        structlog.get_logger().info("storage_probed", output=self.uri, commit=self._commit)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with reported(self.locate(key)):
                self._path(key).unlink(missing_ok=True)

    def list_keys(self, prefix: str) -> list[str]:
        return list(self.list_versions(prefix))

    def list_folders(self) -> list[str]:
        with reported(self.uri):
            return sorted(path.name for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []

    def list_versions(self, prefix: str) -> dict[str, str]:
        versions = {}
        with reported(self.uri):
            for folder, _, names in os.walk(self._path(prefix.rpartition("/")[0]), onerror=_raise_unless_missing):
                for name in names:
                    path = Path(folder, name)
                    key = path.relative_to(self.root).as_posix()
                    if key.startswith(prefix) and not _is_temporary(path):
                        with suppress(FileNotFoundError):  # a run may remove its old checkpoint meanwhile
                            status = path.stat()
                            if stat.S_ISREG(status.st_mode):
                                versions[key] = f"{status.st_size}-{status.st_mtime_ns}"
        return dict(sorted(versions.items()))

    def locate(self, key: str) -> str:
        return str(Path(self.uri) / key)

    def _path(self, key: str) -> Path:
        if ".." in key.split("/") or key.startswith("/") or "\0" in key:
            raise StorageError(f"{key!r} leaves the output folder {self.uri}")
        return self.root / key


def _raise_unless_missing(error: OSError) -> None:
    """For `os.walk`, which would pass over a folder that cannot be read as if it were empty."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


@contextmanager
def _temporary(path: Path, content: bytes | Path) -> Iterator[Path]:
    """A file beside `path` with `content`, or that of the file `content`, synced to the disk. It is removed after the
    block, unless it was renamed."""
    _make_folder(path.parent)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:  # readable as the umask says, unlike what tempfile makes
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # such as below /proc, although its parents exist
        raise UnusablePlace(f"{folder}: no folder can be made here; name another place") from error
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(TEMPORARY_PREFIX)


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise


@contextmanager
def reported(place: str) -> Iterator[None]:
    """Turn an `OSError` into one of the errors that a `Store` raises. Its message begins with `place`."""
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectMissing(f"{place}: no such file") from error
    except FileExistsError as error:
        raise ObjectExists(f"{place}: exists already") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{place}: permission denied; is the folder writable for this user?") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostError(f"{place}: the disk is full; free some space and run again") from error
        if error.errno == errno.EROFS:
            raise AccessDeniedError(f"{place}: read-only file system; name a writable --output") from error
        if error.errno in NO_SUCH_PLACE:
            raise UnusablePlace(f"{place}: {error.strerror}; name another place") from error
        raise StorageError(f"{place}: {error.strerror or error}") from error
