"""`job report`: from the records of finished runs to a verdict."""

from __future__ import annotations

from typing import Annotated

import typer

from job.cli.options import check_experiment, check_place
from job.cli.streams import outlive_reader
from job.errors import IncompleteError
from job.home import prepare_matplotlib
from job.versions import extra


def report(
    output: Annotated[
        str, typer.Argument(envvar="JOB_OUTPUT", callback=check_place, help="Folder or s3:// URI that runs wrote to.")
    ],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            callback=check_place, help="A published study to set beside: lab-report (bundled), a path or s3:// URI."
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Test top-1 whose epochs, seconds and dollars are told; by default 95 % of the best."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where runs are missing, failed, lost or corrupt.")
    ] = False,
) -> None:
    """Write the report over all finished runs of an output to its report/, and say where it is."""
    outlive_reader()
    prepare_matplotlib()
    from job.logs import configure_logs
    from job.storage import open_store

    with extra("report"):
        from job.report import read_reference, write_report

    configure_logs()
    if experiment is not None:
        check_experiment(experiment)
    study = read_reference(reference) if reference else None
    written = write_report(open_store(output), experiment=experiment, reference=study, target=target)
    typer.echo(written.location)
    if strict and written.num_lacking:
        kinds = written.holes["kind"].value_counts()
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if kind != "diverged")
        raise IncompleteError(f"{output}: the report was written, but of its runs there are: {found}")
