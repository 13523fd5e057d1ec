"""What every store promises, what a folder adds, and what S3 does when the network or the service fails."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
import structlog
from botocore.config import Config
from botocore.utils import parse_timestamp

from job.errors import (
    AccessDeniedError,
    DataError,
    HostError,
    JobError,
    ObjectExists,
    ObjectMissing,
    StorageError,
    UsageError,
)
from job.storage import FolderStore, Store, is_remote, open_store, read_uri
from job.storage.aws import parse_moment
from job.storage.claim import CLAIM_PREFIX
from job.storage.faults import CredentialsExpired
from job.storage.s3 import COMMIT_CONFLICT_ATTEMPTS, MULTIPART_BYTES, S3Store
from job.storage.s3_client import MAX_ATTEMPTS, build_s3_client
from tests.conftest import BUCKET
from tests.models.faulty_s3 import (
    ALWAYS,
    Fault,
    FaultyS3,
    answer,
    cut,
    flip,
    ignoring_conditions,
    lose_answer,
    refuse_keys,
    refusing_conditions,
    truncate,
    without_conditions,
    without_length,
    wordless,
)

LOGIN_PAGE = b"\n<!DOCTYPE html><html><body><form>Who are you?</form></body></html>"
LARGE = MULTIPART_BYTES + 2**20
NOBODY = 65534


@pytest.fixture(scope="module")
def client(faulty_server: FaultyS3) -> Any:
    """The product's own client, built once: to read its service's description takes longer than a test."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", faulty_server.endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        return build_s3_client()


@pytest.fixture
def s3(wire: FaultyS3, bucket: str, client: Any) -> S3Store:
    return S3Store(f"{bucket}/study/first", client=client)


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "out")


