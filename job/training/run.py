"""One run, from its manifest to what is left to do when its training is over.

    attempt opens → stage (torch is imported beside the loading of data) → train → Completion stores the result

Readable without torch, so that the storage is tried, and the run is announced, in the first second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING

from job.home import prepare_matplotlib
from job.manifest import Manifest
from job.training.control import Control
from job.training.inputs.loading import Inputs
from job.training.price import HourlyPrice
from job.training.record.attempt import Attempt
from job.training.record.folder import RunFolder
from job.training.record.machine_time import MachineTime
from job.training.settings import RunSettings
from job.versions import importing

if TYPE_CHECKING:
    from job.training.engine.state import TrainingState
    from job.training.record.completion import Completion


@dataclass(frozen=True)
class Process:
    """What the runs of one process share."""

    settings: RunSettings
    control: Control = field(default_factory=Control)
    """Says when to stop."""
    inputs: Inputs = field(default_factory=Inputs)
    """The data and weights that were read last."""
    price: HourlyPrice = field(default_factory=HourlyPrice)
    """What the machine costs."""


def run_manifest(
    manifest: Manifest,
    folder: RunFolder,
    process: Process,
    *,
    startup_seconds: float = 0.0,
    show: Callable[[TrainingState], None] = lambda _state: None,
) -> Completion:
    """Train what `manifest` says, from its newest checkpoint if there is one. The returned object stores the result.

    The caller has looked whether the run is complete already (`RunFolder.read_result`). `startup_seconds` is what
    the process took before; `show` is given the state at every pause of the training.
    Raises the `JobError` that says what to do; before an `Interruption` the checkpoint is stored.
    """
    started = perf_counter() - startup_seconds
    control, inputs, settings = process.control, process.inputs, process.settings
    machine_time = MachineTime(host=settings.host, price=process.price, startup_seconds=startup_seconds)
    with Attempt(manifest, folder, machine_time=machine_time) as attempt:
        with control.starting():
            attempt.open()
            process.price.begin()
            loading = perf_counter()
            with _importing_torch():
                inputs.load_data(manifest, settings)  # in this thread, because a signal stops this one
                loading_seconds = perf_counter() - loading
            from job.training.record.completion import Completion, Spent
            from job.training.stage import stage
            from job.training.train import train

            startup_seconds = perf_counter() - started - loading_seconds
            staging = perf_counter()
            staged = stage(manifest, settings, inputs, trained_in=attempt.find_precision())
            staging_seconds = loading_seconds + perf_counter() - staging - staged.preflight_seconds
        outcome = train(staged, attempt, settings=settings, control=control, show=show)
        machine_time.stop()
    spent = Spent(started, startup_seconds, staging_seconds, staged.preflight_seconds)
    return Completion(outcome, attempt, control, spent)


@contextmanager
def _importing_torch() -> Iterator[None]:
    """Import torch, and everything that needs it, in another thread than the block's.

    Does nothing where a run before has imported it.
    """
    if "torch" in sys.modules:
        yield
        return
    prepare_matplotlib()  # it draws the plots
    # OpenMP (libgomp) reads this when it is loaded: threads that wait for each other sleep sooner. By default they spin
    # for milliseconds on cores that another process could use, and wait all the longer.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    with importing(), ThreadPoolExecutor(1, thread_name_prefix="import") as pool:
        imported = pool.submit(import_module, "job.training.train")
        yield
        imported.result()
