"""S3 and the machine fail under `job run`: the exit code, the message, the state of the bucket."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch

from job.storage.s3_client import MAX_ATTEMPTS
from job.training.inputs.known import KnownDigests
from job.training.record.attempt import find_memory_error
from tests.conftest import BUCKET, Answer, Tiny
from tests.models.faulty_s3 import (
    ALWAYS,
    Fault,
    FaultyS3,
    answer,
    cut,
    damage,
    ignoring_conditions,
    truncate,
    without_checksums,
    without_conditions,
    wordless,
)

Job = Callable[..., Answer]
SGD = {"optimizer": {"name": "sgd", "lr": 0.01}, "epochs": 1}


# 6. S3


@pytest.fixture
def run_to_s3(job: Job, tiny: Tiny, wire: FaultyS3, bucket: str) -> Callable[..., Answer]:
    return lambda *options, **fields: job(
        "run", "--manifest", tiny(**(SGD | fields)), "--output", f"{bucket}/study", *options
    )


@pytest.fixture
def large_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are uploaded in two parts; torchvision's own takes three."""
    monkeypatch.setattr("tests.narrow.WIDTH", 40)


def committed() -> bool:
    return any(entry.key.endswith("result.json") for entry in boto3.resource("s3").Bucket(BUCKET).objects.all())


def pending_uploads() -> int:
    return len(list(boto3.resource("s3").Bucket(BUCKET).multipart_uploads.all()))


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("GET", answer("503 Slow Down", "SlowDown")),
        ("PUT", answer("503 Slow Down", "SlowDown")),
        ("POST", answer("500 Internal Server Error", "InternalError")),  # only uploads in several parts begin with POST
        ("PUT", cut),
    ],
    ids=["GET 503", "PUT 503", "POST 500", "PUT reset"],
)
def test_passing_fault_of_s3_changes_nothing(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, request: pytest.FixtureRequest, method: str, fault: Fault
) -> None:
    if method == "POST":
        request.getfixturevalue("large_network")
    wire.spoil(method, "study", fault, times=2)
    told = run_to_s3()
    assert told.exit_code == 0, told.stderr
    assert told.stderr.count("storage_trouble") >= 2  # the wait is told
    assert committed()
    assert pending_uploads() == 0


