"""The official binary files of a data set: where they come from, and that they are whole.

Order of places: the folder or s3:// URI given by --data, the cache, torchvision's download.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from job.errors import DataError, ObjectMissing
from job.logs import get_logger
from job.storage import FolderStore, Store, is_remote, open_store
from job.training.data.base import file_digest

MANIFEST_NAME = "SHA256SUMS.json"
"""Digests of the files that have no official ones; written when the verified archive is unpacked."""


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
    """Official MD5 by file name, as far as they are published."""

    def locate(self, data: str | None, *, cache: Path) -> Path:
        """The folder where the verified files lie. Raises `DataError` where they cannot be had."""
        if data is None:
            folder = cache / self.folder
            if not all((folder / name).is_file() for name in self.names):
                self.download(cache)
        elif is_remote(data):
            folder = self._fetch(open_store(data), cache=cache)
        else:
            folder = self.find(Path(data))
        self.verify(folder)
        return folder

    def find(self, root: Path) -> Path:
        """`root` or the archive's folder in it, whichever holds the files. Raises `DataError`."""
        for folder in (root, root / self.folder):
            if all((folder / name).is_file() for name in self.names):
                return folder
        missing = [name for name in self.names if not (root / name).is_file()]
        raise DataError(
            f"{root}: {', '.join(missing)} of {self.dataset} not found there; "
            f"unpack {self.url} into it, or leave --data away to download"
        )

    def verify(self, folder: Path) -> None:
        """Raises `DataError` for a file that differs from its digest."""
        recorded = folder / MANIFEST_NAME
        sha256 = json.loads(recorded.read_bytes()) if recorded.is_file() else {}
        expected = {name: ("sha256", digest) for name, digest in sha256.items()}
        expected |= {name: ("md5", digest) for name, digest in self.md5.items()}
        for name, (algorithm, digest) in expected.items():
            seen = file_digest(folder / name, algorithm)
            if seen != digest:
                raise DataError(
                    f"{folder / name}: corrupt: {algorithm} is {seen}, must be {digest}; remove it and fetch it again"
                )

    def download(self, cache: Path) -> Path:
        """Fetch and unpack the archive with torchvision, verified, and return the folder with the files."""
        from torchvision.datasets.utils import download_and_extract_archive

        get_logger().info("data_download_started", dataset=self.dataset, url=self.url)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            download_and_extract_archive(self.url, str(cache), md5=self.archive_md5, remove_finished=True)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum a RuntimeError
            raise DataError(
                f"{self.url}: cannot be downloaded ({error}); fetch it elsewhere and name its folder with --data, "
                "or stage it in a bucket with `job stage`"
            ) from error
        folder = self.find(cache)
        digests = {name: file_digest(folder / name, "sha256") for name in self.names}
        FolderStore(folder).write(MANIFEST_NAME, json.dumps(digests, indent=1).encode())
        return folder

    def stage(self, folder: Path, store: Store) -> list[str]:
        """Put the verified files of `folder` into `store`; returns their URIs."""
        self.verify(folder)
        digests = {name: file_digest(folder / name, "sha256") for name in self.names}
        for name in self.names:
            store.write(f"{self.folder}/{name}", (folder / name).read_bytes())
        store.write(f"{self.folder}/{MANIFEST_NAME}", json.dumps(digests, indent=1).encode())
        return [store.locate(f"{self.folder}/{name}") for name in self.names]

    def _fetch(self, store: Store, *, cache: Path) -> Path:
        """Copy the staged files into the cache, unless they are there; returns the folder."""
        local = FolderStore(cache)
        for name in (MANIFEST_NAME, *self.names):
            key = f"{self.folder}/{name}"
            if name != MANIFEST_NAME and (cache / key).is_file():
                continue
            try:
                local.write(key, store.read(key))
            except ObjectMissing as error:
                raise DataError(
                    f"{store.locate(key)}: missing; put it there with `job stage {store.uri} --dataset {self.dataset}`"
                ) from error
        return cache / self.folder
