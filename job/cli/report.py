"""`job report`: from the records of finished runs to a page."""

from __future__ import annotations

from typing import Annotated

import typer


def report(
    output: Annotated[str, typer.Argument(envvar="JOB_OUTPUT", help="Folder or s3:// URI that runs wrote to.")],
) -> None:
    """Write one page over all finished runs of an output, and say where it is."""
    from job.logs import configure_logs
    from job.report import write_report
    from job.storage import open_store

    configure_logs()
    typer.echo(write_report(open_store(output)))
