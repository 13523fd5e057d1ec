"""A kernel that computes wrong gradients is met before the training: the run takes fp32, or says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from job.manifest import Manifest
from job.runs import RunResult
from job.storage import FolderStore
from job.training.engine.batches import BatchSource, split_data
from job.training.engine.model import Weights, build_model
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.inputs.weights import load_weights
from job.training.machine import choose_device
from job.training.precision import MAX_SIZE_OF_FP32
from job.training.preflight import MAX_IMAGES, TOLERANCES, check_gradients
from job.training.settings import RunSettings
from tests.conftest import SHARED, TINY, TINY_BF16, Answer
from tests.results import result_in

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
SPOILED = "layer2.0.downsample.0.weight"
SHAPE_OF_SPOILED = (128, 64, 1, 1)
pytestmark = pytest.mark.real_network  # whose kernels are spoiled

LARGER = {
    "dataset": TINY["dataset"] | {"size": 32, "num_train": 20}, "batch_size": 10, "epochs": 1,
    "optimizer": {"name": "sgd", "lr": 0.001},
}  # fmt: skip
"""Images for which `auto` takes bf16 on a CPU that has it, in two batches. SGD's checkpoints are a third of Adam's."""


@pytest.fixture
def cpu_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says that the CPU has the instructions; where it has not, torch emulates them."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


def wrong_by(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * factor


def never_twice_the_same() -> Callable[[Tensor], Tensor]:
    """So little that no comparison with another precision shows it."""
    calls: list[None] = []

    def spoil(gradient: Tensor) -> Tensor:
        calls.append(None)
        return gradient * (1 + 1e-3 * len(calls))

    return spoil


def spoil_kernel(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Tensor], Tensor], *, precisions: tuple[torch.dtype, ...]
) -> None:
    """One layer's kernel computes a wrong gradient of its weight with oneDNN, as some of oneDNN's did."""
    convolve = nn.Conv2d._conv_forward

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, weight: Tensor) -> Tensor:
            return weight.clone()

        @staticmethod
        def backward(_context: Any, *gradients: Tensor) -> Tensor:
            return spoil(gradients[0])

    def conv_forward(layer: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        is_wrong = torch.backends.mkldnn.enabled and precision in precisions and weight.shape == SHAPE_OF_SPOILED
        return convolve(layer, images, Kernel.apply(weight) if is_wrong else weight, bias)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", conv_forward)


@pytest.fixture
def run(job: Job, tiny: Tiny, tmp_path: Path) -> Callable[..., Answer]:
    return lambda **fields: job("run", "--manifest", tiny(**(LARGER | fields)), "--output", tmp_path / "out")


def events(answer: Answer, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in answer.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def result(tmp_path: Path) -> RunResult:
    return result_in(FolderStore(tmp_path / "out"))


@pytest.mark.usefixtures("cpu_with_bf16")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wrong_by(1400), "is off by 1.4e+03 times the norm of the right one"),
        (wrong_by(-1), "is off by 2 times"),
        (wrong_by(0), "is off by 1 times"),
        (wrong_by(float("nan")), "is not finite"),
        (never_twice_the_same(), "is another one when it is computed again"),
    ],
    ids=["1400 times too large", "of the wrong sign", "zero", "NaN", "another one each time"],
)
def test_auto_falls_back_to_fp32_where_a_bf16_gradient_is_wrong(
    run: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, said: str
) -> None:
    spoil_kernel(monkeypatch, spoil, precisions=(torch.bfloat16,))
    told = run()
    assert told.exit_code == 0, told.stderr
    (warning,) = events(told, "precision_replaced")
    assert (warning["level"], warning["wanted"], warning["used"]) == ("warning", "bf16", "fp32")
    assert f"the gradient of {SPOILED} {said}" in warning["reason"]
    environment = result(tmp_path).environment
    assert environment is not None
    assert environment.gradient_checks is not None
    assert environment.precision == "fp32"
    assert [(check.precision, check.passed) for check in environment.gradient_checks] == [
        ("bf16", False),
        ("fp32", True),
    ]
    assert environment.gradient_checks[0].parameter == SPOILED


def test_precision_that_was_asked_for_ends_with_71_where_its_gradient_is_wrong(
    run: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_kernel(monkeypatch, wrong_by(1400), precisions=(torch.bfloat16,))
    told = run(**TINY_BF16)
    assert told.exit_code == 71
    assert f"error: precision bf16 is not usable here: the gradient of {SPOILED} is off by" in told.stderr
    assert 'set precision to "auto" or "fp32"' in told.stderr
    assert not list((tmp_path / "out").rglob("result.json"))
    (progress,) = (json.loads(path.read_text()) for path in (tmp_path / "out").rglob("progress.json"))
    assert (progress["state"], progress["exit_code"]) == ("failed", 71)


@pytest.mark.usefixtures("cpu_with_bf16")
def test_precision_of_the_whole_comparison_is_not_replaced_on_one_machine(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_kernel(monkeypatch, wrong_by(1400), precisions=(torch.bfloat16,))
    told = job("run", "--manifest", tiny(**LARGER), "--output", tmp_path / "out", "--auto-precision", "bf16")
    assert told.exit_code == 71
    assert f"precision bf16 is not usable here: the gradient of {SPOILED} is off by" in told.stderr
    assert "take another machine" in told.stderr


@pytest.mark.usefixtures("cpu_with_bf16")
def test_precision_that_fails_with_one_batch_alone_is_kept(
    run: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding may be as bad with odd images; a wrong kernel is wrong with the next ones too."""
    calls: list[None] = []

    def spoil_first_batch(gradient: Tensor) -> Tensor:
        calls.append(None)
        return gradient * (-1 if len(calls) <= 2 else 1)  # two passes each

    spoil_kernel(monkeypatch, spoil_first_batch, precisions=(torch.bfloat16,))
    told = run()
    assert told.exit_code == 0, told.stderr
    assert events(told, "precision_replaced") == []
    found = result(tmp_path).environment
    assert found is not None
    assert found.precision == "bf16"


