"""What `job status` and `job plan` show a person: short whatever the number of runs, and whole where it is copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from job.cli.tables import print_plan, print_status
from job.logs import show_line
from job.manifest import Sweep
from job.plan import build_plan
from job.runs import RunKeys
from job.storage import FolderStore
from job.submit.status import RunStatus, SweepStatus
from tests.conftest import TINY, Answer

CAPACITY = "waiting for an instance: capacity, quota or max vCPUs; the queue's time limit cancels what waits too long"
LONG = f"{'a' * 40}-s4294967295-{{:010x}}"
"""The longest run id that there can be."""


def shown(capsys: pytest.CaptureFixture[str], *runs: RunStatus, left: float | None = None) -> list[str]:
    print_status(SweepStatus("small", list(runs), left), {})
    return capsys.readouterr().out.splitlines()


def test_thousand_runs_that_wait_for_the_same_reason_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [RunStatus(LONG.format(number), "waiting", reason=CAPACITY) for number in range(1000)]
    assert shown(capsys, *runs) == [
        "small: 1,000 runs, 0% trained: 1,000 waiting",
        f"  waiting      1,000 runs, such as {LONG.format(0)}  0%  {CAPACITY}",
    ]


def test_reasons_that_differ_in_numbers_and_ids_alone_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    lost = [
        RunStatus(
            f"adam-s{n}-0123456789", "lost", n / 10, reason=f"says that it is running, silent for {20 + n} minutes"
        )
        for n in range(3)
    ]
    failed = [
        RunStatus(f"sgd-s{n}-{n}123456789", "failed", exit_code=71, reason=f"/out/sgd-s{n}-{n}123456789: disk full")
        for n in range(4)
    ]
    other = [RunStatus("sgd-s9-0123456789", "failed", exit_code=69, reason="/out/sgd-s9-0123456789: disk full")]
    assert shown(capsys, *lost, *failed, *other)[1:] == [
        "  failed       4 runs, such as sgd-s0-0123456789  0%  exit code 71  /out/sgd-s0-0123456789: disk full",
        "  failed       sgd-s9-0123456789  0%  exit code 69  /out/sgd-s9-0123456789: disk full",
        "  lost         3 runs, such as adam-s0-0123456789  0% to 20%  says that it is running, silent for 20 minutes",
    ]


def test_running_ones_are_told_one_by_one_up_to_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [RunStatus(f"adam-s{n}-0123456789", "running", n / 100) for n in range(30)]
    lines = shown(capsys, *runs)
    assert lines[1:3] == ["  running      adam-s0-0123456789  0%", "  running      adam-s1-0123456789  1%"]
    assert lines[-1] == "  running      10 more; see: job status --json"
    assert len(lines) == 22


PODS = ("small-{}-x4kqz", "small-{}-bcdfg", "small-{}-zzzzz")
"""Made-up suffixes; some of Kubernetes' have no digit."""


@pytest.mark.parametrize(
    "reason",
    [
        lambda n: f"pod {PODS[n % 3].format(n)} cannot be scheduled: 0/{n} nodes are available",
        lambda n: f"photos/train/{['cat', 'dog', 'emu'][n % 3]}/{'abcdefgh'[n % 8]}.png: cannot be decoded",
        lambda n: f"/my photos/train/{'abcdefgh'[n % 8]}.png: cannot be decoded",
        lambda n: f"s3://bucket/{'abcdefgh'[n % 8]}/w.pth: no such object",
        lambda n: f"request {'abcdefgh'[n % 8]}k4-{n} was throttled",
    ],
)
def test_reasons_that_differ_in_made_up_names_and_paths_are_one_line(
    reason: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [RunStatus(f"adam-s{n}-0123456789", "waiting", reason=reason(n)) for n in range(40)]
    assert shown(capsys, *runs)[1:] == [f"  waiting      40 runs, such as {runs[0].run_id}  0%  {reason(0)}"]


def test_reasons_that_differ_in_what_is_wrong_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ("no such folder", "cannot be decoded", "is empty", "permission denied")
    runs = [RunStatus(f"adam-s{n}-0123456789", "failed", reason=f"a/b.png: {why}") for n, why in enumerate(reasons)]
    assert len(shown(capsys, *runs)) == 1 + len(reasons)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.0, "less than a minute"), (29.0, "less than a minute"), (45.0, "about 1 min"), (600.0, "about 10 min"),
     (7000.0, "about 117 min"), (36_000.0, "about 10.0 h")],
)  # fmt: skip
def test_time_left_is_told_as_a_person_would(seconds: float, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line, _) = shown(capsys, RunStatus("adam-s0-0123456789", "running", 0.5), left=seconds)
    assert line.endswith(f"1 running; the running ones need {words} more")


