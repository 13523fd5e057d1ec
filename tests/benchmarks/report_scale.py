"""Time and peak memory of `job report` over generated runs, from a folder and from S3 (moto in a process of its own).

    python -m tests.benchmarks.report_scale --runs 10 1000 10000 --store folder
    python -m tests.benchmarks.report_scale --runs 10 1000 --store s3

Each report runs in a process of its own, twice: the second finds the first one's cache. Runs have ten epochs,
five seeds and as many learning rates as it takes. A line per report: seconds of wall and CPU, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.runs import RunKeys
from job.storage import Store, open_store
from tests.records import ACCURACY, make_manifest, make_result

NUM_SEEDS = 5
REPORT = """
import resource, sys, time
sys.argv = ["job", "report", sys.argv[1]]
from job.cli import main
start = time.perf_counter()
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""
SERVER = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
input()
"""


def generate(store: Store, num_runs: int) -> int:
    """Put results into `store`; returns the bytes of all."""
    optimizers = list(ACCURACY)

    def write(index: int) -> int:
        configuration, seed = divmod(index, NUM_SEEDS)
        optimizer = optimizers[configuration % len(optimizers)]
        lr = round(0.001 * 1.01 ** (configuration // len(optimizers)), 9)
        result = make_result(make_manifest(optimizer, seed=seed, lr=lr, epochs=10))
        content = result.model_dump_json(indent=1).encode()
        store.write(RunKeys(result.experiment, result.run_id).result, content)
        return len(content)

    with ThreadPoolExecutor(4) as writers:
        return sum(writers.map(write, range(num_runs)))


def measure(output: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of one report in a process of its own."""
    answer = subprocess.run([sys.executable, "-c", REPORT, output], check=True, capture_output=True, text=True)
    wall, cpu, peak = map(float, answer.stdout.splitlines()[-1].split())
    return wall, cpu, peak


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
            size = generate(open_store(output), num_runs)
            for which in ("first", "again"):
                start = time.perf_counter()
                _, cpu, peak = measure(output)
                wall = time.perf_counter() - start
                numbers = {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_mib": round(peak)}
                about = {
                    "store": options.store,
                    "runs": num_runs,
                    "result_mib": round(size / 2**20, 1),
                    "report": which,
                }
                print(json.dumps(about | numbers), flush=True)
        if server is not None:
            server.communicate("\n")


if __name__ == "__main__":
    main()
