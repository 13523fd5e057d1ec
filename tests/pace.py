"""How slow this machine is now, so that a bound on CPU time says something of the code and nothing of the machine."""

from __future__ import annotations

import functools
import json
import time

ALONE_SECONDS = 0.15
"""What the work below takes where the bounds were found: an AMD EPYC with AVX2, with nothing beside it."""


@functools.cache
def slowness() -> float:
    """How many times as long as there the same work takes here; at least 1."""
    return max(1.0, min(_work() for _ in range(3)) / ALONE_SECONDS)


def _work() -> float:
    """CPU seconds of a fixed piece of plain Python."""
    begin = time.process_time()
    document = {f"key {number}": [number, str(number), {"half": number / 2}] for number in range(40_000)}
    total = sum(len(name) + len(values[1]) for name, values in json.loads(json.dumps(document)).items())
    assert total == sum(len(f"key {number}") + len(str(number)) for number in range(40_000))
    return time.process_time() - begin
