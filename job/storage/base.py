"""What a place for artefacts can do. A folder and S3 both fulfil it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """A place for artefacts. Keys are relative to `uri`, with forward slashes. An object is stored whole or not at all.

    Every method raises `AccessDeniedError` or `StorageError` when the place cannot be used.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises `ObjectMissing`."""

    def write(self, key: str, content: bytes) -> None:
        """Put `content` under `key`, replacing what is there."""

    def upload(self, key: str, path: Path) -> None:
        """As `write`, with the content of the file `path`, which is never in memory as a whole."""

    def download(self, key: str, path: Path) -> None:
        """Write what is under `key` to the file `path`, replacing it, in pieces. Raises `ObjectMissing`."""

    def copy(self, key: str, target: str) -> None:
        """Put what is under `key` under `target` as well, replacing what is there. Raises `ObjectMissing`."""

    def create(self, key: str, content: bytes) -> None:
        """Put `content` under `key` if nothing is there, else raise `ObjectExists`. Of two writers one succeeds."""

    def probe(self, key: str, content: bytes) -> None:
        """Write `content` under `key`. The first call also tries whether `create` works here, and logs how.

        Nothing of the trial stays behind. Raises `UsageError` if `create` cannot keep its promise here, so that a run
        fails before its training and not after it.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects, if they exist. Without the permission to delete, the bucket's lifecycle rule does it."""

    def list_keys(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""

    def list_folders(self) -> list[str]:
        """The names of the folders at the top, sorted. The cost grows with their number, not with that of the keys."""

    def list_versions(self, prefix: str) -> dict[str, str]:
        """All keys that start with `prefix`, sorted, each with a text that changes when the content changes."""

    def locate(self, key: str) -> str:
        """The path or URI under which a person finds the object."""
