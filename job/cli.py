"""The command line: `job run`, `validate`, `schema`, `stage`, `report`. Parses, calls, and turns errors into exit codes.

Nothing heavy is imported here: each command imports what it needs, so that `job --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from job import __version__
from job.errors import JobError, ManifestError, ObjectMissing

app = typer.Typer(
    name="job",
    help="Fine-tune one network with many optimizers, and find out which is better, by how much, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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
        str, typer.Option(envvar="JOB_DEVICE", help="auto, cpu or cuda; cuda fails where there is no GPU.")
    ] = "auto",
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
    """Train what the manifest says; run again, it carries on or finds the run done."""
    from job.training.command import run_command

    raise NotImplementedError


if __name__ == "__main__":
    main()
