"""Runs as W&B's offline runs, written by wandb itself. `wandb sync` uploads them; nothing here asks the network."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import wandb
from PIL import Image

from job.errors import HostError
from job.storage import reported
from job.trackers.places import local_folder
from job.trackers.recorded import RecordedRun
from job.trackers.stamps import STAMP_NAME, Outcome, judge, read_stamp, write_stamp

DEFAULT = "wandb"
STAGING = ".artifacts"
"""Where wandb keeps the files of artifacts until they are uploaded: beside the runs, not in the home folder."""


class WandbFiles:
    """A folder of `offline-run-<when it finished>-<id>`, as wandb names them. A project of W&B is an experiment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._there = _find_runs(folder)
        self.advice = f"wandb sync {folder}/offline-run-*"

    def add(self, run: RecordedRun, *, with_model: bool) -> Outcome:
        there = self._there.get(run.keys.prefix)
        outcome = judge(read_stamp(there) if there else None, run, with_model=with_model)
        if outcome != "unchanged":
            with reported(str(self._folder)):
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".partial-", dir=self._folder) as made:
                    self._there[run.keys.prefix] = self._write(run, Path(made), with_model=with_model, replaces=there)
        return outcome

    def close(self) -> None:
        """Every run is whole already."""

    def _write(self, run: RecordedRun, made: Path, *, with_model: bool, replaces: Path | None) -> Path:
        """Let wandb write `run` into `made`, and move it to its place, which is returned."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_DATA_DIR", str(self._folder / STAGING))
        run_id = f"{run.keys.run_id}-{run.stamp[:8]}"  # W&B knows an id once for ever: another result is another run
        config = {**run.parameters, "job": run.facts}
        writer = wandb.init(
            mode="offline", dir=str(made), id=run_id, name=run.keys.run_id, project=run.keys.experiment,
            group=run.result.manifest.name, job_type="train", config=config, settings=_settings(run),
        )  # fmt: skip
        try:
            self._log(run, writer, made, with_model=with_model)
        finally:
            writer.finish()
        found = [path.parent for path in made.glob("**/run-*.wandb")]
        if len(found) != 1:
            raise HostError(f"{run.place}: wandb wrote no offline run; its own log may say why")
        for own in ("logs", "tmp"):  # wandb's of this process, which goes on writing to them during the next runs
            shutil.rmtree(found[0] / own, ignore_errors=True)
        write_stamp(found[0], run, with_model=with_model)
        target = self._folder / f"offline-run-{run.result.finished_at:%Y%m%d_%H%M%S}-{run_id}"
        for old in {target, replaces} - {None}:
            shutil.rmtree(old, ignore_errors=True)  # type: ignore[arg-type]
        os.replace(found[0], target)
        return target

    def _log(self, run: RecordedRun, writer: wandb.Run, made: Path, *, with_model: bool) -> None:
        for epoch in run.epochs:
            writer.log({**epoch.values, "epoch": epoch.epoch, "_timestamp": epoch.at.timestamp()}, step=epoch.epoch)
        plots = {f"plots/{name}": wandb.Image(Image.open(io.BytesIO(png))) for name, png in run.read_plots().items()}
        if plots:
            writer.log({**plots, "_timestamp": run.result.finished_at.timestamp()}, step=len(run.epochs))
        writer.summary.update(run.final)
        if with_model:
            artifact = wandb.Artifact(f"model-{run.keys.run_id}", type="model", metadata=dict(run.facts))
            weights, described = made / "model.safetensors", made / "result.json"
            weights.write_bytes(run.read_weights())
            described.write_text(run.result.model_dump_json(indent=1), encoding="utf-8")
            for path in (weights, described):  # wandb copies them to its staging folder
                artifact.add_file(str(path))
            writer.log_artifact(artifact)


def open_tracker(place: str) -> WandbFiles:
    """Raises `UsageError` if `place` is no folder of this machine."""
    return WandbFiles(local_folder(place, tool="wandb"))


def _settings(run: RecordedRun) -> wandb.Settings:
    """Nothing of this machine or this process becomes part of the run: it was trained elsewhere and before."""
    return wandb.Settings(
        console="off", silent=True, save_code=False, disable_git=True, disable_job_creation=True,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        x_start_time=run.started_at.timestamp(),
    )  # fmt: skip


def _find_runs(folder: Path) -> dict[str, Path]:
    """The folders of exported runs, by the key of each run."""
    found: dict[str, Path] = {}
    for path in folder.glob(f"offline-run-*/{STAMP_NAME}"):
        try:
            found[str(json.loads(path.read_bytes())["run"])] = path.parent
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
