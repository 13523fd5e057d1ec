"""The training loop against a plain PyTorch loop of a few lines, and what its records say."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from job.manifest import Manifest
from job.manifest.models import Synthetic
from job.manifest.optimizers import OPTIMIZERS
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.loop import Diverged, Epoch, Sources, train_epochs
from job.training.engine.model import Weights, build_model
from job.training.engine.optimizers import find_class, learning_rate_factor
from job.training.engine.resnet import NETWORKS, resnet18
from job.training.engine.state import TrainingState
from job.training.inputs.datasets import ImageData
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.machine import choose_device
from job.training.settings import RunSettings
from tests.epochs import whole_epochs
from tests.narrow import use_narrow_network
from tests.optimizers import ALONE, CONFIGURED
from tests.plain_optimizers import PlainScheduleFree

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
SYNTHETIC = Synthetic(name="synthetic", size=32, num_train=400, num_test=60)
TRAINED_BY_DEFAULT = Manifest.model_validate(
    {
        "name": "loop",
        "optimizer": {"name": "sgd"},
        "epochs": 1,
        "batch_size": 20,
        "dataset": SYNTHETIC,
        "model": {"weights": "none"},
        "precision": "fp32",
    }
)


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_synthetic(size=32, num_train=400, num_test=60)


@pytest.fixture
def few(data: ImageData) -> ImageData:
    """Two steps of 20 images: enough where the asserted thing shows in the first ones."""
    return ImageData(data.classes, data.train_images[:40], data.train_labels[:40], data.test_images, data.test_labels)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what holds for either network."""
    use_narrow_network(monkeypatch)


def prepare(manifest: Manifest, data: ImageData, *, weights: Weights | None = None) -> tuple[TrainingState, Sources]:
    device = choose_device(RunSettings(device="cpu", num_threads=1), precision=manifest.precision)
    parts = split_data(
        data, validation_fraction=manifest.dataset.validation_fraction, seed=manifest.seed, device=device.torch_device
    )
    model = build_model(manifest.model, weights, num_classes=len(data.classes), seed=manifest.seed)
    state = TrainingState(
        manifest, model, device=device, data_sha256="00",
        num_steps=len(batch_bounds(len(parts.train), manifest.batch_size)),
    )  # fmt: skip
    build_source = partial(BatchSource, image_size=None, normalization=manifest.normalization)
    validation = build_source(parts.validation) if parts.validation else None
    train = build_source(parts.train, augmentation=manifest.augmentation)
    return state, Sources(train, validation, build_source(parts.test))


def manifest_with(**fields: object) -> Manifest:
    return Manifest.model_validate(TRAINED_BY_DEFAULT.model_dump() | fields)


def train(state: TrainingState, sources: Sources) -> list[Epoch]:
    return list(whole_epochs(state, sources))


