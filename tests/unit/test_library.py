"""Optimizers of a library: their arguments are data of this repository, and the library may be missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import timm.optim

from job.errors import ManifestError
from job.manifest import parse_manifest
from job.manifest.library import ATTRIBUTES, ENTRIES, FROZEN, LIBRARY, RELEASE
from job.manifest.optimizers import NOT_TO_BE_HAD, OPTIMIZERS, Optimizer
from job.training.engine.optimizers import build_optimizer
from tests.conftest import Answer
from tests.library_signatures import read_signatures, render

timm_optim: Any = timm.optim  # it exports its classes without saying so

Job = Callable[..., Answer]
Tiny = Callable[..., Path]


def optimizer(name: str, **attributes: Any) -> Optimizer:
    document = {"name": "mine", "optimizer": {"name": name} | attributes}
    return parse_manifest(json.dumps(document).encode(), source="test").optimizer


def test_frozen_arguments_are_those_of_the_installed_timm() -> None:
    """If timm changes a default that was released, the old one stays here, and is handed to timm."""
    read = read_signatures()
    assert read["timm"] == RELEASE, "run `make docs`"
    assert FROZEN.read_text(encoding="utf-8") == render(read), "run `make docs`"


def test_every_entry_is_a_model_with_a_paper() -> None:
    assert [kind.__name__ for kind in LIBRARY] == [entry.kind for entry in ENTRIES]
    for entry in ENTRIES:
        assert any(character.isdigit() for character in entry.description) or entry.name == "rmsproptf"
        assert OPTIMIZERS[entry.name].__doc__ == f"{entry.description} Of timm, in the extra `optimizers`."


def test_every_argument_in_the_table_belongs_to_an_optimizer() -> None:
    used = {
        name
        for entry in ENTRIES
        for argument in OPTIMIZERS[entry.name].model_fields
        for name in (argument, f"{entry.name}.{argument}")
    }
    assert ATTRIBUTES.keys() <= used


def test_names_and_classes_are_timm_s() -> None:
    for entry in ENTRIES:
        assert timm_optim.get_optimizer_info(entry.name).opt_class is getattr(timm_optim, entry.kind)


@pytest.mark.parametrize("name", ["sgdw", "lars"])
def test_nesterov_without_momentum_is_a_fault(name: str) -> None:
    with pytest.raises(ManifestError, match="nesterov needs momentum above 0 and dampening 0"):
        optimizer(name, nesterov=True)
    assert build_optimizer(optimizer(name, nesterov=True, momentum=0.9), fresh()) is not None


def fresh() -> Any:
    import torch

    return [torch.nn.Parameter(torch.ones(3, 4))]


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_the_ends_of_every_range_are_accepted_by_timm(name: str) -> None:
    for attribute, field in OPTIMIZERS[name].model_fields.items():
        for mark in field.metadata:
            for end in ("ge", "le"):
                if (value := getattr(mark, end, None)) is not None:
                    build_optimizer(optimizer(name, **{attribute: value}), fresh())


@pytest.mark.parametrize("name", NOT_TO_BE_HAD)
def test_optimizer_that_is_not_to_be_had_is_named_with_the_reason(name: str) -> None:
    assert name not in OPTIMIZERS
    with pytest.raises(ManifestError) as refused:
        optimizer(name.upper())
    assert f'optimizer.name is "{name.upper()}", which is not to be had: {NOT_TO_BE_HAD[name]}; accepted: adam' in str(
        refused.value
    )


def test_missing_timm_ends_with_65_and_says_what_to_install(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt on the same image can do better, so the scheduler must not try again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "timm", None)
    manifest = tiny(optimizer={"name": "lion"})
    assert job("validate", manifest).exit_code == 0
    answer = job("run", "--manifest", manifest, "--output", tmp_path / "out")
    assert answer.exit_code == 65
    told = answer.stderr.splitlines()[-1]
    assert told.startswith("error: optimizer.name is 'lion', one of timm's; timm")
    assert " is not installed; it belongs to the extra 'optimizers': run " in told
    assert told.endswith("; or take another optimizer")


def test_older_timm_is_named_with_the_release_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(timm_optim, "Mars")
    with pytest.raises(ManifestError, match=rf"timm {RELEASE} has no timm.optim.Mars; install timm {RELEASE} or newer"):
        build_optimizer(optimizer("mars"), fresh())


def test_argument_that_an_older_timm_does_not_know_is_a_fault_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldLion(timm_optim.Lion):
        def __init__(self, params: Any, lr: float, betas: Any, weight_decay: float, caution: bool) -> None:
            super().__init__(params, lr, betas, weight_decay, caution)

    monkeypatch.setattr(timm.optim, "Lion", OldLion)
    with pytest.raises(ManifestError, match=r"optimizer lion: timm .* refuses it: .*corrected_weight_decay"):
        build_optimizer(optimizer("lion"), fresh())


def test_neither_timm_nor_torch_is_needed_to_know_its_optimizers() -> None:
    program = (
        "import sys; sys.modules['timm'] = sys.modules['torch'] = None; "
        "from job.manifest import Manifest; "
        "Manifest.model_validate({'name': 'x', 'optimizer': {'name': 'lion'}}); import job.report.render.figures"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_with_torch_s_optimizer_does_not_import_timm() -> None:
    program = (
        "import sys, torch; from job.manifest import Manifest; "
        "from job.training.engine.optimizers import build_optimizer; "
        "manifest = Manifest.model_validate({'name': 'x', 'optimizer': {'name': 'adam'}}); "
        "build_optimizer(manifest.optimizer, [torch.nn.Parameter(torch.ones(2))]); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_union_has_every_class_once() -> None:
    from job.manifest import Manifest

    found = get_args(Manifest.model_fields["optimizer"].annotation)
    assert [kind.__name__ for kind in found] == [kind.__name__ for kind in OPTIMIZERS.values()]