def test_machine_whose_fp32_is_wrong_is_not_trained_on(
    run: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_kernel(monkeypatch, wrong_by(1.5), precisions=(torch.bfloat16, torch.float32))
    told = run(precision="auto")
    assert told.exit_code == 71
    assert "precision fp32 is not usable here" in told.stderr
    assert "take another machine" in told.stderr


def test_sound_machine_is_recorded_without_a_warning(run: Callable[..., Answer], tmp_path: Path) -> None:
    told = run(precision="fp32")
    assert told.exit_code == 0
    assert events(told, "precision_replaced") == []
    found = result(tmp_path)
    assert found.timings.preflight > 0
    assert found.environment is not None
    assert found.environment.gradient_checks is not None
    (check,) = found.environment.gradient_checks
    assert (check.precision, check.repeats, check.passed) == ("fp32", True, True)
    assert check.num_images == MAX_IMAGES["cpu"]
    assert check.error is not None
    assert check.error < TOLERANCES["fp32"] / 2


@pytest.mark.usefixtures("cpu_with_bf16")
@pytest.mark.parametrize(("size", "image_size"), [(MAX_SIZE_OF_FP32, None), (32, MAX_SIZE_OF_FP32)])
def test_auto_is_fp32_where_bf16_kernels_are_known_to_be_wrong(
    run: Callable[..., Answer], tmp_path: Path, size: int, image_size: int | None
) -> None:
    """Up to 16 pixels the last stage of the network has maps of 1x1."""
    told = run(dataset=TINY["dataset"] | {"size": size}, image_size=image_size)
    assert told.exit_code == 0
    (warning,) = events(told, "precision_replaced")
    assert (warning["wanted"], warning["used"]) == ("bf16", "fp32")
    assert "16 pixels" in warning["reason"]
    found = result(tmp_path).environment
    assert found is not None
    assert found.precision == "fp32"


@pytest.mark.usefixtures("cpu_with_bf16")
def test_map_of_one_pixel_is_what_makes_the_limit() -> None:
    """The limit is where layer4's kernel of stride 2 first sees more than one pixel."""
    sizes: list[int] = []
    network = build_model(Manifest.model_validate(TINY).model, None, num_classes=10, seed=0).eval()
    network.get_submodule("layer4.0.conv1").register_forward_pre_hook(lambda _, seen: sizes.append(seen[0].shape[-1]))
    for size in (MAX_SIZE_OF_FP32, MAX_SIZE_OF_FP32 + 1):
        network(torch.zeros(1, 3, size, size))
    assert sizes == [1, 2]
    chosen = [
        choose_device(RunSettings(device="cpu", num_threads=1), precision="auto", image_size=size).precision
        for size in (MAX_SIZE_OF_FP32, MAX_SIZE_OF_FP32 + 1)
    ]
    assert chosen == ["fp32", "bf16"]


def check(manifest: Manifest, weights: Weights | None = None) -> tuple[nn.Module, float | None]:
    """The network after the check, and the error that was found."""
    assert manifest.dataset.name == "synthetic"
    size = manifest.dataset.size
    device = choose_device(RunSettings(device="cpu", num_threads=1), precision=manifest.precision)
    parts = split_data(
        load_synthetic(size=size, num_train=60, num_test=10),
        validation_fraction=0, seed=0, device=device.torch_device,
    )  # fmt: skip
    model = build_model(manifest.model, weights, num_classes=10, seed=0)
    _, (found,) = check_gradients(device, model, BatchSource(parts.train, image_size=None), manifest)
    assert found.passed
    return model, found.error


def test_check_leaves_no_trace() -> None:
    manifest = Manifest.model_validate(TINY | TINY_BF16)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model, _ = check(manifest)
    untouched = build_model(manifest.model, None, num_classes=10, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training == untouched.training
    assert all(torch.equal(value, untouched.state_dict()[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("size", "batch_size"), [(17, 2), (64, 4)])
@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_sound_machine_stays_well_within_the_tolerance(
    precision: str, size: int, batch_size: int, weights: str, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"precision": precision, "batch_size": batch_size}
    fields["dataset"] = TINY["dataset"] | {"size": size}
    pretrained = SHARED / "weights/resnet18-imagenet.pth"
    if weights == "imagenet" and not pretrained.is_file():
        pytest.skip("the pretrained weights of the development machines are not here")
    fields["model"] = {"weights": str(pretrained) if weights == "imagenet" else "none"}
    manifest = Manifest.model_validate(TINY | fields)
    _, error = check(manifest, load_weights(manifest.model, data=None, cache=tmp_path))
    assert error is not None
    assert error < 0.6 * TOLERANCES[precision]  # type: ignore[index]
