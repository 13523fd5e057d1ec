"""Time, peak memory and S3 requests of the commands that look at whole sweeps, by the number of their runs.

    python -m tests.benchmarks.control_scale --runs 10 1000 10000 --store s3
    python -m tests.benchmarks.control_scale --runs 10000 --store folder --only report

S3 is a small server in a process of its own (`quick_s3`), whose CPU-seconds are told too: it is not what is measured.
Each command runs in a process of its own. Runs have ten epochs, five seeds and as many learning rates as it takes; the
plan is made before any has a result, the other commands see all of them done.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from job.manifest import Manifest, Sweep
from job.plan import build_plan, plan_key
from job.runs import RunKeys
from tests.benchmarks.quick_s3 import BUCKET, QuickS3
from tests.records import ACCURACY, made_by, make_result, with_right

NUM_SEEDS = 5
CLAIM = "pvc://volume/x"
COMMAND = r"""
import re, resource, sys
from http.client import HTTPConnection
num_requests = 0
def count(*arguments, **options):
    global num_requests
    num_requests += 1
    return begin(*arguments, **options)
begin, HTTPConnection.putrequest = HTTPConnection.putrequest, count
from job.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
usage = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss would count what this process was forked from
peak = re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())
print(usage.ru_utime + usage.ru_stime, int(peak[1]) / 1024, num_requests, file=sys.stderr)
"""


def build_sweep(num_runs: int) -> Sweep:
    """As many configurations as it takes, of four optimizers in turn."""
    num_configurations = num_runs // NUM_SEEDS
    blocks = []
    for index, optimizer in enumerate(ACCURACY):
        rates = [round(0.001 * 1.01**rate, 9) for rate in range(len(range(index, num_configurations, len(ACCURACY))))]
        if rates:
            blocks.append({"base": {"optimizer": {"name": optimizer}}, "vary": {"optimizer.lr": rates}})
    document = {"name": "scale", "seeds": list(range(NUM_SEEDS)), "blocks": blocks}
    return Sweep.model_validate_json(json.dumps(document))


def finish(folder: Path, sweep: Sweep) -> None:
    """Leave in `folder` what a sweep leaves that is done, as far as these commands read it."""
    plan = build_plan(sweep, source="scale")
    place = folder / plan_key(sweep.name)
    place.parent.mkdir(parents=True)
    place.write_text(plan.model_dump_json(indent=1))
    with ProcessPoolExecutor() as writers:
        manifests = [run.manifest for run in plan.runs]
        list(writers.map(partial(_write_result, folder, sweep.name), manifests, chunksize=100))


def _write_result(folder: Path, experiment: str, manifest: Manifest) -> None:
    result = with_right(made_by(make_result(manifest, experiment=experiment)))
    keys = RunKeys(experiment, result.run_id)
    (folder / keys.prefix).mkdir(parents=True)
    (folder / keys.result).write_text(result.model_dump_json(indent=1))
    for key in (keys.manifest, keys.environment, keys.progress, keys.history, keys.model, keys.log):
        (folder / key).write_bytes(b"{}")


def measure(name: str, *arguments: object, server: QuickS3 | None) -> dict[str, float | str]:
    """Wall and CPU seconds, peak memory and S3 requests of one command in a process of its own."""
    served, began = server.cpu_seconds() if server else 0.0, time.perf_counter()
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    answer = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-1000:]
    cpu, peak, requests = map(float, answer.stderr.splitlines()[-1].split())
    wall = time.perf_counter() - began
    served = server.cpu_seconds() - served if server else 0.0
    return {"command": name, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "server_cpu_s": round(served, 1),
            "peak_mib": round(peak), "s3_requests": int(requests)}  # fmt: skip


def list_commands(folder: Path, sweep: Sweep, *, output: str, empty: str) -> dict[str, tuple[object, ...]]:
    """By name. `empty` is an output without runs; `folder` takes what they write."""
    manifest = folder / "sweep.json"
    manifest.write_text(sweep.model_dump_json())
    submit = ("submit", "--manifest", manifest, "--to", "local", "--data", "download", "--dry-run", "--output")
    cluster = ("submit", "--manifest", manifest, "--to", "kubernetes", "--image", "x/job:1", "--data", "download")
    return {
        "plan": ("plan", "--manifest", manifest),
        "submit --dry-run": (*submit, empty),
        "submit --to kubernetes --dry-run": (*cluster, "--dry-run", "--output", empty if "://" in empty else CLAIM),
        "submit --dry-run, all done": (*submit, output),
        "status": ("status", output, "--experiment", sweep.name),
        "race --dry-run": ("race", "--manifest", manifest, "--to", "local", "--output", output, "--dry-run"),
        "report": ("report", output),
        "export --to csv": ("export", output, "--to", "csv", "--into", folder / "csv"),
        "export --to csv, again": ("export", output, "--to", "csv", "--into", folder / "csv"),
        "export --to tensorboard": ("export", output, "--to", "tensorboard", "--into", folder / "tb"),
        "export --to tensorboard, again": ("export", output, "--to", "tensorboard", "--into", folder / "tb"),
    }


def measure_all(
    num_runs: int, *, in_s3: bool, is_wanted: Callable[[str], bool], kept: Path | None
) -> Iterator[dict[str, float | str]]:
    """Every command that is wanted."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        root = kept or work / "outputs"
        sweep, output = build_sweep(num_runs), f"{root}/{num_runs}"
        if not Path(output).exists():
            finish(Path(output), sweep)
        server = stack.enter_context(QuickS3(root)) if in_s3 else None
        if server is not None:
            output = f"s3://{BUCKET}/{num_runs}"
            os.environ |= {"AWS_ENDPOINT_URL": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
            os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        for name, arguments in list_commands(work, sweep, output=output, empty=f"{output}-empty").items():
            if is_wanted(name):
                yield measure(name, *arguments, server=server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--store", choices=["folder", "s3"], default="folder")
    parser.add_argument("--only", default="", help="a pattern: the commands whose names match it")
    parser.add_argument("--keep", type=Path, help="a folder for the made-up runs, which the next call takes again")
    options = parser.parse_args()
    wanted = re.compile(options.only)
    for num_runs in options.runs:
        for found in measure_all(
            num_runs,
            in_s3=options.store == "s3",
            is_wanted=lambda name: wanted.search(name) is not None,
            kept=options.keep,
        ):
            print(json.dumps({"store": options.store, "runs": num_runs} | found), flush=True)


if __name__ == "__main__":
    main()
