"""`job run` and `job stage`: what happens on the machine that trains."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.options import (
    DEFAULT_CACHE,
    CacheOption,
    DataOption,
    ExperimentOption,
    ManifestOption,
    OutputOption,
    SettingsOption,
    check_number,
    check_place,
    check_time_budget,
    extra,
    name_experiment,
    name_source,
    read_document,
)
from job.cli.streams import outlive_reader
from job.errors import ConflictError, DataError, JobError, ObjectExists, OutOfMemoryError
from job.home import prepare_matplotlib

if TYPE_CHECKING:
    from job.manifest import Manifest, Sweep
    from job.plan import Submission
    from job.runs import RunResult
    from job.storage import Store
    from job.training.record.folder import RunFolder
    from job.training.run import Process

_STARTED = time.perf_counter()


class Device(StrEnum):
    """What --device accepts."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class StagedDataset(StrEnum):
    """What `job stage` can put somewhere beside the weights."""

    STL10 = "stl10"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    NONE = "none"


class Network(StrEnum):
    """Whose ImageNet weights `job stage` can put somewhere."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"


def run(
    manifest: ManifestOption,
    output: OutputOption = "runs",
    settings: SettingsOption = None,
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
    threads: Annotated[
        int | None, typer.Option(envvar="JOB_THREADS", min=1, help="CPU threads; by default the cores allowed.")
    ] = None,
    graphs: Annotated[
        bool, typer.Option(envvar="JOB_GRAPHS", help="On a GPU, replay training steps as CUDA graphs.")
    ] = True,
    time_budget: Annotated[
        float | None,
        typer.Option(
            envvar="JOB_TIME_BUDGET",
            callback=check_time_budget,
            help="Seconds, more than 0; then save a checkpoint and exit with 75.",
        ),
    ] = None,
    checkpoint_interval: Annotated[
        float, typer.Option(envvar="JOB_CHECKPOINT_INTERVAL", min=0, help="Least seconds between checkpoints.")
    ] = 10.0,
    price_per_hour: Annotated[
        float | None,
        typer.Option(envvar="JOB_PRICE_PER_HOUR", min=0, callback=check_number, help="USD, for the estimated cost."),
    ] = None,
) -> None:
    """Train what the manifest says. Run again, it carries on where it stopped, or finds the run done."""
    from job.manifest import Manifest
    from job.storage import open_store
    from job.training.control import Control
    from job.training.run import Process
    from job.training.settings import RunSettings

    outlive_reader()
    control = Control(time_budget_seconds=time_budget)
    control.take_signals()
    document = read_document(manifest, settings or [])
    experiment = name_experiment(experiment, document)
    how = RunSettings(
        data=data,
        cache=cache,
        device=device.value,
        num_threads=threads,
        graphs=graphs,
        checkpoint_interval_seconds=checkpoint_interval,
        price_per_hour=price_per_hour,
    )
    store = open_store(output)
    if isinstance(document, Manifest):
        manifests = [document]
    else:
        manifests = _select(document, index=index, source=name_source(manifest), store=store, experiment=experiment)
    _run_all(manifests, Process(how, control), store=store, experiment=experiment)


def stage(
    destination: Annotated[
        str, typer.Argument(callback=check_place, help="s3:// URI or folder that runs name as --data.")
    ],
    dataset: Annotated[
        StagedDataset, typer.Option(help="Data set to put there, or none; of stl10 only its labelled files.")
    ] = StagedDataset.STL10,
    data: DataOption = None,
    cache: CacheOption = DEFAULT_CACHE,
    weights: Annotated[bool, typer.Option(help="Put the ImageNet weights there as well.")] = True,
    model: Annotated[Network, typer.Option(help="Network whose ImageNet weights are put there.")] = Network.RESNET18,
) -> None:
    """Put a data set and the ImageNet weights where containers fetch them quickly."""
    from job.logs import configure_logs
    from job.storage import open_store

    outlive_reader()
    configure_logs()
    store = open_store(destination)
    _check_writable(store)
    prepare_matplotlib()
    with extra("train"):
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.datasets import STAGED

        folder = expand_cache(cache)
        places: list[str] = []
        if dataset is not StagedDataset.NONE:
            files = STAGED[dataset.value]
            places += files.stage(files.locate(data, cache=folder), store)
        if weights:
            from job.training.inputs.weights import imagenet_url, stage_imagenet

            places.append(stage_imagenet(store, imagenet_url(model.value), data=data, cache=folder))
    for staged in places:
        typer.echo(staged)


def _check_writable(store: Store) -> None:
    """Raises what `store` says to a small write, so that it is known before gigabytes are downloaded.

    Nothing stays behind, but for an empty object where the role may write and not delete.
    """
    trial = ".job-stage-trial"
    store.write(trial, b"")
    store.delete([trial])


def _select(
    document: Sweep | Submission, *, index: int | None, source: str, store: Store, experiment: str
) -> list[Manifest]:
    """This process's part of a sweep. The plan is left in the output, where `job submit` has not put it."""
    from job.plan import as_sweep, build_plan, plan_key, select_manifests

    plan = build_plan(as_sweep(document), source=source)
    manifests = select_manifests(document, plan, index=index, source=source)
    with contextlib.suppress(ObjectExists):
        store.create(plan_key(experiment), plan.model_dump_json(indent=1).encode())
    return manifests


@contextlib.contextmanager
def _noted(failures: list[JobError]) -> Iterator[None]:
    """A fault of one configuration goes into `failures`: others may do."""
    try:
        yield
    except (DataError, ConflictError, OutOfMemoryError) as error:
        failures.append(error)


def _run_all(manifests: list[Manifest], process: Process, *, store: Store, experiment: str) -> None:
    """Run one after another; each is completed while the next one trains. Raises the first failure, at the end."""
    from job.cli.terminal import TrainingBar
    from job.logs import configure_logs
    from job.runs import RunKeys, run_id
    from job.training.record.background import Completions
    from job.training.record.folder import RunFolder
    from job.training.run import run_manifest

    failures: list[JobError] = []
    with Completions(on_result=partial(_show, store=store)) as completions:
        for number, manifest in enumerate(manifests):
            configure_logs()
            folder = RunFolder(store, RunKeys(experiment, run_id(manifest)))
            with _noted(failures):
                if _is_done(folder, process):  # before anything heavy: a finished run is found in a second
                    continue
                process.control.check_before_run()
                startup_seconds = _process_seconds() if number == 0 else 0.0
                with TrainingBar() as bar, extra("train"):
                    completion = run_manifest(manifest, folder, process, startup_seconds=startup_seconds, show=bar.show)
                completions.begin(completion)
        with _noted(failures):
            completions.wait()
    if failures:
        raise failures[0]


def _is_done(folder: RunFolder, process: Process) -> bool:
    """Whether the run is complete, of the data and weights that the command names. If so, its result is shown.

    Raises `ConflictError` when it came of others.
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
    """Seconds since this process started, read where Linux tells it; elsewhere since Python's start of main."""
    stat = Path("/proc/self/stat")
    if not stat.is_file():
        return time.perf_counter() - _STARTED
    ticks = float(stat.read_text().rpartition(")")[2].split()[19])  # starttime, proc_pid_stat(5)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
