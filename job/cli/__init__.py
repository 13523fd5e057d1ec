"""The command line. It parses the options, calls what does the work, and turns errors into exit codes.

Nothing heavy is imported here: each command imports what it needs, so that `job --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from job import __version__
from job.cli.doctor import doctor
from job.cli.export import export
from job.cli.manifests import plan, schema, validate
from job.cli.predict import predict
from job.cli.race import race
from job.cli.report import report
from job.cli.run import run
from job.cli.stage import stage
from job.cli.streams import protect_streams
from job.cli.submit import submit
from job.cli.sweeps import cancel, logs, status
from job.cli.unexpected import guard_terminal, show_traceback
from job.errors import JobError
from job.signals import raise_on_ending

app = typer.Typer(
    name="job",
    help="Fine-tune one network with many optimizers, and find out which is better, by how much, and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would triple the time of --help
)
for command in (
    run,
    plan,
    doctor,
    submit,
    race,
    status,
    logs,
    cancel,
    report,
    predict,
    export,
    stage,
    validate,
    schema,
):
    app.command()(command)


def main() -> None:
    """Entry point of the console script: expected failures end in one message and their exit code."""
    protect_streams()
    guard_terminal()
    raise_on_ending()
    try:
        app()
    except JobError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - a bug, whose traceback must be printed without secrets
        show_traceback(error)
        sys.exit(JobError.exit_code)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"job {__version__}")
        raise typer.Exit
