"""Weights from a training of one's own: found however they are wrapped; what does not fit is said in one line."""

from __future__ import annotations

import argparse
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from structlog.testing import capture_logs
from torch import Tensor, nn

from job.errors import DataError
from job.manifest.models import Model
from job.training.engine.model import build_model
from job.training.inputs.weights import load_weights
from tests.unit.test_model import Bomb, legacy_file, zip_file

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return torchvision.models.resnet18(weights=None, num_classes=12)


@pytest.fixture(scope="module")
def state(network: nn.Module) -> State:
    return network.state_dict()


def prefixed(prefix: str, state: State) -> State:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def read(content: object, folder: Path, *, write: Callable[[object], bytes] = zip_file) -> State:
    path = folder / "own.pth"
    path.write_bytes(write(content))
    weights = load_weights(Model(weights=str(path)), data=None, cache=folder)
    assert weights is not None
    return weights.state


LEFT_OUT = {
    "optimizer": {"state": {0: {"exp_avg": torch.full((2,), torch.nan)}}, "param_groups": [{"lr": 0.1}]},
    "epoch": 3,
}
"""What lies beside the weights, and is not looked at: Adam's moments of another network may be anything."""
WRAPPED: dict[str, tuple[Callable[[State], object], str]] = {
    "DataParallel": (lambda state: prefixed("module.", state), "module.*"),
    "torch.compile": (lambda state: prefixed("_orig_mod.", state), "_orig_mod.*"),
    "both": (lambda state: prefixed("module._orig_mod.", state), "module._orig_mod.*"),
    "the other way round": (lambda state: prefixed("_orig_mod.module.", state), "_orig_mod.module.*"),
    "state_dict": (lambda state: {"state_dict": state} | LEFT_OUT, "['state_dict']"),
    "model": (lambda state: {"model": state} | LEFT_OUT, "['model']"),
    "model_state_dict": (lambda state: {"model_state_dict": state} | LEFT_OUT, "['model_state_dict']"),
    "nested": (
        lambda state: {"model": {"state_dict": prefixed("module.", state)}},
        "['model'] ['state_dict'] module.*",
    ),
    "torchvision's recipe": (
        lambda state: {"model": prefixed("module.", state), "args": argparse.Namespace(lr=0.1, path="x")} | LEFT_OUT,
        "['model'] module.*",
    ),
    "Lightning": (
        lambda state: {
            "state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(12)},
            "optimizer_states": [{"state": {}}],
            "pytorch-lightning_version": "2.5",
        },
        "['state_dict'] model.*",
    ),
    "Lightning, compiled": (
        lambda state: {"state_dict": prefixed("net._orig_mod.", state)},
        "['state_dict'] net._orig_mod.*",
    ),
    "AveragedModel": (lambda state: {"n_averaged": torch.tensor(4)} | prefixed("module.", state), "module.*"),
}


