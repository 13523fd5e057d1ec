"""What `auto` means in every run of a submission, so that the machines that a pool happens to give do not decide it.

`job.submit.work.Work.settle_precision` asks for it, and writes the answer into plan and submission.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from job.plan import AutoPrecision

FIRST_WITH_BF16 = (8, 0)
"""Compute capability: https://docs.nvidia.com/cuda/cuda-c-programming-guide/, "Arithmetic Instructions"."""
CAPABILITIES = {
    "V100": (7, 0), "T4": (7, 5), "A100": (8, 0), "A30": (8, 0), "A10": (8, 6), "A10G": (8, 6),
    "A40": (8, 6), "L4": (8, 9), "L40": (8, 9), "L40S": (8, 9), "H100": (9, 0), "H200": (9, 0), "B200": (10, 0),
    "B300": (10, 3),
}  # fmt: skip
"""Of the GPUs that clouds offer: https://developer.nvidia.com/cuda-gpus."""
FAMILIES = {
    "p3": "V100", "p3dn": "V100", "g4dn": "T4", "g5g": "T4", "g5": "A10G", "g6": "L4", "gr6": "L4", "g6e": "L40S",
    "p4d": "A100", "p4de": "A100", "p5": "H100", "p5e": "H200", "p5en": "H200",
}  # fmt: skip
"""The GPU of AWS's instance families, https://aws.amazon.com/ec2/instance-types/ (g5g has the T4G, a T4 for Arm). A
name such as p6-b200 says it itself."""


@dataclass(frozen=True)
class Machines:
    """What is known of the machines from which a back end may take one for each container."""

    needs_gpu: bool
    """Whether every container gets a GPU."""
    names: Sequence[str] = ()
    """Instance types (`g5.xlarge`) or GPUs (`NVIDIA-A100-SXM4-40GB`), in any case; empty where nothing is known."""


def choose_auto_precision(
    *, asked: AutoPrecision | None, planned: AutoPrecision | None, machines: Machines | None
) -> AutoPrecision | None:
    """What `auto` is to mean in every run of a submission; None where each machine may choose for itself.

    `asked` is the user's --auto-precision. `planned` is what the plan of the experiment says: a second submission
    trains in the same arithmetic as the first. `machines` is None where all containers run on this one, so that one
    machine chooses for all of them.

    A mixed pool gets what its weakest card has. A card that is not known may be a weak one, so it gets fp16, which
    every card has that the wheel supports. Without GPUs it is fp32, because only some CPUs have bf16.
    """
    if asked is not None or planned is not None:
        return asked or planned
    if machines is None:
        return None
    if not machines.needs_gpu:
        return "fp32"
    capabilities = [find_capability(name) for name in machines.names]
    weakest = min((found or (0, 0) for found in capabilities), default=(0, 0))
    return "bf16" if weakest >= FIRST_WITH_BF16 else "fp16"


def find_capability(machine: str) -> tuple[int, int] | None:
    """The compute capability of the GPU that `machine`, an instance type or a GPU, names; None where it is not known.

    Of an instance type the family suffices, as Batch takes it (`g5`). Where a name holds several GPUs' names, the
    weakest counts.
    """
    family = machine.strip().lower().partition(".")[0]
    if family in FAMILIES:
        return CAPABILITIES[FAMILIES[family]]
    words = re.split(r"[^A-Z0-9]+", machine.upper())
    return min((CAPABILITIES[word] for word in words if word in CAPABILITIES), default=None)
