"""Whether torch's build can use a GPU: by the card's compute capability, and by the version of NVIDIA's driver.

torch says of the one "no kernel image is available", and of the other that it sees no GPU.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from job.errors import HostError, UsageError

OLDEST_DRIVERS = {11: 450, 12: 525, 13: 580}
"""The branch of the oldest driver for a major version of CUDA: https://docs.nvidia.com/deploy/cuda-compatibility/,
table 1 of "Minor Version Compatibility"."""
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
"""Names the driver wherever its kernel module is loaded, also in a container without nvidia-smi."""
ASK = "start the container with --gpus all, or use --device cpu"
Capability = tuple[int, int]


def check_card(name: str, capability: Capability, *, built_for: Sequence[str]) -> None:
    """Raises `UsageError` where torch has no code for this card: no other machine of its kind could do it either.

    `built_for` is what `torch.cuda.get_arch_list` gives; where it is empty, nothing is known and nothing is raised.
    """
    if not built_for or any(_runs_on(capability, code) for code in built_for):
        return
    listed = ", ".join(_show(_parse_code(code)[1]) for code in built_for)
    raise UsageError(
        f"{name} has compute capability {_show(capability)}; this torch is built for {listed}; "
        "take machines with such a card, use an image whose torch is built for this one, or use --device cpu"
    )


def _runs_on(capability: Capability, code: str) -> bool:
    """Whether a card executes `code`, such as `sm_86`.

    Machine code runs on its own minor version and on later ones of the same major one. `compute_86` is compiled when it
    is loaded, so it runs on every later card. A letter ties the code to one version (`sm_90a`) or one major version
    (`sm_100f`). See "Compute capability compatibility" of https://docs.nvidia.com/cuda/cuda-programming-guide/.
    """
    kind, wanted, letter = _parse_code(code)
    if letter == "a":
        return capability == wanted
    if kind == "compute" and not letter:
        return capability >= wanted
    return capability[0] == wanted[0] and capability[1] >= wanted[1]


def _parse_code(code: str) -> tuple[str, Capability, str]:
    """`sm_90a` is `sm`, (9, 0) and `a`; what has another form is code for no card."""
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", code)
    return (found[1], (int(found[2]), int(found[3])), found[4]) if found else ("sm", (0, 0), "a")


def _show(capability: Capability) -> str:
    return ".".join(map(str, capability))


def check_driver(driver: str | None, *, cuda: str | None) -> None:
    """Raises `HostError` where `driver` is too old for `cuda`, the version that torch was built with.

    None stands for what is not known, and raises nothing.
    """
    if driver is None or cuda is None:
        return
    oldest = OLDEST_DRIVERS.get(int(cuda.partition(".")[0]))
    if oldest is not None and int(driver.partition(".")[0]) < oldest:
        raise HostError(
            f"this machine's NVIDIA driver is {driver}; torch's CUDA {cuda} needs {oldest} or newer; "
            "take a machine with a newer driver, update this one's, or use an image with an older CUDA"
        )


def find_driver() -> str | None:
    """The version of this machine's driver, such as `580.65.06`; None where there is none."""
    try:
        return parse_driver(KERNEL_MODULE.read_text(errors="replace"))
    except OSError:
        pass
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return said if re.fullmatch(r"\d+(\.\d+)+", said) else None


def parse_driver(said: str) -> str | None:
    """The version in the content of /proc/driver/nvidia/version; None where it names none."""
    found = re.search(r"Kernel Module\b.*?\s(\d+(?:\.\d+)+)\s", said)
    return found[1] if found else None
