"""Optimizers on the tensors of a card that is not there: torch's fake ones, which have a device and no values.

Whatever a step reads back to the host, or copies from it, would make the host wait and could not be captured.
Fused kernels ask for a driver, so those optimizers are tried on a card alone (tests/gpu).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.training.engine.optimizers import build_optimizer, can_be_captured, set_learning_rate
from tests.conftest import TINY
from tests.optimizers import CONFIGURED

CAPTURABLE = [name for name, kind in OPTIMIZERS.items() if kind.is_capturable and not kind.is_fused]
READS_BACK = ("adafactor", "adamp", "asgd", "novograd", "prodigy")
"""Whose eager steps do so: torch's, timm's, and Prodigy, whose distance is a number of the host."""
EAGER = [name for name, kind in OPTIMIZERS.items() if not kind.is_fused or name in ("adam", "adamw")]


class Crossings(TorchDispatchMode):
    """Names the operations that carry values between the card and the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if "copy" in str(function) and {tensor.device.type for tensor in tensors} == {"cpu", "cuda"}:
            self.names.append(str(function))
        return result


@pytest.fixture(autouse=True)
def _on_fake_tensors() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def prepare(name: str, **attributes: object) -> tuple[Any, torch.optim.Optimizer, list[nn.Parameter]]:
    config = Manifest.model_validate(TINY | {"optimizer": {"name": name} | attributes}).optimizer
    shapes = ((8, 4, 3, 3), (10, 16), (10,))
    parameters = [nn.Parameter(torch.empty(shape, device="cuda")) for shape in shapes]
    return config, build_optimizer(config, parameters), parameters


def crossings_of_second_step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> list[str]:
    """The first one makes the state, and may."""
    if hasattr(optimizer, "train"):
        optimizer.train()
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        set_learning_rate(optimizer, 0.01)
        with Crossings() as crossings:
            optimizer.step()
    return crossings.names


@pytest.mark.parametrize("attributes", ["defaults", "all"])
@pytest.mark.parametrize("name", EAGER)
def test_eager_step_never_waits_for_the_card(name: str, attributes: str) -> None:
    _, optimizer, parameters = prepare(name, **(CONFIGURED[name][1] if attributes == "all" else {}))
    if name in READS_BACK:
        with pytest.raises(DataDependentOutputException):
            crossings_of_second_step(optimizer, parameters)
    else:
        assert crossings_of_second_step(optimizer, parameters) == []


@pytest.mark.parametrize("attributes", ["defaults", "all"])
@pytest.mark.parametrize("name", CAPTURABLE)
def test_step_that_a_graph_is_to_hold_stays_on_the_card(name: str, attributes: str) -> None:
    _, optimizer, parameters = prepare(name, **(CONFIGURED[name][1] if attributes == "all" else {}))
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    for group in optimizer.param_groups:
        group |= {"capturable": True} if "capturable" in group else {}
    if name == "rprop":  # the first step reads the learning rate, as those before a capture may; a fake one has none
        optimizer.step()
    for (
        group
    ) in optimizer.param_groups:  # as `build_optimizer` has it, whose constructors read the values of a real one
        group["lr"] = torch.empty((), device="cuda")
    assert crossings_of_second_step(optimizer, parameters) == []


def test_adagrad_of_an_older_torch_is_neither_fused_nor_captured_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    config, optimizer, _ = prepare("adagrad")
    assert (optimizer.param_groups[0]["fused"], can_be_captured(config)) == (True, True)
    monkeypatch.setattr(torch, "__version__", "2.11.0+cu130")
    config, optimizer, parameters = prepare("adagrad")
    (group,) = optimizer.param_groups
    assert (group["fused"], group["foreach"], can_be_captured(config)) == (None, True, False)
    assert crossings_of_second_step(optimizer, parameters) == []
    assert build_optimizer(config, parameters, capturable=True).param_groups[0]["lr"] == config.lr
    on_cpu = build_optimizer(config, [nn.Parameter(torch.empty(2))])
    assert on_cpu.param_groups[0]["fused"] is True
