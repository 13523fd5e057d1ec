"""`job run`: what happens on the machine that trains."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from job.cli.options import (
    DEFAULT_CACHE,
    CacheOption,
    DataOption,
    ExperimentOption,
    ManifestOption,
    OutputOption,
    OverridesOption,
    check_number,
    check_time_budget,
    name_experiment,
    name_source,
    read_document,
)
from job.cli.streams import outlive_reader
from job.errors import ConflictError, DataError, JobError, ObjectExists, OutOfMemoryError
from job.versions import extra, importing

if TYPE_CHECKING:
    from job.manifest import Manifest, Sweep
    from job.plan import Submission, SweepPlan
    from job.runs import RunResult
    from job.storage import Store
    from job.training.record.folder import RunFolder
    from job.training.run import Process

_STARTED = time.perf_counter()


class AutoPrecision(StrEnum):
    """What --auto-precision accepts."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"


class Device(StrEnum):
    """What --device accepts."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def run(
    manifest: ManifestOption,
    output: OutputOption = "runs",
    overrides: OverridesOption = None,
    experiment: ExperimentOption = None,
    index: Annotated[
        int | None,
        typer.Option(
            envvar=["JOB_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX"],
            min=0,
            help="Which part of a sweep to run, from 0; by default all, one after another.",
        ),
    ] = None,
    data: DataOption = None,
    cache: CacheOption = DEFAULT_CACHE,
    device: Annotated[
        Device, typer.Option(envvar="JOB_DEVICE", help="With cuda, a machine without GPU is a fault (71).")
    ] = Device.AUTO,
    auto_precision: Annotated[
        AutoPrecision | None,
        typer.Option(
            envvar="JOB_AUTO_PRECISION",
            help="What `auto` means in every manifest; a machine without it is a fault (71). By default what the "
            "submission says, or what this machine is best at.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(envvar="JOB_THREADS", min=1, help="CPU threads; by default the cores that the process may use."),
    ] = None,
    graphs: Annotated[
        bool,
        typer.Option(
            envvar="JOB_GRAPHS", help="On a GPU, replay training steps as CUDA graphs; not tried on a card yet."
        ),
    ] = False,
    time_budget: Annotated[
        float | None,
        typer.Option(
            envvar="JOB_TIME_BUDGET",
            callback=check_time_budget,
            help="Seconds, more than 0, after which the run saves a checkpoint and exits with 75.",
        ),
    ] = None,
    checkpoint_interval: Annotated[
        float,
        typer.Option(
            envvar="JOB_CHECKPOINT_INTERVAL", min=0, help="Least seconds between checkpoints of whole epochs."
        ),
    ] = 10.0,
    checkpoint_age: Annotated[
        float,
        typer.Option(
            envvar="JOB_CHECKPOINT_AGE",
            min=0,
            callback=check_number,
            help="Most seconds that the training goes on without a checkpoint, within an epoch too. With 0 only whole "
            "epochs are saved.",
        ),
    ] = 300.0,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            envvar="JOB_PRICE_PER_HOUR",
            min=0,
            callback=check_number,
            help="USD, for the estimated cost. By default AWS is asked, where the machine is known.",
        ),
    ] = None,
) -> None:
    """Train what the manifest says. Repeat the command, and it carries on where the run stopped, or says it is done."""
    with importing():
        from job.cli.terminal import TrainingBar
        from job.logs import configure_logs, get_logger
        from job.manifest import Manifest
        from job.plan import Submission, as_sweep, build_plan, select_manifests
        from job.runs import RunKeys, run_id
        from job.storage import open_store
        from job.training.control import Control
        from job.training.host import read_host
        from job.training.price import HourlyPrice
        from job.training.record.background import Completions
        from job.training.record.folder import RunFolder
        from job.training.run import Process, run_manifest
        from job.training.settings import RunSettings

    outlive_reader()
    control = Control(time_budget_seconds=time_budget)
    control.take_signals()
    document = read_document(manifest, overrides or [])
    experiment = name_experiment(experiment, document)
    configure_logs()
    host = read_host(os.environ)
    settings = RunSettings(
        data=data,
        cache=cache,
        device=device.value,
        num_threads=threads,
        auto_precision=_find_auto_precision(document, auto_precision),
        graphs=graphs,
        checkpoint_interval_seconds=checkpoint_interval,
        checkpoint_age_seconds=checkpoint_age,
        host=host,
    )
    store = open_store(output)
    if isinstance(document, Manifest):
        manifests = [document]
    else:
        plan = build_plan(as_sweep(document), source=name_source(manifest), auto_precision=settings.auto_precision)
        manifests = select_manifests(document, plan, index=index, source=name_source(manifest))
        _write_plan(store, experiment, plan, is_submitted=isinstance(document, Submission))
    process = Process(settings, control, price=HourlyPrice(host, given=price_per_hour))
    failures, completing = dict[str, JobError](), ""
    with Completions(on_result=partial(_show, store=store)) as completions:
        for number, wanted in enumerate(manifests):
            configure_logs()
            folder, completion = RunFolder(store, RunKeys(experiment, run_id(wanted))), None
            with _noted(failures, run=folder.keys.run_id):
                if _is_done(folder, process):  # checked before anything heavy, so that it takes only a second
                    continue
                control.check_before_run()
                startup_seconds = _process_seconds() if number == 0 else 0.0
                with TrainingBar() as bar, extra("train"):
                    completion = run_manifest(wanted, folder, process, startup_seconds=startup_seconds, show=bar.show)
            if completion:
                with _noted(failures, run=completing):
                    completions.begin(completion)  # the result is stored while the next run trains
                completing = folder.keys.run_id
        with _noted(failures, run=completing):
            completions.wait()
    if failures:
        first, *others = failures
        configure_logs()
        for run in others:
            get_logger().warning(
                "run_failed_too", run=run, exit_code=failures[run].exit_code, reason=str(failures[run])
            )
        raise failures[first]


def _find_auto_precision(
    document: Manifest | Sweep | Submission, option: AutoPrecision | None
) -> Literal["bf16", "fp16", "fp32"] | None:
    """What the option says, else the submission; None where neither says anything."""
    from job.plan import Submission

    if option is not None:
        return option.value
    return document.auto_precision if isinstance(document, Submission) else None


def _write_plan(store: Store, experiment: str, plan: SweepPlan, *, is_submitted: bool) -> None:
    """Store the plan for `job status` and the report. One that is there gives way where this one has all of its runs
    and more; that of a submission stays, so that none of its containers need read it."""
    from job.plan import SweepPlan, plan_key, read_plan

    key = plan_key(experiment)
    try:
        store.create(key, plan.model_dump_json(indent=1).encode())
    except ObjectExists:
        if is_submitted:
            return
        content = store.read(key)
        with contextlib.suppress(ValueError):  # a later version's
            if set(read_plan(content)) < set(plan.run_ids):
                grown = SweepPlan.model_validate_json(content).model_copy(update={"runs": plan.runs})
                store.write(key, grown.model_dump_json(indent=1).encode())


@contextlib.contextmanager
def _noted(failures: dict[str, JobError], *, run: str) -> Iterator[None]:
    """Collect the error of one run in `failures`, because the other runs may still succeed."""
    try:
        yield
    except (DataError, ConflictError, OutOfMemoryError) as error:
        error.__cause__ = error.__context__ = None
        failures[run] = error.with_traceback(None)  # whose frames hold the run's network, optimizer and batch


def _is_done(folder: RunFolder, process: Process) -> bool:
    """Whether the run is done. If it is, its result is shown.

    Raises `ConflictError` if it was made with other data or weights than the command names.
    """
    from job.logs import get_logger
    from job.training.inputs.finished import check_finished

    result = folder.read_result()
    if result is None:
        return False
    check_finished(result, process.settings, inputs=process.inputs, place=folder.locate_result())
    get_logger().info("run_already_complete", result=folder.locate_result())
    _show(result, store=folder.store, was_complete=True)
    return True


def _show(result: RunResult, *, store: Store, was_complete: bool = False) -> None:
    from job.cli.terminal import print_summary
    from job.runs import RunKeys

    place = store.locate(RunKeys(result.experiment, result.run_id).prefix)
    print_summary(result, place=place, was_complete=was_complete)


def _process_seconds() -> float:
    """Seconds since this process started, as Linux tells it. On other systems, since this module was imported."""
    stat = Path("/proc/self/stat")
    if not stat.is_file():
        return time.perf_counter() - _STARTED
    ticks = float(stat.read_text().rpartition(")")[2].split()[19])  # starttime, proc_pid_stat(5)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
