"""Everything that only a card can show, in one file to be sent back; see docs/measurements/unproven.md.

    make gpu-check
    make gpu-check GPU_CHECK="--data photos"
    python -m tests.benchmarks.gpu_check --device cpu --only optimizers preflight --optimizers adam sgd

Writes OUTPUT/gpu-check.json after every section, so that a check that is stopped leaves what it had. Each section runs
in processes of its own and is "passed", "failed" or "not tried", with the reason. Ends with 1 where one failed, and at
once where there is no card; with --device cpu it takes small sizes and shows what the file holds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from job import __version__
from job.errors import HostError
from job.manifest.optimizers import OPTIMIZERS
from job.versions import find_commit
from tests.benchmarks.findings import FAILED, NOT_TRIED, Document, Findings, NotTried, judge, name_error, write_json
from tests.benchmarks.targets import judge_targets

FILE, MACHINE = "gpu-check.json", "machine"
SECTIONS = {
    MACHINE: ("card", "describe_card"),
    "tests": ("suite", "run_tests"),
    "preflight": ("card", "check_preflight"),
    "optimizers": ("short_trainings", "measure_optimizers"),
    "precisions": ("short_trainings", "measure_precisions"),
    "lab-report": ("lab_report", "measure_manifests"),
    "speed": ("suite", "measure_speed"),
    "concurrency": ("suite", "measure_concurrency"),
    "startup": ("suite", "measure_startup"),
    "profile": ("suite", "measure_profile"),
    "peers": ("suite", "measure_peers"),
    "image": ("image", "run_image"),
}
"""By name: the module of this folder, and its function that fills the section. The first section is always run."""
CONTEXT = multiprocessing.get_context("forkserver")
SIZES: dict[str, dict[str, Any]] = {
    "cuda": {"num_images": 5000, "image_size": 96, "batch_size": 50, "repeats": 3, "epochs": None},
    "cpu": {"num_images": 20, "image_size": 32, "batch_size": 10, "repeats": 1, "epochs": 1},
}
"""What stands for an option that was not given."""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / FILE).unlink(missing_ok=True)  # an earlier check's
    wanted = [name for name in SECTIONS if name == MACHINE or name in options.only]
    sections = {name: _not_tried("not asked for: --only names others") for name in SECTIONS}
    sections |= {name: _not_tried("the check was stopped before its end") for name in wanted}
    document: Document = {
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "tests.benchmarks.gpu_check", *arguments]),
        "version": __version__,
        "git_sha": find_commit(),
        "is_whole": False,
        "targets": [],
        "sections": sections,
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for name in wanted:
        print(f"{name} …", file=sys.stderr, flush=True)
        section = run_apart(name, options)
        if name == MACHINE and section["status"] == FAILED:
            print(f"error: {section['reason']}", file=sys.stderr)
            sys.exit(HostError.exit_code)
        sections[name] = section
        document |= {"targets": judge_targets(sections), "is_whole": name == wanted[-1]}
        write_json(options.output / FILE, document)
    print(render(document, place=options.output / FILE))
    sys.exit(int(any(section["status"] == FAILED for section in sections.values())))


def _not_tried(reason: str) -> Document:
    return {"status": NOT_TRIED, "reason": reason, "seconds": 0.0}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options, with the sizes of the device where none were given, and paths that hold in every folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--data", type=Path, help="a folder of train/<class>/ and test/<class>/; else what there is")
    parser.add_argument("--weights", help="model.weights of the four manifests: imagenet, none or a file")
    parser.add_argument(
        "--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="these sections alone"
    )
    parser.add_argument(
        "--optimizers", nargs="+", choices=sorted(OPTIMIZERS), default=sorted(OPTIMIZERS), help="these alone"
    )
    parser.add_argument("--image", default="job:local", help="the container image, where Docker is")
    for peer in ("torchvision", "timm"):
        parser.add_argument(f"--{peer}", type=Path, metavar="DIR", help="a clone of its repository, as for make bench")
    parser.add_argument("--output", type=Path, default=Path("build/gpu-check"))
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which a section has failed")
    for name in ("num-images", "image-size", "batch-size", "repeats"):
        parser.add_argument(f"--{name}", type=int, help="of the measurements that `make bench` makes too")
    parser.add_argument("--epochs", type=int, help="of the four manifests; by default their own, on a CPU one")
    options = parser.parse_args(arguments)
    for name, value in SIZES[options.device].items():
        setattr(options, name, value if getattr(options, name) is None else getattr(options, name))
    for name in ("data", "torchvision", "timm", "output"):
        setattr(options, name, getattr(options, name) and getattr(options, name).resolve())
    return options


def run_apart(name: str, options: argparse.Namespace) -> Document:
    """The section, from a process group of its own: nothing that it does to the card or to itself ends the check."""
    place, started = options.output / f"{name}.json", time.perf_counter()
    place.unlink(missing_ok=True)
    process = CONTEXT.Process(target=_fill, args=(name, options, place))
    process.start()
    try:
        process.join(options.limit)
        took_too_long = process.is_alive()
    finally:
        _end(process)
    found = json.loads(place.read_text()) if place.is_file() else {"rows": []}
    if "status" not in found:
        said = f"more than {options.limit:g} s" if took_too_long else f"the process ended with {process.exitcode}"
        found |= {"status": FAILED, "reason": f"{said}; see {place.with_suffix('.log').name}"}
    return {"status": found["status"], "reason": found["reason"], "seconds": time.perf_counter() - started} | found


def _end(process: ForkServerProcess) -> None:
    """With all that it has started and that still runs."""
    assert process.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where it was too young for a group
    process.join()


def _fill(name: str, options: argparse.Namespace, place: Path) -> None:
    """What the section's process does: its findings go to `place`, whatever else it says to a log beside it."""
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    findings = Findings(place)
    module, function = SECTIONS[name]
    try:
        getattr(import_module(f"tests.benchmarks.{module}"), function)(options, findings)
        verdict = judge(findings.document["rows"])
    except NotTried as error:
        verdict = {"status": NOT_TRIED, "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other sections are tried
        traceback.print_exc()
        verdict = {"status": FAILED, "reason": name_error(error)}
    findings.tell(**verdict)


def _end_with_parent() -> None:
    """A check that is killed leaves nothing behind that keeps the card busy."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def render(document: Document, *, place: Path) -> str:
    """A line for each section and each target, and what to do with the file."""
    lines = [
        f"{name:12} {section['status']:10} {section['seconds']:7.1f} s  {(section['reason'] or '')[:100]}".rstrip()
        for name, section in document["sections"].items()
    ]
    lines += [""]
    for target in document["targets"]:
        seen = "" if target["seen"] is None else f", seen {target['seen']:.3g}"
        lines.append(f"{target['verdict']:12} {target['name']}: wanted {target['wanted']:g}{seen}")
    lines += [
        "",
        f"All of it is in {place}. Please look through it, for it names folders that you gave, and send it back.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    CONTEXT.set_forkserver_preload(["tests.benchmarks.short_trainings"])  # once for all sections, and never here
    main()
