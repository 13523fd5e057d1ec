"""Sections of the GPU check that are there without it: the tests of tests/gpu, and what `make bench` measures."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from tests.benchmarks import speed
from tests.benchmarks.findings import FAILED, NOT_TRIED, PASSED, Findings, NotTried, last_line

ROOT = Path(__file__).parents[2]
OUTCOMES = {"failure": FAILED, "error": FAILED, "skipped": NOT_TRIED}
"""By the element of pytest's JUnit file that a test has where it did not pass."""


def run_tests(options: argparse.Namespace, findings: Findings) -> None:
    """Every test of tests/gpu with its outcome."""
    if importlib.util.find_spec("pytest") is None:
        raise NotTried("pytest is not installed")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(done.stdout)
        if not report.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode}: {last_line(done.stdout)}")
        for case in ElementTree.parse(report).iter("testcase"):
            told = next((element for element in case if element.tag in OUTCOMES), None)
            findings.document["rows"].append(
                {
                    "name": case.get("name"),
                    "status": PASSED if told is None else OUTCOMES[told.tag],
                    "reason": None if told is None else (told.get("message") or "")[:500],
                    "seconds": float(case.get("time", 0)),
                    "details": (told.text or "")[-4000:] if told is not None and told.tag != "skipped" else None,
                }
            )
    findings.tell(exit_code=done.returncode)


def _bench(options: argparse.Namespace, findings: Findings, *, section: str) -> None:
    """The document that `make bench` would write for one of its sections."""
    clones = {f"--{peer}": getattr(options, peer) for peer in ("torchvision", "timm")}
    given = [word for name, place in clones.items() if place for word in (name, str(place))]
    if section == "peers" and not given:
        raise NotTried(f"no clone of their repositories was given: {', '.join(clones)}")
    with tempfile.TemporaryDirectory() as folder:
        command = ["--only", section, "--output", folder, "--device", options.device, "--repeats", str(options.repeats)]
        for name in ("num-images", "image-size", "batch-size"):
            command += [f"--{name}", str(getattr(options, name.replace("-", "_")))]
        command += ["--data", str(options.data)] if options.data else []
        command += ["--no-compile"] if options.device == "cpu" else []
        try:
            speed.main([*command, *given])
        finally:
            written = Path(folder, "speed.json")
            if written.is_file():
                findings.tell(**json.loads(written.read_text()))
    differing = [
        f"{row['name']}, {part}" for row in findings.document["rows"] for part in speed.EPOCH if _differs(row.get(part))
    ]
    if differing:
        raise RuntimeError(f"losses differ from the first row's: {'; '.join(differing)}")


def _differs(cell: dict[str, object] | None) -> bool:
    return cell is not None and not cell.get("agrees", True)


measure_speed = partial(_bench, section="speed")
measure_concurrency = partial(_bench, section="concurrency")
measure_startup = partial(_bench, section="startup")
measure_profile = partial(_bench, section="profile")
measure_peers = partial(_bench, section="peers")
