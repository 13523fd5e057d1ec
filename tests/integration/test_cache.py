"""The cache cannot be had: no home directory, no right to write, a full disk. It saves time; no run needs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.training.inputs.datasets.cifar100 import FILES
from tests.conftest import Answer, Tiny
from tests.integration.test_bad_data import write_folder
from tests.unit.test_cifar100 import write_cifar100

Job = Callable[..., Answer]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_folder(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def run_on_photos(job: Job, tiny: Tiny, tmp_path: Path, photos: Path) -> Callable[..., Answer]:
    """Trains on a folder of images, which are decoded and kept; `model` alone may differ."""
    manifest = tiny(dataset={"name": "folder", "size": 16}, batch_size=4, epochs=1)
    return lambda cache: job("run", "-m", manifest, "-o", tmp_path / "out", "--data", photos, "--cache", cache)


def locked(folder: Path) -> Path:
    """A folder that cannot be: even root makes none below a file."""
    folder.write_bytes(b"")
    return folder / "cache"


@pytest.mark.parametrize("home", [None, "/proc/nowhere", "/dev/null"])
def test_run_that_needs_no_cache_says_nothing_of_a_missing_home(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    forget_user(monkeypatch, home)
    answer = job("run", "-m", tiny(epochs=1), "-o", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    assert '"cache_' not in answer.stderr


def forget_user(monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    monkeypatch.delenv("JOB_CACHE")
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # KeyError, as for a user that nobody knows
    else:
        monkeypatch.setenv("HOME", home)


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_decoded_images_are_not_kept_without_a_home(
    job: Job, tiny: Tiny, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    forget_user(monkeypatch, home)
    manifest = tiny(dataset={"name": "folder", "size": 16}, batch_size=4, epochs=1)
    answer = job("run", "-m", manifest, "-o", tmp_path / "out", "--data", photos)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stderr.count("cache_not_written") == 1
    assert "let --cache name a folder that this user may write to" in answer.stderr


@pytest.mark.slow
@pytest.mark.real_figures
def test_user_whom_nobody_knows_trains_and_draws_without_a_word(tiny: Tiny, tmp_path: Path) -> None:
    """A process of its own from the start: libraries look for a home directory when they are imported."""
    alone = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /etc/passwd && exec "$@"', "sh"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the list of users cannot be emptied here")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "JOB_CACHE")}
    command = [*alone, sys.executable, "-m", "job", "run", "-m", str(tiny(epochs=1)), "-o", str(tmp_path / "out")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert told.returncode == 0, told.stderr
    events = [json.loads(line)["event"] for line in told.stderr.splitlines()]  # nothing else is said
    assert events == ["run_started", "storage_probed", "training_started", "epoch_finished", "run_finished"]
    assert len(list(tmp_path.rglob("plots/*.png"))) == 5


def test_cache_that_cannot_be_written_costs_a_warning(run_on_photos: Callable[..., Answer], tmp_path: Path) -> None:
    answer = run_on_photos(locked(tmp_path / "file"))
    assert answer.exit_code == 0, answer.stderr
    assert answer.stderr.count("cache_not_written") == 1
    assert "--output" not in answer.stderr


def test_decoded_images_that_a_full_disk_does_not_take_are_not_kept(
    job: Job, tiny: Tiny, tmp_path: Path, small_disk: Path
) -> None:
    write_folder(tmp_path / "photos")  # at 96x96 they are larger than the disk
    manifest = tiny(dataset={"name": "folder"}, batch_size=4, epochs=1)
    answer = job("run", "-m", manifest, "-o", tmp_path / "out", "--data", tmp_path / "photos", "--cache", small_disk)
    assert answer.exit_code == 0, answer.stderr
    assert "the disk is full" in answer.stderr
    assert "cache_not_written" in answer.stderr
    kept = {path.relative_to(small_disk).parts[0] for path in small_disk.rglob("*") if path.is_file()}
    assert kept <= {"digests"}  # small, and only of photographs that have been there for some seconds


@pytest.fixture
def staged(bucket: str, job: Job, tmp_path: Path) -> str:
    """CIFAR-100, small, in a bucket."""
    write_cifar100(tmp_path / "official/cifar-100-binary")
    place = f"{bucket}/data"
    answer = job("stage", place, "--dataset", "cifar100", "--no-weights", "--data", tmp_path / "official")
    assert answer.exit_code == 0, answer.stderr
    return place


@pytest.fixture
def run_on_staged(job: Job, tiny: Tiny, tmp_path: Path, staged: str) -> Callable[..., Answer]:
    manifest = tiny(dataset={"name": "cifar100"}, batch_size=50, epochs=1)
    return lambda cache: job("run", "-m", manifest, "-o", tmp_path / "out", "--data", staged, "--cache", cache)


def test_staged_files_go_to_a_temporary_folder_where_the_cache_cannot_be_written(
    run_on_staged: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = run_on_staged(locked(tmp_path / "file"))
    assert answer.exit_code == 0, answer.stderr
    assert answer.stderr.count("cache_not_writable") == 1
    assert "used_instead" in answer.stderr


def test_cache_that_has_the_files_is_used_where_it_cannot_be_written(
    run_on_staged: Callable[..., Answer], tmp_path: Path, read_only: Callable[[Path], object]
) -> None:
    cache = tmp_path / "cache"
    assert run_on_staged(cache).exit_code == 0
    shutil.rmtree(tmp_path / "out")
    assert (cache / FILES.folder).is_dir()
    read_only(cache)
    answer = run_on_staged(cache)
    assert answer.exit_code == 0, answer.stderr
    assert "cache_not" not in answer.stderr


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], object]]:
    """Mounts a folder again, read-only: root heeds no mode of a folder."""
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
            if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
                pytest.skip("no file system can be mounted here")
            mounted.append(folder)

    yield mount
    if mounted:
        subprocess.run(["umount", str(mounted[0])], check=True)