@pytest.fixture
def folder_without_links(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """As SMB, exFAT and many FUSE file systems are: no hard links, and fsync of a folder is no operation."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    fsync = os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", fsync_of_files)
    return folder


@pytest.fixture(params=["folder", "folder_without_links", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(request.param)


# Every store


@pytest.mark.parametrize("num_bytes", [0, 1, 100_000, LARGE], ids=str)
def test_what_was_written_is_read_again(store: Store, num_bytes: int) -> None:
    content = os.urandom(num_bytes)
    store.write("runs/one/model.safetensors", content)
    assert store.read("runs/one/model.safetensors") == content
    assert store.list_keys("") == ["runs/one/model.safetensors"]


def test_second_write_replaces_the_first(store: Store) -> None:
    store.write("progress.json", b"a longer first one")
    store.write("progress.json", b"second")
    assert store.read("progress.json") == b"second"


def test_created_object_is_read_again(store: Store) -> None:
    store.create("runs/result.json", b"{}")
    assert store.read("runs/result.json") == b"{}"


def test_create_leaves_what_is_there(store: Store) -> None:
    store.create("result.json", b"first")
    with pytest.raises(ObjectExists, match=r"result\.json: exists already"):
        store.create("result.json", b"second")
    assert store.read("result.json") == b"first"


def test_create_succeeds_again_after_a_delete(store: Store) -> None:
    store.create("result.json", b"first")
    store.delete(["result.json"])
    store.create("result.json", b"second")
    assert store.read("result.json") == b"second"


def test_of_writers_that_create_at_once_exactly_one_wins(store: Store) -> None:
    at_once, outcomes = threading.Barrier(4), dict[bytes, type]()

    def create(content: bytes) -> None:
        at_once.wait()
        try:
            store.create("runs/result.json", content)
            outcomes[content] = Store
        except JobError as error:
            outcomes[content] = type(error)

    writers = [threading.Thread(target=create, args=(str(number).encode(),)) for number in range(at_once.parties)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (winner,) = [content for content, outcome in outcomes.items() if outcome is Store]
    assert [outcome for content, outcome in outcomes.items() if content != winner] == [ObjectExists] * 3
    assert store.read("runs/result.json") == winner
    assert store.list_keys("") == ["runs/result.json"]


def test_missing_object_is_named(store: Store) -> None:
    store.write("runs/one.json", b"")
    with pytest.raises(ObjectMissing, match=r"runs/two\.json"):
        store.read("runs/two.json")


def test_keys_are_listed_by_prefix_sorted_and_relative(store: Store) -> None:
    for key in ("runs/b/2.pt", "runs/b/10.pt", "runs/a.json", "runs/a/1.pt", "sweep.json", "runs-other/x"):
        store.write(key, b"x")
    assert store.list_keys("runs/") == ["runs/a.json", "runs/a/1.pt", "runs/b/10.pt", "runs/b/2.pt"]
    assert store.list_keys("runs/b/1") == ["runs/b/10.pt"]
    assert store.list_keys("runs") == ["runs-other/x", *store.list_keys("runs/")]
    assert len(store.list_keys("")) == 6
    assert store.list_keys("nothing/here/") == []


def test_folders_are_listed_without_what_is_in_them(store: Store) -> None:
    for key in ("b/runs/1.json", "b/runs/2.json", "a/sweep.json", "alone.json"):
        store.write(key, b"x")
    assert store.list_folders() == ["a", "b"]


def test_store_without_any_object_lists_nothing(store: Store) -> None:
    assert store.list_keys("") == []
    assert store.list_folders() == []


def test_delete_removes_only_what_is_named_and_passes_over_what_is_missing(store: Store) -> None:
    for key in ("runs/a", "runs/b", "runs/c"):
        store.write(key, b"x")
    store.delete(["runs/a", "runs/missing", "nowhere/missing", "runs/c"])
    assert store.list_keys("") == ["runs/b"]
    store.delete([])
    assert store.list_keys("") == ["runs/b"]


def test_object_is_found_where_the_store_locates_it(store: Store) -> None:
    store.write("runs/one.json", b"content")
    assert store.locate("runs/one.json") == f"{store.uri}/runs/one.json"
    assert read_uri(store.locate("runs/one.json")) == b"content"
    assert open_store(store.uri).read("runs/one.json") == b"content"


def test_trailing_slash_of_a_location_changes_nothing(store: Store) -> None:
    other = open_store(f"{store.uri}/")
    other.write("runs/one.json", b"content")
    assert store.read("runs/one.json") == b"content"
    assert other.locate("runs/one.json") == store.locate("runs/one.json")


@pytest.mark.parametrize("key", ["sweep.json", "runs/one/manifest.json"])
def test_probe_writes_says_what_it_found_and_leaves_nothing_else(store: Store, key: str) -> None:
    with structlog.testing.capture_logs() as told:
        store.probe(key, b"content")
        store.probe(key, b"other content")
    assert store.read(key) == b"other content"
    assert store.list_keys("") == [key]
    found = {"S3Store": "conditional write", "FolderStore": "hard link"}[type(store).__name__]
    if isinstance(store, FolderStore):
        assert files_of(store) == [Path(key).name]
        found = "exclusive creation" if os.link.__name__ == "refuse" else found
    assert [event["commit"] for event in told] == [found]  # once, however many runs there are


# A folder


def files_of(store: FolderStore) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], FolderStore]]:
    """Mounts 64 KiB of memory with these options, and gives the store in it."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> FolderStore:
        if os.geteuid() != 0:
            pytest.skip("only root may mount a file system")
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        return FolderStore(place)

    yield mount
    while os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("method", ["write", "create"])
def test_full_disk_is_a_fault_of_this_host_and_leaves_no_partial_file(
    small_disk: Callable[[str], FolderStore], method: str
) -> None:
    store = small_disk("size=64k")
    store.write("progress.json", b"before")
    with pytest.raises(HostError, match=r"model\.safetensors: the disk is full") as caught:
        getattr(store, method)("model.safetensors", bytes(100_000))
    assert caught.value.exit_code == 71
    assert files_of(store) == ["progress.json"]
    with pytest.raises(HostError):
        store.write("progress.json", bytes(100_000))
    assert store.read("progress.json") == b"before"


@pytest.mark.parametrize("method", ["write", "create"])
def test_read_only_file_system_is_denied_access(small_disk: Callable[[str], FolderStore], method: str) -> None:
    store = small_disk("size=64k,ro")
    with pytest.raises(AccessDeniedError, match=r"read-only file system; name a writable --output") as caught:
        getattr(store, method)("progress.json", b"")
    assert caught.value.exit_code == 67


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_of_another_user_is_denied_access(folder: FolderStore) -> None:
    folder.root.mkdir(mode=0o555)
    with pytest.raises(AccessDeniedError, match="is the folder writable for this user"):
        folder.write("progress.json", b"")


def test_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(folder: FolderStore) -> None:
    """Else `job submit` would start again what is done."""
    folder.write("sweep/runs/a/result.json", b"{}")
    closed = folder.root / "sweep" / "runs"
    closed.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)  # root may read anything
        with pytest.raises(AccessDeniedError, match="permission denied"):
            folder.list_keys("sweep/")
    finally:
        os.seteuid(user)
        closed.chmod(0o755)
    assert folder.list_keys("sweep/") == ["sweep/runs/a/result.json"]
    assert folder.list_keys("other/") == []