def plain_losses(
    name: str,
    data: ImageData,
    *,
    num_steps: int,
    normalized: bool = True,
    network: Callable[[int], nn.Module] | None = None,
) -> list[float]:
    """The reference: nothing of the project but the order of the images and, unless another is given, the network."""
    torch.manual_seed(0)
    model = (network or NETWORKS["resnet18"])(10).to(memory_format=torch.channels_last)
    kind = OPTIMIZERS[name]
    settings = {"fused": True} if kind.is_fused else {}
    optimizer = CONFIGURED[name][0](model.parameters(), lr=0.001, **settings)
    order = np.random.default_rng((0, 1)).permutation(len(data.train_labels))
    losses = []
    for step in range(num_steps):
        batch = order[step * 20 : (step + 1) * 20]
        images = torch.from_numpy(data.train_images[batch]).float() / 255
        images = ((images - MEAN) / STD if normalized else images).to(memory_format=torch.channels_last)
        loss = functional.cross_entropy(model(images), torch.from_numpy(data.train_labels[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def build_torchvision_network(num_classes: int) -> nn.Module:
    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=num_classes)
    return network


ROUNDED = {"adamwschedulefree": 0.02}
"""Ours keeps other tensors than its authors' code, so the two round differently, which grows: their formula in float64
differs as much from theirs in float32."""


@pytest.mark.parametrize("name", sorted(ALONE))
def test_first_twenty_losses_equal_a_plain_loop(name: str, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in ("adam", "sgd"):  # two of them with the real network
        use_narrow_network(monkeypatch)
    state, sources = prepare(manifest_with(optimizer={"name": name, "lr": 0.001}), data)
    losses: list[Tensor] = []
    for _ in whole_epochs(state, sources, on_pause=lambda: losses.append(state.losses.clone())):
        pass
    plain = plain_losses(name, data, num_steps=20)
    assert losses[19].tolist()[:12] == pytest.approx(plain[:12], abs=1e-5)
    assert losses[19].tolist() == pytest.approx(plain, abs=ROUNDED.get(name, 1e-5))
    if NETWORKS["resnet18"] is resnet18:  # wide kernels round otherwise than torchvision's, and rounding parts any two
        theirs = plain_losses(name, data, num_steps=3, network=build_torchvision_network)
        assert plain[:3] == pytest.approx(theirs, abs=1e-5)


@pytest.mark.usefixtures("narrow")
def test_schedule_free_run_evaluates_and_keeps_the_average_with_its_own_statistics(few: ImageData) -> None:
    """What is trained is another point, and BatchNorm's running statistics were averaged there."""
    manifest = manifest_with(optimizer={"name": "adamwschedulefree"}, epochs=2, augmentation="flip")
    state, sources = prepare(manifest, few)
    start = copy.deepcopy(state.model)
    gradients: list[list[Tensor]] = []

    def keep_gradients() -> None:
        if state.global_step > len(gradients):
            gradients.append([weight.grad.clone() for weight in state.model.parameters() if weight.grad is not None])

    epochs = list(whole_epochs(state, sources, on_pause=keep_gradients))
    assert len(gradients) == 4
    plain = PlainScheduleFree(start.parameters())
    for step in gradients:
        for weight, gradient in zip(start.parameters(), step, strict=True):
            weight.grad = gradient
        plain.step()
    trained = [weight.detach().clone() for weight in start.parameters()]
    averages = [plain.average(weight) for weight in start.parameters()]
    for weight, average in zip(state.model.parameters(), averages, strict=True):
        torch.testing.assert_close(weight.detach(), average, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(one, other, atol=1e-5) for one, other in zip(trained, averages, strict=True))

    with torch.no_grad():
        for weight, average in zip(start.parameters(), averages, strict=True):
            weight.copy_(average)
        for layer in start.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None
        start.train()
        for positions in ([*range(20)], [*range(20, 40)]):
            start(sources.train.batch(torch.tensor(positions))[0])
        start.eval()
        logits = start(next(sources.test.evaluation(60)))
    torch.testing.assert_close(epochs[-1].test.logits, logits, rtol=1e-3, atol=1e-3)
    norms = [layer for layer in state.model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {layer.momentum for layer in norms} == {0.1}


@pytest.mark.usefixtures("narrow")
def test_losses_without_normalization_equal_a_plain_loop_without_it(data: ImageData) -> None:
    state, sources = prepare(manifest_with(optimizer={"name": "sgd", "lr": 0.001}, normalization="none"), data)
    losses: list[Tensor] = []
    for _ in whole_epochs(state, sources, on_pause=lambda: losses.append(state.losses.clone())):
        pass
    plain = plain_losses("sgd", data, num_steps=20, normalized=False)
    assert losses[19].tolist() == pytest.approx(plain, abs=1e-5)
    assert plain != pytest.approx(plain_losses("sgd", data, num_steps=20), abs=1e-2)


@pytest.mark.usefixtures("narrow")
def test_learning_rate_of_every_step_is_the_schedule_s(data: ImageData) -> None:
    manifest = manifest_with(schedule={"name": "onecycle"}, batch_size=100, epochs=2)
    state, sources = prepare(manifest, data)
    seen: list[float] = []
    epochs = list(whole_epochs(state, sources, on_pause=lambda: seen.append(state.optimizer.param_groups[0]["lr"])))
    seen = seen[:4] + seen[5:9]  # without the calls after the evaluations
    assert seen == [
        0.001 * learning_rate_factor(manifest.schedule, step=step, num_epochs=2, num_steps=4) for step in range(8)
    ]
    assert [epoch.record.learning_rate for epoch in epochs] == [seen[3], seen[7]]


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if kind.is_fused])
def test_fused_step_equals_the_formula_written_out(name: str) -> None:
    """One step from the same gradient: torch's single-tensor form is the readable one."""
    start, gradient = torch.linspace(-1, 1, 1000), torch.linspace(2, -3, 1000)
    results = []
    for fused in (True, False):
        weight = torch.nn.Parameter(start.clone())
        weight.grad = gradient.clone()
        torch_class: Callable[..., torch.optim.Optimizer] = find_class(OPTIMIZERS[name])
        torch_class([weight], lr=0.01, fused=fused, foreach=False).step()
        results.append(weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("narrow")
def test_record_counts_what_the_epoch_saw(data: ImageData) -> None:
    manifest = manifest_with(batch_size=60)  # the last batch of an epoch is smaller
    state, sources = prepare(manifest, data)
    seen: list[float] = []
    (epoch,) = whole_epochs(state, sources, on_pause=lambda: seen.append(float(state.losses[state.step - 1])))
    sizes = [60] * 6 + [40]
    del seen[len(sizes) :]  # the last call was the evaluation's
    expected = sum(loss * size for loss, size in zip(seen, sizes, strict=True)) / 400
    assert epoch.record.train.loss == pytest.approx(expected)
    assert epoch.record.learning_rate == 0.001


def test_scores_equal_an_independent_computation(few: ImageData) -> None:
    state, sources = prepare(manifest_with(), few)
    (epoch,) = train(state, sources)
    images = ((torch.from_numpy(few.test_images).float() / 255 - MEAN) / STD).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.from_numpy(few.test_labels)
    state.model.eval()
    with torch.no_grad():
        logits = state.model(images)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert epoch.record.test.top1 == (ranks < 1).double().mean().item()
    assert epoch.record.test.top5 == pytest.approx((ranks < 5).double().mean().item())
    assert epoch.record.test.loss == pytest.approx(functional.cross_entropy(logits, labels).item(), abs=1e-6)
    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (few.test_labels, logits.argmax(1).numpy()), 1)
    assert epoch.test.confusion() == confusion.tolist()
    assert epoch.test.class_accuracy() == pytest.approx((confusion.diagonal() / 6).tolist())


def test_diagnostics_are_norms_of_the_first_steps(data: ImageData) -> None:
    """Adam's first update is lr * g / (|g| + eps): for every weight with a gradient about lr."""
    state, sources = prepare(manifest_with(optimizer={"name": "adam", "lr": 0.001}), data)
    before = [weight.detach().clone() for weight in state.model.get_submodule("fc").parameters()]
    after: list[list[Tensor]] = []

    def on_pause() -> None:
        after.append([weight.detach().clone() for weight in state.model.get_submodule("fc").parameters()])

    (epoch,) = whole_epochs(state, sources, on_pause=on_pause)
    diagnostics = epoch.record.diagnostics
    assert diagnostics.steps == [*range(10), 10]
    update = math.sqrt(sum(((new - old) ** 2).sum().item() for new, old in zip(after[0], before, strict=True)))
    weight = math.sqrt(sum((old**2).sum().item() for old in before))
    assert diagnostics.fc.num_weights == 512 * 10 + 10
    assert diagnostics.fc.update_norm[0] == pytest.approx(update, rel=1e-4)
    assert diagnostics.fc.weight_norm[0] == pytest.approx(weight, rel=1e-6)
    assert diagnostics.fc.update_to_weight[0] == pytest.approx(update / weight, rel=1e-4)
    assert diagnostics.fc.update_rms[0] == pytest.approx(0.001, rel=0.01)
    assert diagnostics.backbone is not None
    assert diagnostics.backbone.num_weights + diagnostics.fc.num_weights == 11_181_642


@pytest.mark.usefixtures("narrow")
def test_distance_of_the_weights_is_from_the_start_of_the_training(data: ImageData) -> None:
    """After each epoch, for each group, against the norm of one long vector; not from the start of the epoch."""
    state, sources = prepare(manifest_with(optimizer={"name": "adam", "lr": 0.001}, epochs=2, batch_size=200), data)
    start = flat_weights(state)
    for epoch in whole_epochs(state, sources):
        measured = {"backbone": epoch.record.diagnostics.backbone, "fc": epoch.record.diagnostics.fc}
        for name, weights in flat_weights(state).items():
            group = measured[name]
            assert group is not None
            expected = float((weights.double() - start[name].double()).norm())
            assert expected > 0
            assert group.distance_from_start == pytest.approx(expected, rel=1e-5)


def flat_weights(state: TrainingState) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {"backbone": [], "fc": []}
    for name, weight in state.model.named_parameters():
        parts["fc" if name.startswith("fc.") else "backbone"].append(weight.detach().flatten().clone())
    return {name: torch.cat(weights) for name, weights in parts.items()}


def test_rmsprop_steps_ten_times_as_far_as_adam_at_first(few: ImageData) -> None:
    """Its first update is lr * g / (sqrt(1 - alpha) * |g|), ten times lr with alpha 0.99."""
    state, sources = prepare(manifest_with(optimizer={"name": "rmsprop", "lr": 0.001}), few)
    (epoch,) = train(state, sources)
    assert epoch.record.diagnostics.fc.update_rms[0] == pytest.approx(0.01, rel=0.01)


def test_frozen_backbone_keeps_weights_and_statistics(few: ImageData) -> None:
    manifest = manifest_with(model={"name": "resnet18", "weights": "none", "freeze_backbone": True})
    state, sources = prepare(manifest, few)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    (epoch,) = train(state, sources)
    changed = {name for name, value in state.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert epoch.record.diagnostics.backbone is None


def test_infinite_loss_ends_the_training_with_its_step(data: ImageData) -> None:
    state, sources = prepare(manifest_with(optimizer={"name": "sgd", "lr": 1e6}), data)
    with pytest.raises(Diverged) as caught:
        train(state, sources)
    assert caught.value.divergence.epoch == 1
    step = caught.value.divergence.step
    assert torch.isfinite(state.losses[: step - 1]).all()
    assert not torch.isfinite(state.losses[step - 1])


@pytest.mark.usefixtures("narrow")
def test_validation_part_is_scored_beside_the_test_images(data: ImageData) -> None:
    manifest = manifest_with(dataset=SYNTHETIC.model_dump() | {"validation_fraction": 0.25})
    state, sources = prepare(manifest, data)
    assert sources.validation is not None
    assert (len(sources.train.part), len(sources.validation.part)) == (300, 100)
    (epoch,) = train(state, sources)
    assert epoch.record.validation is not None
    assert epoch.record.validation != epoch.record.test


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_lower_precision_trains_near_full_precision(precision: str, few: ImageData) -> None:
    losses = {}
    for name in (precision, "fp32"):
        state, sources = prepare(manifest_with(precision=name), few)
        losses[name] = train(state, sources)[0].record.train.loss
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)


def test_same_seed_gives_the_same_losses_and_another_seed_others(few: ImageData) -> None:
    runs = []
    for seed in (0, 0, 1):
        state, sources = prepare(manifest_with(seed=seed), few)
        runs.append(train(state, sources)[0].record.train)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_manifests_of_the_lab_report_start_from_the_same_fc_and_order(few: ImageData) -> None:
    first_losses = set()
    for name in ("adam", "adagrad", "adadelta", "rmsprop"):
        state, sources = prepare(manifest_with(optimizer={"name": name}), few)
        train(state, sources)
        first_losses.add(float(state.history[0].diagnostics.fc.gradient_norm[0] or 0))
    assert len(first_losses) == 1


@pytest.mark.usefixtures("narrow")
def test_checkpoint_within_an_epoch_holds_the_time_up_to_there(few: ImageData) -> None:
    state, sources = prepare(TRAINED_BY_DEFAULT, few)
    seconds = []
    for _ in train_epochs(state, sources):
        content = torch.load(io.BytesIO(state.serialise()), weights_only=True)
        seconds.append((content["step"], content["train_seconds"], content["evaluate_seconds"]))
    first, second, evaluating, over = seconds
    assert (first[0], second[0], evaluating[0], over[0]) == (1, 2, 2, 0)
    assert 0 < first[1] < second[1] <= evaluating[1]
    assert first[2] == second[2] == 0 < evaluating[2]
    assert over[1:] == (0, 0)  # of an epoch that has not begun
