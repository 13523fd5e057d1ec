"""What only a GPU can show. These tests skip where there is none.

They need pytest and what `job run` needs; timm's optimizers skip where timm is missing.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from job.errors import ManifestError
from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.training.cards import check_card, check_driver, find_driver
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.loop import Sources
from job.training.engine.model import build_model
from job.training.engine.optimizers import find_class
from job.training.engine.state import TrainingState
from job.training.inputs.datasets.synthetic import load_synthetic
from job.training.machine import choose_device
from job.training.precision import has_precision
from job.training.preflight import TOLERANCES, check_gradients
from job.training.settings import RunSettings
from tests.conftest import TINY, Answer
from tests.epochs import whole_epochs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAMES = sorted(OPTIMIZERS)


@pytest.fixture(autouse=True)
def _free_memory() -> Iterator[None]:
    """A step and its graph hold each other and their memory; a small card would be full after some tests."""
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """Call it, and from then on every wait of the host for the device is an error."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def need_library(name: str) -> None:
    """Skips where the library of this optimizer is not installed, or too old."""
    try:
        find_class(OPTIMIZERS[name])
    except ManifestError as error:
        pytest.skip(str(error))


def need_precision(name: str) -> None:
    """Skips on a card that lacks it, as a T4 lacks tf32 and bf16. Every card has what `auto` takes."""
    if name != "auto" and not has_precision(torch.device("cuda"), name):
        pytest.skip(f"{torch.cuda.get_device_name()} has no {name}")


def prepare(*, graphs: bool = True, **fields: object) -> tuple[TrainingState, Sources]:
    manifest = Manifest.model_validate(TINY | {"epochs": 1} | fields)
    device = choose_device(
        RunSettings(device="cuda", num_threads=1, graphs=graphs),
        precision=manifest.precision, deterministic=manifest.deterministic,
    )  # fmt: skip
    data = load_synthetic(size=32, num_train=400, num_test=60)
    parts = split_data(data, validation_fraction=0, seed=0, device=device.torch_device)
    model = build_model(manifest.model, None, num_classes=10, seed=0)
    state = TrainingState(
        manifest, model, device=device, data_sha256="00",
        num_steps=len(batch_bounds(len(parts.train), manifest.batch_size)),
    )  # fmt: skip
    test = BatchSource(parts.test, image_size=None)
    return state, Sources(BatchSource(parts.train, image_size=None, augmentation="crop_flip"), None, test)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")  # what torch says of the mode itself
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("name", NAMES)
def test_host_never_waits_within_an_epoch(name: str, graphs: bool, no_waiting: Callable[[], None]) -> None:
    """In the second epoch: in the first the graphs are captured, which waits once for each."""
    if not OPTIMIZERS[name].is_capturable or (name == "asgd" and not graphs):
        pytest.skip("torch's own step reads numbers back to the host")
    need_library(name)
    precision = "bf16" if has_precision(torch.device("cuda"), "bf16") else "fp32"  # fp16's loss scaling reads back
    state, sources = prepare(optimizer={"name": name}, precision=precision, epochs=2, graphs=graphs)

    def on_pause() -> None:
        if state.epoch == 1 and state.step == 1:
            no_waiting()
        if state.step == state.num_steps:
            torch.cuda.set_sync_debug_mode("default")

    list(whole_epochs(state, sources, on_pause=on_pause))


@pytest.mark.parametrize("name", NAMES)
def test_graphed_training_equals_the_eager_one(name: str) -> None:
    """The same kernels in the same order: with deterministic ones to the last bit, but for the optimizer's form."""
    need_library(name)
    losses = []
    for graphs in (True, False):
        state, sources = prepare(
            graphs=graphs, epochs=3, precision="fp32", deterministic=True,
            schedule={"name": "onecycle"}, optimizer={"name": name, "lr": 0.0001},
        )  # fmt: skip
        losses.append([epoch.record.train.loss for epoch in whole_epochs(state, sources)])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_gradients_of_a_sound_gpu_pass_the_preflight(precision: str) -> None:
    need_precision(precision)
    state, sources = prepare(precision=precision)
    model = build_model(state.manifest.model, None, num_classes=10, seed=0)
    device, (check,) = check_gradients(state.device, model, sources.train, state.manifest)
    assert device == state.device
    assert (check.precision, check.passed) == (precision, True)
    assert check.error is not None
    assert check.error < 0.6 * TOLERANCES[state.device.precision]


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16", "tf32"])
def test_lower_precision_trains_near_full_precision(precision: str) -> None:
    need_precision(precision)
    losses = []
    for name in (precision, "fp32"):
        state, sources = prepare(optimizer={"name": "sgd", "lr": 0.001}, precision=name)
        (epoch,) = whole_epochs(state, sources)
        losses.append(epoch.record.train.loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.parametrize(("options", "graphs"), [((), False), (("--graphs",), True)], ids=["eager", "graphs"])
def test_run_on_the_gpu_records_it(
    options: tuple[str, ...], graphs: bool, job: Callable[..., Answer], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    answer = job("run", "--manifest", tiny(), "--output", tmp_path / "out", "--device", "cuda", *options)
    assert answer.exit_code == 0, answer.stderr
    (path,) = tmp_path.rglob("environment.json")
    environment = json.loads(path.read_text())
    assert (environment["device"], environment["graphs"]) == (torch.cuda.get_device_name(), graphs)


def test_card_and_driver_that_train_here_are_found_good() -> None:
    check_card(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), built_for=torch.cuda.get_arch_list())
    assert find_driver()
    check_driver(find_driver(), cuda=torch.version.cuda)
