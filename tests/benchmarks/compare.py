"""Whether this project became slower between two commits: the ratios of two files that `make bench` wrote.

    make bench-compare OLD=before/speed.json NEW=build/bench/speed.json

Ratios of one run and not rates, because a machine is not as fast on one day as on another. Ends with 1 where a ratio
fell by more than a tenth, with 2 where the two were not measured alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import PRODUCT

Document = dict[str, Any]
TOLERANCE = 0.1
PARTS = ("train", "evaluate")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="speed.json of the earlier commit")
    parser.add_argument("new", type=Path, help="speed.json of the later commit")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="by which fraction a ratio may fall")
    options = parser.parse_args(arguments)
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (options.old, options.new))
    differing = find_differences(old, new)
    ratios = {name: (find_ratios(old).get(name), ratio) for name, ratio in find_ratios(new).items()}
    shared = {name: (before, after) for name, (before, after) in ratios.items() if before is not None}
    if differing or not shared:
        what = "; ".join(differing) or "they have no ratio in common"
        print(f"not comparable: {what}; measure both alike, on the same machine", file=sys.stderr)
        sys.exit(2)
    print("| this project against | before | after | change | |\n|---|---:|---:|---:|---|")
    fallen = False
    for name, (before, after) in shared.items():
        slower = after < before * (1 - options.tolerance)
        fallen |= slower
        print(f"| {name} | {before:.3f} | {after:.3f} | {after / before - 1:+.1%} | {'**slower**' if slower else ''} |")
    sys.exit(int(fallen))


def find_ratios(document: Document) -> dict[str, float]:
    """How many times as fast as each other row this project is, by row and part."""
    ratios: dict[str, float] = {}
    for row in document.get("peers", {}).get("rows", []):
        if row["name"] != PRODUCT:
            ratios |= {f"{row['name']}, {part}": row[part]["product_ratio"] for part in PARTS}
    rows = document.get("rows", [])
    for part in PARTS if rows else ():
        product = rows[-1][part]
        ratios[f"(a) naive, {part}"] = product["ratio"]
        ratios[f"(d) floor, {part}"] = product["floor_fraction"]
    return ratios


def find_differences(old: Document, new: Document) -> list[str]:
    """What makes ratios of the two documents incomparable, each as a sentence's part."""
    facts = [
        {
            "device": one["environment"]["device"],
            "CPU": one["cpu"],
            "precision": one["environment"]["precision"],
            "threads": one["environment"]["num_threads"],
            "image size": one["settings"]["image_size"],
            "batch size": one["settings"]["batch_size"],
        }
        for one in (old, new)
    ]
    versions = [{row["name"]: row["version"] for row in one.get("peers", {}).get("rows", [])} for one in (old, new)]
    for name in versions[0].keys() & versions[1].keys():
        for fact, version in zip(facts, versions, strict=True):
            fact[f"commit of {name}"] = version[name]
    return [f"{name} is {facts[0][name]} and {facts[1][name]}" for name in facts[0] if facts[0][name] != facts[1][name]]


if __name__ == "__main__":
    main()
