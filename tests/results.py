"""What two results of one configuration must share, however often they were interrupted."""

from __future__ import annotations

from typing import Any

from job.runs import RunResult
from job.storage import Store

TIMES = {"train_seconds", "evaluate_seconds", "train_images_per_second", "evaluate_images_per_second"}
VARIES = {"attempt_id", "attempts", "attempt_records", "lost_seconds", "timings", "finished_at",
          "train_images_per_second", "peak_memory_bytes", "estimated_cost_usd", "experiment", "efficiency"}  # fmt: skip


def metrics(result: RunResult) -> dict[str, Any]:
    """All that must not depend on interruptions: everything but times and attempts."""
    content = result.model_dump(mode="json", exclude=VARIES)
    content["history"] = [{k: v for k, v in record.items() if k not in TIMES} for record in content["history"]]
    return content


def list_differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two JSON values differ, a line each, such as `.final.top1: 0.5, expected 0.6`."""
    if isinstance(found, dict) and isinstance(expected, dict):
        pairs = [(f"{place}.{key}", found.get(key), expected.get(key)) for key in {**expected, **found}]
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = [(f"{place}[{index}]", *pair) for index, pair in enumerate(zip(found, expected, strict=True))]
    else:
        return [] if found == expected else [f"{place}: {found}, expected {expected}"]
    return [line for inner, value, wanted in pairs for line in list_differences(value, wanted, inner)]


def result_in(store: Store) -> RunResult:
    """The one result that `store` holds."""
    (key,) = [key for key in store.list_keys("") if key.endswith("/result.json")]
    return RunResult.model_validate_json(store.read(key))
