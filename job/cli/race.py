"""`job race`: a sweep of which only those configurations get more seeds that may still be the best.

Storage holds all of its state: each call reads the results, judges them, and sends what is missing of the present rung.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.backend_options import takes_backend_options
from job.cli.options import ExperimentOption, ManifestOption, OverridesOption, name_experiment, name_source, read_sweep
from job.cli.submit import Asked, send, show_ended, tell_sent
from job.cli.sweeps import WATCH_SECONDS
from job.errors import IncompleteError, UsageError
from job.places import CLAIM_SCHEME
from job.versions import extra

if TYPE_CHECKING:
    from job.report.analysis.race import Course, Standing
    from job.storage import Store
    from job.submit.options import Options


@takes_backend_options
def race(
    manifest: ManifestOption,
    options: Options,
    overrides: OverridesOption = None,
    experiment: ExperimentOption = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Accuracies that differ by less are called practically equal.")
    ] = 0.01,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact requests of this rung. Send and write nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, rung after rung, until the race is over.")] = False,
) -> None:
    """Run a sweep seed by seed, and give more seeds only to what may still be the best.

    First every configuration gets two seeds. Then those that cannot be the best any more are not continued, and the
    others get half as many seeds again, up to all of the sweep's. The best one is lost in at most 5 % of races. Call it
    again for the next rung, from any machine: all that it knows are the results in the output.
    """
    from job.logs import configure_logs
    from job.plan import build_plan
    from job.storage import open_store
    from job.submit.registry import load_backend

    with extra("report"):
        from job.report.analysis.race import lay_course, tell_race

    configure_logs()
    if watch and (dry_run or options.max_usd is not None):
        raise UsageError(
            f"--watch and {'--dry-run' if dry_run else '--max-usd'}: a watched race sends several submissions, and the "
            "other option is about one; leave one of them out"
        )
    sweep = read_sweep(manifest, overrides or [])
    course = lay_course(build_plan(sweep, source=name_source(manifest)))
    output = load_backend(options.to).configure(options).output
    if output.startswith(CLAIM_SCHEME):
        raise UsageError(f"--output {output}: a race reads its results from here; must be s3://BUCKET/PREFIX")
    name, store = name_experiment(experiment, sweep), open_store(output)
    sent: frozenset[str] = frozenset()
    while True:
        standing = _read_standing(store, name, course, margin=margin)
        for line in tell_race(standing, margin=margin):
            typer.echo(f"{name}: {line}" if not line.startswith(" ") else line, err=dry_run)
        if standing.is_over:
            return
        if standing.missing - sent:
            asked = Asked(experiment=name, is_dry_run=dry_run, only=standing.missing - sent)
            tell_sent(send(sweep, options, asked, source=name_source(manifest), show=show_ended))
        if not watch:
            typer.echo(f"{name}: call it again when the rung is done", err=dry_run)
            return
        sent |= standing.missing
        _wait(store, name, standing.missing)


def _read_standing(store: Store, experiment: str, course: Course, *, margin: float) -> Standing:
    """The race by the results in storage. Raises `IncompleteError` where one that its rung needs cannot be used."""
    from job.report.analysis.race import judge_race
    from job.report.analysis.wording import count
    from job.report.read.load import read_runs
    from job.runs import RunKeys, is_result_key, runs_prefix

    results = {key for key in store.list_keys(runs_prefix(experiment)) if is_result_key(key)}
    runs = read_runs(store, experiment=experiment) if results else None
    standing = judge_race(course, runs, margin=margin)
    keys = {run_id: RunKeys(experiment, run_id).result for run_id in sorted(standing.missing)}
    unusable = [run_id for run_id, key in keys.items() if key in results]
    if runs is not None and unusable:
        # Whoever sends runs takes one with a result for done, so that nobody would ever make it again.
        reasons = dict(zip(runs.holes["run_id"], runs.holes["reason"], strict=True))
        reason = reasons.get(unusable[0], "result.json is not the one that its run id names")
        raise IncompleteError(
            f"{experiment}: {count(len(unusable), 'result')} of this rung cannot be used, such as "
            f"{store.locate(keys[unusable[0]])} ({reason}); delete what cannot be used, and the same command runs it "
            "again"
        )
    return standing


def _wait(store: Store, experiment: str, run_ids: frozenset[str]) -> None:
    """Return once all of `run_ids` have a result. Raises `IncompleteError` where no more can come of them."""
    from job.submit.status import observe_sweep

    while True:
        seen = observe_sweep(store, experiment)
        open_runs = [run for run in seen.runs if run.run_id in run_ids and run.state != "done"]
        if not open_runs:
            return
        if not any(run.state in ("running", "waiting") for run in open_runs):
            first = open_runs[0]
            raise IncompleteError(
                f"{experiment}: {len(open_runs)} runs of this rung ended without a result, such as {first.run_id} "
                f"({first.state}{': ' if first.reason else ''}{first.reason}); the same command tries them again"
            )
        time.sleep(WATCH_SECONDS)
