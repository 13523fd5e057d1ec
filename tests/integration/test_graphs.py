"""Steps and evaluations replayed from a recording, as CUDA graphs are: the kernels of one call, again and again.

Without a GPU, torch.fx records the operations that reach the device, with the very tensors that they
reached; Python does not run again, and whatever it told them once stays as it was. That is what a graph does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.training.engine import graphs
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.loop import Sources
from job.training.engine.model import build_model
from job.training.engine.state import TrainingState
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.machine import choose_device
from job.training.settings import RunSettings
from tests.conftest import TINY, in_each_precision
from tests.epochs import whole_epochs
from tests.optimizers import CONFIGURED

NUM_STEPS = 16
"""Ten measured ones, then one in ten: both kinds are recorded within an epoch."""
SECONDS = {"train_seconds", "evaluate_seconds", "train_images_per_second", "evaluate_images_per_second"}


class SmallNet(nn.Module):
    """A convolution, its BatchNorm and fc: recorded in a second."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.fc(torch.relu(self.norm(self.conv(images))).mean((2, 3)))
        return features


def manifest_with(**fields: object) -> Manifest:
    """Everything that changes from step to step does, and the last batch of an epoch is smaller."""
    changing = {"batch_size": 8, "augmentation": "crop_flip", "schedule": {"name": "onecycle"}, "label_smoothing": 0.1}
    return Manifest.model_validate(TINY | changing | fields)


def prepare(manifest: Manifest, model: nn.Module) -> tuple[TrainingState, Sources]:
    assert manifest.dataset.name == "synthetic"
    size = manifest.dataset.size
    device = choose_device(RunSettings(device="cpu", num_threads=1), precision=manifest.precision, image_size=size)
    data = load_synthetic(size=size, num_train=manifest.batch_size * NUM_STEPS - 3, num_test=20)
    parts = split_data(data, validation_fraction=0, seed=0, device=device.torch_device)
    num_steps = len(batch_bounds(len(parts.train), manifest.batch_size))
    assert num_steps == NUM_STEPS
    state = TrainingState(manifest, model, device=replace(device, graphs=True), num_steps=num_steps, data_sha256="00")
    train = BatchSource(parts.train, image_size=None, augmentation=manifest.augmentation)
    return state, Sources(train, None, BatchSource(parts.test, image_size=None))


def tensors_of(state: TrainingState) -> Iterator[Tensor]:
    """All that a step writes to."""
    yield from state.model.state_dict().values()
    yield from (
        value for values in state.optimizer.state.values() for value in values.values() if isinstance(value, Tensor)
    )
    yield from (state.losses, state.num_correct, state.device_step)


def record(function: Callable[[], Any], state: TrainingState) -> Callable[[], Any]:
    """What `capture` does on a GPU: nothing has happened when it returns."""
    before = [(tensor, tensor.detach().clone()) for tensor in tensors_of(state)]
    recording = make_fx(lambda: function())()  # a lambda, whose signature fx can read
    with torch.no_grad():
        for tensor, value in before:
            tensor.copy_(value)
    replay: Callable[[], Any] = torch.no_grad()(recording)
    return replay


def train(
    manifest: Manifest, model: nn.Module, monkeypatch: pytest.MonkeyPatch, *, recorded: bool
) -> tuple[list[dict[str, Any]], int]:
    """The records of all epochs without their times, and how many recordings were asked for."""
    state, sources = prepare(manifest, model)
    num_recordings = 0

    def capture(function: Callable[[], Any]) -> Callable[[], Any]:
        nonlocal num_recordings
        num_recordings += 1
        return record(function, state) if recorded else function

    monkeypatch.setattr(graphs, "warm_up", lambda function: function())
    monkeypatch.setattr(graphs, "capture", capture)
    records = [epoch.record.model_dump(exclude=SECONDS) for epoch in whole_epochs(state, sources)]
    return records, num_recordings


@pytest.mark.usefixtures("capturable_on_cpu")
@in_each_precision
@pytest.mark.parametrize("name", sorted(CONFIGURED))
def test_replayed_training_equals_the_called_one(
    name: str, precision_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_with(**precision_fields, optimizer={"name": name} | CONFIGURED[name][1])
    torch.manual_seed(0)
    model = SmallNet()
    replayed, num_recordings = train(manifest, copy.deepcopy(model), monkeypatch, recorded=True)
    called, _ = train(manifest, model, monkeypatch, recorded=False)
    assert num_recordings == (3 if OPTIMIZERS[name].is_capturable else 1)  # measured steps, other steps, evaluation
    assert replayed == called


@pytest.mark.usefixtures("capturable_on_cpu")
def test_training_goes_on_with_a_warning_where_nothing_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = SmallNet()
    called, _ = train(manifest_with(), copy.deepcopy(model), monkeypatch, recorded=False)
    state, sources = prepare(manifest_with(), model)

    def refuse(_: Callable[[], Any]) -> Callable[[], Any]:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", refuse)
    with pytest.warns(RuntimeWarning, match="operation not permitted when stream is capturing") as warned:
        records = [epoch.record.model_dump(exclude=SECONDS) for epoch in whole_epochs(state, sources)]
    assert records == called
    assert len(warned) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("capturable_on_cpu")
@in_each_precision
def test_replayed_training_of_the_real_network_equals_the_called_one(
    precision_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = manifest_with(**precision_fields, epochs=1)
    runs = [
        train(manifest, build_model(manifest.model, None, num_classes=10, seed=0), monkeypatch, recorded=recorded)
        for recorded in (True, False)
    ]
    assert runs[0] == runs[1]
