"""`job` in processes of its own, forked from one that has imported everything: started at once, killed for real."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from job.cli import main
from job.training import train as _preloaded  # noqa: F401 - this module is what the fork server loads

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def start_job(*arguments: object, log: Path, prepare: Callable[[], object] = os.getpid) -> ForkServerProcess:
    """`job ARGUMENTS` with this process's environment; what it says goes to `log`, which may be a pipe or a device.

    `prepare` is called in the new process before the command; the child must be able to import it.
    """
    words = [str(argument) for argument in arguments]
    process = CONTEXT.Process(target=_run, args=(words, dict(os.environ), log, prepare))
    process.start()
    return process


class Child:
    """What `job submit --to local` asks of a process that it has started, of one that `start_job` has."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal. Raises as `subprocess.Popen.wait` does where it takes longer."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("job", timeout or 0)
        return self._process.exitcode

    def terminate(self) -> None:
        """As SIGTERM does."""
        self._process.terminate()


def start_child(command: list[str], *, log: Path) -> Child:
    """`python -m job ARGUMENTS`, as the back end `local` asks for it."""
    assert command[:3] == [sys.executable, "-m", "job"]
    return Child(start_job(*command[3:], log=log))


def warm_up(log: Path) -> None:
    """Return when the next process will start at once: the first one waits until everything is imported."""
    assert wait_for_end(start_job("--version", log=log), seconds=300) == 0


def read_from(place: Path) -> None:
    """Standard input comes from there, which may be a pipe; a `prepare` of `start_job`."""
    os.dup2(os.open(place, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)


def wait_until(condition: Callable[[], object], process: ForkServerProcess, *, seconds: float = 60) -> None:
    """Raises `AssertionError` where it does not come about while the process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), f"the process ended before, with {process.exitcode}"
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def wait_for_end(process: ForkServerProcess, *, seconds: float) -> int:
    """The exit code, negative for a signal. Raises `AssertionError` where it takes longer."""
    process.join(seconds)
    code = process.exitcode
    assert code is not None, f"still running after {seconds} s"
    return code


def _run(arguments: list[str], environment: dict[str, str], log: Path, prepare: Callable[[], object]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    for stream in (sys.stdout, sys.stderr):  # as Python sets them up for what they lead to
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    prepare()
    sys.argv = ["job", *arguments]
    main()
