"""`job export` to trackers: what their own readers find, and that a second export changes nothing."""

from __future__ import annotations

import io
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from job.runs import RunKeys, RunResult
from job.storage import FolderStore, Store, open_store
from tests.conftest import Answer
from tests.records import diverged, made_by, make_manifest, make_result

Job = Callable[..., Answer]
TOOLS = ("tensorboard", "mlflow", "wandb-offline", "csv")
WEIGHTS = b"these stand for weights"


def store_run(store: Store, result: RunResult) -> None:
    """What a run leaves that trackers show."""
    keys = RunKeys(result.experiment, result.run_id)
    picture = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 10, 10)).save(picture, "PNG")
    store.write(keys.plot("loss"), picture.getvalue())
    store.write(keys.model, WEIGHTS)
    store.write(keys.result, result.model_dump_json().encode())


@pytest.fixture
def results() -> list[RunResult]:
    """One run that was preempted twice, and one that diverged."""
    preempted = made_by(make_result(make_manifest("adam"), experiment="study", attempt_id="first-result", attempts=3))
    return [preempted, diverged(make_result(make_manifest("sgd"), experiment="study"), epoch=3)]


@pytest.fixture
def output(tmp_path: Path, results: list[RunResult]) -> Path:
    for result in results:
        store_run(FolderStore(tmp_path / "out"), result)
    (tmp_path / "out/study/runs/adam-s9-0123456789").mkdir(parents=True)
    (tmp_path / "out/study/runs/adam-s9-0123456789/progress.json").write_text("{}")
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("tool", TOOLS)
def test_second_export_changes_nothing_and_adds_what_is_new(tool: str, output: Path, tmp_path: Path, job: Job) -> None:
    into = tmp_path / "into"
    first = job("export", output, "--to", tool, "--into", into)
    assert first.exit_code == 0, first.stderr
    assert first.stdout.startswith(f"{into}: 2 runs written, 1 without a result left for later\n")
    before = contents(into)
    again = job("export", output, "--to", tool, "--into", into)
    assert "0 runs written, 2 there already" in again.stdout, again.stderr
    assert contents(into) == before
    store_run(FolderStore(output), make_result(make_manifest("adam", seed=1), experiment="study"))
    third = job("export", output, "--to", tool, "--into", into)
    assert "1 runs written, 2 there already" in third.stdout, third.stderr
    if tool != "csv":
        assert {name: content for name, content in contents(into).items() if name in before} == before


@pytest.mark.parametrize("tool", TOOLS)
def test_result_that_was_made_anew_takes_the_place_of_the_old_one(
    tool: str, output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    into = tmp_path / "into"
    run = output / "study/runs" / results[0].run_id
    assert job("export", run, "--to", tool, "--into", into).stdout.startswith(f"{into}: 1 runs written\n")
    later = results[0].finished_at + timedelta(days=1)
    anew = make_result(
        results[0].manifest, experiment="study", attempt_id="second-result", accuracy=0.5, finished_at=later
    )
    store_run(FolderStore(output), anew)
    answer = job("export", run, "--to", tool, "--into", into)
    assert "0 runs written, 1 written anew" in answer.stdout, answer.stderr
    seen = READERS[tool](into, anew)
    assert [value for _, _, value in seen] == pytest.approx([record.test.top1 for record in anew.history])


# What the tools' own readers find


def read_tensorboard(into: Path, result: RunResult) -> list[tuple[int, float, float]]:
    events = open_events(into, result)
    return [(one.step, one.wall_time, one.value) for one in events.Scalars("test/top1")]


def open_events(into: Path, result: RunResult) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(into / result.experiment / result.run_id))
    events.Reload()
    return events


def find_mlflow(into: Path, result: RunResult) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=into.absolute().as_uri())
    experiment = client.get_experiment_by_name(result.experiment)
    assert experiment is not None
    runs = [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == result.run_id]
    (run,) = runs
    return client, run


def read_mlflow(into: Path, result: RunResult) -> list[tuple[int, float, float]]:
    client, run = find_mlflow(into, result)
    history = sorted(client.get_metric_history(run.info.run_id, "test/top1"), key=lambda one: one.step)
    return [(one.step, one.timestamp / 1000, one.value) for one in history]


