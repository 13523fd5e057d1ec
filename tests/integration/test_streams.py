"""Standard output and standard error go away under a command: no training ends by it, and nothing is said of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from job.manifest import Sweep
from job.plan import build_plan, plan_key
from job.runs import Progress, RunResult
from job.storage import FolderStore, open_store
from tests.conftest import ROOT, Tiny
from tests.processes import start_job, wait_for_end, wait_until
from tests.records import make_manifest, make_result, store_results

BROKEN_PIPE = 128 + signal.SIGPIPE
SMOKE = ROOT / "manifests/sweeps/smoke.json"


@pytest.fixture
def start() -> Iterator[Callable[..., ForkServerProcess]]:
    """Starts `job`, and leaves no process behind."""
    started: list[ForkServerProcess] = []

    def call(*arguments: object, log: Path, **how: object) -> ForkServerProcess:
        started.append(start_job(*arguments, log=log, **how))  # type: ignore[arg-type]
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.join()


def progress_in(output: Path) -> Progress:
    (path,) = output.rglob("progress.json")
    return Progress.model_validate_json(path.read_bytes())


def events_in(output: Path) -> list[str]:
    (path,) = output.rglob("log.jsonl")
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def assert_finished(output: Path) -> None:
    """The run has its result, and log.jsonl what nobody read."""
    (path,) = output.rglob("result.json")
    assert RunResult.model_validate_json(path.read_bytes()).status == "completed"
    assert progress_in(output).state == "completed"
    assert events_in(output) == [
        "run_started",
        "storage_probed",
        "training_started",
        "epoch_finished",
        "epoch_finished",
        "run_finished",
    ]


def read_one_line(pipe: Path) -> str:
    """As `head -1`: after it nobody reads any more."""
    with pipe.open() as reader:
        return reader.readline()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_run_whose_log_reader_goes_away_ends_with_its_result(
    start: Callable[..., ForkServerProcess], tiny: Tiny, tmp_path: Path, pipe: Path
) -> None:
    process = start("run", "--manifest", tiny(), "--output", tmp_path / "out", log=pipe)
    assert "run_started" in read_one_line(pipe)
    assert wait_for_end(process, seconds=120) == 0
    assert_finished(tmp_path / "out")


def test_run_whose_log_is_on_a_full_disk_ends_with_its_result(
    start: Callable[..., ForkServerProcess], tiny: Tiny, tmp_path: Path
) -> None:
    process = start("run", "--manifest", tiny(), "--output", tmp_path / "out", log=Path("/dev/full"))
    assert wait_for_end(process, seconds=120) == 0
    assert_finished(tmp_path / "out")


def test_run_that_fails_with_nobody_to_tell_keeps_its_exit_code_and_leaves_word(
    start: Callable[..., ForkServerProcess], tiny: Tiny, tmp_path: Path
) -> None:
    manifest = tiny(dataset={"name": "folder"})
    process = start("run", "-m", manifest, "-o", tmp_path / "out", "--data", tmp_path / "none", log=Path("/dev/full"))
    assert wait_for_end(process, seconds=120) == 66
    progress = progress_in(tmp_path / "out")
    assert (progress.state, progress.exit_code) == ("failed", 66)


@pytest.mark.slow
def test_run_started_with_closed_streams_ends_with_its_result(tiny: Tiny, tmp_path: Path) -> None:
    """And no file of the run takes their numbers."""
    command = f"exec {sys.executable} -m job run -m {tiny()} -o {tmp_path}/out <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], check=False, timeout=300).returncode == 0
    assert_finished(tmp_path / "out")


def test_run_whose_terminal_closes_saves_its_checkpoint_and_ends_with_143(
    start: Callable[..., ForkServerProcess], tiny: Tiny, tmp_path: Path
) -> None:
    """The kernel sends SIGHUP, and everything written from then on fails with EIO."""
    primary, secondary = pty.openpty()
    terminal = Path(os.ttyname(secondary))
    process = start("run", "-m", tiny(epochs=2000), "-o", tmp_path / "out", log=terminal, prepare=lead_session)
    shown = b""
    while not re.search(rb"epoch \d+/2000\b", shown):  # the bar is drawn a few times a second, an epoch may be shorter
        assert select.select([primary], [], [], 60)[0], shown
        shown += os.read(primary, 65536)
    os.close(secondary)
    os.close(primary)
    assert wait_for_end(process, seconds=60) == 143
    progress = progress_in(tmp_path / "out")
    assert (progress.state, progress.exit_code) == ("interrupted", 143)
    assert list(tmp_path.rglob("checkpoints/*.pt"))


def lead_session() -> None:
    """With the terminal on standard error as its own."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_run_under_nohup_outlives_its_terminal(
    start: Callable[..., ForkServerProcess], tiny: Tiny, tmp_path: Path
) -> None:
    process = start("run", "-m", tiny(), "-o", tmp_path / "out", log=tmp_path / "log", prepare=ignore_hangups)
    wait_until(lambda: list(tmp_path.rglob("history.jsonl")), process)
    os.kill(process.pid or 0, signal.SIGHUP)
    assert wait_for_end(process, seconds=120) == 0
    assert_finished(tmp_path / "out")


# Commands whose answer is all there is to them


def shell(command: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `job` with these redirections."""
    script = command.replace("job", f"{sys.executable} -m job", 1)
    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False, timeout=300)
    return told.returncode, told.stdout, told.stderr


def without_reader(*arguments: object) -> tuple[int, str]:
    """Exit code and standard error of `job` where whoever read its standard output has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "job", *map(str, arguments)]
    told = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=300)
    os.close(writer)
    return told.returncode, told.stderr


@pytest.mark.parametrize("arguments", [("plan", "-m", SMOKE), ("schema",), ("run", "--help")])
def test_reader_that_goes_away_ends_an_answer_as_it_ends_that_of_other_tools(arguments: tuple[object, ...]) -> None:
    assert without_reader(*arguments) == (BROKEN_PIPE, "")


def test_watch_ends_with_its_reader(tmp_path: Path) -> None:
    sweep = Sweep.model_validate_json(SMOKE.read_bytes())
    plan = build_plan(sweep, source="smoke.json")
    open_store(str(tmp_path)).create(plan_key("smoke"), plan.model_dump_json().encode())
    assert without_reader("status", "--watch", tmp_path) == (BROKEN_PIPE, "")


def test_answer_that_a_full_disk_does_not_take_is_a_failure() -> None:
    code, _, error = shell(f"job plan -m {SMOKE} > /dev/full")
    assert code == 71
    assert error == "error: standard output: the disk is full; free some space and run again\n"


def test_closed_streams_are_no_failure() -> None:
    assert shell(f"job plan -m {SMOKE} >&- 2>&-") == (0, "", "")


def test_report_that_was_written_is_a_success_whoever_reads_where(tmp_path: Path) -> None:
    store_results(FolderStore(tmp_path / "study"), make_result(make_manifest()))
    code, error = without_reader("report", tmp_path / "study")
    assert code == 0
    assert "Error" not in error
    assert (tmp_path / "study/report/index.html").is_file()
