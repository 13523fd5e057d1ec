"""The network: what is pretrained, what is new, what is trained, and which files of weights are taken."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import boto3
import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor
from torchvision.models import ResNet

from job.errors import DataError
from job.manifest import Manifest
from job.manifest.models import RELATIVE_FLOP, Model
from job.manifest.optimizers import Optimizer
from job.training.engine.model import Weights, build_model, train_mode
from job.training.engine.state import TrainingState
from job.training.inputs.weights import load_weights
from job.training.machine import choose_device, count_flop
from job.training.settings import RunSettings
from tests.conftest import BUCKET, SHARED, TINY, Answer

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A state dict of torchvision's ResNet18 as ImageNet's has it: another fc than ours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        return torchvision.models.resnet18(weights=None, num_classes=1000).state_dict()


@pytest.fixture(scope="module")
def files(state: State, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    files = {suffix: folder / f"resnet18.{suffix}" for suffix in ("pth", "safetensors")}
    torch.save(state, files["pth"])
    safetensors.torch.save_file(state, files["safetensors"])
    return files


def load(location: object, cache: Path) -> Weights:
    weights = load_weights(Model(weights=str(location)), data=None, cache=cache)
    assert weights is not None
    return weights


def build(weights: Weights | None = None, *, num_classes: int = 10, seed: int = 0, **config: Any) -> ResNet:
    return build_model(Model(weights="given", **config), weights, num_classes=num_classes, seed=seed)


def test_new_fc_is_the_same_with_and_without_pretrained_weights(state: State) -> None:
    scratch, pretrained = build(), build(Weights(state, "digest"))
    assert torch.equal(scratch.fc.weight, pretrained.fc.weight)
    assert torch.equal(scratch.fc.bias, pretrained.fc.bias)
    assert not torch.equal(scratch.conv1.weight, pretrained.conv1.weight)


def test_new_fc_follows_the_seed() -> None:
    assert torch.equal(build(seed=3).fc.weight, build(seed=3).fc.weight)
    assert not torch.equal(build(seed=3).fc.weight, build(seed=4).fc.weight)


def test_every_optimizer_starts_from_the_same_network() -> None:
    device = choose_device(RunSettings(device="cpu", num_threads=1), precision="fp32")
    (union, *_) = get_args(Optimizer)
    names = [get_args(choice.model_fields["name"].annotation)[0] for choice in get_args(union)]
    assert len(names) >= 9
    starts = []
    for name in names:
        manifest = Manifest.model_validate({"name": "any", "optimizer": {"name": name}, "model": {"weights": "none"}})
        model = build_model(manifest.model, None, num_classes=10, seed=manifest.seed)
        starts.append(TrainingState(manifest, model, device=device, num_steps=2, data_sha256="00").model.state_dict())
    for start in starts[1:]:
        assert all(torch.equal(value, starts[0][key]) for key, value in start.items())


def test_backbone_is_the_one_of_the_weights(state: State) -> None:
    model = build(Weights(state, "digest"))
    for key, value in model.state_dict().items():
        if not key.startswith("fc."):
            assert torch.equal(value, state[key]), key


def test_building_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(seed=9)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_number_of_classes_is_the_number_of_outputs(state: State, num_classes: int) -> None:
    model = build(Weights(state, "digest"), num_classes=num_classes).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, num_classes)


def test_everything_is_trained_unless_the_backbone_is_frozen() -> None:
    assert all(parameter.requires_grad for parameter in build().parameters())
    frozen = build(freeze_backbone=True)
    assert {name for name, parameter in frozen.named_parameters() if parameter.requires_grad} == {
        "fc.weight",
        "fc.bias",
    }


@pytest.mark.parametrize(
    ("freeze_backbone", "batch_norm", "moves"),
    [(False, None, True), (True, None, False), (False, "running", False), (True, "batch", True)],
)
def test_statistics_move_in_training_where_the_backbone_is_trained_or_the_manifest_says_so(
    freeze_backbone: bool, batch_norm: Literal["batch", "running"] | None, moves: bool
) -> None:
    settings: dict[str, Any] = {"freeze_backbone": freeze_backbone, "batch_norm": batch_norm}
    model = build(**settings)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    train_mode(model, Model(**settings))
    images = torch.randn(4, 3, 32, 32)
    logits = model(images)
    logits.sum().backward()
    kept = [torch.equal(buffer, before[name]) for name, buffer in model.named_buffers()]
    assert not any(kept) if moves else all(kept)
    assert torch.equal(logits, model.eval()(images)) != moves  # what evaluates with the running ones trains with them
    assert (model.conv1.weight.grad is None) == freeze_backbone
    assert model.fc.weight.grad is not None


def test_pth_and_safetensors_give_the_same_weights(files: dict[str, Path], state: State, tmp_path: Path) -> None:
    pth, tensors = (load(files[suffix], tmp_path).state for suffix in ("pth", "safetensors"))
    assert pth.keys() == tensors.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(pth[key], value)
        assert torch.equal(tensors[key], value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_are_read_from_s3(files: dict[str, Path], bucket: str, tmp_path: Path, suffix: str) -> None:
    boto3.client("s3").upload_file(str(files[suffix]), BUCKET, f"some/where/w.{suffix}")
    remote, local = load(f"{bucket}/some/where/w.{suffix}", tmp_path), load(files[suffix], tmp_path)
    assert remote.sha256 == local.sha256
    assert torch.equal(remote.state["conv1.weight"], local.state["conv1.weight"])


@pytest.mark.parametrize("location", ["{folder}/none.pth", "{bucket}/none.pth", "{folder}/no/folder.safetensors"])
def test_missing_weights_are_named_with_what_is_accepted(tmp_path: Path, bucket: str, location: str) -> None:
    location = location.format(folder=tmp_path, bucket=bucket)
    with pytest.raises(DataError) as caught:
        load(location, tmp_path)
    assert caught.value.exit_code == 66
    assert f"weights {location}: not found; give a .pth or .safetensors file, imagenet or none" in str(caught.value)


def test_no_weights_are_looked_for_where_none_are_wanted(tmp_path: Path) -> None:
    assert load_weights(Model(weights="none"), data=str(tmp_path / "nowhere"), cache=tmp_path) is None


class Bomb:
    """What a pickle executes when it is loaded carelessly."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.place}",)


