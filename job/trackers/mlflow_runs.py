"""Runs as MLflow's runs and logged models, through its own client: at a server, or in a folder.

The package `mlflow-skinny` is enough for a server. A database (`sqlite:///…`) needs the whole of `mlflow`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

from job.errors import StorageError, UsageError
from job.places import is_remote
from job.trackers.recorded import RecordedRun
from job.trackers.stamps import Outcome, Stamp, judge

DEFAULT = os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"
KEY, RESULT, MODEL = "job.run", "job.result", "job.model"
"""Tags of a run: where it lies in its output; which result of it was exported, written last; whether with weights."""
ALLOW_FOLDERS = "MLFLOW_ALLOW_FILE_STORE"
"""Without it MLflow 3.13 and later refuse to open a folder (https://github.com/mlflow/mlflow/issues/23634)."""
PAGE = 1000
"""Runs of one answer; more are refused by some servers."""


class MlflowRuns:
    """An MLflow tracking server or folder. An experiment is one there, and so is a run."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri
        self._experiments: dict[str, str] = {}
        self._there: dict[str, dict[str, tuple[str, Stamp | None]]] = {}
        """By experiment and key: MLflow's id of the run, and its stamp; None where an export did not end."""
        command = f"mlflow ui --backend-store-uri {uri}"
        if uri.startswith("file:"):
            command = f"{ALLOW_FOLDERS}=true {command}"
        self.advice = command if uri.startswith(("file:", "sqlite:")) else uri

    def add(self, run: RecordedRun, *, with_model: bool) -> Outcome:
        with _reported(self._uri):
            experiment = self._open_experiment(run.keys.experiment)
            old, stamp = self._there[experiment].get(run.keys.prefix, (None, None))
            outcome = judge(stamp, run, with_model=with_model)
            if outcome != "unchanged":
                self._write(run, experiment, with_model=with_model)
                if old is not None:
                    self._client.delete_run(old)
        return outcome

    def close(self) -> None:
        """Every run is whole already."""

    def _open_experiment(self, name: str) -> str:
        """The id of the experiment `name`, made where it is missing; its runs are noted."""
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is not None and found.lifecycle_stage != "active":
                raise UsageError(
                    f"{self._uri}: the experiment {name!r} was deleted there; restore it, or delete it for good"
                )
            self._experiments[name] = found.experiment_id if found else self._client.create_experiment(name)
            self._there[self._experiments[name]] = self._list_runs(self._experiments[name])
        return self._experiments[name]

    def _list_runs(self, experiment: str) -> dict[str, tuple[str, Stamp | None]]:
        found: dict[str, tuple[str, Stamp | None]] = {}
        token = None
        while True:
            page = self._client.search_runs([experiment], max_results=PAGE, page_token=token)
            for one in page:
                tags = one.data.tags
                if KEY in tags:
                    stamp = Stamp(tags[RESULT], with_model=tags.get(MODEL) == "true") if RESULT in tags else None
                    if stamp is not None or tags[KEY] not in found:
                        found[tags[KEY]] = one.info.run_id, stamp
            token = page.token
            if not token:
                return found

    def _write(self, run: RecordedRun, experiment: str, *, with_model: bool) -> None:
        client, end = self._client, _milliseconds(run.result.finished_at)
        tags = {KEY: run.keys.prefix} | {f"job.{name}": value for name, value in run.facts.items()}
        made = client.create_run(
            experiment, start_time=_milliseconds(run.started_at), tags=tags, run_name=run.keys.run_id
        ).info.run_id
        params = [Param(name, "none" if value is None else str(value)) for name, value in run.parameters.items()]
        for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
            client.log_batch(made, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])
        metrics = [
            Metric(name, value, _milliseconds(epoch.at), epoch.epoch)
            for epoch in run.epochs
            for name, value in epoch.values.items()
        ] + [Metric(name, value, end, len(run.epochs)) for name, value in run.final.items()]
        for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
            client.log_batch(made, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])
        with tempfile.TemporaryDirectory() as folder:
            for name, png in run.read_plots().items():
                Path(folder, f"{name}.png").write_bytes(png)
            client.log_artifacts(made, folder, "plots")
        if with_model:
            self._write_model(run, experiment, made)
        client.log_batch(made, tags=[RunTag(MODEL, str(with_model).lower())])
        client.set_terminated(made, status="FINISHED", end_time=end)
        client.set_tag(made, RESULT, run.stamp)  # last: without it the next export begins this run anew

    def _write_model(self, run: RecordedRun, experiment: str, made: str) -> None:
        """The weights and what belongs to them, as a logged model: a folder that `job.load_model` reads."""
        model = self._client.create_logged_model(
            experiment, name=f"model-{run.keys.run_id}"[:200], source_run_id=made, model_type="job", tags=run.facts,
            params={name: str(value) for name, value in run.parameters.items()},
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            for key, content in {
                run.keys.model: run.read_weights(),
                run.keys.result: run.result.model_dump_json(indent=1).encode(),
            }.items():
                Path(folder, key).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, key).write_bytes(content)
            self._client.log_model_artifacts(model.model_id, folder)
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(made, [LoggedModelOutput(model.model_id, step=len(run.epochs))])


def open_tracker(place: str) -> MlflowRuns:
    """The server or database at a URI, or the folder `place`. Raises `UsageError` if MLflow cannot use it."""
    uri = place
    if not is_remote(place) and not place.startswith(("file:", "sqlite:")):
        uri = Path(place).absolute().as_uri()
    if uri.startswith("file:"):  # whoever names a folder has given MLflow this consent
        os.environ.setdefault(ALLOW_FOLDERS, "true")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        os.environ.setdefault(name, "true")
    try:
        return MlflowRuns(MlflowClient(tracking_uri=uri, registry_uri=_registry(uri)), uri)
    except MlflowException as error:
        raise UsageError(f"--into {place}: MLflow cannot use it: {error.message.partition(chr(10))[0]}") from error


def _registry(uri: str) -> str | None:
    """The client asks for a registry that it never uses here, and mlflow-skinny has none for databases."""
    return None if uri.startswith(("file:", "http")) else tempfile.gettempdir()


@contextmanager
def _reported(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise StorageError(f"{uri}: MLflow said: {' '.join(str(error.message).split())[:500]}") from error


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
