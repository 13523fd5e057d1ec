"""The S3 server of the measurements answers a store as moto does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.errors import ObjectExists, ObjectMissing
from job.storage import Store, open_store
from tests.benchmarks.quick_s3 import BUCKET, QuickS3

KEYS = ["a b/ü&<1>.json", "a/1", "a/b/2", "a/b/3", "c", "d+e%20f"]


@pytest.fixture
def moto(bucket: str) -> Store:
    return open_store(bucket)


@pytest.fixture
def quick(
    moto: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Store]:
    """With these objects, and those that a test asks for besides."""
    moto.list_folders()  # its client is made, and keeps to its server
    folder = tmp_path / "files"
    for key in [*KEYS, *getattr(request, "param", ())]:
        place = folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"content of {key}")
    with QuickS3(folder) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield open_store(f"s3://{BUCKET}")


def outcome(act: Callable[[Store], object], store: Store) -> object:
    try:
        return act(store)
    except (ObjectExists, ObjectMissing) as error:
        return type(error)


ACTS: list[Callable[[Store], object]] = [
    lambda store: store.list_keys(""),
    lambda store: store.list_keys("a/"),
    lambda store: store.list_keys("nothing"),
    lambda store: store.list_folders(),
    lambda store: [store.read(key) for key in KEYS[:6]],
    lambda store: store.read("missing"),
    lambda store: store.create("new", b"first"),
    lambda store: store.create("new", b"second"),
    lambda store: store.read("new"),
    lambda store: store.write("new", b""),
    lambda store: store.read("new"),
    lambda store: store.copy("a/1", "a/copy"),
    lambda store: store.read("a/copy"),
    lambda store: store.copy("missing", "a/copy"),
    lambda store: store.probe("probed", b"x"),
    lambda store: store.delete(["a/1", "a b/ü&<1>.json", "missing"]),
    lambda store: store.list_keys(""),
]


def test_server_of_the_measurements_answers_as_moto_does(moto: Store, quick: Store) -> None:
    for key in KEYS:
        moto.write(key, f"content of {key}".encode())
    for place, act in enumerate(ACTS):
        assert outcome(act, quick) == outcome(act, moto), place


MANY = [f"many/{number:04}" for number in range(2001)]


@pytest.mark.parametrize("quick", [MANY], indirect=True, ids=["2001 objects"])
def test_every_page_of_a_listing_is_read(quick: Store) -> None:
    assert quick.list_keys("many/") == MANY
    assert quick.list_folders() == ["a", "a b", "many"]


def test_version_changes_with_the_content(quick: Store) -> None:
    before = quick.list_versions("a/")
    quick.write("a/1", b"other")
    after = quick.list_versions("a/")
    assert {key for key in after if before[key] != after[key]} == {"a/1"}
