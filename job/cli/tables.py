"""What `job plan` and `job status` print for people: a plan with its time and cost, and the state of a sweep."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from job.logs import show_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from job.plan import SweepPlan
    from job.submit.estimate import Estimate
    from job.submit.status import RunStatus, SweepStatus

NUM_SHOWN = 20
"""Lines for each state. Further ones are only counted."""
SHOWN_STATES = ("running", "waiting", "interrupted", "failed", "lost", "gone", "corrupt")
VARYING = re.compile(r"\S*[\d/]\S*|\b[0-9a-f]{8,}\b")
"""What may differ between two reasons that count as the same: numbers, addresses, ids, names with a number in them (as
pods have them), paths and URIs."""
MINUTES_SHOWN = 120
"""Durations up to this are shown in minutes."""
OLD_PRICES_MONTHS = 6
"""From this age on, `job plan` says how old its prices are."""


def print_plan(plan: SweepPlan) -> None:
    """Print a line for each configuration, with its seeds."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for run in plan.runs:
        attributes = run.manifest.optimizer.model_dump(mode="json", exclude={"name"})
        varied = {path: value for path, value in run.varied.items() if path.partition(".")[0] != "optimizer"}
        what = ", ".join(f"{name} {json.dumps(value)}" for name, value in (attributes | varied).items())
        seeds.setdefault((run.manifest.optimizer.name, what), []).append(run.manifest.seed)
    longest_word = max(len(word) for _, what in seeds for word in what.split())
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("optimizer", overflow="fold")
    # as wide as its longest word, so that the path of weights stays whole on a narrow terminal
    table.add_column("attributes", min_width=longest_word)
    table.add_column("seeds", overflow="fold")
    for (optimizer, what), numbers in seeds.items():
        table.add_row(optimizer, escape(what), ", ".join(map(str, numbers)))
    Console().print(table, crop=False)
    Console().print(f"{plan.name}: {len(plan.runs)} runs, {len(seeds)} configurations", soft_wrap=True)


def print_estimate(
    estimate: Estimate | None, *, today: date, output: str | None = None, paid: Mapping[str, float] | None = None
) -> None:
    """Print images, steps, hours and dollars, the month of the prices, and their age where that may matter.

    `output` is where finished runs were looked for, if they were. `paid` are the prices among the estimate's that these
    runs paid, by market.
    """
    console = Console()
    if estimate is None:
        console.print("time and cost: unknown, because only the containers see how many images the folder holds")
        return
    instance, prices = estimate.instance, estimate.prices
    console.print(
        f"{estimate.num_train_images:,} training images in {estimate.num_steps:,} steps, "
        f"{estimate.num_evaluated_images:,} evaluated"
    )
    console.print(
        f"{estimate.num_containers} containers on {instance.name} ({instance.gpu or 'no GPU'}): "
        f"{estimate.hours:.1f} h of machine time, ${estimate.on_demand_usd:.2f} on demand, "
        f"about ${estimate.spot_usd:.2f} on spot"
    )
    age = prices.age_in_months(today=today)
    old = f", {age} months old: --prices aws takes today's" if age >= OLD_PRICES_MONTHS else ""
    console.print(
        f"{describe_speeds(estimate, output=output)}; {describe_paid(paid or {})}"
        f"prices of {prices.region} in {prices.as_of}{old}",
        style="dim",
        soft_wrap=True,
    )


def describe_paid(paid: Mapping[str, float]) -> str:
    """Which prices of an estimate are those that finished runs paid; empty if none is."""
    names = {"spot": "on spot", "on-demand": "on demand"}
    known = [f"${usd:.3f} an hour {names[market]}" for market, usd in sorted(paid.items()) if market in names]
    return f"{' and '.join(known)} as paid here, other " if known else ""


def describe_speeds(estimate: Estimate, *, output: str | None) -> str:
    """Where the speeds of an estimate come from. `output` is where finished runs were looked for, if they were."""
    table = f"speeds {estimate.instance.speed}"
    if output is None:
        return table
    if not estimate.num_measured:
        return f"{table}, for {output} has no finished run of this network and image size on {estimate.instance.name}"
    here = f"measured here: the medians of {estimate.num_results:,} finished runs of {output}"
    if estimate.num_measured == estimate.num_runs:
        return f"speeds and overhead {here}"
    rest = estimate.num_runs - estimate.num_measured
    return (
        f"speeds and overhead of {estimate.num_measured:,} runs {here}; of the other {rest:,} {estimate.instance.speed}"
    )


def print_status(status: SweepStatus, last_words: dict[str, list[str]]) -> None:
    """Print how many runs are in each state, and why others are not done.

    `last_words` are log lines of failed runs, by run id. Runs of one state with the same reason are one line with an
    example. No line is broken or cut, because people copy run ids and paths from it.
    """
    counts = ", ".join(f"{number:,} {state}" for state, number in status.counts.items() if number)
    left = f"; the running ones need {_describe_duration(status.seconds_left)} more" if status.seconds_left else ""
    _print(f"{status.experiment}: {len(status.runs):,} runs, {status.done_fraction:.0%} trained: {counts}{left}")
    for state in SHOWN_STATES:
        groups = group_runs([run for run in status.runs if run.state == state])
        for runs in groups[:NUM_SHOWN]:
            _print_group(state, runs)
        rest = sum(len(runs) for runs in groups[NUM_SHOWN:])
        if rest:
            _print(f"  {state:<11}  {rest:,} more; see: job status --json")
    for run_id, lines in last_words.items():
        _print(f"last lines of {run_id}:")
        for line in lines:
            _print(f"  {show_line(line)}", style="dim")


def group_runs(runs: list[RunStatus]) -> list[list[RunStatus]]:
    """`runs` of one state, grouped by reason, the largest group first. A run without a reason is a group by itself.

    Two reasons are the same if they differ only in the run's own id and in what `VARYING` finds.
    """
    groups: dict[object, list[RunStatus]] = {}
    for run in runs:
        reason = VARYING.sub("#", run.reason.replace(run.run_id, "#"))
        groups.setdefault((reason, run.exit_code) if reason or run.state == "waiting" else run.run_id, []).append(run)
    return sorted(groups.values(), key=len, reverse=True)


def _print_group(state: str, runs: list[RunStatus]) -> None:
    """Print how many runs there are, an example, how far they are, and why."""
    example = runs[0]
    who = example.run_id if len(runs) == 1 else f"{len(runs):,} runs, such as {example.run_id}"
    parts = sorted(run.done_fraction for run in runs)
    least, most = f"{parts[0]:.0%}", f"{parts[-1]:.0%}"
    line = f"  {state:<11}  {who}  {least if least == most else f'{least} to {most}'}"
    if example.exit_code is not None and state in ("failed", "interrupted"):
        line += f"  exit code {example.exit_code}"
    _print(f"{line}  {example.reason}".rstrip())


def _describe_duration(seconds: float) -> str:
    """A duration in round numbers, because an estimate is no more exact than that."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < MINUTES_SHOWN:
        return f"about {minutes} min"
    return f"about {minutes / 60:.1f} h"


def _print(line: str, *, style: str | None = None) -> None:
    """Print one line as it is. A narrower terminal wraps it, but people can copy it as one line."""
    Console().print(line, style=style, soft_wrap=True, markup=False, emoji=False, highlight=False)
