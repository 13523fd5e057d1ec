"""How many cores this process may use: what threads, and processes at once, are counted by."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP_V2_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CGROUP_V1_FOLDER = Path("/sys/fs/cgroup/cpu")


def keep_algebra_to_one_core() -> None:
    """Call before numpy is imported: its matrix products and the like take one core, unless the environment chooses.

    OpenBLAS' threads wait for each other in a loop, which costs more than they save where others use the cores too.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def available_cpus() -> int:
    """The cores this process may use: its affinity, cut to the container's quota (cgroup v2, then v1)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in _cgroup_quotas():
        cores = min(cores, max(1, math.floor(quota / period)))
    return cores


def _cgroup_quotas() -> Iterator[tuple[float, float]]:
    """See https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max; `max` or -1 stand for no quota."""
    try:
        if CGROUP_V2_QUOTA.is_file():
            quota, period = CGROUP_V2_QUOTA.read_text().split()
        else:
            quota, period = ((CGROUP_V1_FOLDER / f"cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
        if quota != "max" and float(quota) > 0:
            yield float(quota), float(period)
    except (OSError, ValueError):
        return
