"""The container image with a card: whether the libraries that were left in it are those that a training needs."""

from __future__ import annotations

import argparse
import os
import subprocess
import time

from job.training.precision import has_precision
from tests.benchmarks.card import PRECISIONS, open_device
from tests.benchmarks.findings import Document, Findings, NotTried, last_line, read_events

ENGINE_REFUSED = 125
"""docker's own exit code, where it could not start a container: https://docs.docker.com/reference/cli/docker/container/run/"""


def run_image(options: argparse.Namespace, findings: Findings) -> None:
    """The smoke manifest in a container, eager and by graphs, in every precision. Raises `NotTried` without image."""
    _docker("info")
    _docker("image", "inspect", options.image, advice="; make image")
    findings.tell(image=options.image)
    device = open_device(options)
    precisions = [name for name in PRECISIONS if has_precision(device.torch_device, name)]
    for graphs in (False, True) if device.is_cuda else (False,):
        for precision in precisions:
            with findings.row(f"{precision}, {'graphs' if graphs else 'eager'}") as row:
                row |= _run_smoke(options, precision, graphs=graphs)


def _run_smoke(options: argparse.Namespace, precision: str, *, graphs: bool) -> Document:
    started = time.perf_counter()
    done = _call(
        *("run", "--rm", *(["--gpus", "all"] if options.device == "cuda" else []), options.image),
        *("--manifest", "smoke.json", "--output", "/tmp/runs", "--device", options.device),
        *("--set", f"precision={precision}", "--graphs" if graphs else "--no-graphs"),
    )
    said = done.stdout + done.stderr
    if done.returncode == ENGINE_REFUSED:
        raise NotTried(f"docker run: {last_line(said)}")
    if done.returncode:
        raise RuntimeError(f"the container ended with {done.returncode}: {last_line(said)}")
    return {
        "container_seconds": time.perf_counter() - started,
        "events": [
            event
            for event in read_events(said)
            if event["event"] in ("training_started", "run_finished") or event.get("level") == "warning"
        ],
    }


def _docker(*words: str, advice: str = "") -> None:
    """Raises `NotTried` where this fails."""
    try:
        done = _call(*words)
    except OSError as error:
        raise NotTried(f"docker: {error}") from error
    if done.returncode:
        raise NotTried(f"docker {' '.join(words)}: {last_line(done.stderr)}{advice}")


def _call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [os.environ.get("DOCKER", "docker"), *words], capture_output=True, text=True, check=False, timeout=600
    )
