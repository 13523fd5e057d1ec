"""`job status`, `logs` and `cancel`: a sweep as one thing to watch or to stop."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from job.cli.options import ExperimentOption, check_place, open_output
from job.cli.streams import outlive_reader
from job.errors import JobError
from job.submit.registry import BACKENDS, Reach, join_words, load_backend
from job.versions import importing

WATCH_SECONDS = 15
IDLE_RATIO = 4
"""Of a large sweep each look takes many requests: at least this many times as long as it took nothing is asked."""
OutputArgument = Annotated[
    str,
    typer.Argument(
        envvar="JOB_OUTPUT", callback=check_place, help="Folder or s3:// URI that the sweep was submitted with."
    ),
]


def status(
    output: OutputArgument,
    experiment: ExperimentOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again, until nothing is under way.")
    ] = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html",
            help="Write it to report/live.html in the output, with curves and cost so far. With --watch it is kept "
            "fresh.",
        ),
    ] = False,
) -> None:
    """Show the runs of a sweep: which are done or running, and why others wait, have failed, are lost or gone."""
    with importing():
        from job.cli.live import LivePage
        from job.cli.tables import print_status
        from job.runs import runs_prefix
        from job.submit.status import find_experiment, observe_sweep, read_last_words

    store = open_output(output)
    name = find_experiment(store, experiment)
    page = LivePage(store, name) if html else None
    if page is not None:
        typer.echo(f"{name}: the live page is {page.location}", err=True)
    while True:
        began = time.monotonic()
        versions = store.list_versions(runs_prefix(name))
        seen = observe_sweep(store, name, listed=versions)
        if page is not None:
            page.refresh(seen, versions)
        words = {} if as_json else read_last_words(store, seen)
        if as_json:
            counts = {"experiment": name, "counts": seen.counts, "done_fraction": round(seen.done_fraction, 4)}
            runs = [asdict(run) for run in seen.runs]
            typer.echo(json.dumps(counts | {"seconds_left": seen.seconds_left, "runs": runs}))
        else:
            print_status(seen, words)
        if not watch or seen.is_over:
            return
        time.sleep(max(WATCH_SECONDS, IDLE_RATIO * (time.monotonic() - began)))


def logs(
    output: OutputArgument,
    run_id: Annotated[str, typer.Argument(help="The run, as `job status` names it.")],
    experiment: ExperimentOption = None,
    num_lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines to print.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as logged: JSON, for programs.")] = False,
) -> None:
    """Print the last log lines of a run.

    They come from its container if the back end still has them, else from its log.jsonl.
    """
    from job.logs import show_line
    from job.submit.status import find_experiment, read_log

    store = open_output(output)
    for line in read_log(store, find_experiment(store, experiment), run_id, num_lines=num_lines):
        typer.echo(line if as_json else show_line(line))


def cancel(
    output: OutputArgument,
    experiment: ExperimentOption = None,
) -> None:
    """Stop every container of a sweep that waits or runs in the cloud.

    Checkpoints are kept: submit the sweep again, and its runs carry on from them. What cannot be cancelled is named,
    and ends the command with its exit code once the rest is cancelled.
    """
    from job.submit.status import find_experiment
    from job.submit.submissions import read_submitted

    store = open_output(output)
    name = find_experiment(store, experiment)
    submitted = read_submitted(store, name)
    outlive_reader()
    refusals: list[JobError] = []
    for submission in submitted:
        job = submission.job
        try:
            was_there = load_backend(job.backend).cancel(job, reason=f"job cancel {name}")
        except JobError as error:  # the others are cancelled all the same
            refusals.append(error)
            typer.echo(f"not cancelled: {job.backend} {job.job}: {error}", err=True)
        else:
            typer.echo(f"{'cancelled' if was_there else 'gone already'}: {job.backend} {job.job}")
    if refusals:
        raise typer.Exit(refusals[0].exit_code)
    if not submitted:
        clouds = join_words([to for to, entry in BACKENDS.items() if entry.reach is Reach.NONE])
        typer.echo(f"{name}: nothing of it was sent to {clouds}")
