"""The code and the packages that this process runs with. No package is imported for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def find_commit() -> str | None:
    """`JOB_GIT_SHA`, which the image sets, else the commit of the source tree this package is run from, if any."""
    if os.environ.get("JOB_GIT_SHA"):
        return os.environ["JOB_GIT_SHA"]
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def find_packages(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of `names` that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
