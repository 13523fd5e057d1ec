"""Where the files of a run lie, relative to the output. No other module knows their paths."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime

from job.places import is_remote

KEPT_CHECKPOINTS = 2
REPORT_KEY = "report/index.html"
LIVE_KEY = "report/live.html"
EPOCHS_KEY = "report/epochs.csv"


@dataclass(frozen=True)
class RunKeys:
    """Where the files of one run lie, relative to the output."""

    experiment: str
    run_id: str

    @property
    def prefix(self) -> str:
        return f"{runs_prefix(self.experiment)}{self.run_id}"

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    @property
    def manifest(self) -> str:
        return self._key("manifest.json")

    @property
    def environment(self) -> str:
        return self._key("environment.json")

    @property
    def progress(self) -> str:
        return self._key("progress.json")

    @property
    def history(self) -> str:
        return self._key("history.jsonl")

    @property
    def model(self) -> str:
        return self._key("model.safetensors")

    @property
    def onnx(self) -> str:
        """What `job export` makes of the model; no run writes it."""
        return self._key("model.onnx")

    @property
    def predictions(self) -> str:
        return self._key("predictions.npz")

    @property
    def samples(self) -> str:
        return self._key("samples.npz")

    @property
    def log(self) -> str:
        return self._key("log.jsonl")

    @property
    def result(self) -> str:
        return self._key("result.json")

    def plot(self, name: str) -> str:
        return self._key(f"plots/{name}.png")

    @property
    def checkpoints(self) -> str:
        """The prefix of all checkpoints."""
        return self._key("checkpoints/")

    def checkpoint(self, *, epoch: int, step: int) -> str:
        """The state after `epoch` whole epochs and `step` steps of the next one. Keys sort by age."""
        within = f"_step-{step:06d}" if step else ""  # "_" sorts after the "." of ".pt", "-" would sort before it
        return self._key(f"checkpoints/epoch-{epoch:04d}{within}.pt")


def split_run(place: str) -> tuple[str, RunKeys] | None:
    """The output and the keys of the run whose folder `place` names: `<output>/<experiment>/runs/<run id>`.

    None where the name is another one; whether something is there is not looked at.
    """
    whole = place.rstrip("/") if is_remote(place) else os.path.abspath(place)
    parts = whole.split("/")
    if len(parts) < (6 if is_remote(place) else 4) or parts[-2] != "runs":
        return None
    return "/".join(parts[:-3]) or "/", RunKeys(parts[-3], parts[-1])


def runs_prefix(experiment: str) -> str:
    """The prefix of all runs of an experiment."""
    return f"{experiment}/runs/"


def superseded_prefix(keys: RunKeys, finished_at: datetime) -> str:
    """Where the old files of a result that is made again go: beside `runs/`, so that nobody takes them for a run."""
    return f"{keys.experiment}/superseded/{keys.run_id}/{finished_at:%Y%m%dT%H%M%SZ}/"


def is_result_key(key: str) -> bool:
    """Whether `key` is that of a run's result.json."""
    parts = key.split("/")
    return len(parts) == 4 and parts[1] == "runs" and parts[3] == "result.json"


def is_checkpoint_key(key: str) -> bool:
    """Whether `key` is that of a checkpoint or its digest, which a store may let expire."""
    return "/checkpoints/" in key


def checkpoint_digest_key(checkpoint: str) -> str:
    """The key of a checkpoint's digest. It is written after the checkpoint, so a checkpoint without it is not used."""
    return re.sub(r"\.pt$", ".json", checkpoint)
