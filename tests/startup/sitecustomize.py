"""Python runs this file at its start where this folder is on PYTHONPATH: processes of tests train the narrow network.

`tests/conftest.py` puts the folder there, but for tests that are marked `real_network`.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PATCHED = "job.training.engine.resnet"


class _AfterImport(MetaPathFinder):
    """Registers the narrow network once the networks are imported, and imports nothing before."""

    def find_spec(self, fullname: str, _path: object, _target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != PATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        from job.training.engine.resnet import NETWORKS
        from tests.narrow import build

        NETWORKS["resnet18"] = build


sys.meta_path.insert(0, _AfterImport())
