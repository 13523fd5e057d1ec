"""What was aimed at with a card, and whether the sections of a GPU check meet it."""

from __future__ import annotations

from tests.benchmarks.findings import Document
from tests.benchmarks.tables import GRAPHED, PRODUCT

NUM_MANIFESTS = 4
COLD = "adam, the first of all"
"""Decodes the images, which the others find in the cache; it is held to no target."""
LOOP_SECONDS, JOB_SECONDS, TIMES_NAIVE = 1.5, 6.0, 50.0
"""Aimed at, with a card: 10 epochs with full evaluation at batch 50; the whole process; an epoch against the naive
script's, which evaluates one by one."""


def judge_targets(sections: dict[str, Document]) -> list[Document]:
    """Each target, what was seen, and whether it was met. Only what was measured on a card at full size is judged."""
    targets = []
    rows = [row for row in sections.get("lab-report", {}).get("rows", []) if "job_seconds" in row]
    is_whole = sections.get("machine", {}).get("card") and all(row["num_epochs"] == 10 for row in rows)
    for graphs in (False, True):
        how = "--graphs" if graphs else "eager"
        found = [row for row in rows if row["graphs"] == graphs and row["name"] != COLD]
        for key, wanted in (("loop_seconds", LOOP_SECONDS), ("job_seconds", JOB_SECONDS)):
            seen = max(row[key] for row in found) if is_whole and len(found) == NUM_MANIFESTS else None
            met = None if seen is None else seen <= wanted
            targets.append(_target(f"{key}, {how}, the slowest of the four", wanted, seen, met))
        speed = sections.get("speed", {}).get("rows", []) if is_whole else []
        seen = next(
            (row["epoch"]["ratio_to_batch_1"] for row in speed if row["name"] == (GRAPHED if graphs else PRODUCT)), None
        )
        targets.append(
            _target(f"times the naive script, {how}", TIMES_NAIVE, seen, None if seen is None else seen >= TIMES_NAIVE)
        )
    return targets


def _target(name: str, wanted: float, seen: float | None, met: bool | None) -> Document:
    verdict = "not measured" if met is None else "met" if met else "missed"
    return {"name": name, "wanted": wanted, "seen": seen, "verdict": verdict}
