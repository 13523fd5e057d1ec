"""Time, peak memory and S3 requests of the commands that look at whole sweeps, by the number of their runs.

    python -m tests.benchmarks.control_scale --runs 10 1000 10000 --store folder
    python -m tests.benchmarks.control_scale --runs 10 1000 --store s3

S3 is moto, in a process of its own, which serves one request at a time. Each command runs in a process of its own.
Runs have ten epochs, five seeds and as many learning rates as it takes; the plan is made before any has a result, the
other commands see all of them done.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.manifest import Sweep
from job.plan import build_plan, plan_key
from job.runs import RunKeys
from job.storage import Store, open_store
from tests.records import ACCURACY, make_result

NUM_SEEDS = 5
COMMAND = """
import resource, sys
from botocore.httpsession import URLLib3Session
num_requests, send = 0, URLLib3Session.send
def count(*arguments):
    global num_requests
    num_requests += 1
    return send(*arguments)
URLLib3Session.send = count
from job.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, num_requests)
"""
SERVER = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
input()
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


def finish(store: Store, sweep: Sweep) -> None:
    """Leave in `store` what a sweep leaves that is done, as far as these commands read it."""
    plan = build_plan(sweep, source="scale")

    def write(index: int) -> None:
        result = make_result(plan.runs[index].manifest, experiment=sweep.name)
        keys = RunKeys(sweep.name, result.run_id)
        store.write(keys.result, result.model_dump_json(indent=1).encode())
        for key in (keys.manifest, keys.environment, keys.progress, keys.history, keys.model, keys.log):
            store.write(key, b"{}")

    store.write(plan_key(sweep.name), plan.model_dump_json(indent=1).encode())
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(len(plan.runs))))


def measure(name: str, *arguments: object) -> dict[str, float | str]:
    """Wall and CPU seconds, peak memory and S3 requests of one command in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-1000:]
    cpu, peak, requests = map(float, answer.stdout.splitlines()[-1].split())
    wall = time.perf_counter() - began
    return {"command": name, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_mib": round(peak),
            "s3_requests": int(requests)}  # fmt: skip


def measure_all(output: str, folder: Path, num_runs: int) -> Iterator[dict[str, float | str]]:
    """Every command, first before and then after the runs."""
    sweep, store = build_sweep(num_runs), open_store(output)
    manifest = folder / f"{num_runs}.json"
    manifest.write_text(sweep.model_dump_json())
    submit = ("submit", "--manifest", manifest, "--to", "local", "--output", output, "--dry-run")
    yield measure("plan", "plan", "--manifest", manifest)
    yield measure("submit --dry-run", *submit)
    finish(store, sweep)
    yield measure("submit --dry-run, all done", *submit)
    yield measure("status", "status", output, "--experiment", sweep.name)
    yield measure("report", "report", output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--store", choices=["folder", "s3"], default="folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = None
        if options.store == "s3":
            server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=-1, stdout=-1, stderr=-3, text=True)
            assert server.stdout is not None
            os.environ |= {"AWS_ENDPOINT_URL": server.stdout.readline().strip(), "AWS_DEFAULT_REGION": "us-east-1"}
            os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
            import boto3

            boto3.client("s3").create_bucket(Bucket="bench")
        for num_runs in options.runs:
            output = f"s3://bench/{num_runs}" if options.store == "s3" else str(Path(folder, str(num_runs)))
            for found in measure_all(output, Path(folder), num_runs):
                print(json.dumps({"store": options.store, "runs": num_runs} | found), flush=True)
        if server is not None:
            server.communicate("\n")


if __name__ == "__main__":
    main()
