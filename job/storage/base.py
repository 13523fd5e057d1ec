"""What a place for artefacts can do. A folder and S3 both fulfil it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Store(Protocol):
    """A place for artefacts. Keys are relative to `uri`, with forward slashes. A write is whole or absent.

    Every method raises `AccessDeniedError` or `StorageError` when the place cannot be used.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises `ObjectMissing`."""

    def write(self, key: str, content: bytes) -> None:
        """Put `content` under `key`, replacing what is there."""

    def copy(self, key: str, target: str) -> None:
        """Put what is under `key` under `target` as well, replacing what is there. Raises `ObjectMissing`."""

    def create(self, key: str, content: bytes) -> None:
        """Put `content` under `key` if nothing is there. Raises `ObjectExists`; of two writers one succeeds."""

    def probe(self, key: str, content: bytes) -> None:
        """Do `write`, and the first time find out what the place can do. Nothing else stays behind.

        What was found is logged. Raises `UsageError` if `create` cannot keep its promise here, so that a run learns it
        before its training.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove what is there. Without the permission to delete, it is left to the bucket's lifecycle rule."""

    def list_keys(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""

    def list_folders(self) -> list[str]:
        """The first parts of all keys that have several, sorted. It costs as much as there are such first parts."""

    def list_versions(self, prefix: str) -> dict[str, str]:
        """All keys that start with `prefix`, sorted, with a word for each that changes when its content does."""

    def locate(self, key: str) -> str:
        """The path or URI under which a person finds the object."""
