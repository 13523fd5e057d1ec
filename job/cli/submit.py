"""`job submit`: sends what is left to do of a sweep to a back end. The registry says which back ends there are."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.backend_options import takes_backend_options
from job.cli.done import check_done
from job.cli.options import ExperimentOption, ManifestOption, OverridesOption, name_experiment, name_source, read_sweep
from job.cli.streams import outlive_reader
from job.places import CLAIM_SCHEME
from job.submit.registry import Reach, find_backend, load_backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from job.manifest import Sweep
    from job.plan import SweepPlan
    from job.submit.backend import Ended, Settings
    from job.submit.inputs import Places
    from job.submit.options import Options
    from job.submit.work import Work


@takes_backend_options
def submit(
    manifest: ManifestOption,
    options: Options,
    overrides: OverridesOption = None,
    experiment: ExperimentOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact requests. Send and write nothing.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Run again what was made by other code, torch or image; see above.")
    ] = False,
) -> None:
    """Run a sweep: one container per configuration, and only for those without a result.

    With --stale, results that were made by other code, another torch or torchvision, or another image than what would
    run now are made again. The name of an image tells what is in it only by its digest, or by a tag that is a commit.
    A part that is unknown on one side counts as the same. The old results are kept in the output, below `superseded/`.
    """
    from job.logs import configure_logs

    configure_logs()
    sweep = read_sweep(manifest, overrides or [])
    asked = Asked(experiment=experiment, is_dry_run=dry_run, stale=stale)
    tell_sent(send(sweep, options, asked, source=name_source(manifest), show=show_ended))


def tell_sent(sent: Sent) -> None:
    """Print what became of a submission. Exits with the code of the failed container with the lowest index, if any."""
    if sent.request is not None:
        typer.echo(sent.request, nl=False)
    elif not sent.containers:
        typer.echo(f"{sent.experiment}: nothing to do; {sent.num_done} runs are done, {sent.num_busy} under way")
    elif failed := [container for container in sent.ended if container.exit_code]:
        raise typer.Exit(min(failed, key=lambda container: container.index).exit_code)
    else:
        runs = sum(len(container) for container in sent.containers)
        where = "the folder where the claim is mounted" if sent.output.startswith(CLAIM_SCHEME) else sent.output
        typer.echo(f"{sent.experiment}: {runs} runs in {len(sent.containers)} containers; see: job status {where}")


@dataclass(frozen=True)
class Asked:
    """What is asked of a submission besides its `Options`."""

    experiment: str | None = None
    """By default the sweep's name."""
    is_dry_run: bool = False
    stale: bool = False
    only: frozenset[str] | None = None
    """The runs of one rung of a race; None for a sweep, all of whose runs are sent."""


@dataclass(frozen=True)
class Sent:
    """What became of a submission."""

    experiment: str
    output: str
    """Where the runs write."""
    num_done: int
    """Runs that had a result already."""
    num_busy: int
    """Runs that were under way already."""
    containers: list[list[str]]
    """The run ids of each container; none if nothing is left to do."""
    request: str | None = None
    """Of a dry run: what would have been sent."""
    ended: list[Ended] = field(default_factory=list)
    """How each container ended, where they were carried out here."""


