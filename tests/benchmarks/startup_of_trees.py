"""Start-up of two source trees against each other, run after run in turn.

Prints a table of medians and the ratio after / before. Only the ratios mean something where other programs run too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from job.manifest import Sweep
from job.manifest.sweep import Block
from job.plan import build_plan, plan_key
from job.storage import open_store
from tests.records import make_result, store_results

SMOKE = (
    *("--set", "epochs=1", "--set", "batch_size=50"),
    *("--set", "dataset.num_train=100", "--set", "dataset.num_test=100"),
)
"""Two steps of training, so that the start-up is what is measured; the same in every checkout."""


COMMANDS = {
    "--help": ["--help"],
    "validate": ["validate", "manifests/jobs/smoke.json"],
    "status": ["status", "TEN"],
    "plan": ["plan", "--manifest", "manifests/sweeps/optimizers.json"],
}
"""The commands that answer quickly. TEN stands for an output with ten runs."""
WITH_BYTE_CODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Whoever installs a program has its byte code from the second call on."""


def measure_commands(tree: Path, ten: Path) -> dict[str, float]:
    """Seconds of CPU time that each of `COMMANDS` takes, and of wall time."""
    found: dict[str, float] = {}
    for name, arguments in COMMANDS.items():
        command = [sys.executable, "-m", "job", *(str(ten) if word == "TEN" else word for word in arguments)]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            command, cwd=tree, env=WITH_BYTE_CODE | {"PYTHONPATH": str(tree)}, capture_output=True, check=True
        )
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        found[f"`job {name}`, seconds of CPU"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[f"`job {name}`, seconds"] = wall
    return found


def write_ten_runs(folder: Path) -> None:
    """Nine runs with a result and one that waits."""
    defaults = {"epochs": 2, "dataset": {"name": "synthetic"}, "model": {"weights": "none"}}
    blocks = [Block(base={"optimizer": {"name": name}}) for name in ("adam", "adamw", "sgd", "rmsprop", "adagrad")]
    planned = build_plan(Sweep(name="ten", defaults=defaults, seeds=[0, 1], blocks=blocks), source="here")
    store = open_store(str(folder))
    store.write(plan_key(planned.name), planned.model_dump_json().encode())
    manifests = [run.manifest for run in planned.runs[:9]]
    store_results(store, *(make_result(manifest, experiment=planned.name) for manifest in manifests))


def measure_run(tree: Path) -> dict[str, float]:
    """Seconds since the start of the process, by the point that it reaches, and the modules in it at its end."""
    command = [sys.executable, "-X", "importtime", "-m", "job"]
    environment = WITH_BYTE_CODE | {"PYTHONPATH": str(tree)}
    found: dict[str, float] = {}
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
    parser.add_argument("--without-run", action="store_true", help="measure the quick commands alone")
    arguments = parser.parse_args()
    trees = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    rows: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as ten:
        write_ten_runs(Path(ten))
        for number in range(arguments.repeats + 1):
            for name, tree in trees.items():
                measured = measure_commands(tree, Path(ten))
                if number == 0:  # the first one compiles
                    continue
                if not arguments.without_run:
                    measured |= measure_run(tree)
                for point, value in measured.items():
                    rows.setdefault(point, {}).setdefault(name, []).append(value)
    print("| median (least to most) | before | after | after / before |\n|---|---|---|---|")
    for point, values in rows.items():
        before, after = (values[name] for name in trees)
        print(f"| {point} | {_show(before)} | {_show(after)} | {median(after) / median(before):.2f} |")


def _show(values: list[float]) -> str:
    middle, least, most = (
        f"{value:.{2 if value < 100 else 0}f}" for value in (median(values), min(values), max(values))
    )
    return f"{middle} ({least} to {most})"


if __name__ == "__main__":
    main()
