"""Checks of this machine, for `local` and `docker`: Python with torch, the Docker engine, the image and the GPU."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator

from job.errors import UsageError
from job.submit.doctor.finding import Finding, call, look
from job.submit.options import Options
from job.versions import EXTRAS, find_packages

SECONDS = 30
"""For one answer of a program."""
GPU_SECONDS = 120
"""For a container that asks for the GPU: its image may have to be read from disk."""


def check_local(options: Options) -> Iterator[Finding]:
    """Whether processes of this Python can train, on a GPU if one is asked for."""
    yield look("python", _check_python)
    if options.gpus not in ("", "0"):
        yield look("gpu", lambda: _count_gpus(options.count_gpus()))


def check_docker(options: Options) -> Iterator[Finding]:
    """Whether containers can start on this machine, from the image, with a GPU if one is asked for."""
    engine = look("docker", _check_engine)
    yield engine
    if not engine.ok:
        return
    image = look("image", lambda: _check_image(options.image))
    yield image
    if image.ok and options.gpus not in ("", "0"):
        yield look("gpu", lambda: _try_gpu(options.image, options.gpus))


def _check_python() -> str:
    found = find_packages(sorted(EXTRAS["train"]))
    missing = sorted(EXTRAS["train"] - found.keys())
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed; run `make install`, which brings the extra 'train'")
    return f"Python {platform.python_version()}, torch {found['torch']}, torchvision {found['torchvision']}"


def _count_gpus(wanted: int) -> str:
    advice = "install NVIDIA's driver, or leave --gpus out to train on the CPU"
    lines = call(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], seconds=SECONDS,
                 advice=advice).split("\n")  # fmt: skip
    cards = [line.strip() for line in lines if line.strip()]
    if len(cards) < wanted:
        raise UsageError(f"{len(cards)} GPUs are here, --gpus asks for {wanted}; {advice}")
    return f"{len(cards)} here: {cards[0]}"


def _check_engine() -> str:
    advice = "start Docker, and let this user reach it (`docker info` tells more)"
    version = call(["docker", "version", "--format", "{{.Server.Version}}"], seconds=SECONDS, advice=advice)
    return f"engine {version.strip()}"


def _check_image(image: str) -> str:
    if not image:
        raise UsageError("--image is not given; `make image` builds job:local")
    advice = f"`make image` builds it, `docker pull {image}` fetches it"
    found = json.loads(call(["docker", "image", "inspect", image], seconds=SECONDS, advice=advice))[0]
    digests = [digest.partition("@")[2] for digest in found.get("RepoDigests") or []]
    return f"{image}: is here, {digests[0] if digests else found['Id']}, {found['Architecture']}"


def _try_gpu(image: str, gpus: str) -> str:
    """What nvidia-smi says in a container of the image. The container is removed, and reaches no network."""
    advice = "install the driver and the NVIDIA Container Toolkit, then `nvidia-ctk runtime configure`"
    command = ["docker", "run", "--rm", "--network", "none", "--pull", "never", "--gpus", gpus]
    command += ["--entrypoint", "nvidia-smi", image, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    cards = call(command, seconds=GPU_SECONDS, advice=advice).strip().splitlines()
    if not cards:
        raise UsageError(f"no GPU in a container of {image}; {advice}")
    return f"{len(cards)} in a container: {cards[0]}"
