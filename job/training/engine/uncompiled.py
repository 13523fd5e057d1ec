"""torch's optimizers without their preparations for torch.compile, which is not used here.

Making one of torch's optimizers imports the compiler (torch._dynamo), so that it leaves the optimizer alone, and each
step of most of them does the same. With all that it brings along this takes as long as the import of torch.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

PREPARED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Methods that torch wraps so that its compiler never looks into them."""


_MADE: dict[type[torch.optim.Optimizer], Any] = {}


def without_compiler(kind: type[Kind]) -> type[Kind]:
    """A class with the name and the steps of `kind`, whose methods are those under torch's wrappers.

    Of the wrappers of `step` one has an effect: no gradients are recorded. This one is put back. Where a torch has no
    wrappers, its methods are taken as they are.
    """
    made: type[Kind] | None = _MADE.get(kind)
    if made is not None:
        return made
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in PREPARED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    made = type(kind.__name__, (kind,), methods | {"__module__": kind.__module__})
    _MADE[kind] = made
    return made
