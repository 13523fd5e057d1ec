"""`make soak`: many small runs as processes against one S3 server, killed and cheated at random; each must end right.

Every run has an output of its own and goes on, attempt by attempt, until it ends with 0. Then its one
result is compared with the uninterrupted run of its configuration: tolerance 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from job.storage import open_store
from tests.conftest import BUCKET, TINY
from tests.models.faulty_s3 import (
    ALWAYS,
    Fault,
    FaultyS3,
    Rule,
    answer,
    cut,
    damage,
    lose_answer,
    serve_faulty_s3,
    truncate,
)
from tests.processes import CONTEXT, start_job, wait_for_end
from tests.results import list_differences, metrics, result_in

CONFIGURATIONS = [
    TINY | {"name": name, "optimizer": {"name": name, "lr": 0.01}} for name in ("sgd", "adagrad", "rmsprop", "adam")
]
FAULTS: dict[str, tuple[str, str, Fault, int]] = {
    "503 twice": ("GET|PUT|POST", "", answer("503 Slow Down", "SlowDown"), 2),
    "503 for ever": ("PUT", r"(\.pt|result\.json|history\.jsonl)", answer("503 Slow Down", "SlowDown"), ALWAYS),
    "reset": ("GET|PUT|POST", "", cut, 2),
    "truncated answer": ("GET", r"/(manifest|progress)\.json", truncate, 1),
    "lost acknowledgement": ("PUT", "", lose_answer, 1),
    "lost acknowledgement of the commit": ("PUT", r"/result\.json", lose_answer, 1),
    "409 on the commit": ("PUT", r"/result\.json", answer("409 Conflict", "ConditionalRequestConflict"), 2),
    "damaged upload": ("PUT", r"/(history\.jsonl|result\.json|.*\.png)", damage, 1),
    "expired token": ("PUT", r"/history\.jsonl", answer("400 Bad Request", "ExpiredToken"), 1),
}
"""Method, target, fault and how often; those of an attempt are gone before the next one."""
EXPECTED_CODES = {0, 74, 143, -9, -15}
"""The last where SIGTERM came before the command had begun; as PID 1 of a container it would not have been heard."""
MOST_TROUBLED_ATTEMPTS = 4
ATTEMPT_SECONDS = 6.0
"""Kills come within so much of an attempt's start."""
DEADLINE_SECONDS = 900.0


@dataclass
class Counts:
    """What happened, over all runs."""

    exit_codes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    num_right: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def show(self, *, seconds: float) -> str:
        """A line each."""

        def listed(counter: Counter[Any]) -> str:
            return ", ".join(f"{key}: {count}" for key, count in sorted(counter.items(), key=str))

        return "\n".join([
            f"right results      {self.num_right}",
            f"wrong results      {len(self.wrong)} {'; '.join(self.wrong)}",
            f"attempts           {sum(self.exit_codes.values())}",
            f"exit codes         {listed(self.exit_codes)}",
            f"signals            {listed(self.signals)}",
            f"faults on the wire {listed(self.faults)}",
            f"seconds            {seconds:.0f}",
        ])  # fmt: skip


def soak(num_runs: int, *, seed: int, workers: int, folder: Path) -> Counts:
    """Needs nothing but this machine: moto's S3 is started here. `folder` takes logs and manifests."""
    counts = Counts()
    # A child imports its parent's main module, which is this one: all that it imports is there already.
    CONTEXT.set_forkserver_preload(["tests.processes", "tests.conftest", "tests.models.faulty_s3", "tests.results"])
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server would print every request
    with serve_faulty_s3() as server:
        os.environ |= {
            "AWS_ENDPOINT_URL": server.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "JOB_THREADS": "1",
            "JOB_GIT_SHA": "soak",  # which else stands in a result and changes when somebody commits
        }  # fmt: skip
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        manifests = []
        for content in CONFIGURATIONS:
            manifests.append(folder / f"{content['name']}.json")
            manifests[-1].write_text(json.dumps(content))
        expected = [_uninterrupted(manifest, folder) for manifest in manifests]

        def one(number: int) -> None:
            which = number % len(manifests)
            _run(number, manifests[which], expected[which], server, counts, random.Random(f"{seed}-{number}"), folder)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, range(num_runs)))
    return counts


def _uninterrupted(manifest: Path, folder: Path) -> dict[str, Any]:
    output = folder / f"whole-{manifest.stem}"
    process = start_job("run", "--manifest", manifest, "--output", output, log=folder / "whole.log")
    assert wait_for_end(process, seconds=DEADLINE_SECONDS) == 0
    return metrics(result_in(open_store(str(output))))


def _run(
    number: int, manifest: Path, expected: dict[str, Any], server: FaultyS3, counts: Counts, chance: random.Random,
    folder: Path,
) -> None:  # fmt: skip
    output, log = f"s3://{BUCKET}/run-{number}", folder / f"run-{number}.log"
    code, attempt = None, 0
    while code != 0:
        rules = list(_spoil(server, number, counts, chance)) if attempt < MOST_TROUBLED_ATTEMPTS else []
        process = start_job("run", "--manifest", manifest, "--output", output, "--checkpoint-interval", "0", log=log)
        if attempt < MOST_TROUBLED_ATTEMPTS and chance.random() < 0.6:
            process.join(chance.uniform(0, ATTEMPT_SECONDS))
            name, send = chance.choice([("SIGTERM", process.terminate), ("SIGKILL", process.kill)])
            if process.exitcode is None:
                _send(name, send, counts)
        code = wait_for_end(process, seconds=DEADLINE_SECONDS)
        attempt += 1
        for rule in rules:
            rule.times = 0
        with counts.lock:
            counts.exit_codes[code] += 1
            if code not in EXPECTED_CODES:
                counts.wrong.append(f"run {number} ended with {code}, see {log}")
                return
    store = open_store(output)
    different = list_differences(metrics(result_in(store)), expected)
    store.delete(store.list_keys(""))  # 200 networks and their checkpoints are too much for a server in memory
    with counts.lock:
        counts.num_right += not different
        if different:
            counts.wrong.append(f"run {number} differs from the uninterrupted one, {different[0]}, see {log}")


def _spoil(server: FaultyS3, number: int, counts: Counts, chance: random.Random) -> list[Rule]:
    """The rules of some faults, or of none, for this run alone."""
    rules = []
    for name in chance.sample(sorted(FAULTS), chance.choice([0, 1, 1, 2])):
        method, target, fault, times = FAULTS[name]
        rules.append(server.spoil(method, f"/run-{number}/.*{target}", fault, times=times))
        with counts.lock:
            counts.faults[name] += 1
    return rules


def _send(name: str, send: Callable[[], None], counts: Counts) -> None:
    send()
    with counts.lock:
        counts.signals[name] += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="runs at once")
    options = parser.parse_args()
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    found = soak(options.runs, seed=options.seed, workers=options.workers, folder=place)
    print(found.show(seconds=time.monotonic() - began))
    if not found.wrong:
        shutil.rmtree(place)
    raise SystemExit(bool(found.wrong))
