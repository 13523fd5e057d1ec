"""What a run and the quick commands import: what they do without must stay out, because start-up is mostly imports.

Counted in modules and not in seconds, so that no busy machine makes it fail. The networks and scores that stand in for
torchvision's and torchmetrics' are compared with them.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from job.manifest import Sweep
from job.manifest.sweep import Block
from job.plan import build_plan, plan_key
from job.training.engine.convolution import WideConv2d
from job.training.engine.evaluation import Evaluation
from job.training.engine.resnet import NETWORKS
from job.training.engine.uncompiled import PREPARED, without_compiler
from job.training.machine import count_flop
from tests.conftest import NARROW_PATH, TINY
from tests.narrow import REAL_FIGURES

NEVER = ("torchvision", "torchmetrics", "torch._dynamo", "torch._inductor", "sympy", "scipy", "pandas", "boto3")
"""By none of the parts of a run into a folder."""
MOST_MODULES = 2200
"""A run into a folder imported 1721 modules with torch 2.15 on 2026-11-29, and 3676 before."""
MOST_COLLECTIONS = 400
"""Times that Python looked for garbage in the same run: 223 on 2026-11-29, 629 when it did so during imports too."""
REPORT = """
import atexit, gc, json, sys
atexit.register(lambda: print("MODULES", json.dumps([sorted(sys.modules), gc.get_stats()[0]["collections"]])))
from job.cli import main
main()
"""


def imported(*arguments: str) -> tuple[list[str], int]:
    """The modules in a process after the command, and how often it has looked for garbage."""
    command = [sys.executable, "-c", REPORT, *arguments]
    environment = os.environ | {"PYTHONPATH": NARROW_PATH, REAL_FIGURES: "yes"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    modules, num_collections = json.loads(done.stdout.rpartition("MODULES ")[2])
    return modules, num_collections


@pytest.mark.parametrize("optimizer", [{"name": "adam", "lr": 0.001}, {"name": "muon", "lr": 0.001}])
def test_run_imports_neither_a_compiler_nor_what_it_has_no_use_for(optimizer: dict[str, Any], tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(TINY | {"epochs": 1, "optimizer": optimizer}))
    output = str(tmp_path / "out")
    modules, num_collections = imported("run", "--manifest", str(manifest), "--output", output, "--device", "cpu")
    assert "torch" in modules
    assert not set(NEVER) & set(modules)
    assert len(modules) < MOST_MODULES
    assert num_collections < MOST_COLLECTIONS


def test_who_imports_the_functions_keeps_the_garbage_collection_as_it_was() -> None:
    """Only the command takes what is imported out of it: a notebook has objects of its own by then."""
    code = "import gc; before = gc.get_freeze_count(); import job.api; assert gc.get_freeze_count() == before"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_no_command_and_no_models() -> None:
    modules, _ = imported("--help")
    assert {name for name in modules if name.startswith("job.cli.")} == {"job.cli.streams", "job.cli.unexpected"}
    assert not {*NEVER, "torch", "numpy", "pydantic", "structlog", "rich", "asyncio"} & set(modules)


def test_validate_needs_no_numbers_no_pictures_and_no_logs(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(TINY))
    modules, _ = imported("validate", str(manifest))
    assert not {*NEVER, "torch", "numpy", "PIL", "matplotlib", "structlog", "rich", "asyncio"} & set(modules)


def test_status_and_plan_log_nothing_and_need_no_numbers(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(TINY))
    planned = build_plan(Sweep(name="study", blocks=[Block(base=TINY)]), source="here")
    (tmp_path / "out/study").mkdir(parents=True)
    (tmp_path / "out" / plan_key("study")).write_text(planned.model_dump_json())
    for command in (("status", str(tmp_path / "out")), ("plan", "--manifest", str(manifest))):
        modules, _ = imported(*command)
        assert not {*NEVER, "torch", "numpy", "PIL", "matplotlib", "structlog", "asyncio"} & set(modules), command


@pytest.mark.parametrize(("is_bf16", "image_size"), [(False, 32), (False, 96), (True, 32)], ids=["fp32", "96", "bf16"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_are_torchvision_s_to_the_bit_but_for_gradients_of_wide_kernels(
    name: str, is_bf16: bool, image_size: int
) -> None:
    networks: list[nn.Module] = []
    build: Callable[[int], nn.Module]
    for build in (lambda classes: torchvision.models.get_model(name, num_classes=classes), NETWORKS[name]):
        torch.manual_seed(3)
        networks.append(build(7))
    theirs, ours = networks
    assert [key for key, _ in ours.named_modules()] == [key for key, _ in theirs.named_modules()]
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    images = torch.randn(2, 3, image_size, image_size)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
        outputs: list[Tensor] = [network(images) for network in networks]
    assert outputs[0].dtype == (torch.bfloat16 if is_bf16 else torch.float32)
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    wide = {f"{key}.weight" for key, layer in ours.named_modules() if isinstance(layer, WideConv2d) and not is_bf16}
    references = dict(theirs.named_parameters())
    for key, mine in ours.named_parameters():
        reference = references[key]
        assert mine.grad is not None
        assert reference.grad is not None
        # Their gradient is a product, which rounds differently; with 96 pixels that of their images is one too.
        tolerance = 1e-4 if image_size == 96 and key != "fc.weight" else 1e-5 if key in wide else 0
        assert (mine.grad - reference.grad).norm() <= tolerance * reference.grad.norm(), key


@pytest.mark.parametrize("num_classes", [2, 4, 10])
def test_scores_are_torchmetrics_to_the_bit(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(97, num_classes, generator=generator).mul(2).round()  # with ties
    labels = torch.randint(num_classes - 1, (97,), generator=generator)  # one class has no images
    evaluation = Evaluation(logits, labels)
    scores = evaluation.scores()
    for value, k in ((scores.top1, 1), (scores.top5, min(5, num_classes))):
        expected = multiclass_accuracy(logits, labels, num_classes, top_k=k, average="micro").item()
        assert value == round(expected * 97) / 97
    assert evaluation.confusion() == multiclass_confusion_matrix(logits, labels, num_classes).tolist()
    expected_by_class = multiclass_accuracy(logits, labels, num_classes, average="none").tolist()
    assert evaluation.class_accuracy() == [*expected_by_class[:-1], None]


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_flop_are_those_that_torch_counts(name: str, is_frozen: bool) -> None:
    network = NETWORKS[name](10)
    for key, weight in network.named_parameters():
        weight.requires_grad = key.startswith("fc.") or not is_frozen
    shadow = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, 50, 50, device="meta")).sum().backward()
    assert count_flop(network, image_size=50) == counter.get_total_flops()


def test_without_its_wrappers_an_optimizer_is_still_torch_s() -> None:
    """The steps of all of them are compared with torch's in test_optimizers.py and test_loop.py."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = without_compiler(torch.optim.Adam)([weight], lr=0.1)
    assert isinstance(optimizer, torch.optim.Adam)
    assert type(optimizer).__name__ == "Adam"
    assert without_compiler(torch.optim.Adam) is type(optimizer)
    for name in (*PREPARED, "step"):
        assert callable(getattr(optimizer, name))
    weight.square().sum().backward()
    with torch.enable_grad():
        optimizer.step()
    assert weight.grad_fn is None
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.9))
