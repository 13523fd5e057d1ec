"""`make smoke-docker`: the smoke manifest in a container, its artefacts in a bucket, and where the time went.

python -m tests.container.smoke IMAGE [MANIFEST]
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import docker

from job.storage import FolderStore
from tests.container.engine import HARDENED, Bucket, finish, serve_bucket, start

TARGET = Path("runs/smoke-docker")
FRACTION_DIGITS = 6
"""Of a second; Docker writes nine, `datetime` reads six."""


def main(image: str, manifest: str = "smoke.json") -> None:
    """Run, check, copy what is in the bucket to `TARGET`. Exits with the container's code, or 1 without a result."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # the S3 server's requests
    engine = docker.from_env()
    with serve_bucket(engine) as bucket:
        asked = time.time()
        arguments = ("--manifest", manifest, "--output", bucket.uri)
        with start(engine, image, *arguments, environment=bucket.environment, **HARDENED) as container:
            code, output = finish(container)
            container.reload()
            began = _seconds(container.attrs["State"]["StartedAt"])
        if code:
            sys.exit(f"{output}\n{image} ended with {code}")
        keys = bucket.keys()
        _copy(bucket, keys)
        results = [key for key in keys if key.endswith("/result.json")]
        if not results:
            sys.exit(f"no result among {keys}")
        _tell(json.loads(bucket.get(results[0])), output, asked=asked, began=began)
    print(f"{len(keys)} artefacts were in {bucket.uri}, copied to {TARGET.resolve()}")


def _copy(bucket: Bucket, keys: list[str]) -> None:
    target = FolderStore(TARGET)
    for key in keys:
        target.write(key, bucket.get(key))


def _tell(result: dict[str, Any], output: str, *, asked: float, began: float) -> None:
    """From `docker run` to the first step, and what that consists of."""
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    started = next(event for event in events if event["event"] == "training_started")
    timings = result["timings"]
    parts = {
        "docker: create and start the container": began - asked,
        "interpreter and imports": timings["startup"],
        "staging: data, weights, network": timings["staging"],
        "first training step begins after": _seconds(started["timestamp"]) - asked,
        "whole run, as it measured itself": timings["total"],
    }
    for name, seconds in parts.items():
        print(f"{seconds:7.2f} s  {name}")
    print(f"test top-1 {result['final']['top1']:.1%}, status {result['status']}")


def _seconds(timestamp: str) -> float:
    """An RFC 3339 time as seconds since 1970."""
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:FRACTION_DIGITS]:0<6}+00:00").timestamp()


if __name__ == "__main__":
    main(*sys.argv[1:])
