"""The lab report's four manifests as `job run` trains them: accuracy, and seconds of whole processes."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from job.errors import DataError
from job.training.inputs.cache import expand_cache
from job.training.inputs.datasets.stl10 import FILES
from job.training.settings import RunSettings
from tests.benchmarks.findings import Document, Findings, last_line, read_events
from tests.benchmarks.targets import COLD

ROOT = Path(__file__).parents[2]
NAMES = ("adam", "adagrad", "adadelta", "rmsprop")
NUM_TRAIN, NUM_TEST = 5000, 8000
"""STL-10's, for generated images in its place."""


def measure_manifests(options: argparse.Namespace, findings: Findings) -> None:
    """All four, eager and by graphs. Each starts anew, as a container does."""
    data, settings = choose_data(options)
    names = [name for name in NAMES if name in options.optimizers]
    findings.tell(data=data)
    with tempfile.TemporaryDirectory() as folder:
        for graphs in (False, True) if options.device == "cuda" else (False,):
            for name in names if graphs else (COLD, *names):
                with findings.row(name) as row:
                    row["graphs"] = graphs
                    place = Path(folder, f"{len(findings.document['rows'])}")
                    row |= _run(name.partition(",")[0], place, options, graphs=graphs, settings=settings)
                    shutil.rmtree(place)  # its checkpoints


def choose_data(options: argparse.Namespace) -> tuple[str, list[str]]:
    """What the manifests are trained on, and the options of `job run` that say so.

    The folder that was given; else STL-10 where the cache has it, for it is not downloaded here; else generated images.
    """
    weights = ["--set", f"model.weights={options.weights}"] if options.weights else []
    if options.data is not None:
        if not (options.data / "train").is_dir():
            raise DataError(f"{options.data}: no folder with train/<class>/ and test/<class>/")
        return "folder", ["--data", str(options.data), "--set", "dataset.name=folder", *weights]
    if options.device == "cuda" and FILES.is_at_hand(None, cache=expand_cache(RunSettings().cache)):
        return "stl10", weights
    num_train, num_test = (
        (NUM_TRAIN, NUM_TEST) if options.device == "cuda" else (options.num_images, options.num_images)
    )
    fields = (f"size={options.image_size}", f"num_train={num_train}", f"num_test={num_test}")
    generated = [word for field in ("name=synthetic", *fields) for word in ("--set", f"dataset.{field}")]
    return "synthetic", [*generated, *(weights or ["--set", "model.weights=none"])]


def _run(name: str, place: Path, options: argparse.Namespace, *, graphs: bool, settings: list[str]) -> Document:
    command = [
        *(sys.executable, "-m", "job", "run", "--manifest", str(ROOT / f"manifests/jobs/{name}.json")),
        *("--output", str(place), "--device", options.device, "--graphs" if graphs else "--no-graphs", *settings),
        *(["--set", f"epochs={options.epochs}"] if options.epochs is not None else []),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"job run ended with {done.returncode}: {last_line(done.stderr)}")
    (path,) = place.rglob("result.json")
    result = json.loads(path.read_text())
    timings, final = result["timings"], result["final"] or {}
    return {
        "result": result["status"],
        "top1": final.get("top1"),
        "top5": final.get("top5"),
        "num_epochs": len(result["history"]),
        "num_train": result["num_train"],
        "num_test": result["num_test"],
        "precision": result["environment"]["precision"],
        "loop_seconds": timings["train"] + timings["evaluate"],
        "job_seconds": seconds,
        "timings": timings,
        "efficiency": result["efficiency"],
        "warnings": [event for event in read_events(done.stderr) if event.get("level") == "warning"],
        "command": command[1:],
    }