@pytest.mark.parametrize("method", ["write", "create"])
def test_failed_write_leaves_no_partial_file(folder: FolderStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("progress.json", b"before")

    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        getattr(folder, method)("progress.json", b"after")
    assert files_of(folder) == ["progress.json"]
    assert folder.read("progress.json") == b"before"


@pytest.mark.parametrize("method", ["write", "create"])
def test_folder_in_the_place_of_a_file_is_named_and_leaves_no_partial_file(folder: FolderStore, method: str) -> None:
    folder.write("taken/below", b"")
    with pytest.raises(ObjectExists if method == "create" else UsageError, match="out/taken: "):
        getattr(folder, method)("taken", b"")
    with pytest.raises(UsageError, match="out/taken: Is a directory; name another place"):
        folder.read("taken")
    assert files_of(folder) == ["below"]


@pytest.mark.parametrize(
    "code",
    [errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK,
     errno.EXDEV, errno.ENOTTY],
)  # fmt: skip
def test_file_system_without_hard_links_commits_once_and_leaves_no_claim(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    folder.create("result.json", b"first")
    with pytest.raises(ObjectExists, match=r"result\.json: exists already"):
        folder.create("result.json", b"second")
    assert folder.read("result.json") == b"first"
    assert files_of(folder) == ["result.json"]


def test_reader_without_hard_links_never_sees_half_a_file(folder_without_links: FolderStore) -> None:
    content, seen, over = os.urandom(2**20), set[int](), threading.Event()
    folder_without_links.write("other", b"")

    def watch() -> None:
        while not over.is_set():
            with suppress(ObjectMissing):
                seen.add(len(folder_without_links.read("result.json")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        folder_without_links.create("result.json", content)
        folder_without_links.delete(["result.json"])
    over.set()
    watcher.join()
    assert seen <= {len(content)}


def test_claim_of_a_killed_writer_is_taken_over(
    folder_without_links: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.storage.claim.CLAIM_SECONDS", 0.05)
    folder_without_links.write("other", b"")
    (folder_without_links.root / f"{CLAIM_PREFIX}result.json").write_bytes(b"of one that was killed")
    assert folder_without_links.list_keys("") == ["other"]
    folder_without_links.create("result.json", b"{}")
    assert files_of(folder_without_links) == ["other", "result.json"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_fault_of_the_disk_is_no_lack_of_links(folder: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises((StorageError, HostError)):
        folder.create("result.json", b"{}")
    assert files_of(folder) == []


def test_fsync_of_a_file_is_asked_for_and_its_fault_is_told(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UsageError, match="Invalid argument; name another place"):
        folder.write("result.json", b"{}")


@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EBADF, errno.EISDIR])
def test_folder_that_cannot_be_synced_is_written_to_all_the_same(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    real = getattr(os, call)

    def refuse_folders(place: Any, *arguments: Any) -> Any:
        if stat.S_ISDIR(os.stat(place).st_mode):  # noqa: PTH116 - of a path or a descriptor
            raise OSError(code, os.strerror(code))
        return real(place, *arguments)

    monkeypatch.setattr(os, call, refuse_folders)
    folder.write("result.json", b"{}")
    assert folder.read("result.json") == b"{}"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EXDEV])
def test_file_system_that_cannot_rename_is_refused_for_good(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UsageError, match=r"manifest\.json: .*; name another place"):
        folder.probe("manifest.json", b"{}")
    assert files_of(folder) == []


def test_partial_file_of_a_killed_writer_is_not_listed(folder: FolderStore) -> None:
    folder.write("runs/one.json", b"")
    (folder.root / "runs/.partial-abc").write_bytes(b"half")
    assert folder.list_keys("") == ["runs/one.json"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_are_readable_as_the_umask_says(folder: FolderStore, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        folder.write("written", b"")
        folder.create("created", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.root.iterdir()}
    assert modes == {"written": mode, "created": mode}


def test_writers_at_once_leave_the_umask_alone(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process: to read it is to change it for a moment, which another thread sees."""

    def touched(_mask: int) -> int:
        raise AssertionError

    monkeypatch.setattr(os, "umask", touched)
    folder.write("written", b"")
    assert folder.list_keys("") == ["written"]


@pytest.mark.parametrize("key", ["../outside", "runs/../../outside", "/etc/passwd", "with\0null"])
def test_key_that_leaves_the_folder_is_refused(folder: FolderStore, key: str) -> None:
    for use in (
        lambda: folder.write(key, b""),
        lambda: folder.create(key, b""),
        lambda: folder.read(key),
        lambda: folder.delete([key]),
        lambda: folder.list_keys(f"{key}/"),
    ):
        with pytest.raises(StorageError, match="leaves the output folder"):
            use()
    assert not (folder.root.parent / "outside").exists()


def test_key_with_dots_in_a_name_is_fine(folder: FolderStore) -> None:
    folder.write("runs/..hidden/a..b", b"x")
    assert folder.list_keys("runs/") == ["runs/..hidden/a..b"]


def test_relative_folder_keeps_its_name_and_survives_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write("one", b"x")
    assert (tmp_path / "out/one").read_bytes() == b"x"
    assert store.locate("one") == "out/one"


# Locations


@pytest.mark.parametrize("location", ["http://host/bucket", "gs://bucket/x", "file:///tmp/x", "S3x://bucket"])
def test_unknown_scheme_is_refused(location: str) -> None:
    assert is_remote(location)
    with pytest.raises(
        UsageError, match=r"neither a path nor an s3:// URI; .*accepted: a path, or s3://BUCKET"
    ) as caught:
        open_store(location)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("location", ["s3://", "s3:///prefix", "s3://not_a_bucket!/prefix"])
def test_location_without_a_proper_bucket_is_refused(location: str, wire: FaultyS3) -> None:
    with pytest.raises(UsageError, match=r"must be s3://BUCKET or s3://BUCKET/PREFIX"):
        open_store(location).write("x", b"")
    assert not wire.requests


@pytest.mark.parametrize("prefix", ["a b", "sum#1", "which?", "100%", "größe", "a+b"])
def test_prefix_with_special_characters_is_kept(bucket: str, wire: FaultyS3, prefix: str) -> None:
    open_store(f"{bucket}/{prefix}").write("one.json", b"x")
    assert [found.key for found in boto3.resource("s3").Bucket(BUCKET).objects.all()] == [f"{prefix}/one.json"]
    assert open_store(f"{bucket}/{prefix}").list_keys("one") == ["one.json"]


def test_browser_can_show_pages_and_plots(s3: S3Store) -> None:
    objects = boto3.resource("s3").Bucket(BUCKET)
    types = {"index.html": "text/html; charset=utf-8", "loss.png": "image/png", "result.json": "application/json"}
    for key in types:
        s3.write(key, b"x")
        assert objects.Object(f"study/first/{key}").content_type == types[key]
    s3.create("created.json", b"{}")
    assert objects.Object("study/first/created.json").content_type == "application/json"


# S3 with a bad wire


def pending_uploads() -> list[str]:
    return [upload.object_key for upload in boto3.resource("s3").Bucket(BUCKET).multipart_uploads.all()]


READING = {"read": lambda store: store.read("k"), "list": lambda store: store.list_keys("")}
WRITING = {"write": lambda store: store.write("k", b"new"), "create": lambda store: store.create("new", b"new")}
EVERY_USE = pytest.mark.parametrize("use", [*READING.values(), *WRITING.values()], ids=[*READING, *WRITING])


@pytest.fixture
def filled(s3: S3Store, wire: FaultyS3) -> S3Store:
    s3.write("k", b"content")
    wire.requests.clear()
    return s3


@EVERY_USE
@pytest.mark.parametrize(
    "fault",
    [answer("503 Slow Down", "SlowDown"), answer("500 Internal Server Error", "InternalError"), cut],
    ids=["503", "500", "cut"],
)
def test_passing_fault_is_outlasted(
    filled: S3Store, wire: FaultyS3, use: Callable[[S3Store], object], fault: Fault
) -> None:
    wire.spoil(".*", "", fault, times=2)
    use(filled)
    assert len(wire.requests) >= 3
    assert filled.list_keys("") in (["k"], ["k", "new"])


@EVERY_USE
def test_service_that_stays_down_is_a_storage_error_after_bounded_attempts(
    filled: S3Store, wire: FaultyS3, use: Callable[[S3Store], object]
) -> None:
    wire.spoil(".*", "", answer("503 Slow Down", "SlowDown", "reduce your rate"), times=ALWAYS)
    with pytest.raises(StorageError, match="s3://bucket/study/first") as caught:
        use(filled)
    assert caught.value.exit_code == 74
    assert MAX_ATTEMPTS <= len(wire.requests) <= 2 * MAX_ATTEMPTS


def test_object_whose_length_the_server_does_not_say_is_read(s3: S3Store, wire: FaultyS3) -> None:
    s3.write("key", b"content")
    rule = wire.spoil("GET", "/key", without_length)
    assert s3.read("key") == b"content"
    assert not rule.times


def test_upload_in_parts_outlasts_a_passing_fault(s3: S3Store, wire: FaultyS3) -> None:
    content = os.urandom(LARGE)
    wire.spoil("PUT", "partNumber=2", answer("503 Slow Down", "SlowDown"), times=2)
    s3.write("model.safetensors", content)
    assert sum("partNumber=2" in request for request in wire.requests) == 3
    assert s3.read("model.safetensors") == content


def test_failed_upload_in_parts_leaves_neither_object_nor_parts(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("PUT", "partNumber=2", answer("503 Slow Down", "SlowDown"), times=ALWAYS)
    with pytest.raises(StorageError, match=r"model\.safetensors") as caught:
        s3.write("model.safetensors", bytes(LARGE))
    assert caught.value.exit_code == 74
    assert any("partNumber=1" in request for request in wire.requests)
    assert pending_uploads() == []
    assert s3.list_keys("") == []


@pytest.mark.parametrize("num_bytes", [1000, LARGE], ids=str)
def test_answer_that_breaks_off_is_read_again(s3: S3Store, wire: FaultyS3, num_bytes: int) -> None:
    content = os.urandom(num_bytes)
    s3.write("k", content)
    wire.spoil("GET", "/k", truncate)
    assert s3.read("k") == content


@pytest.mark.parametrize(("fault", "said"), [(truncate, "broke off"), (flip, "checksum")], ids=["truncated", "flipped"])
def test_answer_that_stays_damaged_is_a_storage_error(filled: S3Store, wire: FaultyS3, fault: Fault, said: str) -> None:
    wire.spoil("GET", "/k", fault, times=ALWAYS)
    with pytest.raises(StorageError, match=f"s3://bucket/study/first/k: .*{said}") as caught:
        filled.read("k")
    assert caught.value.exit_code == 74
    assert len(wire.requests) < 15


@EVERY_USE
@pytest.mark.parametrize(
    ("status", "code", "error", "exit_code", "said"),
    [
        ("400 Bad Request", "ExpiredToken", CredentialsExpired, 74, "the credentials expired"),
        ("403 Forbidden", "AccessDenied", AccessDeniedError, 67, "check the credentials and the role's policy"),
        ("403 Forbidden", "InvalidAccessKeyId", AccessDeniedError, 67, "InvalidAccessKeyId"),
        ("403 Forbidden", "SignatureDoesNotMatch", AccessDeniedError, 67, "SignatureDoesNotMatch"),
        ("403 Forbidden", "RequestTimeTooSkewed", StorageError, 74, "this machine's clock is wrong"),
        ("404 Not Found", "NoSuchBucket", AccessDeniedError, 67, "the bucket does not exist"),
        ("405 Method Not Allowed", "MethodNotAllowed", UsageError, 2, "MethodNotAllowed: said the test"),
    ],
    ids=lambda value: value if str(value).isalpha() else "",
)
def test_refusal_is_told_with_its_reason_however_it_is_met(
    filled: S3Store,
    wire: FaultyS3,
    use: Callable[[S3Store], object],
    status: str,
    code: str,
    error: type[JobError],
    exit_code: int,
    said: str,
) -> None:
    """The answer says why, and so does the message."""
    wire.spoil(".*", "", answer(status, code), times=ALWAYS)
    with pytest.raises(error, match="s3://bucket/study/first") as caught:
        use(filled)
    assert type(caught.value) is error
    assert caught.value.exit_code == exit_code
    assert said in str(caught.value)
    assert len(wire.requests) <= (2 if code == "ExpiredToken" else 1)  # asking again would not help


ANSWERS = [
    ("301 Moved Permanently", "PermanentRedirect", UsageError, "set AWS_DEFAULT_REGION to the bucket's region"),
    ("400 Bad Request", "AuthorizationHeaderMalformed", UsageError, "set AWS_DEFAULT_REGION"),
    ("400 Bad Request", "IllegalLocationConstraintException", UsageError, "set AWS_DEFAULT_REGION"),
    ("400 Bad Request", "InvalidBucketName", UsageError, "must be s3://BUCKET"),
    ("400 Bad Request", "KeyTooLongError", UsageError, "shorten the prefix"),
    ("403 Forbidden", "InvalidObjectState", DataError, "restore it"),
    ("400 Bad Request", "KMS.DisabledException", AccessDeniedError, "check the bucket's KMS key"),
    ("400 Bad Request", "KMS.NotFoundException", AccessDeniedError, "check the bucket's KMS key"),
    ("400 Bad Request", "InvalidToken", AccessDeniedError, "check the credentials"),
    ("400 Bad Request", "InvalidArgument", UsageError, "asking again does not help"),
    ("400 Bad Request", "NeverHeardOf", UsageError, "asking again does not help"),
    ("401 Unauthorized", "NeverHeardOf", AccessDeniedError, "check the credentials"),
    ("403 Forbidden", "NeverHeardOf", AccessDeniedError, "check the credentials"),
    ("404 Not Found", "NeverHeardOf", UsageError, "asking again does not help"),
    ("302 Found", "NeverHeardOf", UsageError, "set AWS_DEFAULT_REGION"),
    ("409 Conflict", "NeverHeardOf", StorageError, "NeverHeardOf"),
    ("409 Conflict", "OperationAborted", StorageError, "OperationAborted"),
    ("429 Too Many Requests", "NeverHeardOf", StorageError, "NeverHeardOf"),
    ("400 Bad Request", "RequestTimeout", StorageError, "RequestTimeout"),
    ("400 Bad Request", "ThrottlingException", StorageError, "ThrottlingException"),
    ("500 Internal Server Error", "NeverHeardOf", StorageError, "NeverHeardOf"),
    ("501 Not Implemented", "NotImplemented", UsageError, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ("411 Length Required", "MissingContentLength", UsageError, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ("400 Bad Request", "MalformedTrailerError", UsageError, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ("400 Bad Request", "XAmzContentSHA256Mismatch", StorageError, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
]


@pytest.mark.parametrize(
    ("status", "code", "error", "said"), ANSWERS, ids=[f"{row[0][:3]} {row[1]}" for row in ANSWERS]
)
def test_answer_says_whether_asking_again_helps_and_what_to_do(
    filled: S3Store, wire: FaultyS3, status: str, code: str, error: type[JobError], said: str
) -> None:
    wire.spoil(".*", "", answer(status, code), times=ALWAYS)
    with pytest.raises(error, match=r"s3://bucket/study/first/k: ") as caught:
        filled.write("k", b"new")
    assert caught.value.exit_code == error.exit_code
    assert said in str(caught.value)
    if error is not StorageError:
        assert sum(request.startswith("PUT") for request in wire.requests) <= 2  # botocore follows a redirect once


@pytest.mark.parametrize(
    "told", [{"headers": {"x-amz-bucket-region": "eu-west-3"}}, {"extra": "<Region>eu-west-3</Region>"}], ids=str
)
@pytest.mark.parametrize(
    ("status", "code"), [("301 Moved", "PermanentRedirect"), ("400 Bad", "AuthorizationHeaderMalformed")]
)
def test_wrong_region_is_told_with_the_right_one(
    filled: S3Store, wire: FaultyS3, status: str, code: str, told: dict[str, Any]
) -> None:
    wire.spoil(".*", "", answer(status, code, **told), times=ALWAYS)
    with pytest.raises(UsageError, match="the bucket is in eu-west-3: set AWS_DEFAULT_REGION=eu-west-3"):
        filled.read("k")


@EVERY_USE
@pytest.mark.parametrize(
    ("endpoint", "said"),
    [("bucket.s3.eu-west-3.amazonaws.com", "the bucket is in eu-west-3: set AWS_DEFAULT_REGION=eu-west-3"),
     ("s3-eu-west-3.amazonaws.com", "the bucket is in eu-west-3: set AWS_DEFAULT_REGION=eu-west-3"),
     ("bucket.elsewhere.example", "the bucket is at bucket.elsewhere.example: set AWS_DEFAULT_REGION")],
)  # fmt: skip
def test_redirect_that_names_an_endpoint_alone_is_told_after_a_few_requests(
    filled: S3Store, wire: FaultyS3, use: Callable[[S3Store], object], endpoint: str, said: str
) -> None:
    wire.spoil(
        ".*", "", answer("301 Moved", "PermanentRedirect", extra=f"<Endpoint>{endpoint}</Endpoint>"), times=ALWAYS
    )
    with pytest.raises(UsageError, match=said):
        use(filled)
    assert len(wire.requests) <= 3


def test_server_that_does_not_speak_checksums_deletes_one_by_one(filled: S3Store, wire: FaultyS3) -> None:
    wire.spoil("POST", "delete", answer("400 Bad Request", "MissingContentMD5"), times=ALWAYS)
    filled.delete(["k"])
    assert filled.list_keys("") == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (without_conditions, r"does not know conditional writes \(NotImplemented: A header [^;]* not implemented\)"),
        (refusing_conditions("400 Bad Request"), r"does not know conditional writes \(400: Bad Request\)"),
        (refusing_conditions("304 Not Modified"), r"does not know conditional writes \(304: Not Modified\)"),
        (refusing_conditions("404 Not Found"), r"does not know conditional writes \(404: Not Found\)"),
        (ignoring_conditions, "passes over If-None-Match"),
    ],
    ids=["501", "400", "304", "404", "ignored"],
)
def test_server_on_which_two_could_commit_is_refused_by_the_probe(
    s3: S3Store, wire: FaultyS3, fault: Fault, said: str
) -> None:
    wire.spoil("PUT", "", fault, times=ALWAYS)
    with pytest.raises(UsageError, match=rf"manifest\.json: the server {said}.*Use a server that knows If-None-Match"):
        s3.probe("manifest.json", b"{}")
    assert s3.list_keys("") == ["manifest.json"]


def test_commit_refused_with_501_quotes_the_server_and_advises_on_nothing_else(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("PUT", "", without_conditions)
    with pytest.raises(UsageError, match="does not know conditional writes") as caught:
        s3.create("result.json", b"{}")
    assert "CHECKSUM" not in str(caught.value)


@EVERY_USE
def test_400_without_a_word_is_no_lack_of_fresh_credentials(
    filled: S3Store, wire: FaultyS3, use: Callable[[S3Store], object]
) -> None:
    wire.spoil(".*", "", wordless("400 Bad Request"), times=ALWAYS)
    with pytest.raises(UsageError, match=r"400: Bad Request, .*does an S3 server answer at AWS_ENDPOINT_URL"):
        use(filled)
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "use", [*WRITING.values(), READING["list"], lambda store: store.list_folders(), lambda store: store.delete(["k"])],
    ids=[*WRITING, "list", "list folders", "delete"],
)  # fmt: skip
def test_404_to_what_needs_no_object_is_of_no_s3_server(
    filled: S3Store, wire: FaultyS3, use: Callable[[S3Store], object]
) -> None:
    wire.spoil(".*", "", wordless("404 Not Found"), times=ALWAYS)
    with pytest.raises(UsageError, match=r"404: Not Found; does an S3 server answer at AWS_ENDPOINT_URL"):
        use(filled)


def test_page_in_html_instead_of_a_listing_is_of_no_s3_server(filled: S3Store, wire: FaultyS3) -> None:
    wire.spoil(".*", "", wordless("200 OK", LOGIN_PAGE), times=ALWAYS)
    with pytest.raises(UsageError, match=r"the answer is .*; does an S3 server answer at AWS_ENDPOINT_URL"):
        filled.list_keys("")


def test_tls_on_a_port_of_plain_http_is_told_with_what_to_write(
    wire: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.endpoint.replace("http://", "https://"))
    with pytest.raises(UsageError, match="write http:// for https://"):
        S3Store("s3://bucket").read("k")


def test_conflicting_commit_is_tried_again(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("PUT", "", answer("409 Conflict", "ConditionalRequestConflict"), times=2)
    s3.create("result.json", b"{}")
    assert len(wire.requests) == 3
    assert s3.read("result.json") == b"{}"


def test_commit_that_keeps_conflicting_is_given_up(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("PUT", "", answer("409 Conflict", "ConditionalRequestConflict"), times=ALWAYS)
    with pytest.raises(StorageError, match=r"result\.json: ConditionalRequestConflict") as caught:
        s3.create("result.json", b"{}")
    assert not isinstance(caught.value, ObjectExists)
    assert len(wire.requests) == COMMIT_CONFLICT_ATTEMPTS


def test_commit_whose_acknowledgement_is_lost_finds_its_own_object(s3: S3Store, wire: FaultyS3) -> None:
    """The retry is told that the key is taken; what lies there is ours, which the caller sees by its content."""
    wire.spoil("PUT", "", lose_answer)
    with pytest.raises(ObjectExists):
        s3.create("result.json", b'{"attempt_id": "ours"}')
    assert len(wire.requests) == 2
    assert s3.read("result.json") == b'{"attempt_id": "ours"}'


def test_write_whose_acknowledgement_is_lost_succeeds(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("PUT", "", lose_answer)
    s3.write("progress.json", b"{}")
    assert s3.read("progress.json") == b"{}"


def test_role_that_may_not_delete_keeps_the_objects_silently(filled: S3Store, wire: FaultyS3) -> None:
    wire.spoil("POST", "delete", answer("403 Forbidden", "AccessDenied"))
    filled.delete(["k"])
    assert wire.requests == ["POST /bucket?delete"]
    assert filled.read("k") == b"content"


def test_keys_that_a_delete_leaves_out_are_asked_for_again(filled: S3Store, wire: FaultyS3) -> None:
    """The answer is 200 although nothing was deleted."""
    wire.spoil("POST", "delete", refuse_keys("InternalError"))
    filled.delete(["k"])
    assert wire.requests == ["POST /bucket?delete", "DELETE /bucket/study/first/k?"]
    assert filled.list_keys("") == []


def test_keys_that_may_not_be_deleted_are_told_and_kept(
    filled: S3Store, wire: FaultyS3, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.spoil("POST", "delete", refuse_keys("AccessDenied"))
    filled.delete(["k"])
    assert wire.requests == ["POST /bucket?delete"]
    assert filled.read("k") == b"content"
    assert "objects_not_deleted" in capsys.readouterr().out


def test_delete_with_expired_credentials_is_tried_with_fresh_ones(filled: S3Store, wire: FaultyS3) -> None:
    wire.spoil("POST", "delete", answer("400 Bad Request", "ExpiredToken"))
    filled.delete(["k"])
    assert filled.list_keys("") == []


def test_delete_that_fails_otherwise_is_told(filled: S3Store, wire: FaultyS3) -> None:
    wire.spoil("POST", "delete", answer("503 Slow Down", "SlowDown"), times=ALWAYS)
    with pytest.raises(StorageError, match="SlowDown"):
        filled.delete(["k"])


def test_many_keys_are_listed_and_deleted_in_several_requests(
    s3: S3Store, wire: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.storage.s3.DELETE_BATCH", 2)
    keys = [f"runs/{number}" for number in range(5)]
    for key in keys:
        s3.write(key, b"")
    s3.delete(iter(keys))
    assert sum(request.startswith("POST") for request in wire.requests) == 3
    assert s3.list_keys("") == []


@EVERY_USE
def test_missing_bucket_is_named(wire: FaultyS3, client: Any, use: Callable[[S3Store], object]) -> None:
    with pytest.raises(AccessDeniedError, match=r"s3://no-such-bucket.*the bucket does not exist") as caught:
        use(S3Store("s3://no-such-bucket", client=client))
    assert caught.value.exit_code == 67


# S3 that cannot even be asked


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without ~/.aws, and a process that has not yet looked for it."""
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_missing_credentials_are_told(bucket: str, no_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDeniedError, match=r"(?i)credentials") as caught:
        S3Store(bucket).read("k")
    assert caught.value.exit_code == 67


def test_unknown_profile_is_named(bucket: str, no_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mistyped")
    with pytest.raises(AccessDeniedError, match="mistyped"):
        S3Store(bucket)


def test_endpoint_that_is_no_address_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    with pytest.raises(UsageError, match="minio:9000"):
        S3Store(bucket)


def test_unreachable_endpoint_is_a_storage_error(wire: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StorageError, match=f"Could not connect to the endpoint URL.*{endpoint}") as caught:
        S3Store("s3://bucket").read("k")
    assert caught.value.exit_code == 74


def test_endpoint_that_never_answers_is_a_storage_error(wire: FaultyS3) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            config=Config(read_timeout=0.1, retries={"mode": "standard", "total_max_attempts": 2}),
        )
        with pytest.raises(StorageError, match="Read timeout on endpoint URL"):
            S3Store("s3://bucket", client=client).write("k", b"")


def test_every_wait_of_the_client_is_bounded(bucket: str) -> None:
    config = S3Store(bucket)._client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 60)
    assert config.retries == {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS}


def tags(client: Any, key: str) -> dict[str, str]:
    tagging = client.get_object_tagging(Bucket="bucket", Key=f"prefix/{key}")
    return {one["Key"]: one["Value"] for one in tagging["TagSet"]}


CHECKPOINT = "default/runs/tiny-s0-0123456789/checkpoints/epoch-0001.pt"


@pytest.mark.parametrize("size", [1, MULTIPART_BYTES + 1], ids=["one part", "several parts"])
def test_checkpoints_carry_the_tag_by_which_they_expire_and_nothing_else_does(
    wire: FaultyS3, bucket: str, client: Any, size: int
) -> None:
    store = S3Store(f"{bucket}/prefix", client=client)
    store.write(CHECKPOINT, bytes(size))
    store.write("default/runs/tiny-s0-0123456789/model.safetensors", b"weights")
    assert tags(client, CHECKPOINT) == {"kind": "checkpoint"}
    assert tags(client, "default/runs/tiny-s0-0123456789/model.safetensors") == {}


def test_role_that_may_not_tag_writes_checkpoints_without(wire: FaultyS3, bucket: str, client: Any) -> None:
    store = S3Store(f"{bucket}/prefix", client=client)
    wire.spoil("PUT", "checkpoints", answer("403 Forbidden", "AccessDenied"))
    store.write(CHECKPOINT, b"state")
    assert store.read(CHECKPOINT) == b"state"
    assert tags(client, CHECKPOINT) == {}
    wire.requests.clear()
    store.write(CHECKPOINT, b"next")
    assert sum(request.startswith("PUT") for request in wire.requests) == 1  # it has learnt
    wire.spoil("PUT", "checkpoints", answer("403 Forbidden", "AccessDenied"))
    with pytest.raises(AccessDeniedError):
        store.write(CHECKPOINT, b"denied altogether")


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-29T08:00:01.250Z",
        "2026-11-29T08:00:01+02:00",
        "Sun, 29 Nov 2026 08:00:01 GMT",
        1795939201,
        "1795939201",
    ],
)
def test_moment_is_the_one_that_botocore_reads(written: str | int) -> None:
    assert parse_moment(written) == parse_timestamp(written)


@pytest.mark.parametrize("written", ["", "2026-13-29T08:00:01Z", "yesterday GMT"])
def test_what_is_no_moment_is_refused_as_botocore_refuses_it(written: str) -> None:
    for parse in (parse_timestamp, parse_moment):
        with pytest.raises(ValueError, match="Invalid timestamp"):
            parse(written)
