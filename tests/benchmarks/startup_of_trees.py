"""Start-up of two source trees against each other, run after run in turn.

Prints a table of medians and the ratio after / before. Only the ratios mean something where other programs run too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SMOKE = ("--set", "epochs=1", "--set", "dataset.num_train=100", "--set", "dataset.num_test=100")
"""Little training, so that the start-up is what is measured."""


def measure(tree: Path) -> dict[str, float]:
    """Seconds since the start of the process, by the point that it reaches, and the modules in it at its end."""
    command = [sys.executable, "-X", "importtime", "-m", "job"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    found: dict[str, float] = {}
    for name, arguments in {"--help": ["--help"], "validate": ["validate", "manifests/jobs/smoke.json"]}.items():
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "job", *arguments], cwd=tree, env=environment, capture_output=True, check=True
        )
        found[f"`job {name}`, seconds"] = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as output:
        run = ["run", "--manifest", "manifests/jobs/smoke.json", "--output", output, "--device", "cpu", *SMOKE]
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "job", *run],
            cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            next(line for line in process.stderr if "training_started" in line)
            found["`job run`: first step, seconds"] = time.perf_counter() - started
            process.stderr.read()
        found["`job run`: exit, after two steps, seconds"] = time.perf_counter() - started
        assert process.returncode == 0
        (path,) = Path(output).rglob("result.json")
        timings = json.loads(path.read_text())["timings"]
        found |= {f"of which {name}, seconds": timings[name] for name in ("startup", "staging", "preflight")}
    with tempfile.TemporaryDirectory() as output:
        done = subprocess.run(
            [*command, *run[:4], output, *run[5:]],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found["imported modules"] = sum(line.startswith("import time:") for line in done.stderr.splitlines()) - 1
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a checkout")
    parser.add_argument("after", type=Path, metavar="AFTER", help="another one")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured (default: 3)")
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(arguments.repeats):
        for name, tree in trees.items():
            for point, value in measure(tree).items():
                rows.setdefault(point, {}).setdefault(name, []).append(value)
    print("| | before | after | after / before |\n|---|---|---|---|")
    for point, values in rows.items():
        before, after = (median(values[name]) for name in trees)
        print(f"| {point} | {before:.2f} | {after:.2f} | {after / before:.2f} |".replace(".00 ", " "))


if __name__ == "__main__":
    main()
