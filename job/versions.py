"""The code and the packages that this process runs with, how they are imported, and what brings a missing one.

No package is imported for it, and nothing here costs `job --help` its speed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from job.errors import UsageError

EXTRAS = {
    "train": {"torch", "torchvision", "torchmetrics", "safetensors"},
    "report": {"jinja2", "markupsafe", "pandas", "pyarrow", "scipy"},
    "kubernetes": {"kubernetes"},
    "onnx": {"onnx", "onnxruntime", "onnxscript"},
    "tensorboard": {"tensorboard"},
    "mlflow": {"mlflow"},
    "wandb": {"wandb"},
    "optimizers": {"timm"},
}
"""Modules by the extra that brings them."""


def find_commit() -> str | None:
    """`JOB_GIT_SHA`, which the image sets, else the commit of the source tree this package is run from, if any."""
    import subprocess

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
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def importing() -> Iterator[None]:
    """Python looks for no garbage within the block, nor afterwards in what it has imported, because that stays.

    It would look through the same objects again and again, which is a fifth of torch's import, and once more at the end
    of the process, which is a fifth of `job validate`.
    """
    num_modules, was_enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules:
            gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Raises `UsageError`, which names the extra, where an import within the block misses a module of it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] not in EXTRAS[name]:
            raise
        raise UsageError(
            f"{error.name} is not installed; it belongs to the extra {name!r}: run `make install` in the project's "
            "folder, which brings all extras; the container image has the extra 'train' alone"
        ) from error
