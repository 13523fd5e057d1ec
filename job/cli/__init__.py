"""The command line: `job run`, `validate`, `schema`, `stage`, `report`. Parses, calls, turns errors into exit codes.

Nothing heavy is imported here: each command imports what it needs, so that `job --help` answers at once.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from job import __version__
from job.errors import IncompleteError, JobError, ManifestError, ObjectMissing, StorageError, UsageError

if TYPE_CHECKING:
    from job.manifest import Manifest

_STARTED = time.perf_counter()


class Device(StrEnum):
    """What --device accepts."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class StagedDataset(StrEnum):
    """The data sets that `job stage` knows."""

    STL10 = "stl10"
    CIFAR100 = "cifar100"


app = typer.Typer(
    name="job",
    help="Fine-tune one network with many optimizers, and find out which is better, by how much, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would triple the time of --help
)

ManifestOption = Annotated[
    str, typer.Option("--manifest", "-m", envvar="JOB_MANIFEST", help="Path or s3:// URI of a manifest.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the manifest, such as optimizer.lr=0.01."),
]
OutputOption = Annotated[
    str, typer.Option("--output", "-o", envvar="JOB_OUTPUT", help="Folder or s3:// URI for the artefacts.")
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", envvar="JOB_DATA", help="Folder or s3:// URI of the data set; else cache, then download."),
]
CacheOption = Annotated[
    Path, typer.Option("--cache", envvar="JOB_CACHE", help="Folder for downloads and decoded images.")
]
DEFAULT_CACHE = Path("~/.cache/job")


def main() -> None:
    """Entry point of the console script: expected failures end in one message and their exit code."""
    try:
        app()
    except JobError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"job {__version__}")
        raise typer.Exit


@app.command()
def run(
    manifest: ManifestOption,
    output: OutputOption = "runs",
    settings: SettingsOption = None,
    experiment: Annotated[
        str, typer.Option(envvar="JOB_EXPERIMENT", help="Groups runs that are compared with each other.")
    ] = "default",
    data: DataOption = None,
    cache: CacheOption = DEFAULT_CACHE,
    device: Annotated[
        Device, typer.Option(envvar="JOB_DEVICE", help="With cuda, a machine without GPU is a fault (71).")
    ] = Device.AUTO,
    threads: Annotated[
        int | None, typer.Option(envvar="JOB_THREADS", min=1, help="CPU threads; by default the cores allowed.")
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(envvar="JOB_TIME_BUDGET", min=0, help="Seconds; then save a checkpoint and exit with 75."),
    ] = None,
    checkpoint_interval: Annotated[
        float, typer.Option(envvar="JOB_CHECKPOINT_INTERVAL", min=0, help="Least seconds between checkpoints.")
    ] = 10.0,
    price_per_hour: Annotated[
        float | None, typer.Option(envvar="JOB_PRICE_PER_HOUR", min=0, help="USD, for the estimated cost.")
    ] = None,
) -> None:
    """Train what the manifest says. Run again, it carries on where it stopped, or finds the run done."""
    from job.cli.terminal import TrainingBar, print_summary
    from job.logs import configure_logs, get_logger
    from job.runs import RunKeys, run_id
    from job.storage import open_store
    from job.training.artefacts import read_result
    from job.training.control import Control

    log = configure_logs()
    parsed = _read_manifest(manifest, settings or [])
    store, keys = open_store(output), RunKeys(_experiment_name(experiment), run_id(parsed))
    result = read_result(store, keys)  # before anything heavy: a finished run is found in a second
    was_complete = result is not None
    if result is None:
        bar = TrainingBar()
        control = Control(time_budget_seconds=time_budget, show_step=bar.step)
        control.listen()  # before torch is imported: as PID 1 a process without handler ignores SIGTERM
        with bar, _extra("train"):
            from job.training.run import RunSettings, run_manifest

            result = run_manifest(
                parsed,
                RunSettings(
                    data=data,
                    cache=cache,
                    device=device.value,
                    num_threads=threads,
                    checkpoint_interval_seconds=checkpoint_interval,
                    price_per_hour=price_per_hour,
                    startup_seconds=_process_seconds(),
                ),
                store=store,
                keys=keys,
                control=control,
                log=log,
                on_start=bar.start,
            )
    else:
        get_logger().info("run_already_complete", result=store.locate(keys.result))
    print_summary(result, place=store.locate(keys.prefix), was_complete=was_complete)


