"""The option --next of `job report`: the next sweep as a file, and why each part of it is there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from job.errors import UsageError
from job.places import is_remote

if TYPE_CHECKING:
    from job.report import Proposal, WrittenReport
    from job.storage import Store

MOST_PARTS = 50
"""So many parts are told; further ones are counted."""


def check_next(path: str, store: Store, *, experiment: str | None) -> None:
    """Raises `UsageError` if the sweep cannot be written to `path`, or if it is not said of which experiment it is."""
    from job.runs import is_result_key

    if is_remote(path):
        raise UsageError(f"--next {path}: must be a file of this machine")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--next {path}: must name a file in a folder that exists")
    names = sorted({key.split("/")[0] for key in store.list_keys("") if is_result_key(key)})
    if experiment is None and len(names) > 1:
        raise UsageError(
            f"--next: {store.uri} has several experiments, and a sweep is of one; name it with --experiment: "
            f"{', '.join(names)[:500]}"
        )


def write_next(path: str, written: WrittenReport, *, output: str) -> None:
    """Write the next sweep of the one experiment in the report, and print its parts; nothing where nothing is open."""
    from job.report import propose_next

    proposal = propose_next(written.studies)
    if proposal is None:
        typer.echo("nothing is open that another sweep would settle; no sweep was written")
        return
    try:
        Path(path).write_text(json.dumps(proposal.as_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--next {path}: cannot be written: {error.strerror or error}") from error
    _tell(path, proposal, written, output=output)


def _tell(path: str, proposal: Proposal, written: WrittenReport, *, output: str) -> None:
    from job.plan import build_plan

    there = {run_id for study in written.studies for run_id in study.runs.runs["run_id"]}
    planned = build_plan(proposal.sweep, source=path).run_ids
    num_done = sum(run_id in there for run_id in planned)
    typer.echo(
        f"{path}: {len(planned) - num_done} new runs; {num_done} of its runs have a result and are not run again"
    )
    for part in proposal.parts[:MOST_PARTS]:
        typer.echo(f"  {part.kind:<12}  {part.what}: {part.why}")
    if len(proposal.parts) > MOST_PARTS:
        typer.echo(f"  and {len(proposal.parts) - MOST_PARTS} parts more")
    if written.num_lacking:
        typer.echo(
            f"  {written.num_lacking} runs of the last sweep have no usable result. Submit that sweep again first: "
            "this one takes its place in `job status`."
        )
    typer.echo(f"job submit --manifest {shlex.quote(path)} --output {shlex.quote(output)} --to local")
