"""One run from manifest to the end of its training. Readable without torch, which is imported while data are fetched.

what lies under the run → attempt → data
                 torch imported ┘   └→ `execution` → `Completion`
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING

import structlog

from job.home import prepare_matplotlib
from job.logs import RecordedLog, get_logger
from job.manifest import Manifest
from job.runs import RunKeys
from job.storage import Store
from job.training.control import Control
from job.training.inputs.loading import Inputs
from job.training.record.attempt import Journal, recorded_failure
from job.training.record.writer import ArtefactWriter, check_owner
from job.training.settings import RunSettings

if TYPE_CHECKING:
    from job.training.engine.state import TrainingState
    from job.training.record.completion import Completion


def run_manifest(
    manifest: Manifest,
    settings: RunSettings,
    *,
    store: Store,
    keys: RunKeys,
    control: Control,
    log: RecordedLog,
    inputs: Inputs,
    startup_seconds: float = 0.0,
    on_start: Callable[[TrainingState], None] = lambda _state: None,
) -> Completion:
    """Train what `manifest` says, or carry on from its newest checkpoint; the result is for the returned one to store.

    Whether there is a result already is for the caller to ask (`read_result`). `control` stops the training;
    `inputs` are those of the process, for all of its runs; `startup_seconds` is what it took before;
    `on_start` is told once when the training begins.
    Raises the `JobError` that says what to do; for an `Interruption` the checkpoint is saved.
    """
    started = perf_counter() - startup_seconds
    check_owner(store, keys, manifest=manifest)
    journal = Journal(store, keys, num_epochs=manifest.epochs, log=log)
    structlog.contextvars.bind_contextvars(run=keys.run_id, attempt=journal.attempt)
    get_logger().info("run_started", output=store.uri, experiment=keys.experiment)
    writer = ArtefactWriter(store)
    with recorded_failure(journal, writer), control.until_training():
        store.probe(keys.manifest, manifest.model_dump_json(indent=1).encode())
        writer.write(journal.progress("starting"))
        writer.flush()
        loading = perf_counter()
        with ThreadPoolExecutor(1, thread_name_prefix="import") as pool:
            importing = pool.submit(_import_torch)
            inputs.load_data(manifest, settings)  # in this thread, which a signal stops
            loaded = perf_counter()
            importing.result()
        from job.training.execution import execute

        return execute(
            manifest,
            settings,
            store=store,
            keys=keys,
            writer=writer,
            journal=journal,
            control=control,
            inputs=inputs,
            started=started,
            staging_seconds=loaded - loading,
            on_start=on_start,
        )


def _import_torch() -> None:
    """And all that needs it. Its OpenMP (libgomp) is told, before it is loaded, to let threads that wait for each other
    sleep sooner: they would spin for milliseconds on cores that another process could use, and wait all the longer."""
    prepare_matplotlib()  # torchmetrics imports it
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import_module("job.training.execution")
