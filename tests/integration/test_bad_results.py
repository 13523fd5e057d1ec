"""`job report` over what is missing, damaged, hostile or of another version: it is written, and lists what it lacks."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.plan import Submission, SweepPlan
from job.runs import SCHEMA_VERSION, CheckpointDigest, Environment, EpochRecord, Progress, Record, RunKeys, RunResult
from job.storage import FolderStore, Store, open_store
from tests.conftest import TINY, Answer
from tests.records import make_manifest, make_result, store_results, with_right

Job = Callable[..., Answer]
VERSION_1 = Path(__file__).parents[1] / "data/version-1"
"""What `job submit --to local` left on 23 November 2026, a day before the records got their first new fields."""
READERS: dict[str, type[Record]] = {
    "sweep.json": SweepPlan,
    "submissions/*.json": Submission,
    "runs/*/environment.json": Environment,
    "runs/*/progress.json": Progress,
    "runs/*/result.json": RunResult,
    "runs/*/history.jsonl": EpochRecord,
    "runs/*/checkpoints/*.json": CheckpointDigest,
}


RIGHT: dict[str, Any] = {
    "epoch": 4,
    "num_images": 1000,
    "bits": base64.b64encode(b"\xff" * 125).decode(),
    "test_sha256": "f" * 64,
}


def changed(*, without: str = "", **fields: Any) -> bytes:
    """A result that was fine, with these fields."""
    document = json.loads(make_result(make_manifest("sgd")).model_dump_json()) | fields
    return json.dumps({key: value for key, value in document.items() if key != without}).encode()


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is no result: Invalid JSON"),
    "truncated": (changed()[:-300], "is no result: Invalid JSON"),
    "binary": (b"\x00\xff", "is no result: Invalid JSON"),
    "deep": (b"[" * 100_000, "is no result: Invalid JSON"),
    "hostile": (changed(classes=["<script>alert(1)</script>"] * 10, status="<img src=x>"), "is no result: status"),
    "of-another": (changed(), "belongs to default/sgd-s0-"),
    "short-bits": (
        changed(test_right=RIGHT | {"bits": "AAAA"}),
        "is no result: test_right: Value error, bits hold 3 bytes",
    ),
    "bad-bits": (
        changed(test_right=RIGHT | {"bits": "?" * 168}),
        "is no result: test_right: Value error, bits are no base",
    ),
    "more-bits": (
        changed(test_right=RIGHT | {"num_images": 999}),
        "is no result: test_right: Value error, bits have a 1 after the last of 999 images",
    ),
    "newer": (
        changed(schema_version=2, without="timings"),
        "was written with schema version 2, which this program (1) cannot read",
    ),
    "of-no-version": (changed(schema_version="x" * 50), "was written with schema version 'xxxxxxxxx"),
}


def rows(store: Store, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(store.read(f"report/{name}").decode())))


@pytest.mark.parametrize("place", ["folder", "s3"])
@pytest.mark.usefixtures("blank_report")
def test_report_over_broken_results_is_written_and_lists_them(
    job: Job, tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    output = str(tmp_path / "out") if place == "folder" else f"{request.getfixturevalue('bucket')}/study"
    store = open_store(output)
    good = make_result(make_manifest("adam", epochs=2), accuracy=0.8)
    store_results(store, good)
    for name, (content, _) in BROKEN.items():
        store.write(RunKeys("default", f"{name}-s0-0123456789").result, content)
    store.write("default/sweep.json", json.dumps({"runs": [{"run_id": "absent-s0-0123456789"}]}).encode())
    answer = job("report", output)
    assert (answer.exit_code, answer.stdout.strip()) == (0, f"{output}/report/index.html")
    strict = job("report", output, "--strict")
    assert strict.exit_code == 3
    assert strict.stderr.strip().endswith(f"not every run has a usable result: {len(BROKEN)} corrupt, 1 missing")
    holes = {row["run_id"].partition("-s0-")[0]: (row["kind"], row["reason"]) for row in rows(store, "holes.csv")}
    assert holes.pop("absent") == ("missing", "planned in sweep.json, never started")
    assert holes.keys() == BROKEN.keys()
    page = store.read("report/index.html").decode()
    for name, (_, reason) in BROKEN.items():
        assert holes[name][0] == "corrupt"
        assert holes[name][1].startswith(f"result.json {reason}")
        assert f"{name}-s0-0123456789" in page
    assert "<script>alert" not in page
    assert [row["run_id"] for row in rows(store, "results.csv")] == [good.run_id]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_images": 1008, "bits": base64.b64encode(b"\xff" * 126).decode()}, "says of 1008 test images"),
        ({"epoch": 5}, "says which test images were right after epoch 5, and has 4 epochs"),
        (
            {"bits": base64.b64encode(b"\xff" * 125).decode()},
            "says which 1000 test images were right, and its confusion",
        ),
    ],
)
@pytest.mark.usefixtures("blank_report")
def test_bitset_that_fits_no_other_number_of_its_result_makes_it_corrupt(
    job: Job, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    store = FolderStore(tmp_path)
    whole, damaged = (with_right(make_result(make_manifest("adam", seed=seed), accuracy=0.8)) for seed in (0, 1))
    assert whole.test_right is not None
    assert damaged.test_right is not None
    images = damaged.test_right.model_copy(update=changes)
    store_results(store, whole, damaged.model_copy(update={"test_right": images}))
    assert job("report", tmp_path).exit_code == 0
    assert [row["run_id"] for row in rows(store, "results.csv")] == [whole.run_id]
    (hole,) = rows(store, "holes.csv")
    assert (hole["run_id"], hole["kind"]) == (damaged.run_id, "corrupt")
    assert hole["reason"].startswith(f"result.json {reason}")


def test_newer_result_that_can_be_read_is_read(job: Job, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    result = make_result(make_manifest("adam", epochs=2), accuracy=0.8)
    later = json.loads(result.model_dump_json()) | {"schema_version": SCHEMA_VERSION + 1, "watts_of_the_fan": 3}
    store.write(RunKeys("default", result.run_id).result, json.dumps(later).encode())
    assert job("report", tmp_path, "--strict").exit_code == 0
    assert [float(row["score"]) for row in rows(store, "results.csv")] == [0.8]


def as_read(document: Any, read: Any) -> Any:
    """The part of `read` that stands in `document`: what was added since is left away."""
    if isinstance(document, dict):
        return {key: as_read(value, read[key]) for key, value in document.items()}
    if isinstance(document, list):
        return [as_read(*each) for each in zip(document, read, strict=True)]
    return read


@pytest.mark.parametrize("pattern", READERS)
def test_record_of_version_1_is_read_with_every_field(pattern: str) -> None:
    texts = [path.read_text() for path in VERSION_1.glob(f"*/{pattern}")]
    records = [line for text in texts for line in (text.splitlines() if pattern.endswith(".jsonl") else [text])]
    assert records
    for text in records:
        document = json.loads(text)
        assert document["schema_version"] == 1
        assert as_read(document, READERS[pattern].model_validate_json(text).model_dump(mode="json")) == document


def test_output_of_version_1_is_reported_and_watched(job: Job, tmp_path: Path) -> None:
    shutil.copytree(VERSION_1, tmp_path / "out")
    answer = job("report", tmp_path / "out", "--strict")
    assert answer.exit_code == 0, answer.stderr
    found = {row["name"]: row for row in rows(FolderStore(tmp_path / "out"), "results.csv")}
    assert {name: row["status"] for name, row in found.items()} == {"adam": "completed", "sgd": "diverged"}
    (path,) = VERSION_1.glob("*/runs/adam-*/result.json")
    written = json.loads(path.read_text())
    assert float(found["adam"]["final_loss"]) == written["final"]["loss"]
    assert float(found["adam"]["best_top1"]) == written["best"]["test"]["top1"]
    seen = json.loads(job("status", tmp_path / "out", "--json").stdout)
    assert seen["counts"]["done"] == len(seen["runs"]) == 2


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_moment_that_utc_puts_outside_the_calendar_is_a_damaged_record(job: Job, tmp_path: Path, moment: str) -> None:
    store = FolderStore(tmp_path)
    progress = {
        "run_id": "adam-s0-0123456789", "state": "running", "attempt": 1, "epoch": 1, "step": 0, "num_epochs": 2,
        "num_steps": 2, "updated_at": moment,
    }  # fmt: skip
    store.write(RunKeys("small", "adam-s0-0123456789").progress, json.dumps(progress).encode())
    store.write(RunKeys("small", "sgd-s0-0123456789").result, changed(finished_at=moment))
    plan = [{"run_id": "adam-s0-0123456789", "manifest": TINY, "varied": {}}]
    store.write("small/sweep.json", json.dumps({"name": "small", "runs": plan}).encode())
    seen = job("status", tmp_path, "--json")
    assert seen.exit_code == 0, seen.stderr
    assert json.loads(seen.stdout)["counts"]["corrupt"] == 1
    answer = job("report", tmp_path)
    assert answer.exit_code == 0, answer.stderr
    holes = {row["run_id"].partition("-")[0]: (row["kind"], row["reason"]) for row in rows(store, "holes.csv")}
    assert holes["adam"] == ("corrupt", "progress.json cannot be read, and there is no result")
    assert holes["sgd"][0] == "corrupt"
    assert holes["sgd"][1].startswith("result.json is no result: finished_at")
