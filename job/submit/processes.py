"""The back ends `local` and `docker`: processes on this machine, a few at a time, tried again as a scheduler would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from job.cpus import available_cpus
from job.errors import Terminated, UsageError
from job.storage import is_remote
from job.submit.work import MAX_ATTEMPTS, RETRYABLE_EXIT_CODES, Launch

AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
)  # fmt: skip
"""Handed to local containers by name, so that their values stand in no command line."""


@dataclass(frozen=True)
class Ended:
    """A container that is not tried again."""

    index: int
    exit_code: int
    attempts: int


def render_local(launch: Launch, *, jobs: int) -> list[list[str]]:
    """The command of each container as a process of this Python, `jobs` of them at once."""
    return _render(launch, [sys.executable, "-m", "job", "run", *launch.arguments], jobs=jobs)


def render_docker(launch: Launch, *, gpus: str | None, jobs: int) -> list[list[str]]:
    """The `docker run` command of each container. Folders and weights of this machine are mounted.

    Raises `UsageError` without an image.
    """
    if not launch.image:
        raise UsageError("--to docker needs --image")
    inside, mounts = _mount_folders(launch)
    command = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL"]  # noqa: S108
    command += ["--security-opt", "no-new-privileges", "--shm-size", "1g"]
    command += ["--gpus", gpus] if gpus else []
    for source, target in mounts.items():
        command += ["--volume", f"{source}:{target}"]
    if mounts:  # what a container writes there belongs to who started it
        command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    reads_s3 = any(is_remote(place) for place in (launch.output, launch.data or "", *launch.weights))
    for name in AWS_VARIABLES if reads_s3 else ():
        command += ["--env", name]
    for name, value in launch.environment.items():
        command += ["--env", f"{name}={value}"]
    return _render(launch, [*command, launch.image, *inside.arguments], jobs=jobs)


def read_image_commit(image: str) -> str | None:
    """The commit that an image of this machine was built from; None where that is not known."""
    command = ["docker", "image", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", image]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    variables = dict(line.partition("=")[::2] for line in answer.stdout.splitlines())
    return variables.get("JOB_GIT_SHA")


def _render(launch: Launch, command: list[str], *, jobs: int) -> list[list[str]]:
    """`command` for each container. Those that run at once share the cores: more threads are slower, bf16 tenfold."""
    at_once = min(jobs, launch.num_containers)
    if at_once > 1:
        command = [*command, "--threads", os.environ.get("JOB_THREADS") or str(max(1, available_cpus() // at_once))]
    return [[*command, "--index", str(index)] for index in range(launch.num_containers)]


def _mount_folders(launch: Launch) -> tuple[Launch, dict[str, str]]:
    """The launch as a container sees it, and what is mounted to make it so: place inside by path on this machine.

    An absolute path that is not on this machine is one of the image.
    """
    mounts: dict[str, str] = {}
    if not is_remote(launch.output):
        folder = str(Path(launch.output).resolve())
        mounts[folder] = "/output"
        key = Path(launch.submission).resolve().relative_to(folder)
        launch = replace(launch, output="/output", submission=f"/output/{key}")
    if launch.data and not is_remote(launch.data) and Path(launch.data).is_dir():
        mounts[str(Path(launch.data).resolve())] = "/data"
        launch = replace(launch, data="/data")
    for weights in launch.weights:
        if not is_remote(weights) and Path(weights).is_file():
            mounts[str(Path(weights).resolve())] = f"{weights}:ro"  # where the manifest has it
    return launch, mounts


def run_processes(
    commands: list[list[str]], *, jobs: int, on_end: Callable[[Ended], None] = lambda _ended: None
) -> list[Ended]:
    """Run `commands`, at most `jobs` at once; retryable exit codes are tried again, `MAX_ATTEMPTS` in all.

    What ends this process reaches the others too: they save their checkpoints, and nothing more is started.
    """
    running: set[subprocess.Popen[bytes]] = set()
    stopped = False

    def attempt(index: int) -> Ended:
        for number in range(1, MAX_ATTEMPTS + 1):
            if stopped:
                break
            process = _start(commands[index])
            running.add(process)
            if stopped:  # meanwhile
                process.terminate()
            code = process.wait()
            running.discard(process)
            if code not in RETRYABLE_EXIT_CODES:
                return Ended(index, code, number)
        return Ended(index, 143 if stopped else code, number)

    ended: list[Ended] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(attempt, index) for index in range(len(commands))]
        try:
            for future in as_completed(futures):
                ended.append(future.result())
                on_end(ended[-1])
        except (KeyboardInterrupt, Terminated):
            stopped = True
            for process in list(running):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(ended, key=lambda one: one.index)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed on this machine") from error
