"""What every technique brings, from the naive script to the product and the floor, side by side in one run.

    make bench
    python -m tests.benchmarks.speed --num-images 250 --repeats 3 --output build/bench
    make bench BENCH="--only peers --torchvision ../vision --timm ../pytorch-image-models"

Writes OUTPUT/speed.json and from it OUTPUT/speed.md. On a CPU it counts CPU-seconds of one thread (some
twenty minutes), on a GPU or with more threads seconds of the wall; several configurations at once and peers by the
wall everywhere. `make bench-compare` finds what became slower between two such files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from job.training.host import read_host
from job.training.machine import describe_environment
from tests.benchmarks.bench import Bench, build_bench
from tests.benchmarks.concurrency import measure_concurrency
from tests.benchmarks.floor import NUM_LAUNCHES, MatrixProduct, count_flops, count_launches
from tests.benchmarks.ladder import LadderTrainer, Techniques
from tests.benchmarks.peers import PEERS, measure_peers
from tests.benchmarks.profiles import measure_profiles
from tests.benchmarks.startup import measure_startup
from tests.benchmarks.tables import Document, render_markdown
from tests.benchmarks.variants import Variant, list_probes, list_variants, measure

SECTIONS = ("speed", "peers", "profile", "concurrency", "startup")
EPOCH = {"train": 5000, "evaluate": 8000}
"""Images trained on and evaluated in an epoch of the lab report: STL-10, whole."""
TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 1e-2, "bf16": 3e-2}
"""Within which a loss must be that of the first row, as a fraction of it."""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, help="of a measurement: default 250 on a CPU, 5000 on a GPU")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a folder of train/<class>/ and test/<class>/; default synthetic")
    parser.add_argument("--output", type=Path, default=Path("build/bench"))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--configurations", type=int, nargs="+", default=[2, 4], help="how many at once")
    parser.add_argument("--num-threads", type=int, default=1, help="of a CPU, but for several configurations at once")
    for peer in PEERS:
        parser.add_argument(peer.option, type=Path, metavar="DIR", help=f"a clone of {peer.clone}")
    parser.add_argument("--only", choices=SECTIONS, help="one of the sections")
    options = parser.parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    sections = [options.only] if options.only else SECTIONS
    load_average = round(os.getloadavg()[0], 1)
    if options.compile:
        os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # or the second run would find it compiled
    with tempfile.TemporaryDirectory() as folder:
        bench = build_bench(
            Path(folder), source=options.data, num_images=options.num_images, image_size=options.image_size,
            batch_size=options.batch_size, device_name=options.device, num_threads=options.num_threads,
        )  # fmt: skip
        document = describe(bench, options) | {"load_average": load_average}
        if "speed" in sections:
            document |= measure_speed(bench, num_repeats=options.repeats, compiled=options.compile)
            write(document, options.output)  # whatever becomes of the rest
        if "peers" in sections:
            clones = {peer.option: getattr(options, peer.option.removeprefix("--")) for peer in PEERS}
            for found in measure_peers(bench, clones, num_repeats=options.repeats):
                if isinstance(found, str):
                    print(found, file=sys.stderr)
                else:
                    document["peers"] = found
            write(document, options.output)
        if "profile" in sections:
            print("profile", file=sys.stderr)
            document["profile"] = measure_profiles(bench, num_repeats=options.repeats)
            write(document, options.output)
        if "concurrency" in sections:
            print("several configurations at once", file=sys.stderr)
            rows = measure_concurrency(bench, counts=options.configurations, num_repeats=options.repeats)
            document["concurrency"] = list(rows)
            document["load_average_after"] = round(os.getloadavg()[0], 1)
            write(document, options.output)
    if "startup" in sections:
        print("start-up", file=sys.stderr)
        document["startup"] = measure_startup(device_name=options.device, num_repeats=options.repeats)
        write(document, options.output)
    print((options.output / "speed.md").read_text())


def write(document: Document, folder: Path) -> None:
    """Both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(document, indent=1))
    (folder / "speed.md").write_text(render_markdown(document))


def describe(bench: Bench, options: argparse.Namespace) -> Document:
    """Machine, versions, commit and what was asked for."""
    environment = describe_environment(
        bench.device,
        checks=[],
        data_sha256=bench.data.sha256(),
        weights_sha256=None,
        instance_type=read_host(os.environ).instance_type,
    )
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "tests.benchmarks.speed", *options.arguments]),
        "environment": environment.model_dump(mode="json"),
        "cpu": cpu_name(),
        "settings": {
            "num_images": bench.num_images,
            "image_size": bench.image_size,
            "batch_size": bench.manifest.batch_size,
            "num_repeats": options.repeats,
            "data": "synthetic" if options.data is None else "folder",
            "clock": "seconds of the wall" if bench.device.is_cuda or bench.by_wall else "CPU-seconds of one thread",
            "epoch_train_images": EPOCH["train"],
            "epoch_evaluations": EPOCH["evaluate"],
        },
    }


