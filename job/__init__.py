"""Fine-tune one network with many optimizers, and find out which is better, by how much, and why.

In Python `job.plan(…)`, `job.submit(…)`, `job.load_runs(…)` and `job.load_model(…)` do what the commands do: `job.api`
describes them, and is imported when one is called. `job.plan` and `job.submit` are modules as well, which the import
system puts under these names; so they are modules that can be called.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
_FUNCTIONS = ("load_model", "load_runs")
_MODULES = ("plan", "submit")


class _Callable(ModuleType):
    """A module of this package that is called as the function of its name in `job.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(import_module("job.api"), self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(ModuleType):
    """This package. It makes a module of `_MODULES` callable when the import system sets it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MODULES and isinstance(value, ModuleType):
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Called for what is not imported yet."""
    if name in _FUNCTIONS:
        return getattr(import_module("job.api"), name)
    if name in _MODULES:
        return import_module(f"job.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_FUNCTIONS, *_MODULES]
