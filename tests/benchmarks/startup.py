"""From the start of the process to the first step: imports in fresh interpreters, and a tiny run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

READY = "ready"
IMPORTS = {
    "interpreter": "pass",
    "… with torch": "import torch",
    "… with torchvision": "import torch, torchvision",
    "… with torchmetrics": "import torch, torchvision, torchmetrics",
    "… with all that a run imports": "import job.cli, job.training.train",
}
MANIFEST = {
    "name": "start",
    "optimizer": {"name": "adam", "lr": 0.001},
    "epochs": 1,
    "batch_size": 20,
    "dataset": {"name": "synthetic", "size": 32, "num_train": 40, "num_test": 20},
    "model": {"weights": "none"},
}


def measure_startup(*, device_name: str, num_repeats: int, imports: dict[str, str] = IMPORTS) -> list[dict[str, Any]]:
    """Wall seconds since the start of the process, a row for each point that it reaches; rounds are interleaved."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(num_repeats):
            for name, statement in imports.items():
                command = [sys.executable, "-c", f"{statement}\nprint('{READY}', flush=True)"]
                seconds.setdefault(name, []).append(_seconds_until(READY, command)[0])
            for name, value in _measure_run(Path(folder, str(number)), device_name=device_name).items():
                seconds.setdefault(name, []).append(value)
    return [
        {"name": name, "seconds": values, "median": median(values), "min": min(values), "max": max(values)}
        for name, values in seconds.items()
    ]


def _measure_run(folder: Path, *, device_name: str) -> dict[str, float]:
    folder.mkdir()
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(MANIFEST))
    command = [sys.executable, "-m", "job", "run", "--manifest", str(manifest), "--output", str(folder / "runs")]
    begun, ended = _seconds_until("training_started", [*command, "--device", device_name])
    (path,) = folder.rglob("result.json")
    timings = json.loads(path.read_text())["timings"]
    return {
        "`job run`: staging begins": timings["startup"],
        "`job run`: staging alone": timings["staging"],
        "`job run`: first step begins": begun,
        "`job run`: exit, after two steps": ended,
    }


def _seconds_until(marker: str, command: list[str]) -> tuple[float, float]:
    """Until the process writes a line with `marker`, and until it ends."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        reached = next(time.perf_counter() for line in process.stdout if marker in line)
        process.stdout.read()
    assert process.returncode == 0, command
    return reached - started, time.perf_counter() - started