@pytest.mark.parametrize("target", [r"/manifest\.json", r"partNumber=2", r"/result\.json"])
def test_s3_that_stays_down_ends_with_74_without_a_commit(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, request: pytest.FixtureRequest, target: str
) -> None:
    if "partNumber" in target:
        request.getfixturevalue("large_network")
    rule = wire.spoil("PUT|POST", target, answer("503 Slow Down", "SlowDown"), times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == 74
    assert told.stderr.count('"storage_trouble"') <= 3 * MAX_ATTEMPTS
    assert not committed()
    assert pending_uploads() == 0
    rule.times = 0
    assert run_to_s3().exit_code == 0
    assert committed()


def test_truncated_answer_is_read_again(run_to_s3: Callable[..., Answer], wire: FaultyS3) -> None:
    assert run_to_s3("--time-budget", "0.001").exit_code == 75
    wire.spoil("GET", r"/manifest\.json", truncate)
    wire.spoil("GET", r"\.pt", truncate)
    told = run_to_s3()
    assert told.exit_code == 0
    assert "checkpoint_restored" in told.stderr


@pytest.mark.parametrize("target", [r"partNumber=1(&|$)", r"/result\.json"])
def test_upload_that_is_damaged_on_its_way_is_noticed(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, request: pytest.FixtureRequest, target: str
) -> None:
    if "partNumber" in target:
        request.getfixturevalue("large_network")
    wire.spoil("PUT", target, damage, times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == 74
    assert "BadDigest" in told.stderr
    assert not committed()
    assert pending_uploads() == 0


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "said"),
    [
        ("403 Forbidden", "AccessDenied", 67, "check the credentials and the role's policy"),
        ("404 Not Found", "NoSuchBucket", 67, "the bucket does not exist"),
        ("403 Forbidden", "RequestTimeTooSkewed", 74, "this machine's clock is wrong"),
        ("301 Moved Permanently", "PermanentRedirect", 2, "set AWS_DEFAULT_REGION"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", 2, "set AWS_DEFAULT_REGION"),
        ("400 Bad Request", "InvalidBucketName", 2, "must be s3://BUCKET"),
        ("403 Forbidden", "InvalidObjectState", 66, "restore it"),
        ("400 Bad Request", "KMS.DisabledException", 67, "check the bucket's KMS key"),
        ("405 Method Not Allowed", "MethodNotAllowed", 2, "AWS_ENDPOINT_URL"),
        ("400 Bad Request", "NeverHeardOf", 2, "asking again does not help"),
    ],
)
def test_refusal_is_met_before_any_training(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, status: str, code: str, exit_code: int, said: str
) -> None:
    wire.spoil(".*", "study", answer(status, code), times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == exit_code
    assert said in told.stderr
    assert "training_started" not in told.stderr
    assert not committed()


def test_write_that_is_denied_is_met_before_any_training(run_to_s3: Callable[..., Answer], wire: FaultyS3) -> None:
    wire.spoil("PUT", "study", answer("403 Forbidden", "AccessDenied"), times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == 67
    assert "training_started" not in told.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [(without_conditions, "does not know conditional writes"), (ignoring_conditions, "passes over If-None-Match"),
     (without_checksums, "AWS_REQUEST_CHECKSUM_CALCULATION=when_required")],
    ids=["501", "ignored", "checksums"],
)  # fmt: skip
def test_server_that_could_not_commit_is_met_before_any_training(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, fault: Fault, said: str
) -> None:
    wire.spoil("PUT", "study", fault, times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == 2
    assert said in told.stderr
    assert "training_started" not in told.stderr
    assert "storage_trouble" not in told.stderr
    assert not committed()


@pytest.mark.parametrize(
    ("fault", "said"),
    [(wordless("404 Not Found"), "404: Not Found"), (wordless("400 Bad Request"), "400: Bad Request"),
     (wordless("200 OK", b"<!doctype html><title>Sign in</title>"), "a page in HTML, '<!doctype html><title>Sign in")],
    ids=["404", "400", "login page"],
)  # fmt: skip
def test_endpoint_that_is_no_s3_ends_with_2_and_the_question_whether_it_is(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, fault: Fault, said: str
) -> None:
    wire.spoil(".*", "study", fault, times=ALWAYS)
    told = run_to_s3()
    assert told.exit_code == 2, told.stderr
    assert said in told.stderr
    assert "does an S3 server answer at AWS_ENDPOINT_URL" in told.stderr
    assert "remove it" not in told.stderr


def test_variable_that_the_message_names_helps_with_a_server_without_checksums(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    wire.spoil("PUT|POST", "bucket", without_checksums, times=ALWAYS)
    told = run_to_s3(epochs=3)
    assert told.exit_code == 0, told.stderr
    assert '"commit": "conditional write"' in told.stderr
    assert committed()


def test_missing_file_of_certificates_is_named_before_any_request(
    job: Job, tiny: Tiny, wire: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.endpoint.replace("http://", "https://"))
    told = job("run", "--manifest", tiny(**SGD), "--output", "s3://bucket/study")
    assert told.exit_code == 67
    assert f"AWS_CA_BUNDLE: {tmp_path / 'none.pem'} cannot be read" in told.stderr


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that gives credentials, as boto3's chain knows; it notes every call."""
    calls, program, config = tmp_path / "calls", tmp_path / "credentials.sh", tmp_path / "config"
    answered = {"Version": 1, "AccessKeyId": "test", "SecretAccessKey": "test", "SessionToken": "token"}
    program.write_text(f"#!/bin/sh\necho called >> {calls}\necho '{json.dumps(answered)}'\n")
    program.chmod(0o755)
    config.write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return calls


@pytest.mark.parametrize(("times", "exit_code"), [(1, 0), (ALWAYS, 74)])
def test_expired_credentials_are_asked_for_anew_once(
    run_to_s3: Callable[..., Answer], wire: FaultyS3, credentials: Path, times: int, exit_code: int
) -> None:
    wire.spoil("PUT", r"/history\.jsonl", answer("400 Bad Request", "ExpiredToken"), times=times)
    told = run_to_s3()
    assert told.exit_code == exit_code, told.stderr
    assert told.stderr.count("credentials_renewed") == 1
    assert len(credentials.read_text().split()) == 2


# 7. Host


@pytest.mark.parametrize(
    ("place", "said"),
    [("a-file", "Not a directory"), ("/dev/null", "Not a directory"), ("/dev/full/x", "Not a directory"),
     ("/proc/x", "no folder can be made here"), ("n" * 300, "File name too long"),
     ("loop", "Too many levels of symbolic links")],
    ids=["file", "device", "below a device", "below /proc", "long name", "loop of links"],
)  # fmt: skip
def test_place_that_can_be_no_folder_ends_with_2_which_no_scheduler_repeats(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("{}")
    Path("loop").symlink_to("loop")
    told = job("run", "--manifest", tiny(**SGD), "--output", place)
    assert told.exit_code == 2, told.stderr
    assert said in told.stderr
    assert "name another place" in told.stderr
    assert "training_started" not in told.stderr


def test_folder_without_hard_links_and_without_fsync_is_found_at_the_start_and_does(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMB, exFAT, FUSE."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    fsync = os.fsync

    def fsync_of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fsync", fsync_of_files)
    told = job("run", "--manifest", tiny(**SGD), "--output", tmp_path / "out")
    assert told.exit_code == 0, told.stderr
    events = [json.loads(line) for line in told.stderr.splitlines()]
    names = [event["event"] for event in events]
    assert names.index("storage_probed") < names.index("training_started")
    assert events[names.index("storage_probed")]["commit"] == "exclusive creation"
    assert not list((tmp_path / "out").rglob(".partial-*"))
    assert len(list((tmp_path / "out").rglob("result.json"))) == 1


def test_folder_in_place_of_a_file_that_is_read_is_told_as_what_was_to_be_read(
    job: Job, tiny: Tiny, tmp_path: Path
) -> None:
    read = job("validate", tmp_path)
    assert (read.exit_code, "not a readable file" in read.stderr) == (65, True), read.stderr
    weights = job("run", "--manifest", tiny(**SGD), "--output", tmp_path / "out", "--set", f"model.weights={tmp_path}")
    assert (weights.exit_code, "not found; give a .pth" in weights.stderr) == (66, True), weights.stderr


def test_cache_that_cannot_hold_digests_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/digests").write_text("a file where the folder should be")
    known = KnownDigests(tmp_path / "cache")
    known.remember("name", "0" * 64)
    assert known.find("name") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """512 KiB: room for the records, and none for a checkpoint."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_ends_with_71_and_leaves_no_result(job: Job, tiny: Tiny, small_disk: Path) -> None:
    told = job("run", "--manifest", tiny(**SGD), "--output", small_disk)
    assert told.exit_code == 71
    assert "the disk is full" in told.stderr
    names = {path.name for path in small_disk.rglob("*") if path.is_file()}
    assert "result.json" not in names
    assert not any(name.startswith(".partial-") for name in names)
    assert json.loads(next(small_disk.rglob("progress.json")).read_text())["exit_code"] == 71


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytes(2**50)])
def test_memory_that_does_not_suffice_has_its_own_code(allocate: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    error = find_memory_error(caught.value)
    assert error is not None
    assert error.exit_code == 69
    assert "this machine's memory does not suffice" in str(error)


def test_other_runtime_errors_stay_what_they_are() -> None:
    assert find_memory_error(RuntimeError("a bug")) is None