@app.command()
def validate(
    manifests: Annotated[list[str], typer.Argument(help="Paths or s3:// URIs of manifests.")],
    settings: SettingsOption = None,
) -> None:
    """Check manifests without running them; every fault is named. Exits with 65 if there is one."""
    from job.runs import run_id

    faults: list[str] = []
    for source in manifests:
        try:
            typer.echo(f"{source}: valid, run id {run_id(_read_manifest(source, settings or []))}")
        except ManifestError as error:
            faults += error.faults
    if faults:
        raise ManifestError(*faults)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a manifest, for editors."""
    import json

    from job.manifest import Manifest

    typer.echo(json.dumps(Manifest.model_json_schema(), indent=2))


@app.command()
def stage(
    destination: Annotated[str, typer.Argument(help="s3:// URI or folder that runs name as --data.")],
    dataset: Annotated[
        StagedDataset, typer.Option(help="Data set to put there; for stl10 only its labelled files.")
    ] = StagedDataset.STL10,
    data: DataOption = None,
    cache: CacheOption = DEFAULT_CACHE,
    weights: Annotated[bool, typer.Option(help="Put the ImageNet weights there as well.")] = True,
) -> None:
    """Put a data set and the ImageNet weights where containers fetch them quickly."""
    from job.logs import configure_logs
    from job.storage import open_store

    configure_logs()
    store = open_store(destination)
    with _extra("train"):
        from job.training.data import STAGED

        files = STAGED[dataset.value]
        places = files.stage(files.locate(data, cache=cache.expanduser()), store)
        if weights:
            from job.training.model import stage_imagenet

            places.append(stage_imagenet(store, data=data, cache=cache.expanduser()))
    for place in places:
        typer.echo(place)


@app.command()
def report(
    output: Annotated[str, typer.Argument(envvar="JOB_OUTPUT", help="Folder or s3:// URI that runs wrote to.")],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="A published study to set beside: lab-report (bundled), a path or s3:// URI.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Test top-1 whose epochs, seconds and dollars are told; by default 95 % of the best."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 70 where runs are missing, failed, lost or corrupt.")
    ] = False,
) -> None:
    """Write the report over all finished runs of an output to its report/, and say where it is."""
    from job.logs import configure_logs
    from job.report import read_reference, write_report
    from job.storage import open_store

    configure_logs()
    if experiment is not None:
        _experiment_name(experiment)
    study = read_reference(reference) if reference else None
    written = write_report(open_store(output), experiment=experiment, reference=study, target=target)
    typer.echo(written.location)
    if strict and written.num_lacking:
        kinds = written.holes["kind"].value_counts()
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if kind != "diverged")
        raise IncompleteError(f"{output}: the report was written, but of its runs there are: {found}")


def _read_manifest(location: str, settings: list[str]) -> Manifest:
    """The manifest at a path or s3:// URI. Raises `ManifestError` also where there is none."""
    from job.manifest import parse_manifest
    from job.storage import is_remote, read_uri

    try:
        content = read_uri(location)
    except ObjectMissing as error:
        raise ManifestError(f"{location}: no such manifest") from error
    except StorageError as error:
        if is_remote(location):
            raise
        raise ManifestError(f"{location}: not a readable file") from error
    return parse_manifest(content, source=location, settings=settings)


def _experiment_name(name: str) -> str:
    """`name`, if it can stand in a key. Raises `UsageError`."""
    from job.manifest.models import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--experiment is {name!r}; must be 1 to 40 lower-case letters, digits and dashes")
    return name


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra is missing instead of which module."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] not in {"torch", "torchvision", "torchmetrics", "safetensors"}:
            raise
        raise UsageError(f"{error.name} is not installed; this needs: pip install 'job[{name}]'") from error


def _process_seconds() -> float:
    """Seconds since this process started, read where Linux tells it; elsewhere since Python's start of main."""
    stat = Path("/proc/self/stat")
    if not stat.is_file():
        return time.perf_counter() - _STARTED
    ticks = float(stat.read_text().rpartition(")")[2].split()[19])  # starttime, proc_pid_stat(5)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
