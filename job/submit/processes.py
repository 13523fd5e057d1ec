"""The back ends `local` and `docker`: processes of this machine, a few at a time, tried again as a scheduler would do.

They differ only in their commands. No process outlives `job submit`, so there is nothing to ask afterwards.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from job.cpus import available_cpus
from job.errors import Terminated, UsageError
from job.plan import SubmittedJob
from job.storage import is_remote
from job.submit.backend import (
    DEFAULT_OUTPUT,
    MAX_ATTEMPTS,
    RETRYABLE_EXIT_CODES,
    Child,
    Ended,
    Launch,
)
from job.submit.options import Options, parse_mebibytes

AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
)  # fmt: skip
"""Variables that are passed to containers by name, so that their values stand in no command line."""


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """What the processes run on, and how many run at once."""

    output: str = DEFAULT_OUTPUT
    image: str = ""
    in_docker: bool = False
    gpus: str | None = None
    """What `docker run --gpus` takes; None where no GPU is asked for."""
    jobs: int = 1
    cpus: float | None = None
    """The most cores that a container uses; None for all."""
    memory_mebibytes: int | None = None
    timeout_seconds: int | None = None
    """Of one attempt; None for no limit."""
    attempts: int = MAX_ATTEMPTS

    @property
    def needs_gpu(self) -> bool:
        return self.gpus is not None


def configure(options: Options) -> ProcessSettings:
    """The `ProcessSettings` that `options` give. Raises `UsageError` if the number of GPUs is not a number."""
    options.count_gpus()
    return ProcessSettings(
        output=options.output or DEFAULT_OUTPUT,
        image=options.image,
        in_docker=options.to == "docker",
        gpus=options.gpus if options.gpus not in ("", "0") else None,
        jobs=options.jobs or 1,
        cpus=options.cpus,
        memory_mebibytes=parse_mebibytes(options.memory) if options.memory else None,
        timeout_seconds=options.timeout,
        attempts=options.attempts or MAX_ATTEMPTS,
    )


def render(launch: Launch, settings: ProcessSettings) -> list[list[str]]:
    """The command of each container. Raises `UsageError` where Docker is given no image."""
    command = _render_docker(launch, settings) if settings.in_docker else _render_local(launch)
    at_once = min(settings.jobs, launch.num_containers)
    if at_once > 1:  # they share the cores, because more threads than cores are slower, in bf16 ten times
        command += ["--threads", os.environ.get("JOB_THREADS") or str(max(1, available_cpus() // at_once))]
    return [[*command, "--index", str(index)] for index in range(launch.num_containers)]


def show(request: list[list[str]]) -> str:
    """The commands as a shell reads them."""
    return "".join(f"{shlex.join(command)}\n" for command in request)


def submit(request: list[list[str]], settings: ProcessSettings) -> Generator[Ended]:
    """Run all commands, and yield each container as it ends."""
    return run_processes(
        request, jobs=settings.jobs, attempts=settings.attempts, timeout_seconds=settings.timeout_seconds
    )


def observe(job: SubmittedJob) -> list[Child]:
    """An empty list, because the processes of `job submit` have ended with it."""
    del job
    return []


def read_log(job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
    """An empty list, because the processes have written to the terminal."""
    del job, index, num_lines
    return []


def cancel(job: SubmittedJob, *, reason: str) -> bool:
    """Do nothing. To stop the processes, send a signal to `job submit`: it ends all that it has started."""
    del job, reason
    return False


def _render_local(launch: Launch) -> list[str]:
    """The command of a process of this Python. It inherits this process's variables; `env` sets those that differ."""
    differ = [f"{name}={value}" for name, value in launch.environment.items() if os.environ.get(name) != value]
    return [*(["env", *differ] if differ else []), sys.executable, "-m", "job", "run", *launch.arguments]


def _render_docker(launch: Launch, settings: ProcessSettings) -> list[str]:
    """The command of `docker run`. Folders and weights of this machine are mounted."""
    if not settings.image:
        raise UsageError("--to docker needs --image")
    inside, mounts = _mount_folders(launch)
    command = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp:exec", "--cap-drop", "ALL"]  # noqa: S108
    command += ["--security-opt", "no-new-privileges", "--shm-size", "1g"]
    command += ["--gpus", settings.gpus] if settings.gpus else []
    command += ["--cpus", f"{settings.cpus:g}"] if settings.cpus else []
    command += ["--memory", f"{settings.memory_mebibytes}m"] if settings.memory_mebibytes else []
    for source, target in mounts.items():
        command += ["--volume", f"{source}:{target}"]
    if mounts:  # files that a container writes there then belong to the user who started it
        command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    reads_s3 = any(is_remote(place) for place in (launch.output, launch.data or "", *launch.weights))
    for name in AWS_VARIABLES if reads_s3 else ():
        command += ["--env", name] if name not in launch.environment else []
    for name, value in launch.environment.items():
        command += ["--env", name if os.environ.get(name) == value else f"{name}={value}"]
    return [*command, settings.image, *inside.arguments]


def _mount_folders(launch: Launch) -> tuple[Launch, dict[str, str]]:
    """The launch with its paths as a container sees them, and the mounts for them: path inside by path on this machine.

    An absolute path that is not on this machine is taken for one in the image.
    """
    mounts: dict[str, str] = {}
    if not is_remote(launch.output):
        folder = str(Path(launch.output).resolve())
        mounts[folder] = "/output"
        key = Path(launch.submission_place).resolve().relative_to(folder)
        launch = replace(launch, output="/output", submission_place=f"/output/{key}")
    if launch.data and not is_remote(launch.data) and Path(launch.data).is_dir():
        mounts[str(Path(launch.data).resolve())] = "/data"
        launch = replace(launch, data="/data")
    for weights in launch.weights:
        if not is_remote(weights) and Path(weights).is_file():
            mounts[str(Path(weights).resolve())] = f"{weights}:ro"  # at the path that the manifest names
    return launch, mounts


def run_processes(
    commands: list[list[str]], *, jobs: int, attempts: int = MAX_ATTEMPTS, timeout_seconds: float | None = None
) -> Generator[Ended]:
    """Run `commands`, at most `jobs` at once, and yield each as it ends.

    A command that ends with a retryable exit code is tried again, up to `attempts` times in all. One that takes longer
    than `timeout_seconds` is terminated and, as on Batch, not tried again. If a signal ends this process, or the
    generator is closed, the running commands are terminated too: they save their checkpoints, and no other is started.
    """
    running: set[subprocess.Popen[bytes]] = set()
    stopped = False

    def attempt(index: int) -> Ended:
        for number in range(1, attempts + 1):
            if stopped:
                break
            process = _start(commands[index])
            running.add(process)
            if stopped:  # while the process was being started
                process.terminate()
            code, is_late = _wait(process, timeout_seconds)
            code = 128 - code if code < 0 else code  # a signal ended it: Python says -9 where a container says 137
            running.discard(process)
            if is_late or code not in RETRYABLE_EXIT_CODES:
                return Ended(index, code, number)
        return Ended(index, 143 if stopped else code, number)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(attempt, index) for index in range(len(commands))]
        try:
            for future in as_completed(futures):
                yield future.result()
        except (KeyboardInterrupt, Terminated, GeneratorExit):
            stopped = True
            for process in list(running):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed on this machine") from error


def _wait(process: subprocess.Popen[bytes], timeout_seconds: float | None) -> tuple[int, bool]:
    """The exit code of `process`, and whether it was terminated because it took too long."""
    try:
        return process.wait(timeout_seconds), False
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.wait(), True