def wandb_records(into: Path, result: RunResult) -> Iterator[Any]:
    """The records of the run's .wandb file: LevelDB's log format, with wandb's own protocol buffers in it."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # whose classes are made when it is imported

    (path,) = into.glob(f"offline-run-*-{result.run_id}-*/run-*.wandb")
    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        whole += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = messages.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def wandb_items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_wandb(into: Path, result: RunResult) -> list[tuple[int, float, float]]:
    rows = [wandb_items(one.history.item) for one in wandb_records(into, result) if one.HasField("history")]
    return [(row["_step"], row["_timestamp"], row["test/top1"]) for row in rows if "test/top1" in row]


def read_csv(into: Path, result: RunResult) -> list[tuple[int, float, float]]:
    rows = pd.read_csv(into / "epochs.csv")
    rows = rows[rows["run"] == f"{result.experiment}/runs/{result.run_id}"]
    times = [pd.Timestamp(at).timestamp() for at in rows["at"]]
    return list(zip(rows["epoch"], times, rows["test/top1"], strict=True))


READERS: dict[str, Callable[[Path, RunResult], list[tuple[int, float, float]]]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb-offline": read_wandb,
    "csv": read_csv,
}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_epoch_is_there_once_with_step_time_and_value(
    tool: str, output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    answer = job("export", output, "--to", tool, "--into", tmp_path / "into")
    assert answer.exit_code == 0, answer.stderr
    for result in results:
        seen = READERS[tool](tmp_path / "into", result)
        assert [step for step, *_ in seen] == [record.epoch for record in result.history]
        assert [value for *_, value in seen] == pytest.approx([record.test.top1 for record in result.history])
        end, seconds = (
            result.finished_at.timestamp(),
            [one.train_seconds + one.evaluate_seconds for one in result.history],
        )
        expected = [end - math.fsum(seconds[index + 1 :]) for index in range(len(seconds))]
        assert [time for _, time, _ in seen] == pytest.approx(expected, abs=0.01)


def test_tensorboard_has_parameters_figures_and_where_the_model_lies(
    output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    assert job("export", output, "--to", "tensorboard", "--into", tmp_path / "into").exit_code == 0
    result = results[0]
    events = open_events(tmp_path / "into", result)
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert session.hparams["optimizer.lr"].number_value == 0.001
    assert session.hparams["optimizer.name"].string_value == "adam"
    (image,) = events.Images("plots/loss")
    assert (image.width, image.height, image.step) == (30, 20, len(result.history))
    assert result.final is not None
    assert events.Scalars("final/top1")[0].value == pytest.approx(result.final.top1)
    text = events.Tensors("run")[0].tensor_proto.string_val[0].decode()
    assert str(output / "study/runs" / result.run_id / "model.safetensors") in text


def test_mlflow_has_parameters_figures_and_a_logged_model(
    output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    answer = job("export", output, "--to", "mlflow", "--into", tmp_path / "into")
    assert answer.exit_code == 0, answer.stderr
    assert f"see: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri file://{tmp_path}/into" in answer.stdout
    result = results[0]
    client, run = find_mlflow(tmp_path / "into", result)
    assert run.info.status == "FINISHED"
    assert run.info.end_time == result.finished_at.timestamp() * 1000
    assert run.data.params["optimizer.lr"] == "0.001"
    assert run.data.tags["job.attempt_id"] == "first-result"
    assert run.data.metrics["attempts"] == 3
    assert [one.path for one in client.list_artifacts(run.info.run_id, "plots")] == ["plots/loss.png"]
    models = client.search_logged_models([run.info.experiment_id])
    assert {str(model.status) for model in models} == {"READY"}
    (model,) = [model for model in models if model.source_run_id == run.info.run_id]
    place = Path(model.artifact_location.removeprefix("file://"))
    assert next(place.rglob("model.safetensors")).read_bytes() == WEIGHTS
    assert next(place.rglob("result.json")).parent.relative_to(place) == Path("study/runs", result.run_id)


def test_wandb_has_parameters_figures_and_an_artifact(
    output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    assert job("export", output, "--to", "wandb-offline", "--into", tmp_path / "into").exit_code == 0
    records = list(wandb_records(tmp_path / "into", results[0]))
    (run,) = [one.run for one in records if one.HasField("run")]
    assert (run.project, run.display_name) == ("study", results[0].run_id)
    config = wandb_items(run.config.update)
    assert (config["optimizer.lr"], config["optimizer.name"]) == (0.001, "adam")
    assert config["job"]["attempt_id"] == "first-result"
    (artifact,) = [one.artifact for one in records if one.HasField("artifact")]
    assert artifact.type == "model"
    assert {entry.path for entry in artifact.manifest.contents} == {"model.safetensors", "result.json"}
    assert all(Path(entry.local_path).is_file() for entry in artifact.manifest.contents)
    assert len(list((tmp_path / "into").glob(f"*{results[0].run_id}*/files/media/images/plots/loss*.png"))) == 1
    assert any(one.HasField("exit") for one in records)


def test_csv_in_a_bucket_has_a_row_a_run(output: Path, results: list[RunResult], bucket: str, job: Job) -> None:
    answer = job("export", output, "--to", "csv", "--into", f"{bucket}/tables")
    assert answer.exit_code == 0, answer.stderr
    rows = pd.read_csv(io.BytesIO(open_store(f"{bucket}/tables").read("runs.csv"))).set_index("run_id")
    assert len(rows) == 2
    for result in results:
        row = rows.loc[result.run_id]
        assert (row["optimizer.name"], row["status"]) == (result.manifest.optimizer.name, result.status)
        assert row["final/top1"] == pytest.approx(result.final.top1 if result.final else math.nan)


# Weights, and what is refused


def test_weights_are_left_out_if_asked_and_added_by_a_later_export(
    output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    run = output / "study/runs" / results[0].run_id
    command = ("export", run, "--to", "mlflow", "--into", tmp_path / "into")
    assert job(*command, "--no-models").exit_code == 0
    client, found = find_mlflow(tmp_path / "into", results[0])
    assert list(client.search_logged_models([found.info.experiment_id])) == []
    assert "1 written anew" in job(*command).stdout
    assert "1 there already" in job(*command, "--no-models").stdout
    assert len(client.search_logged_models([found.info.experiment_id])) == 1


def test_weights_that_are_gone_are_66_and_the_run_is_not_taken_for_exported(
    output: Path, results: list[RunResult], tmp_path: Path, job: Job
) -> None:
    run = output / "study/runs" / results[0].run_id
    (run / "model.safetensors").unlink()
    for tool in ("mlflow", "wandb-offline"):
        answer = job("export", run, "--to", tool, "--into", tmp_path / tool)
        assert answer.exit_code == 66, answer.stderr
        assert "--no-models" in answer.stderr
        after = job("export", run, "--to", tool, "--into", tmp_path / tool, "--no-models")
        assert "there already" not in after.stdout
        assert len(READERS[tool](tmp_path / tool, results[0])) == len(results[0].history)


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow", "wandb-offline"])
def test_extra_that_is_missing_is_named(
    tool: str, output: Path, tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tool.partition("-")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("tensorboard_events", "mlflow_runs", "wandb_files"):
        monkeypatch.delitem(sys.modules, f"job.trackers.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    answer = job("export", output, "--to", tool, "--into", tmp_path / "into")
    assert answer.exit_code == 2, answer.stderr
    assert f"the extra {package!r}" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{out}", "--to", "onnx"), "names no run"),
        (("{out}/study/runs/none-s0-0123456789", "--to", "csv"), "no finished run is here"),
        (("{out}/other", "--to", "csv"), "no run is here"),
        (("{out}", "--to", "csv", "--experiment", "other"), "no run of the experiment 'other' is here"),
        (("{out}/study/runs/x", "--to", "csv", "--experiment", "study"), "names one run"),
        (
            ("{out}", "--to", "tensorboard", "--into", "s3://bucket/x"),
            "--into s3://bucket/x: TensorBoard reads folders",
        ),
        (
            ("{out}", "--to", "wandb-offline", "--into", "{out}/study/runs/adam-s9-0123456789/progress.json"),
            "is a file",
        ),
        (("{out}", "--to", "csv", "--into", "s3:/bucket"), "--into s3:/bucket: is neither"),
        (("{out}", "--to", "mlflow", "--into", "gs://bucket"), "MLflow cannot use it"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], said: str, output: Path, job: Job) -> None:
    answer = job("export", *(argument.format(out=output) for argument in arguments))
    assert answer.exit_code == 2, answer.stderr
    assert said in answer.stderr
