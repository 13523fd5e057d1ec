"""The training scripts that torchvision and timm publish, unchanged, each in a process of its own on the same images.

    git clone --depth 1 https://github.com/pytorch/vision
    git clone --depth 1 https://github.com/huggingface/pytorch-image-models

Of each script the second epoch counts, training and evaluation, by the wall: from the line that its log has for the
first batch to that for the last.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from job.errors import UsageError
from tests.benchmarks.bench import LEARNING_RATE, Bench
from tests.benchmarks.floor import MatrixProduct, count_flops
from tests.benchmarks.ladder import ProductEvaluator, ProductTrainer
from tests.benchmarks.scripts import Script, ScriptEvaluator, ScriptTrainer
from tests.benchmarks.variants import Variant

PRODUCT, FLOOR = "this project", "floor: arithmetic"
NUM_WORKERS = 1
"""Decode the JPEGs beside the threads that train: timm's loader refuses 0. On a GPU there are as many as cores."""
Rates = dict[str, float]
"""Images a second, of "train" and "evaluate"."""


@dataclass(frozen=True)
class Peer:
    """A published script: its command line, and which lines of its log begin and end an epoch's parts."""

    name: str
    option: str
    script: str
    """Below the clone."""
    clone: str
    arguments: Callable[[Bench, Path, Path], list[str]]
    """Of the task, the folder of images and one to write to."""
    train: tuple[str, str]
    """Patterns of the lines that its log has after the first batch and after the last one of the second epoch."""
    evaluate: tuple[str, str]


def _torchvision(bench: Bench, images: Path, output: Path) -> list[str]:
    size, device = str(bench.image_size), bench.device
    return [
        *("--data-path", str(images), "--model", "resnet18", "--device", device.torch_device.type),
        *("--batch-size", str(bench.manifest.batch_size), "--epochs", "2", "--workers", str(_num_workers(bench))),
        *("--opt", "adamw", "--lr", str(LEARNING_RATE), "--weight-decay", "0", "--print-freq", "1"),
        *("--train-crop-size", size, "--val-crop-size", size, "--val-resize-size", size, "--output-dir", str(output)),
        *(["--amp"] if device.is_cuda and device.precision in ("bf16", "fp16") else []),  # it has none for a CPU
    ]


def _timm(bench: Bench, images: Path, output: Path) -> list[str]:
    size, device = str(bench.image_size), bench.device
    amp_dtypes = {"bf16": "bfloat16", "fp16": "float16"}
    amp = ["--amp", "--amp-dtype", amp_dtypes[device.precision]] if device.precision in amp_dtypes else []
    return [
        *("--data-dir", str(images), "--train-split", "train", "--val-split", "val"),
        *("--model", "resnet18", "--num-classes", str(len(bench.data.classes)), "--input-size", "3", size, size),
        *("--device", device.torch_device.type, "--channels-last", "--crop-pct", "1", "--no-aug", "--smoothing", "0"),
        *("--batch-size", str(bench.manifest.batch_size), "--epochs", "2", "--workers", str(_num_workers(bench))),
        *("--opt", "adamw", "--lr", str(LEARNING_RATE), "--weight-decay", "0", "--warmup-epochs", "0"),
        *("--output", str(output), *amp),
    ]


def _num_workers(bench: Bench) -> int:
    return len(os.sched_getaffinity(0)) if bench.device.is_cuda else NUM_WORKERS


PEERS = (
    Peer(
        "torchvision's script",
        "--torchvision",
        "references/classification/train.py",
        "https://github.com/pytorch/vision",
        _torchvision,
        (r"Epoch: \[1\] +\[ *0/", r"Epoch: \[1\] Total time"),
        (r"Test: +\[ *0/", r"Test: +Total time"),
    ),
    Peer(
        "timm's script",
        "--timm",
        "train.py",
        "https://github.com/huggingface/pytorch-image-models",
        _timm,
        (r"Train: 1 \[ *0/", r"Train: 1 \[.*\(100%\)"),
        (r"Test: \[ *0/", r"Test: \[ *(\d+)/\1\]"),
    ),
)


@dataclass
class Row:
    """One program of the table, and what each round gave."""

    name: str
    measure: Callable[[], Rates]
    version: str | None = None
    rounds: list[Rates] = field(default_factory=list)


