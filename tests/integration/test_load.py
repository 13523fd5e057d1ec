"""`load_runs`: the records of an output as tables, from a folder and from S3, whatever lies there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from job.errors import UsageError
from job.report import load_runs, write_report
from job.report.read.load import read_runs
from job.runs import Progress, RunKeys
from job.storage import FolderStore, Store, open_store
from tests.records import diverged, made_by, make_environment, make_manifest, make_result, store_results

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(params=["folder", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "folder" else f"{request.getfixturevalue('bucket')}/study"


def holes(store: Store) -> dict[str, tuple[str, str]]:
    table = read_runs(store, now=NOW).holes
    return {hole.run_id: (hole.kind, hole.reason) for hole in table.itertuples()}


def progress(run_id: str, **fields: object) -> bytes:
    known = {
        "run_id": run_id, "state": "running", "attempt": 1, "epoch": 2, "step": 0, "num_epochs": 4, "num_steps": 9,
        "updated_at": NOW,
    }  # fmt: skip
    return Progress.model_validate(known | fields).model_dump_json().encode()


def test_tables_hold_what_the_records_hold(output: str) -> None:
    results = [make_result(make_manifest("adam", seed=seed, betas=(0.8, 0.99))) for seed in (0, 1)]
    store_results(open_store(output), *results)
    runs = load_runs(output)
    assert sorted(runs.runs["run_id"]) == sorted(result.run_id for result in results)
    row = runs.runs[runs.runs["seed"] == 1].iloc[0]
    result = results[1]
    assert (row["final_top1"], row["final_top5"], row["final_loss"]) == (
        result.history[-1].test.top1, result.history[-1].test.top5, result.history[-1].test.loss,
    )  # fmt: skip
    assert row["optimizer.betas"] == (0.8, 0.99)
    assert row["optimizer.lr"] == 0.001
    assert row["score"] == row["final_top1"]
    assert runs.runs["configuration"].nunique() == 1
    epochs = runs.epochs[runs.epochs["run"] == row["run"]]
    assert list(epochs["test_top1"]) == [record.test.top1 for record in result.history]
    backbone = result.history[1].diagnostics.backbone
    assert backbone is not None
    ratio = [value for value in backbone.update_to_weight if value is not None]
    assert len(ratio) == len(backbone.update_to_weight)
    assert epochs["backbone_update_to_weight"].iloc[1] == pytest.approx(sum(ratio) / len(ratio))
    steps = runs.diagnostics[(runs.diagnostics["run"] == row["run"]) & (runs.diagnostics["group"] == "fc")]
    assert list(steps["step"]) == list(range(10))
    assert list(steps["update_norm"]) == result.history[0].diagnostics.fc.update_norm[:10]
    classes = runs.classes[runs.classes["run"] == row["run"]]
    assert dict(zip(classes["class"], classes["top1"], strict=True)) == dict(
        zip(result.classes, result.class_accuracy, strict=True)
    )
    assert runs.holes.empty


def test_one_experiment_can_be_chosen(output: str) -> None:
    store_results(
        open_store(output),
        make_result(make_manifest("adam"), experiment="a"),
        make_result(make_manifest("sgd"), experiment="b"),
    )
    assert list(load_runs(output, experiment="b").runs["optimizer"]) == ["sgd"]
    assert len(load_runs(output).runs) == 2
    with pytest.raises(UsageError, match="no experiment 'c' here; there are: a, b"):
        load_runs(output, experiment="c")


def test_place_that_is_not_there_is_an_error_and_not_made(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(UsageError, match="nothing is here"):
        load_runs(str(tmp_path / "mistyped"))
    assert not (tmp_path / "mistyped").exists()
    with pytest.raises(UsageError, match="nothing is here"):
        load_runs(f"{bucket}/mistyped")


def test_unfinished_runs_are_told_apart(output: str) -> None:
    store = open_store(output)
    store_results(store, make_result(make_manifest("adam")))
    states: dict[str, dict[str, object]] = {
        "alive": {"updated_at": NOW - timedelta(minutes=14)},
        "silent": {"updated_at": NOW - timedelta(minutes=16)},
        "broken": {"state": "failed", "error": "CUDA out of memory", "exit_code": 69},
        "stopped": {"state": "interrupted"},
        "storing": {"state": "completed"},
        "vanished": {"state": "completed", "updated_at": NOW - timedelta(minutes=20)},
    }
    for run_id, fields in states.items():
        store.write(RunKeys("default", run_id).progress, progress(run_id, **fields))
    store.write(RunKeys("default", "torn").progress, b'{"run_id"')
    store.write(RunKeys("default", "mute").manifest, b"{}")
    assert holes(store) == {
        "alive": ("running", "running; 2 of 4 epochs done"),
        "silent": ("lost", "says that it is running, silent for 16 minutes; 2 of 4 epochs done"),
        "broken": ("failed", "CUDA out of memory (exit code 69); 2 of 4 epochs done"),
        "stopped": ("interrupted", "stopped with its checkpoint saved; 2 of 4 epochs done"),
        "storing": ("running", "completed, its result is being stored; 2 of 4 epochs done"),
        "vanished": (
            "lost",
            "says that it completed, but there is no result.json; silent for 20 minutes; 2 of 4 epochs done",
        ),
        "torn": ("corrupt", "progress.json cannot be read, and there is no result"),
        "mute": ("lost", "started, and left no progress"),
    }


def test_planned_runs_without_a_trace_are_missing(output: str) -> None:
    store = open_store(output)
    result = make_result(make_manifest("adam"))
    store_results(store, result)
    entries = [{"run_id": name, "manifest": {}} for name in (result.run_id, "adam-s1-0123456789")]
    store.write("default/sweep.json", json.dumps({"schema_version": 1, "name": "x", "runs": entries}).encode())
    assert holes(store) == {"adam-s1-0123456789": ("missing", "planned in sweep.json, never started")}


@pytest.mark.parametrize("plan", [b"", b"[]", b'{"runs": 3}', b'{"runs": [{}]}', b"\xff\xfe", b"[" * 100_000])
def test_broken_plan_is_a_hole_and_no_failure(tmp_path: Path, plan: bytes) -> None:
    store = FolderStore(tmp_path)
    store_results(store, make_result(make_manifest("adam")))
    store.write("default/sweep.json", plan)
    found = holes(store)
    assert found["sweep.json"][0] == "corrupt"
    assert len(read_runs(store).runs) == 1


def mangled(**changes: object) -> bytes:
    return json.dumps(json.loads(make_result(make_manifest("sgd")).model_dump_json()) | changes).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no result: Invalid JSON"),
        (b'{"half": ', "is no result: Invalid JSON"),
        (b"[" * 100_000, "is no result: Invalid JSON"),
        (b"\x00\xff", "is no result: Invalid JSON"),
        (b"null", "is no result"),
        (mangled(schema_version=2, history=3), "was written with schema version 2, which this program (1) cannot"),
        (json.dumps({"schema_version": 0}).encode(), "was written with schema version 0, which this"),
        (mangled(run_id="someone-else-s0-0123456789"), "belongs to default/someone-else-s0-0123456789"),
        (mangled(final={"loss": 1.0, "top1": 88.6}), "has an accuracy that is no fraction of one"),
        (mangled(class_accuracy=[0.5]), "has class-wise numbers that do not fit its 10 classes"),
        (mangled(confusion=[[1, 2], [3]]), "do not fit its 10 classes"),
        (mangled(confusion=[[1]]), "has a confusion matrix that does not fit its 10 classes"),
        (mangled(classes=3), "is no result: classes"),
        (mangled(history=[]), "says that it completed, and has no epoch"),
        (
            mangled(best={"epoch": 9, "chosen_on": "validation", "test": {"loss": 1.0, "top1": 0.5}}),
            "has a best epoch 9 that is not among the 4 of its history",
        ),
    ],
)  # fmt: skip
def test_corrupt_result_is_a_hole_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    store = FolderStore(tmp_path)
    store_results(store, make_result(make_manifest("adam")))
    broken = make_result(make_manifest("sgd")).run_id
    store.write(RunKeys("default", broken).result, content)
    kind, told = holes(store)[broken]
    assert kind == "corrupt"
    assert reason in told
    assert list(read_runs(store).runs["optimizer"]) == ["adam"]


def test_diverged_runs_are_results_and_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    result = diverged(make_result(make_manifest("sgd")), epoch=3, step=17)
    store_results(store, result)
    assert holes(store) == {result.run_id: ("diverged", "loss not finite in epoch 3, step 17")}
    runs = read_runs(store)
    row = runs.runs.iloc[0]
    numbers = ["score", "score_top5", "score_loss", "train_top1", "final_top1", "final_loss", "best_top1"]
    assert row[numbers].isna().all()
    assert (row["status"], row["diverged_epoch"]) == ("diverged", 3)
    assert list(runs.epochs["test_top1"]) == [record.test.top1 for record in result.history]


def test_what_made_a_run_is_read_from_its_environment_where_the_result_lacks_it(output: str) -> None:
    store = open_store(output)
    old, new, mute, torn = (make_result(make_manifest("adam", seed=seed)) for seed in range(4))
    store_results(store, old, made_by(new, torch="2.16.0"), mute, torn)
    environment = make_environment(torch="2.11.0", git_sha="f" * 40)
    store.write(RunKeys("default", old.run_id).environment, environment.model_dump_json().encode())
    store.write(RunKeys("default", torn.run_id).environment, b'{"torch"')
    runs = read_runs(store).runs.set_index("seed")
    assert [runs.loc[seed, "torch"] for seed in (0, 1)] == ["2.11.0", "2.16.0"]
    assert runs.loc[0, "git_sha"] == "f" * 40
    assert (runs.loc[0, "device_kind"], runs.loc[0, "num_threads"]) == ("CPU", 1)
    assert runs.loc[[2, 3], ["torch", "git_sha", "device", "num_threads"]].isna().all(axis=None)


def test_page_over_the_same_runs_is_the_same(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store_results(store, *(make_result(make_manifest("adam", seed=seed, epochs=2)) for seed in (0, 1)))
    write_report(store)
    page = store.read("report/index.html")
    write_report(store)
    assert store.read("report/index.html") == page
