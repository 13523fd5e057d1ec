"""Python runs this file at its start where this folder is on PYTHONPATH: processes of tests train the narrow network
and leave their figures blank.

`tests/conftest.py` puts the folder there, but for tests that are marked `real_network`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def _narrow(_module: ModuleType) -> None:
    from job.training.engine.resnet import NETWORKS
    from tests.narrow import build

    NETWORKS["resnet18"] = build


def _blank(module: ModuleType) -> None:
    from tests.narrow import leave_blank

    module.draw_plots = leave_blank  # type: ignore[attr-defined]


PATCHES: dict[str, Callable[[ModuleType], None]] = {"job.training.engine.resnet": _narrow}
if "REAL_FIGURES" not in os.environ:
    PATCHES["job.training.record.completion"] = _blank


class _AfterImport(MetaPathFinder):
    """Changes these modules once they are imported, and imports nothing before."""

    def find_spec(self, fullname: str, _path: object, _target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        patch = PATCHES.pop(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patching(spec.loader, patch)
        return spec


class _Patching(Loader):
    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self._loader, self._patch = loader, patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


sys.meta_path.insert(0, _AfterImport())