def send(
    sweep: Sweep,
    options: Options,
    asked: Asked,
    *,
    source: str,
    show: Callable[[Ended, list[str]], None] = lambda *_: None,
) -> Sent:
    """Send what is left to do of `sweep`, or carry it out where the back end runs here; `show` is told of
    every end, with the runs of the container.

    Standard error tells what was decided on the way. `source` names the sweep in messages.
    """
    from job.plan import SubmittedJob, build_plan
    from job.submit.backend import DEFAULT_OUTPUT
    from job.submit.inputs import DOWNLOAD, Places, check_inputs, check_output
    from job.submit.stale import read_origin
    from job.submit.work import Order, prepare

    plan = build_plan(sweep, source=source).model_copy(update={"is_race": asked.only is not None})
    to, data = options.to, options.data
    check_inputs(plan, Places(to=to, output=options.output or DEFAULT_OUTPUT, data=data))
    backend, reach = load_backend(to), find_backend(to).reach
    settings: Settings = backend.configure(options)
    places = Places(to=to, output=settings.output, data=data)
    check_output(places)
    order = Order(
        experiment=name_experiment(asked.experiment, sweep),
        output=settings.output,
        per_container=options.per_container,
        is_dry_run=asked.is_dry_run,
        origin=read_origin(settings, reach) if asked.stale else None,
        only=asked.only,
    )
    work = prepare(sweep, plan, order)
    _show_stale(work, asked=asked.stale)
    check_done(work, data=None if data == DOWNLOAD else data, is_here=reach is not Reach.NONE)
    sent = Sent(work.experiment, work.output, len(work.done), work.num_busy, work.submission.containers)
    if not sent.containers:
        return sent
    work = _settle_precision(work, options, settings)
    if options.max_usd is not None:
        work, options = _keep_to_budget(work, options, settings)
        settings = backend.configure(options)
    data = _choose_data(plan, places, is_dry_run=asked.is_dry_run)
    launch = work.launch(settings, data=data, env=options.resolve_env(os.environ))
    request = backend.render(launch, settings)
    sent = replace(sent, containers=work.submission.containers)
    if asked.is_dry_run:
        return replace(sent, request=backend.show(request))
    outlive_reader()
    work.write()
    begun = backend.submit(request, settings)
    if isinstance(begun, SubmittedJob):
        work.write_job(begun)
        return sent
    with closing(begun):  # what ends this command must end the containers too
        for container in begun:
            show(container, work.submission.containers[container.index])
            sent.ended.append(container)
    return sent


def _settle_precision(work: Work, options: Options, settings: Settings) -> Work:
    """`work` with one precision for all runs whose manifest leaves it open. Standard error tells which."""
    from job.submit.pool import find_machines

    settled, said = work.settle_precision(
        asked=options.auto_precision, find_machines=lambda: find_machines(options, settings)
    )
    if said:
        typer.echo(f"{work.experiment}: {said}", err=True)
    return settled


def _keep_to_budget(work: Work, options: Options, settings: Settings) -> tuple[Work, Options]:
    """What --max-usd buys of `work`, and `options` with the deadline that keeps it to that. Standard error tells."""
    from job.submit.budget import describe_budget, fit_budget
    from job.submit.costs import read_costs

    budget = fit_budget(
        read_costs(work, options, settings),
        max_usd=options.max_usd or 0.0,
        deadline_seconds=options.timeout or getattr(settings, "timeout_seconds", None),
    )
    typer.echo(f"{work.experiment}: {describe_budget(budget)}", err=True)
    return work.keep_first(budget.num_containers), options.model_copy(update={"timeout": budget.deadline_seconds})


def _choose_data(plan: SweepPlan, places: Places, *, is_dry_run: bool) -> str | None:
    """The --data of the containers. If it was not given, standard error says what was taken."""
    from job.submit.inputs import choose_data

    chosen = choose_data(plan, places, is_dry_run=is_dry_run)
    if chosen is not None and places.data is None:
        typer.echo(f"{plan.name}: containers read their data from {chosen}", err=True)
    return chosen


def _show_stale(work: Work, *, asked: bool) -> None:
    """Print the stale runs on standard error, because standard output may hold the request."""
    from job.submit.stale import describe_stale

    if asked:
        typer.echo(f"{work.experiment}: {len(work.stale)} of the finished runs are stale and run again", err=True)
    for line in describe_stale(work.stale):
        typer.echo(f"  {line}", err=True)


def show_ended(container: Ended, run_ids: list[str]) -> None:
    """Print how one container ended."""
    attempts = f" after {container.attempts} attempts" if container.attempts > 1 else ""
    outcome = f"exit code {container.exit_code}" if container.exit_code else "done"
    typer.echo(f"{outcome}{attempts}: {', '.join(run_ids)}")
