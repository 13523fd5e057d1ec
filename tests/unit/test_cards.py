"""Which cards and drivers torch's build can use: pure functions, because no such machine is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from job.errors import HostError, UsageError
from job.training import cards
from job.training.cards import check_card, check_driver, find_driver, parse_driver

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
"""`torch.cuda.get_arch_list` of the wheels for CUDA 13."""


@pytest.mark.parametrize(
    ("name", "capability"),
    [("T4", (7, 5)), ("A100", (8, 0)), ("A10G", (8, 6)), ("L4", (8, 9)), ("H100", (9, 0)), ("B200", (10, 0)),
     ("B300", (10, 3)), ("RTX 5090", (12, 0)), ("DGX Spark", (12, 1))],
)  # fmt: skip
def test_card_of_the_wheel_is_taken(name: str, capability: tuple[int, int]) -> None:
    """L4 and B300 have no code of their own: that of an earlier minor version of their major version runs."""
    check_card(name, capability, built_for=WHEEL)


@pytest.mark.parametrize("capability", [(3, 7), (5, 2), (6, 0), (7, 0), (7, 2), (11, 0), (13, 0)])
def test_card_outside_the_wheel_ends_with_a_code_that_no_scheduler_repeats(capability: tuple[int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        check_card("Tesla V100-SXM2-16GB", capability, built_for=WHEEL)
    assert caught.value.exit_code == 2
    shown = f"Tesla V100-SXM2-16GB has compute capability {capability[0]}.{capability[1]}; "
    assert str(caught.value).startswith(f"{shown}this torch is built for 7.5, 8.0, 8.6, 9.0, 10.0, 12.0; ")


@pytest.mark.parametrize(
    ("code", "capability", "runs"),
    [
        ("sm_80", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_90a", (9, 1), False),
        ("sm_100f", (10, 3), True),
        ("sm_100f", (11, 0), False),
        ("compute_90", (12, 0), True),  # compiled when it is loaded
        ("compute_90", (8, 9), False),
        ("compute_90a", (12, 0), False),
        ("gfx942", (9, 4), False),
    ],
)
def test_code_runs_on_the_cards_that_nvidia_promises(code: str, capability: tuple[int, int], runs: bool) -> None:
    if runs:
        check_card("card", capability, built_for=[code])
    else:
        with pytest.raises(UsageError):
            check_card("card", capability, built_for=[code])


def test_build_that_does_not_say_what_it_is_for_refuses_no_card() -> None:
    check_card("card", (3, 7), built_for=[])


@pytest.mark.parametrize(
    ("driver", "cuda", "needed"),
    [("535.161.08", "13.2", 580), ("579.99", "13.0", 580), ("470.256.02", "12.6", 525), ("418.39", "11.8", 450)],
)
def test_driver_that_is_too_old_ends_with_71_and_says_which_one_is_needed(driver: str, cuda: str, needed: int) -> None:
    with pytest.raises(HostError) as caught:
        check_driver(driver, cuda=cuda)
    assert caught.value.exit_code == 71
    assert f"driver is {driver}; torch's CUDA {cuda} needs {needed} or newer" in str(caught.value)


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [("580.65.06", "13.2"), ("595.10", "13.0"), ("525.60.13", "12.6"), ("580.65.06", "12.6"), (None, "13.2"),
     ("535.161.08", None), ("535.161.08", "99.0")],
)  # fmt: skip
def test_driver_that_is_new_enough_or_not_known_is_no_fault(driver: str | None, cuda: str | None) -> None:
    check_driver(driver, cuda=cuda)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Thu\nGCC version: gcc 12.2.0\n", "535.161.08"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root)\n", "580.65.06"),
        ("NVRM version: something else\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_version_is_read_from_what_the_kernel_module_says(said: str, version: str | None) -> None:
    assert parse_driver(said) == version


def test_driver_is_found_where_only_nvidia_smi_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "KERNEL_MODULE", tmp_path / "absent")
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_driver() is None
    program.write_text("#!/bin/sh\necho 580.65.06\n")
    program.chmod(0o755)
    assert find_driver() == "580.65.06"
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\n")
    assert find_driver() is None