def measure_peers(bench: Bench, clones: dict[str, Path | None], *, num_repeats: int) -> Iterator[str | dict[str, Any]]:
    """Says what is being done; at last gives the document. `clones` are by the option that names them."""
    if bench.num_steps < 2:
        raise UsageError(
            f"--num-images: {bench.num_images}; peers need two batches or more of {bench.manifest.batch_size}"
        )
    for peer in PEERS:
        clone = clones[peer.option]
        if clone is not None and not (clone / peer.script).is_file():
            raise UsageError(f"{peer.option}: {clone} has no {peer.script}; must be a clone of {peer.clone}")
    bench = replace(bench, by_wall=True)
    images = bench.folder.parent / "peers"
    images.mkdir()
    for name, part in (("train", "train"), ("val", "test")):
        (images / name).symlink_to(bench.folder / part)
    rows = [*_own_rows(bench)]
    missing = []
    for peer in PEERS:
        clone = clones[peer.option]
        if clone is None:
            missing.append({"name": peer.name, "skipped": f"needs {peer.option} DIR, a clone of {peer.clone}"})
            continue
        rows.insert(-2, Row(peer.name, partial(run_script, peer, clone, bench, images), _version(clone)))
    for number in range(num_repeats):
        for row in rows:
            yield f"round {number + 1} of {num_repeats}: {row.name}"
            row.rounds.append(row.measure())
    yield describe(rows, missing)


def _own_rows(bench: Bench) -> Iterator[Row]:
    naive, recipe = Script(), Script(recipe=True)
    for name, script, batch_size in (
        ("naive script, evaluated one by one", naive, 1),
        ("recipe in the style of torchvision's, in this process", recipe, 250),
    ):
        yield _row(
            name,
            bench,
            Variant(name, "train", partial(ScriptTrainer, script=script), tuned=script.recipe, keeps_memory=False),
            Variant(
                name,
                "evaluate",
                partial(ScriptEvaluator, script=script, batch_size=batch_size),
                tuned=script.recipe,
                keeps_memory=False,
            ),
        )
    yield _row(
        PRODUCT, bench, Variant(PRODUCT, "train", ProductTrainer), Variant(PRODUCT, "evaluate", ProductEvaluator)
    )
    flop = count_flops(bench.build_model(), image_size=bench.image_size)
    probe = Variant(FLOOR, "floor", lambda bench: MatrixProduct(bench.device))
    probe.warm_up(bench)

    def measure_floor() -> Rates:
        probe.measure(bench)
        return {part: MatrixProduct(bench.device).flop / probe.seconds[-1] / flop[part] for part in flop}

    yield Row(FLOOR, measure_floor)


def _row(name: str, bench: Bench, *variants: Variant) -> Row:
    for variant in variants:
        variant.warm_up(bench)

    def measure() -> Rates:
        for variant in variants:
            variant.measure(bench)
        return {str(variant.part): bench.num_images / variant.seconds[-1] for variant in variants}

    return Row(name, measure)


def run_script(peer: Peer, clone: Path, bench: Bench, images: Path) -> Rates:
    """Its two epochs; the rates of the second one. Raises `UsageError` with the end of its log where it fails."""
    script, output = (clone / peer.script).resolve(), images / "output"
    threads = str(bench.device.num_threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(
        [sys.executable, str(script), *peer.arguments(bench, images, output)],
        cwd=images,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        lines.extend((time.perf_counter(), line.rstrip()) for line in process.stdout)
    shutil.rmtree(output, ignore_errors=True)
    if process.returncode:
        log = "\n".join(line for _, line in lines[-20:])
        raise UsageError(f"{peer.name} ended with {process.returncode}; its log ended so:\n{log}")
    return read_rates(peer, lines, num_images=bench.num_images, batch_size=bench.manifest.batch_size)


def read_rates(peer: Peer, lines: list[tuple[float, str]], *, num_images: int, batch_size: int) -> Rates:
    """Of a log with the time of each line: all images but the first batch's, over the seconds from first to last line.

    The last of the lines that fit are the second epoch's. Raises `UsageError` where there are none.
    """
    rates = {}
    for part, patterns in (("train", peer.train), ("evaluate", peer.evaluate)):
        times = [[at for at, line in lines if re.search(pattern, line)] for pattern in patterns]
        if not all(times) or times[1][-1] <= times[0][-1]:
            raise UsageError(f"{peer.name}: its log has no lines like {patterns}; use a clone of {peer.clone}")
        rates[part] = (num_images - batch_size) / (times[1][-1] - times[0][-1])
    return rates


def describe(rows: list[Row], missing: list[dict[str, Any]]) -> dict[str, Any]:
    """For each row the rates, and by how much this project is faster: the median of the rounds' ratios."""
    product = next(row for row in rows if row.name == PRODUCT)
    naive = rows[0]
    cells: list[dict[str, Any]] = []
    for row in rows:
        cell: dict[str, Any] = {"name": row.name, "version": row.version}
        for part in ("train", "evaluate"):
            rates = [one[part] for one in row.rounds]
            pairs = list(zip(rates, product.rounds, naive.rounds, strict=True))
            cell[part] = {
                "images_per_second": median(rates),
                "min": min(rates),
                "max": max(rates),
                "ratio": median(rate / slow[part] for rate, _, slow in pairs),
                "product_ratio": median(own[part] / rate for rate, own, _ in pairs),
            }
        cells.append(cell)
    return {"rows": cells, "missing": missing}


def _version(clone: Path) -> str | None:
    """The commit of a clone; None for a folder that is none."""
    done = subprocess.run(
        ["git", "-C", str(clone), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None