def cpu_name() -> str:
    """The model of this machine's CPU, and its cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def measure_speed(bench: Bench, *, num_repeats: int, compiled: bool) -> Document:
    """The rows of the first table, and its floor."""
    variants, probes = list_variants(bench.device, compiled=compiled), list_probes(bench.device)
    for progress in measure([*variants, *probes], bench, num_repeats=num_repeats):
        print(progress, file=sys.stderr)
    floor = describe_floor(bench, probes)
    rows: dict[str, Document] = {}
    for variant in variants:
        row = rows.setdefault(variant.row, {"name": variant.row, "train": None, "evaluate": None, "epoch": None})
        row[variant.part] = _describe_cell(variant, bench)
    add_ratios([*rows.values(), *floor["rows"]], floor=floor["rows"][0])
    return {"rows": list(rows.values()), "floor": floor}


def _describe_cell(variant: Variant, bench: Bench) -> Document:
    if variant.skipped is not None:
        return {"skipped": variant.skipped}
    in_fp32 = "tf32" if bench.device.is_cuda else "fp32"  # cuDNN's own default
    tolerance = TOLERANCES[bench.device.precision if variant.lower_precision else in_fp32]
    num_images = bench.num_steps * bench.manifest.batch_size
    rates = [num_images / seconds for seconds in variant.seconds]
    return {
        "seconds": variant.seconds,
        "images_per_second": median(rates),
        "min": min(rates),
        "max": max(rates),
        "loss": variant.loss,
        "tolerance": tolerance,
        "first_call_seconds": variant.first_call_seconds,
        "compile_seconds": variant.first_call_seconds if variant.may_fail else None,
    }


def describe_floor(bench: Bench, probes: list[Variant]) -> Document:
    """The rates that arithmetic alone allows, and on CUDA those that the launches of eager steps allow."""
    flop = count_flops(bench.build_model(), image_size=bench.image_size)
    product = MatrixProduct(bench.device)
    flops = product.flop / median(probes[0].seconds)
    rows = [_floor_row("(d) floor: arithmetic", {part: flops / flop[part] for part in flop})]
    launches = launch_seconds = None
    if bench.device.is_cuda:
        eager = LadderTrainer(
            bench, Techniques(tuned=True, channels_last=True, autocast=True, optimizer=True, no_item=True)
        )
        eager(3)
        launches = count_launches(eager, num_steps=3) or None  # none are seen where CUPTI may not look
        launch_seconds = median(probes[1].seconds) / NUM_LAUNCHES
    if launches is not None and launch_seconds is not None:
        rate = bench.manifest.batch_size / (launches * launch_seconds)
        rows.append(_floor_row("(d) floor: eager launches", {"train": rate}))
    return {
        "rows": rows,
        "flop_per_image": flop,
        "flops": flops,
        "matrix_size": product.size,
        "probes": {probe.row: probe.seconds for probe in probes},
        "launches_per_step": launches,
        "launch_seconds": launch_seconds,
    }


def _floor_row(name: str, rates: dict[str, float]) -> Document:
    cells: dict[str, Any] = {
        part: {"images_per_second": rates[part], "seconds": []} if part in rates else None for part in EPOCH
    }
    return {"name": name, "epoch": None} | cells


def add_ratios(rows: list[Document], *, floor: Document) -> None:
    """Against the first row and the floor, and the epoch of each row; a part it does not have is the row above's."""
    naive = rows[0]
    current: dict[str, float] = {}
    batch_1 = batch_256 = None
    for row in rows:
        measured = {part: row[part] for part in EPOCH if row[part] is not None and "skipped" not in row[part]}
        for part, cell in measured.items():
            cell["ratio"] = cell["images_per_second"] / naive[part]["images_per_second"]
            cell["floor_fraction"] = cell["images_per_second"] / floor[part]["images_per_second"]
            if "loss" in cell:
                cell["expected_loss"] = naive[part]["loss"]
                cell["agrees"] = math.isclose(cell["loss"], naive[part]["loss"], rel_tol=cell["tolerance"])
        if not measured:
            continue
        current |= {part: cell["images_per_second"] for part, cell in measured.items()}
        seconds = sum(num_images / current[part] for part, num_images in EPOCH.items())
        batch_1 = batch_1 or seconds
        batch_256 = batch_256 or (seconds if row is not naive else None)
        row["epoch"] = {
            "seconds": seconds,
            "ratio_to_batch_1": batch_1 / seconds,
            "ratio_to_batch_256": batch_256 / seconds if batch_256 else None,
        }


if __name__ == "__main__":
    main()
