"""Finds the official binary files of a data set, and verifies that they are whole.

They come from the folder or s3:// URI of --data if it is given, else from the cache, else from the download.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import TypeAdapter

from job.errors import AccessDeniedError, DataError, ObjectMissing, StorageError
from job.logs import get_logger
from job.storage import FolderStore, Store, is_remote, open_store, reported
from job.storage.staged import SUMS_NAME
from job.training.engine.image_data import Labels
from job.training.inputs.cache import find_cached, store_cached, writable_folder
from job.training.inputs.download import receive

ADVICE = "fetch it elsewhere and name its folder with --data, or stage it in a bucket with `job stage`"
_DIGESTS = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class BinaryFiles:
    """The files that one data set needs, and the archive that they come in."""

    dataset: str
    folder: str
    """The folder inside the archive."""
    names: tuple[str, ...]
    url: str
    archive_md5: str
    md5: dict[str, str] = field(default_factory=dict)
    """Official MD5 digests by file name, for the files that have one."""

    def locate(self, data: str | None, *, cache: Path | None) -> Path:
        """The folder where the verified files lie. Raises `DataError` if they cannot be had or are corrupt."""
        if data is None:
            found = [find_cached(cache, f"{self.folder}/{name}") for name in (SUMS_NAME, *self.names)]
            folder = found[0].parent if found[0] and all(found) else self.download(writable_folder(cache))
        elif is_remote(data):
            return self._fetch(open_store(data), cache=cache)
        else:
            folder = self.find(Path(data))
        self.verify(folder)
        return folder

    def is_at_hand(self, data: str | None, *, cache: Path | None) -> bool:
        """Whether the files are on this machine, so that `locate` fetches at most those that changed in the bucket."""
        if data is None or is_remote(data):
            if not all(find_cached(cache, f"{self.folder}/{name}") for name in self.names):
                return False
            return data is None or self._is_staged(open_store(data))
        root = Path(data)
        return any(all((folder / name).is_file() for name in self.names) for folder in (root, root / self.folder))

    def _is_staged(self, store: Store) -> bool:
        try:
            store.read(f"{self.folder}/{SUMS_NAME}")
        except (StorageError, AccessDeniedError):
            return False
        return True

    def find(self, root: Path) -> Path:
        """`root` or the archive's folder in it, whichever holds the files. Raises `DataError`."""
        missing = {
            folder: [name for name in self.names if not (folder / name).is_file()]
            for folder in (root, root / self.folder)
        }
        folder = min(missing, key=lambda each: len(missing[each]))
        if not missing[folder]:
            return folder
        raise DataError(
            f"{folder}: {', '.join(missing[folder])} of {self.dataset} not found there; "
            f"unpack {self.url} into it, or leave --data away to download"
        )

    def verify(self, folder: Path) -> None:
        """Raises `DataError` for a file that differs from its digest."""
        recorded = folder / SUMS_NAME
        sha256 = self._parse_digests(recorded.read_bytes(), source=str(recorded)) if recorded.is_file() else {}
        for name in self.names:
            if name in sha256 or name in self.md5:
                algorithm, digest = self._expected(name, sha256)
                seen = file_digest(folder / name, algorithm)
                if seen != digest:
                    raise self.fault(folder / name, f"corrupt: {algorithm} is {seen}, must be {digest}")

    def download(self, cache: Path) -> Path:
        """Fetch the archive, and unpack what is needed once it is verified; returns the folder with the files."""
        get_logger().info("data_download_started", dataset=self.dataset, url=self.url)
        with reported(str(cache)):
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as temporary:
                archive = Path(temporary) / PurePosixPath(self.url).name
                with archive.open("wb") as file:
                    for chunk in receive(self.url, advice=ADVICE):
                        file.write(chunk)
                self._unpack(archive, cache)
        return cache / self.folder

    def stage(self, folder: Path, store: Store) -> list[str]:
        """Put the verified files of `folder` into `store`; returns their URIs."""
        self.verify(folder)
        digests = {name: file_digest(folder / name, "sha256") for name in self.names}
        for name in self.names:
            store.write(f"{self.folder}/{name}", (folder / name).read_bytes())
        self._write_digests(digests, store)
        return [store.locate(f"{self.folder}/{name}") for name in self.names]

    def fault(self, path: Path, what: str) -> DataError:
        """The error for a file that is not as published."""
        return DataError(f"{path}: {what}; remove it and fetch it again from {self.url}")

    def read_classes(self, path: Path) -> tuple[str, ...]:
        """The names of the classes, which the file lists one a line. Raises `DataError`."""
        try:
            names = tuple(path.read_text(encoding="utf-8").split())
        except UnicodeDecodeError as error:
            raise self.fault(path, f"not a list of class names: {error}") from error
        if len(set(names)) != len(names) or len(names) < 2:
            raise self.fault(path, f"must list different class names, at least two; there are {len(names)}")
        return names

    def check_labels(self, labels: Labels, *, num_classes: int, path: Path) -> Labels:
        """`labels`, if all lie within the classes and every class has some. Raises `DataError`."""
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if wrong.size:
            raise self.fault(path, f"label {labels[wrong[0]]} of image {wrong[0]} is outside 0..{num_classes - 1}")
        empty = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
        if empty.size:
            raise self.fault(path, f"class {empty[0]} has no images")
        return labels

    def _fetch(self, store: Store, *, cache: Path | None) -> Path:
        """Copy the staged files into the cache, unless they are there already. Verifies all, and returns the folder."""
        sums = f"{self.folder}/{SUMS_NAME}"
        digests = self._parse_digests(self._read_staged(store, sums), source=store.locate(sums))
        unlisted = [name for name in self.names if name not in digests]
        if unlisted:
            raise DataError(f"{store.locate(sums)}: lists no digest of {unlisted[0]}; {self._stage_advice(store)}")
        missing = [name for name in self.names if not self._is_whole(name, digests, cache=cache)]
        if cache is not None and not missing:  # the cache may be read-only: only a new list of digests is written
            noted = find_cached(cache, sums)
            if noted is None or noted.read_bytes() != _digest_lines(digests):
                store_cached(cache, sums, _digest_lines(digests))
            return cache / self.folder
        root = writable_folder(cache)
        local = FolderStore(root)
        for name in missing if root == cache else self.names:
            key = f"{self.folder}/{name}"
            algorithm, digest = self._expected(name, digests)
            content = self._read_staged(store, key)
            seen = hashlib.new(algorithm, content).hexdigest()
            if seen != digest:  # what is corrupt does not reach the cache
                fault = f"{store.locate(key)}: corrupt: {algorithm} is {seen}, must be {digest}"
                raise DataError(f"{fault}; {self._stage_advice(store)}")
            local.write(key, content)
        self._write_digests(digests, local)
        return root / self.folder

    def _is_whole(self, name: str, digests: dict[str, str], *, cache: Path | None) -> bool:
        """Whether the cache has the file `name` with the right digest."""
        found = find_cached(cache, f"{self.folder}/{name}")
        algorithm, digest = self._expected(name, digests)
        return found is not None and file_digest(found, algorithm) == digest

    def _unpack(self, archive: Path, cache: Path) -> None:
        """Verify the archive, and put the needed files into the cache. No member's path can lead anywhere else."""
        seen = file_digest(archive, "md5")
        if seen != self.archive_md5:
            raise DataError(f"{self.url}: arrived corrupt: md5 is {seen}, must be {self.archive_md5}; run again")
        local = FolderStore(cache)
        wanted = {PurePosixPath(self.folder) / name: name for name in self.names}
        digests: dict[str, str] = {}
        try:
            with tarfile.open(archive, "r|gz") as members:
                for member in members:
                    name = wanted.get(PurePosixPath(member.name))
                    file = members.extractfile(member) if name and member.isfile() else None
                    if name and file:
                        content = file.read()
                        local.write(f"{self.folder}/{name}", content)
                        digests[name] = hashlib.sha256(content).hexdigest()
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise DataError(f"{self.url}: cannot be unpacked ({error}); {ADVICE}") from error
        missing = [name for name in self.names if name not in digests]
        if missing:
            raise DataError(f"{self.url}: not the archive of {self.dataset}: holds no {self.folder}/{missing[0]}")
        self._write_digests(digests, local)

    def _expected(self, name: str, sha256: dict[str, str]) -> tuple[str, str]:
        """Algorithm and digest of a file: the published digest if there is one, else the recorded one."""
        return ("md5", self.md5[name]) if name in self.md5 else ("sha256", sha256[name])

    def _parse_digests(self, content: bytes, *, source: str) -> dict[str, str]:
        try:
            return _DIGESTS.validate_json(content)
        except ValueError as error:
            raise DataError(
                f"{source}: must be a JSON object of file names and digests; remove it, or stage the data again"
            ) from error

    def _write_digests(self, digests: dict[str, str], store: Store) -> None:
        """Write `SUMS_NAME`. This comes last, so where it stands the files are whole."""
        store.write(f"{self.folder}/{SUMS_NAME}", _digest_lines(digests))

    def _read_staged(self, store: Store, key: str) -> bytes:
        try:
            return store.read(key)
        except ObjectMissing as error:
            raise DataError(f"{store.locate(key)}: missing; {self._stage_advice(store)}") from error

    def _stage_advice(self, store: Store) -> str:
        return f"put it there with `job stage {store.uri} --dataset {self.dataset}`"


def _digest_lines(digests: dict[str, str]) -> bytes:
    """The content of `SUMS_NAME`."""
    return json.dumps(digests, indent=1).encode()


def file_digest(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