def zip_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def legacy_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("write", [zip_file, legacy_file, lambda content: pickle.dumps(content, protocol=2)])
def test_pickle_bomb_is_not_executed(tmp_path: Path, write: Callable[[object], bytes]) -> None:
    (tmp_path / "bomb.pth").write_bytes(write({"conv1.weight": Bomb(tmp_path / "exploded")}))
    with pytest.raises(DataError, match="nothing in it was executed") as caught:
        load(tmp_path / "bomb.pth", tmp_path)
    assert caught.value.exit_code == 66
    assert "weights_only" not in str(caught.value)  # torch advises to switch the protection off
    assert not (tmp_path / "exploded").exists()
    torch.load(io.BytesIO(zip_file(Bomb(tmp_path / "exploded"))), weights_only=False)
    assert (tmp_path / "exploded").exists()  # it is a real one


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_truncated_file_is_refused(files: dict[str, Path], tmp_path: Path, suffix: str, length: int) -> None:
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(files[suffix].read_bytes()[:length])
    what = "damaged" if length else r"is empty \(0 bytes\)"
    with pytest.raises(DataError, match=rf"cut.*: {what}") as caught:
        load(path, tmp_path)
    assert caught.value.exit_code == 66
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", b"<html>404</html>", bytes(1000)])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"other.{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=r"other\."):
        load(tmp_path / f"other.{suffix}", tmp_path)


@pytest.mark.parametrize(
    "content", [[torch.zeros(2)], torch.zeros(2), {"epoch": 3}, {1: torch.zeros(2)}, {"model": {}}, {"model": [1]}]
)
def test_tensors_without_names_are_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "odd.pth").write_bytes(zip_file(content))
    with pytest.raises(DataError, match="not a state dict of resnet18: names mapped to tensors are expected"):
        load(tmp_path / "odd.pth", tmp_path)


def test_imagenet_weights_of_the_development_machine_load_into_float32(tmp_path: Path) -> None:
    path = SHARED / "weights/resnet18-imagenet.pth"
    if not path.is_file():
        pytest.skip(f"no weights at {path}")
    weights = load(path, tmp_path)
    expected = path.with_name("SHA256SUMS").read_text().split()[0]
    assert weights.sha256 == expected
    model = build(weights).eval()
    assert model.conv1.weight.dtype == torch.float32
    assert torch.equal(model.layer4[1].bn2.running_mean, weights.state["layer4.1.bn2.running_mean"])
    assert torch.isfinite(model(torch.randn(2, 3, 96, 96))).all()


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_larger_resnets_are_torchvision_s_with_a_new_fc(name: Literal["resnet34", "resnet50"]) -> None:
    model = build_model(Model(name=name, weights="none"), None, num_classes=7, seed=0)
    reference = torchvision.models.get_model(name, weights=None, num_classes=7)
    shapes = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes
    weights = Weights(reference.state_dict() | {"fc.weight": torch.zeros(1000, 1), "fc.bias": torch.zeros(1000)}, "00")
    model = build_model(Model(name=name, weights="given"), weights, num_classes=7, seed=0)
    torch.testing.assert_close(model.get_submodule("layer4").state_dict(), reference.layer4.state_dict())


def test_networks_cost_what_their_flop_say() -> None:
    flop = {name: count_flop(torchvision.models.get_model(name), image_size=224) for name in RELATIVE_FLOP}
    assert {name: count / flop["resnet18"] for name, count in flop.items()} == pytest.approx(RELATIVE_FLOP, rel=0.02)


def test_a_larger_resnet_trains_from_its_own_weights_and_refuses_another_s(
    job: Callable[..., Answer], tmp_path: Path
) -> None:
    for name in ("resnet34", "resnet18"):
        torch.save(torchvision.models.get_model(name).state_dict(), tmp_path / f"{name}.pth")
    manifest = tmp_path / "m.json"

    def run(weights: str) -> Answer:
        model = {"name": "resnet34", "weights": str(tmp_path / weights)}
        manifest.write_text(json.dumps(TINY | {"epochs": 1, "model": model}))
        return job("run", "-m", manifest, "-o", tmp_path / "out")

    assert run("resnet34.pth").exit_code == 0
    refused = run("resnet18.pth")
    assert refused.exit_code == 66
    assert "not a state dict of resnet34: these are the weights of a resnet18" in refused.stderr
