"""One arithmetic in one comparison: what `auto` means is decided once, at submission, by what the pool's cards have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from job.manifest import Sweep
from job.plan import Submission, build_plan, build_submission, parse_document, read_auto_precision
from job.submit.precision import Machines, choose_auto_precision, find_capability

SWEEP = Sweep.model_validate_json(json.dumps({"name": "one", "blocks": [{"base": {"optimizer": {"name": "adam"}}}]}))


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        (["g4dn.xlarge"], "fp16"),
        (["g5.xlarge"], "bf16"),
        (["g5.xlarge", "g6.2xlarge"], "bf16"),
        (["g4dn.xlarge", "g5.xlarge", "g6.xlarge"], "fp16"),  # one comparison may get any of them
        (["p3.2xlarge"], "fp16"),
        (["p4d.24xlarge", "p5.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge"], "bf16"),
        (["g6"], "bf16"),  # Batch takes families
        (["NVIDIA-A100-SXM4-40GB"], "bf16"),  # the label of NVIDIA's feature discovery
        (["nvidia-tesla-t4"], "fp16"),  # GKE's label
        (["nvidia-h100-80gb"], "bf16"),
        (["Standard_NC24ads_A100_v4"], "bf16"),  # Azure names the card in its type
        (["Standard_NC4as_T4_v3"], "fp16"),
        (["x99.huge"], "fp16"),
        (["g5.xlarge", "x99.huge"], "fp16"),
        (["optimal"], "fp16"),
        ([], "fp16"),
    ],
)
def test_pool_of_gpus_gets_what_its_weakest_card_has(machines: list[str], expected: str) -> None:
    assert (
        choose_auto_precision(asked=None, planned=None, machines=Machines(needs_gpu=True, names=machines)) == expected
    )


def test_pool_without_gpus_gets_fp32_because_only_some_cpus_have_bf16() -> None:
    assert (
        choose_auto_precision(asked=None, planned=None, machines=Machines(needs_gpu=False, names=["m7i.large"]))
        == "fp32"
    )


def test_one_machine_chooses_for_itself() -> None:
    assert choose_auto_precision(asked=None, planned=None, machines=None) is None


@pytest.mark.parametrize("pool", [None, Machines(needs_gpu=False), Machines(needs_gpu=True, names=["g5.xlarge"])])
def test_users_word_counts_before_the_plan_and_the_plan_before_the_pool(pool: Machines | None) -> None:
    assert choose_auto_precision(asked="fp16", planned="bf16", machines=pool) == "fp16"
    assert choose_auto_precision(asked=None, planned="fp16", machines=pool) == "fp16"


@pytest.mark.parametrize(
    ("name", "capability"), [("g5g.xlarge", (7, 5)), ("Tesla V100-SXM2", (7, 0)), ("A10", (8, 6)), ("t4g.small", None)]
)
def test_card_is_found_in_a_name_only_where_it_is_a_word_of_its_own(
    name: str, capability: tuple[int, int] | None
) -> None:
    assert find_capability(name) == capability


# What plan and submission say


def test_plan_remembers_it_for_the_next_submission() -> None:
    plan = build_plan(SWEEP, source="one", auto_precision="bf16")
    assert read_auto_precision(plan.model_dump_json().encode()) == "bf16"


def test_plan_of_an_earlier_version_says_nothing_of_it() -> None:
    earlier = build_plan(SWEEP, source="one").model_dump(mode="json", exclude={"auto_precision"})
    assert read_auto_precision(json.dumps(earlier).encode()) is None
    with pytest.raises(ValueError, match="Invalid JSON"):
        read_auto_precision(b"<html>")


def test_submission_carries_it_and_is_another_one_with_it() -> None:
    plain, fixed = (
        build_submission(SWEEP, ["a"], per_container=1, auto_precision=precision) for precision in (None, "bf16")
    )
    read = parse_document(fixed.as_json().encode(), source="submission")
    assert isinstance(read, Submission)
    assert read.auto_precision == "bf16"
    assert plain.id != fixed.id


def test_submission_without_it_is_one_that_older_images_read(tmp_path: Path) -> None:
    assert "auto_precision" not in build_submission(SWEEP, ["a"], per_container=1).as_json()
