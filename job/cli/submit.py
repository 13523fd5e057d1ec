"""`job submit`: sends what is left to do of a sweep to a back end. The registry says which back ends there are."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.backend_options import takes_backend_options
from job.cli.done import check_done
from job.cli.options import ExperimentOption, ManifestOption, OverridesOption, name_experiment, name_source, read_sweep
from job.cli.streams import outlive_reader
from job.places import CLAIM_SCHEME
from job.submit.registry import Reach, find_backend, load_backend

if TYPE_CHECKING:
    from collections.abc import Generator

    from job.manifest import Sweep
    from job.plan import SubmittedJob, SweepPlan
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
    from job.plan import build_plan

    configure_logs()
    sweep = read_sweep(manifest, overrides or [])
    plan = build_plan(sweep, source=name_source(manifest))
    send(sweep, plan, options, experiment=name_experiment(experiment, sweep), dry_run=dry_run, stale=stale)


def send(
    sweep: Sweep,
    plan: SweepPlan,
    options: Options,
    *,
    experiment: str,
    dry_run: bool = False,
    stale: bool = False,
    only: frozenset[str] | None = None,
) -> None:
    """Send what is left to do of `plan`, or of those of its runs that are in `only`, and follow it where it runs here.

    A dry run prints the requests instead.
    """
    from job.submit.backend import DEFAULT_OUTPUT
    from job.submit.inputs import DOWNLOAD, Places, check_inputs, check_output
    from job.submit.stale import read_origin
    from job.submit.work import Order, prepare

    to, data = options.to, options.data
    check_inputs(plan, Places(to=to, output=options.output or DEFAULT_OUTPUT, data=data))
    backend, reach = load_backend(to), find_backend(to).reach
    settings: Settings = backend.configure(options)
    places = Places(to=to, output=settings.output, data=data)
    check_output(places)
    order = Order(
        experiment=experiment,
        output=settings.output,
        per_container=options.per_container,
        is_dry_run=dry_run,
        origin=read_origin(settings, reach) if stale else None,
        only=only,
    )
    work = prepare(sweep, plan, order)
    _show_stale(work, asked=stale)
    check_done(work, data=None if data == DOWNLOAD else data, is_here=reach is not Reach.NONE)
    if not work.submission.containers:
        typer.echo(f"{work.experiment}: nothing to do; {len(work.done)} runs are done, {work.num_busy} under way")
        return
    work = _settle_precision(work, options, settings)
    if options.max_usd is not None:
        work, options = _keep_to_budget(work, options, settings)
        settings = backend.configure(options)
    data = _choose_data(plan, places, is_dry_run=dry_run)
    launch = work.launch(settings, data=data, env=options.resolve_env(os.environ))
    request = backend.render(launch, settings)
    if dry_run:
        typer.echo(backend.show(request), nl=False)
        return
    outlive_reader()
    work.write()
    _finish(backend.submit(request, settings), work)


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


def _finish(sent: SubmittedJob | Generator[Ended], work: Work) -> None:
    """Record a submission that was sent away, or follow one that is carried out here. Then print where to look."""
    from job.plan import SubmittedJob

    if isinstance(sent, SubmittedJob):
        work.write_job(sent)
    else:
        _follow(sent, work)
    containers = work.submission.containers
    runs = sum(len(container) for container in containers)
    where = "the folder where the claim is mounted" if work.output.startswith(CLAIM_SCHEME) else work.output
    typer.echo(f"{work.experiment}: {runs} runs in {len(containers)} containers; see: job status {where}")


def _follow(containers: Generator[Ended], work: Work) -> None:
    """Print how each container ended. If any failed, exits with the code of the failed one with the lowest index."""
    failed: list[Ended] = []
    with closing(containers):  # what ends this command must end the containers too
        for container in containers:
            runs = ", ".join(work.submission.containers[container.index])
            attempts = f" after {container.attempts} attempts" if container.attempts > 1 else ""
            outcome = f"exit code {container.exit_code}" if container.exit_code else "done"
            typer.echo(f"{outcome}{attempts}: {runs}")
            failed += [container] if container.exit_code else []
    if failed:
        raise typer.Exit(min(failed, key=lambda container: container.index).exit_code)
