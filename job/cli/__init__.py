"""The command line. It parses the options, calls what does the work, and turns errors into exit codes.

Nothing heavy is imported here: the module of a command is imported when the command is named, and the command imports
what it needs. So `job --help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from job import __version__
from job.cli.streams import protect_streams
from job.cli.unexpected import guard_terminal, show_traceback
from job.errors import JobError
from job.signals import raise_on_ending

_SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # rich would triple the time of --help
}
"""What typer is told of `job` and of each command."""
COMMANDS = {
    "run": ("run", "Train what the manifest says."),
    "plan": ("manifests", "Show the configurations of a sweep, with images, steps and estimated time and cost."),
    "doctor": ("doctor", "Look whether containers of a sweep would start and reach what they need."),
    "submit": ("submit", "Run a sweep: one container per configuration, and only for those without a result."),
    "race": ("race", "Run a sweep seed by seed, and give more seeds only to what may still be the best."),
    "status": (
        "sweeps",
        "Show the runs of a sweep: which are done or running, and why others wait, have failed, are lost or gone.",
    ),
    "logs": ("sweeps", "Print the last log lines of a run."),
    "cancel": ("sweeps", "Stop every container of a sweep that waits or runs in the cloud."),
    "report": (
        "report",
        "Write the report over all finished runs of an output to its folder report/, and print where it is.",
    ),
    "predict": (
        "predict",
        "Say which classes a run's network sees in pictures: the five most likely, with their probabilities.",
    ),
    "export": ("export", "Give finished runs to other programs: a network as ONNX, or histories to a tracker."),
    "stage": ("stage", "Put a data set and the ImageNet weights where containers fetch them quickly."),
    "validate": ("manifests", "Check manifests and sweeps without running them."),
    "schema": (
        "manifests",
        "Print the JSON Schema of a manifest, a sweep or a settings file of `job submit`, for editors.",
    ),
}
"""Each command's module in `job.cli`, where the function of its name is, and the first sentence of its docstring, which
`job --help` prints without importing any of them."""


def load_command(name: str) -> Any:
    """One of `COMMANDS` with its options, as typer makes it of the function."""
    module, _ = COMMANDS[name]
    alone = typer.Typer(**_SETTINGS)
    alone.command(name)(getattr(import_module(f"job.cli.{module}"), name))
    return typer.main.get_command(alone)


class _Commands(TyperGroup):
    """The commands by their names and summaries alone, until one is named."""

    def resolve_command(self, *arguments: Any) -> Any:
        """Which command the words on the command line name, loaded; then the words after its name."""
        name, command, rest = super().resolve_command(*arguments)
        return name, command and load_command(str(name)), rest


app = typer.Typer(
    name="job",
    help="Fine-tune one network with many optimizers, and find out which is better, by how much, and why.",
    cls=_Commands,
    no_args_is_help=True,
    **_SETTINGS,
)
for _name, (_, _summary) in COMMANDS.items():
    app.command(_name, help=_summary)(lambda: None)


def main() -> None:
    """Entry point of the console script: expected failures end in one message and their exit code."""
    gc.freeze()  # what is imported stays: else Python would look through it for garbage at the end of the process
    protect_streams()
    guard_terminal()
    raise_on_ending()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for them, it reads all packages' metadata
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