@pytest.mark.parametrize(("wrap", "place"), WRAPPED.values(), ids=WRAPPED.keys())
def test_weights_are_found_however_they_are_wrapped_and_the_log_says_where(
    state: State, tmp_path: Path, wrap: Callable[[State], object], place: str
) -> None:
    with capture_logs() as logs:
        found = read(wrap(state), tmp_path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    (entry,) = logs
    assert (entry["event"], entry["found"], entry["num_tensors"]) == ("weights_unwrapped", place, len(state))


def test_real_wrappers_write_what_these_tests_assume(network: nn.Module) -> None:
    assert next(iter(nn.DataParallel(network).state_dict())) == "module.conv1.weight"
    compiled = torch.compile(network)
    assert isinstance(compiled, nn.Module)
    assert next(iter(compiled.state_dict())) == "_orig_mod.conv1.weight"


def test_bare_state_dict_is_taken_without_a_word(state: State, tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert read(state, tmp_path).keys() == state.keys()
    assert logs == []


@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_wrapped_weights_train_like_bare_ones(state: State, tmp_path: Path, write: Callable[[object], bytes]) -> None:
    read({"state_dict": prefixed("module.", state)}, tmp_path, write=write)
    weights = load_weights(Model(weights=str(tmp_path / "own.pth")), data=None, cache=tmp_path)
    model = build_model(Model(weights="given"), weights, num_classes=5, seed=0)
    for name, tensor in model.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, state[name])


def test_prefix_in_safetensors_is_understood(state: State, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    safetensors.torch.save_file(prefixed("model.", state), path)
    weights = load_weights(Model(weights=str(path)), data=None, cache=tmp_path)
    assert weights is not None
    assert weights.state.keys() == state.keys()


@pytest.mark.parametrize(
    "keep",
    [lambda name: not name.startswith("fc."), lambda name: "num_batches_tracked" not in name],
    ids=["no fc", "of before torch 0.4.1"],
)
def test_what_a_network_does_without_may_be_missing(state: State, tmp_path: Path, keep: Callable[[str], bool]) -> None:
    weights = read({name: tensor for name, tensor in state.items() if keep(name)}, tmp_path)
    model = build_model(
        Model(weights="given"),
        load_weights(Model(weights=str(tmp_path / "own.pth")), data=None, cache=tmp_path),
        num_classes=5,
        seed=0,
    )
    assert torch.equal(model.state_dict()["layer4.1.bn2.weight"], weights["layer4.1.bn2.weight"])


def test_half_precision_is_taken(state: State, tmp_path: Path) -> None:
    found = read(
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, tmp_path
    )
    assert found["conv1.weight"].dtype == torch.float16


def without(name: str) -> Callable[[State], object]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def other(name: str) -> Callable[[State], object]:
    return lambda _state: getattr(torchvision.models, name)(weights=None).state_dict()


MISFITS: dict[str, tuple[Callable[[State], object], str]] = {
    "ResNet34": (other("resnet34"), "these are the weights of a resnet34"),
    "ResNet34, wrapped": (
        lambda state: {"state_dict": prefixed("module.", other("resnet34")(state))},  # type: ignore[arg-type]
        "these are the weights of a resnet34 at ['state_dict'] module.*",
    ),
    "ResNet50": (other("resnet50"), "these are the weights of a resnet50"),
    "MobileNet": (
        other("mobilenet_v3_small"),
        "none of its 120 tensors is there; the first of 244 others is features.0.0",
    ),
    "one missing": (
        without("layer4.1.bn2.weight"),
        "1 of its 120 tensors are missing, the first is layer4.1.bn2.weight",
    ),
    "one too many": (
        lambda state: state | {"layer1.0.se.weight": torch.zeros(2)},
        "layer1.0.se.weight is no part of resnet18",
    ),
    "wider": (
        lambda state: state | {"conv1.weight": torch.zeros(128, 3, 7, 7)},
        "conv1.weight is (128, 3, 7, 7), must be (64, 3, 7, 7)",
    ),
    "complex": (
        lambda state: state | {"bn1.weight": torch.zeros(64, dtype=torch.complex64)},
        "bn1.weight is no plain tensor of real numbers",
    ),
    "empty": (lambda _state: {"state_dict": {}}, "names mapped to tensors are expected"),
}


@pytest.mark.parametrize(("make", "fault"), MISFITS.values(), ids=MISFITS.keys())
def test_what_does_not_fit_is_said_in_one_line(
    state: State, tmp_path: Path, make: Callable[[State], object], fault: str
) -> None:
    with pytest.raises(DataError, match=re.escape(f"own.pth: not a state dict of resnet18: {fault}")) as caught:
        read(make(state), tmp_path)
    assert caught.value.exit_code == 66
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_two_networks_in_one_file_are_refused(state: State, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hold 2 networks \(\['model'\], \['model_ema'\] module\.\*\)"):
        read({"model": state, "model_ema": prefixed("module.", state)}, tmp_path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_with_their_name(state: State, tmp_path: Path, value: float) -> None:
    """1e300 is finite in the file, and infinite in the network."""
    spoilt = state["layer3.1.conv2.weight"].to(torch.float64)
    spoilt.view(-1)[5:8] = value
    with pytest.raises(
        DataError, match=r"3 of the 589824 values of layer3\.1\.conv2\.weight are NaN or infinite"
    ) as caught:
        read({"state_dict": state | {"layer3.1.conv2.weight": spoilt}}, tmp_path)
    assert caught.value.exit_code == 66


def test_negative_variance_is_refused_with_its_name(state: State, tmp_path: Path) -> None:
    variance = torch.ones(256)
    variance[7:9] = -0.5
    with pytest.raises(
        DataError, match=r"2 of the 256 values of layer3\.1\.bn2\.running_var are negative, and a variance is not"
    ) as caught:
        read(prefixed("module.", state | {"layer3.1.bn2.running_var": variance}), tmp_path)
    assert caught.value.exit_code == 66


def test_fc_that_is_not_finite_does_no_harm(state: State, tmp_path: Path) -> None:
    """It is replaced."""
    assert read(state | {"fc.bias": torch.full((12,), torch.nan)}, tmp_path)


class Own:
    """A class of one's own, pickled beside the weights."""


def test_objects_beside_the_tensors_are_named_and_not_made(state: State, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"more than tensors: UnpicklingError \(.*test_state_dict\.Own\), nothing in it"
    ):
        read({"state_dict": state, "config": Own()}, tmp_path)
    with pytest.raises(DataError, match=r"\((posix|os|nt)\.system\), nothing in it was executed"):
        read({"state_dict": state, "config": Bomb(tmp_path / "exploded")}, tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_looking_for_the_network_leaves_the_random_numbers_of_others_alone(state: State, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    read(state, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