@pytest.mark.parametrize("columns", [10, 40, 80])
def test_no_run_id_and_no_path_is_cut_or_broken_on_a_narrow_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = f"/home/{'very-' * 20}long/photos"
    runs = [RunStatus(LONG.format(7), "failed", exit_code=66, reason=f"{path}: no such folder [/red] :smile:")]
    runs += [RunStatus(LONG.format(8), "running", 0.5), RunStatus(LONG.format(9), "waiting", reason=CAPACITY)]
    print_status(SweepStatus("small", runs, None), {LONG.format(7): [f"open {path} [bold]", "x" * 300]})
    out = capsys.readouterr().out
    for whole in (*(run.run_id for run in runs), f"{path}: no such folder [/red] :smile:", CAPACITY, "x" * 300,
                  f"  open {path} [bold]"):  # fmt: skip
        assert whole in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


@pytest.mark.parametrize("columns", [20, 40])
def test_plan_cuts_nothing_on_a_narrow_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    path = f"s3://bucket/{'very-' * 20}long.pth"
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"model.weights": [path]}}
    print_plan(build_plan(Sweep.model_validate({"name": "rates", "blocks": [block]}), source="x"))
    out = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out
    assert path[-8:] in out.replace("\n", "").replace(" ", "")


EVENT = {
    "event": "run_stopped", "run": "adam-s0-0123456789", "attempt": 2, "exit_code": 66, "level": "info",
    "reason": "/a b: no such folder", "timestamp": "2026-11-25T09:30:10.123456Z",
}  # fmt: skip


def test_event_is_shown_as_text_with_every_field() -> None:
    text = show_line(json.dumps(EVENT))
    assert text.startswith("2026-11-25T09:30:10.123456Z [info     ] run_stopped ")
    for part in ("attempt=2", "exit_code=66", "reason='/a b: no such folder'"):
        assert part in text
    assert "{" not in text


def test_traceback_in_an_event_is_shown_line_by_line() -> None:
    text = show_line(json.dumps(EVENT | {"exception": "Traceback:\n  line 1\nValueError: x"}))
    assert text.splitlines()[-2:] == ["  line 1", "ValueError: x"]


@pytest.mark.parametrize("line", ["", "Killed", "{", "3", "[1]", "null", '{"a": 1}', '{"event": 3}', "[" * 100_000])
def test_line_that_is_no_event_is_shown_as_it_is(line: str) -> None:
    assert show_line(line) == line


def test_status_of_many_runs_is_a_page(job: Callable[..., Answer], tmp_path: Path) -> None:
    """From the records of an output to the screen."""
    store = FolderStore(tmp_path)
    ids = [f"adam-s{n}-0123456789" for n in range(200)]
    runs = [{"run_id": run_id, "manifest": TINY, "varied": {}} for run_id in ids]
    store.write("small/sweep.json", json.dumps({"name": "small", "runs": runs}).encode())
    for number, run_id in enumerate(ids[:120]):
        record: dict[str, Any] = {
            "run_id": run_id, "state": "running", "attempt": 1, "epoch": 1, "step": 0, "num_epochs": 2, "num_steps": 2,
            "updated_at": (datetime.now(UTC) - timedelta(minutes=16 + number)).isoformat(), "trained_seconds": 1.0,
        }  # fmt: skip
        if number == 0:
            record["updated_at"] = datetime.now(UTC).isoformat()
        if number > 60:
            record |= {"state": "failed", "exit_code": 66, "error": f"photos/{run_id}: no such folder"}
        store.write(RunKeys("small", run_id).progress, json.dumps(record).encode())
    lines = job("status", tmp_path).stdout.splitlines()
    assert lines[0] == (
        "small: 200 runs, 30% trained: 1 running, 80 waiting, 59 failed, 60 lost; "
        "the running ones need less than a minute more"
    )
    assert lines[1:] == [
        f"  running      {ids[0]}  50%",
        f"  waiting      80 runs, such as {ids[120]}  0%",
        f"  failed       59 runs, such as {ids[61]}  50%  exit code 66  photos/{ids[61]}: no such folder",
        f"  lost         60 runs, such as {ids[1]}  50%  says that it is running, silent for 17 minutes",
    ]
