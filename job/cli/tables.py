"""Tables for people: a plan and what it takes, and the state of a sweep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from datetime import date

    from job.plan import SweepPlan
    from job.submit.estimate import Estimate
    from job.submit.status import SweepStatus

NUM_SHOWN = 20
"""Runs of one state that are shown one by one; more are counted."""
OLD_PRICES_MONTHS = 6
"""From this age on, a table of prices says how old it is."""


def print_plan(plan: SweepPlan) -> None:
    """One line for each configuration, with the seeds that it runs with."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for run in plan.runs:
        attributes = run.manifest.optimizer.model_dump(mode="json", exclude={"name"})
        varied = {path: value for path, value in run.varied.items() if path.partition(".")[0] != "optimizer"}
        what = ", ".join(f"{name} {json.dumps(value)}" for name, value in (attributes | varied).items())
        seeds.setdefault((run.manifest.optimizer.name, what), []).append(run.manifest.seed)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("optimizer", "attributes", "seeds"):
        table.add_column(column, overflow="fold")
    for (optimizer, what), numbers in seeds.items():
        table.add_row(optimizer, what, ", ".join(map(str, numbers)))
    Console().print(table)
    Console().print(f"{plan.name}: {len(plan.runs)} runs, {len(seeds)} configurations")


def print_estimate(estimate: Estimate | None, *, today: date) -> None:
    """Images, steps, hours and dollars; of when the prices are, and how old where that may matter."""
    console = Console()
    if estimate is None:
        console.print("time and cost: unknown, the size of a folder is known only where it lies")
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
    old = f", {age} months old: --prices FILE takes newer ones" if age >= OLD_PRICES_MONTHS else ""
    console.print(f"speeds {instance.speed}; prices of {prices.region} in {prices.as_of}{old}", style="dim")


def print_status(status: SweepStatus, last_words: dict[str, list[str]]) -> None:
    """Counts by state, and why what is not well is not; log lines of failed runs by run id."""
    console = Console()
    counts = ", ".join(f"{number} {state}" for state, number in status.counts.items() if number)
    left = f", the running ones need about {status.seconds_left / 60:.0f} min more" if status.seconds_left else ""
    console.print(f"{status.experiment}: {len(status.runs)} runs, {status.done_fraction:.0%} trained: {counts}{left}")
    for state in ("running", "waiting", "interrupted", "failed", "lost"):
        runs = [run for run in status.runs if run.state == state]
        if not runs:
            continue
        table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
        for run in runs[:NUM_SHOWN]:
            code = (
                f"exit code {run.exit_code}" if run.exit_code is not None and state in ("failed", "interrupted") else ""
            )
            table.add_row(run.state, run.run_id, f"{run.done_fraction:.0%}", code, escape(run.reason))
        console.print(table, highlight=False)
        if len(runs) > NUM_SHOWN:
            console.print(f"  and {len(runs) - NUM_SHOWN} more {state}")
    for run_id, lines in last_words.items():
        console.print(f"last lines of {run_id}:")
        for line in lines:
            console.print(f"  {line}", style="dim", markup=False, highlight=False)
