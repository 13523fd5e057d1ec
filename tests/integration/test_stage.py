"""`job stage` puts the data where runs find them, and a run takes only what arrived whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from job.errors import DataError
from job.manifest.models import CIFAR100
from job.training.inputs.datasets import ImageData, cifar100, load_data
from tests.conftest import BUCKET, Answer
from tests.models.faulty_s3 import ALWAYS, FaultyS3, answer
from tests.unit.test_cifar100 import write_cifar100

Job = Callable[..., Answer]
FOLDER = "data/cifar-100-binary"
SUMS = f"{FOLDER}/SHA256SUMS.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cifar100(tmp_path / "official")


@pytest.fixture
def stage(job: Job, folder: Path) -> Callable[[object], Answer]:
    def call(destination: object) -> Answer:
        return job("stage", destination, "--dataset", "cifar100", "--data", folder, "--no-weights")

    return call


@pytest.fixture
def staged(stage: Callable[[object], Answer], bucket: str) -> str:
    """The URI of the staged data set."""
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 0, answer.stderr
    return f"{bucket}/data"


def load(data: object, cache: Path) -> ImageData:
    return load_data(CIFAR100(name="cifar100"), data=str(data), cache=cache, num_threads=1)


def read(key: str) -> bytes:
    return boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()


def put(key: str, content: bytes) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)


def flip_bit(key: str) -> None:
    content = bytearray(read(key))
    content[len(content) // 2] ^= 1
    put(key, bytes(content))


def test_stage_says_where_it_put_the_files(stage: Callable[[object], Answer], bucket: str, folder: Path) -> None:
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines() == [f"{bucket}/{FOLDER}/{name}" for name in cifar100.FILES.names]
    for name in cifar100.FILES.names:
        assert read(f"{FOLDER}/{name}") == (folder / name).read_bytes()
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in cifar100.FILES.names}
    assert json.loads(read(SUMS)) == digests


def test_runs_get_the_same_images_from_the_bucket(staged: str, folder: Path, tmp_path: Path) -> None:
    assert load(staged, tmp_path / "fresh").sha256() == load(folder, tmp_path).sha256()


def test_staging_to_a_folder_works_alike(stage: Callable[[object], Answer], folder: Path, tmp_path: Path) -> None:
    answer = stage(tmp_path / "nfs")
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines()[0] == str(tmp_path / "nfs/cifar-100-binary/train.bin")
    assert load(tmp_path / "nfs", tmp_path / "fresh").sha256() == load(folder, tmp_path).sha256()
    damaged = tmp_path / "nfs/cifar-100-binary/train.bin"
    damaged.write_bytes(damaged.read_bytes()[3074:])
    with pytest.raises(DataError, match="corrupt: sha256"):
        load(tmp_path / "nfs", tmp_path / "fresh")


def test_bucket_can_be_staged_to_another_place(staged: str, job: Job, bucket: str, tmp_path: Path) -> None:
    answer = job("stage", f"{bucket}/copy", "--dataset", "cifar100", "--data", staged, "--no-weights")
    assert answer.exit_code == 0, answer.stderr
    assert load(f"{bucket}/copy", tmp_path / "a").sha256() == load(staged, tmp_path / "b").sha256()


def test_files_in_the_cache_are_not_fetched_again(staged: str, tmp_path: Path) -> None:
    load(staged, tmp_path / "fresh")
    for name in cifar100.FILES.names:
        boto3.client("s3").delete_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}")
    load(staged, tmp_path / "fresh")


def test_file_that_changed_in_the_cache_is_fetched_again(staged: str, tmp_path: Path) -> None:
    before = load(staged, tmp_path / "fresh").sha256()
    path = tmp_path / "fresh/cifar-100-binary/test.bin"
    path.write_bytes(path.read_bytes()[3074:])
    assert load(staged, tmp_path / "fresh").sha256() == before


def test_cache_takes_what_was_staged_anew(
    staged: str, stage: Callable[[object], Answer], folder: Path, tmp_path: Path
) -> None:
    before = load(staged, tmp_path / "fresh").sha256()
    content = bytearray((folder / "train.bin").read_bytes())
    content[3000] ^= 255
    (folder / "train.bin").write_bytes(content)
    assert stage(staged).exit_code == 0
    assert load(staged, tmp_path / "fresh").sha256() == load(folder, tmp_path).sha256() != before


@pytest.mark.parametrize("name", ["train.bin", "fine_label_names.txt", "SHA256SUMS.json"])
def test_run_names_the_missing_object_and_how_to_stage_it(
    staged: str, job: Job, tiny: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=f"{FOLDER}/{name}")
    manifest = tiny(dataset={"name": "cifar100"})
    answer = job("run", "--manifest", manifest, "--output", tmp_path / "out", "--data", staged)
    assert answer.exit_code == 66
    assert f"error: s3://{BUCKET}/{FOLDER}/{name}: missing" in answer.stderr
    assert f"`job stage {staged} --dataset cifar100`" in answer.stderr
    (progress,) = tmp_path.glob("out/*/runs/*/progress.json")
    assert json.loads(progress.read_text())["exit_code"] == 66


@pytest.mark.parametrize("name", cifar100.FILES.names)
def test_flipped_bit_is_found_and_does_not_outlive_staging_again(
    staged: str, stage: Callable[[object], Answer], tmp_path: Path, name: str
) -> None:
    flip_bit(f"{FOLDER}/{name}")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            load(staged, tmp_path / "fresh")
        assert caught.value.exit_code == 66
        assert str(caught.value).startswith(f"s3://{BUCKET}/{FOLDER}/{name}: corrupt: sha256 is ")
        assert f"`job stage {staged} --dataset cifar100`" in str(caught.value)
    assert not (tmp_path / "fresh/cifar-100-binary" / name).exists()
    assert stage(staged).exit_code == 0
    load(staged, tmp_path / "fresh")


@pytest.mark.parametrize(
    "content",
    [b"", b"not JSON", b"\xff\xfe", b"[]", b'"text"', b'{"train.bin": 3}', b"[" * 100_000, b'{"train.bin": "00"'],
)
def test_digests_that_are_none_are_named(staged: str, tmp_path: Path, content: bytes) -> None:
    put(SUMS, content)
    with pytest.raises(DataError, match="must be a JSON object of file names and digests") as caught:
        load(staged, tmp_path / "fresh")
    assert str(caught.value).startswith(f"s3://{BUCKET}/{SUMS}: ")


def test_digests_must_cover_every_file_and_can_name_no_other(staged: str, tmp_path: Path) -> None:
    digests = json.loads(read(SUMS))
    put(SUMS, json.dumps(digests | {"../../outside": "00", "/etc/passwd": "00"}).encode())
    load(staged, tmp_path / "fresh")
    assert not (tmp_path / "outside").exists()
    del digests["test.bin"]
    put(SUMS, json.dumps(digests).encode())
    with pytest.raises(DataError, match=r"lists no digest of test\.bin"):
        load(staged, tmp_path / "fresh")


def test_damaged_local_files_are_not_staged(stage: Callable[[object], Answer], bucket: str, folder: Path) -> None:
    (folder / "SHA256SUMS.json").write_text(json.dumps({"test.bin": "0" * 64}))
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 66
    assert f"{folder / 'test.bin'}: corrupt" in answer.stderr
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)


def test_files_that_are_not_the_official_ones_are_not_staged(job: Job, bucket: str, tmp_path: Path) -> None:
    for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"):
        (tmp_path / name).write_bytes(b"something else")
    answer = job("stage", f"{bucket}/data", "--data", tmp_path, "--no-weights")
    assert answer.exit_code == 66
    assert f"{tmp_path / 'train_X.bin'}: corrupt: md5" in answer.stderr
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)


def test_stage_says_which_local_files_are_missing(stage: Callable[[object], Answer], bucket: str, folder: Path) -> None:
    (folder / "test.bin").unlink()
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 66
    assert f"{folder}: test.bin of cifar100 not found there; unpack https://" in answer.stderr


def test_bucket_that_does_not_exist_is_named(stage: Callable[[object], Answer], bucket: str) -> None:
    answer = stage("s3://no-such-bucket/data")
    assert answer.exit_code == 67
    assert "s3://no-such-bucket/data" in answer.stderr
    assert "does not exist" in answer.stderr


# The destination comes first


ALL = ("--dataset", "stl10")
NOTHING = ("--dataset", "none", "--no-weights")


@pytest.mark.parametrize("arguments", [ALL, NOTHING], ids=["all", "nothing"])
@pytest.mark.parametrize("case", ["no credentials", "broken token", "no bucket", "write denied", "file in the way"])
def test_destination_that_cannot_be_written_is_known_before_anything_is_downloaded(
    case: str, arguments: tuple[str, ...], job: Job, wire: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download is 2.6 GB; a destination that nobody may write was met behind it."""
    destination, exit_code, said = f"s3://{BUCKET}/data", 67, "AccessDenied"
    match case:
        case "no credentials":
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.delenv(name)
            for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
                monkeypatch.setenv(name, str(tmp_path / "none"))
            said = "credentials"
        case "broken token":
            monkeypatch.setenv("AWS_SESSION_TOKEN", "planted\ntoken")
            said = "AWS_SESSION_TOKEN holds a line break"
        case "no bucket":
            destination, said = "s3://noput/data", "does not exist"
        case "write denied":
            wire.spoil("PUT|POST", "", answer("403 Forbidden", "AccessDenied"), times=ALWAYS)
        case "file in the way":
            (tmp_path / "file").write_bytes(b"x")
            destination, exit_code, said = str(tmp_path / "file"), 2, "Not a directory"
    told = job("stage", destination, *arguments)
    assert told.exit_code == exit_code, told.stderr
    assert said in told.stderr
    assert "planted" not in told.stderr
    assert "data_download_started" not in told.stderr
    assert not (tmp_path / "cache").exists()


def test_trial_of_the_destination_leaves_nothing_behind(job: Job, bucket: str, tmp_path: Path) -> None:
    assert job("stage", f"{bucket}/data", *NOTHING).exit_code == 0
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)
    assert job("stage", tmp_path / "nfs", *NOTHING).exit_code == 0
    assert list((tmp_path / "nfs").iterdir()) == []


def test_role_that_may_not_delete_can_stage(stage: Callable[[object], Answer], bucket: str, wire: FaultyS3) -> None:
    wire.spoil("POST", "delete", answer("403 Forbidden", "AccessDenied"), times=ALWAYS)
    assert stage(f"{bucket}/data").exit_code == 0
