"""`job report`: from the records of finished runs to a verdict."""

from __future__ import annotations

from typing import Annotated

import typer

from job.allocator import give_back_freed_memory
from job.cli.next import check_next, write_next
from job.cli.options import check_experiment, check_place
from job.cli.streams import outlive_reader
from job.cpus import keep_algebra_to_one_core
from job.errors import IncompleteError
from job.home import prepare_matplotlib
from job.versions import extra, importing


def report(
    output: Annotated[
        str, typer.Argument(envvar="JOB_OUTPUT", callback=check_place, help="Folder or s3:// URI that runs wrote to.")
    ],
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            callback=check_place, help="A published study to compare with: lab-report (bundled), a path or s3:// URI."
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Test top-1 to reach: the report gives the epochs, seconds and dollars. By default 95 % of the best.",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracies that differ by less are called practically equal.")
    ] = 0.01,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print the page to report.pdf, with the Chromium on this machine.")
    ] = False,
    next_sweep: Annotated[
        str | None,
        typer.Option(
            "--next",
            metavar="NEXT.json",
            callback=check_place,
            help="Write the sweep that would settle what is open, and print why: more seeds, a wider range, or an "
            "intervention that tests a reason.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 where runs are missing, failed, lost or corrupt.")
    ] = False,
    fail_unless: Annotated[
        list[str] | None,
        typer.Option(
            help='Exit with 3 unless this is shown: "adagrad > adam" (better) or "adagrad >= adam" (better or '
            "practically equal). Repeatable."
        ),
    ] = None,
) -> None:
    """Write the report over all finished runs of an output to its folder report/, and print where it is."""
    outlive_reader()
    prepare_matplotlib()
    give_back_freed_memory()
    keep_algebra_to_one_core()
    from job.logs import configure_logs
    from job.storage import open_store

    with extra("report"), importing():
        from job.report import check_expectation, find_browser, parse_expectation, read_reference, write_report

    configure_logs()
    if experiment is not None:
        check_experiment(experiment)
    for expectation in fail_unless or []:
        parse_expectation(expectation)
    browser = find_browser() if pdf else None
    study = read_reference(reference) if reference else None
    store = open_store(output)
    if next_sweep is not None:
        check_next(next_sweep, store, experiment=experiment)
    written = write_report(store, experiment=experiment, reference=study, target=target, margin=margin, browser=browser)
    typer.echo(written.location)
    if next_sweep is not None:
        write_next(next_sweep, written, output=output)
    for expectation in fail_unless or []:
        check_expectation(expectation, written.summary)
    if strict and written.num_lacking:
        kinds = written.holes["kind"].value_counts()
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if kind != "diverged")
        raise IncompleteError(f"{output}: the report was written, but not every run has a usable result: {found}")
