"""A sweep that is still running, as one value: how far it is, what it costs, its curves so far and what went wrong.

It makes no comparisons: what is better is told by the report once the runs are done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from job.plan import SweepPlan
from job.report.analysis.charts import Line, LineChart, PanelChart
from job.report.analysis.wording import name_optimizer, show_attribute, show_value
from job.report.read.live import LiveRecord

MOST_CURVES = 8
"""So many configurations have their curves shown: the best of each optimizer so far, then the best of all."""
MOST_RUNNING = 50
"""So many running runs have a row."""


@dataclass(frozen=True)
class Trouble:
    """Runs of one state that have the same reason not to be done."""

    state: str
    num_runs: int
    example: str
    """The id of one of them."""
    reason: str
    exit_code: int | None = None


@dataclass(frozen=True)
class RunningRun:
    """A run that is under way."""

    run_id: str
    label: str
    done_fraction: float
    epoch: int
    num_epochs: int | None
    test_top1: float | None
    seconds_left: float | None
    cost_usd: float | None


@dataclass(frozen=True)
class Curve:
    """The mean accuracies of a configuration's runs after each epoch, as far as at least one of them is."""

    label: str
    optimizer: str
    train_top1: tuple[float, ...]
    test_top1: tuple[float, ...]
    num_runs: int
    is_diverged: bool
    """Whether one of its runs diverged."""


@dataclass(frozen=True)
class LiveSweep:
    """All of it. Two that are equal give the same page."""

    experiment: str
    num_runs: int
    counts: Mapping[str, int]
    """Runs by state."""
    num_diverged: int
    """Of the runs that are done."""
    done_fraction: float
    seconds_left: float | None
    """At the pace of the runs so far; None where it cannot be told."""
    machine_seconds: float
    cost_usd: float | None
    num_unpriced: int
    """Runs that had a machine whose price is not known, so that they are not in `cost_usd`."""
    curves: Sequence[Curve]
    num_configurations: int
    """With a curve, shown or not."""
    running: Sequence[RunningRun]
    num_running: int
    troubles: Sequence[Trouble]
    is_over: bool


@dataclass(frozen=True)
class RunState:
    """What `job status` says of one run."""

    run_id: str
    state: str
    done_fraction: float
    seconds_left: float | None


def build_live(
    experiment: str,
    states: Sequence[RunState],
    records: Mapping[str, LiveRecord],
    *,
    named: Mapping[str, tuple[str, str]],
    troubles: Sequence[Trouble],
    is_over: bool,
) -> LiveSweep:
    """The sweep as it stands. `named` is from `name_configurations`; a run that it lacks is one by itself."""
    curves = _build_curves([(state.run_id, records.get(state.run_id)) for state in states], named)
    running = [state for state in states if state.state == "running"]
    known = [record for record in records.values() if record.seconds]
    paid = [record.cost_usd for record in known if record.cost_usd is not None]
    counts: dict[str, int] = defaultdict(int)
    for state in states:
        counts[state.state] += 1
    return LiveSweep(
        experiment=experiment,
        num_runs=len(states),
        counts=dict(counts),
        num_diverged=sum(record.is_diverged for record in records.values()),
        done_fraction=sum(state.done_fraction for state in states) / len(states) if states else 0.0,
        seconds_left=None if is_over else _find_seconds_left(states, records),
        machine_seconds=sum(record.seconds for record in known),
        cost_usd=sum(paid) if paid else None,
        num_unpriced=len(known) - len(paid),
        curves=_choose_curves(curves),
        num_configurations=len(curves),
        running=[
            _describe_running(state, records.get(state.run_id, LiveRecord()), named) for state in running[:MOST_RUNNING]
        ],
        num_running=len(running),
        troubles=troubles,
        is_over=is_over,
    )


def draw_live(sweep: LiveSweep) -> PanelChart | None:
    """The curves so far, test beside training; None where no epoch is done."""
    if not sweep.curves:
        return None
    dashes = [
        [other.optimizer for other in sweep.curves[:place]].count(curve.optimizer)
        for place, curve in enumerate(sweep.curves)
    ]
    dashed = list(zip(sweep.curves, dashes, strict=True))
    panels = [
        LineChart([_draw_curve(curve, getattr(curve, column), dash) for curve, dash in dashed],
                  title, "epoch", "top-1", accuracy=True)
        for column, title in (("test_top1", "test"), ("train_top1", "training"))
    ]  # fmt: skip
    return PanelChart(panels, "Accuracy so far")


def _draw_curve(curve: Curve, heights: tuple[float, ...], dash: int) -> Line:
    return Line(
        curve.label,
        curve.optimizer,
        x=range(1, len(heights) + 1),
        y=np.array(heights),
        dash=dash,
        is_broken=curve.is_diverged and curve.num_runs == 1,
    )


def name_configurations(plan: SweepPlan | None) -> dict[str, tuple[str, str]]:
    """Label and optimizer of the configuration of each run: what it varies, without its seed. Empty without a plan."""
    named: dict[str, tuple[str, str]] = {}
    owners: dict[str, str] = {}
    for run in plan.runs if plan else ():
        varied = [
            f"{show_attribute(path)} {show_value(tuple(value) if isinstance(value, list) else value)}"
            for path, value in run.varied.items()
            if path not in ("seed", "optimizer", "optimizer.name")
        ]
        optimizer = run.manifest.optimizer.name
        label = ", ".join([name_optimizer(optimizer), *varied])
        owner = run.manifest.model_copy(update={"seed": 0}).model_dump_json()
        if owners.setdefault(label, owner) != owner:  # two blocks of the sweep vary the same, from different bases
            label = f"{label} ({run.manifest.name})"
        named[run.run_id] = label, optimizer
    return named


def _build_curves(runs: Iterable[tuple[str, LiveRecord | None]], named: Mapping[str, tuple[str, str]]) -> list[Curve]:
    """A curve for every configuration of which an epoch is done."""
    groups: dict[tuple[str, str], list[LiveRecord]] = defaultdict(list)
    for run_id, record in runs:
        if record is not None and record.test_top1:
            groups[named.get(run_id, (run_id, ""))].append(record)
    return [
        Curve(
            label,
            optimizer,
            _mean([record.train_top1 for record in group]),
            _mean([record.test_top1 for record in group]),
            len(group),
            any(record.is_diverged for record in group),
        )
        for (label, optimizer), group in groups.items()
    ]


def _mean(curves: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The mean after each epoch over the runs that have come so far."""
    longest = max(map(len, curves))
    return tuple(float(np.mean([curve[epoch] for curve in curves if len(curve) > epoch])) for epoch in range(longest))


def _choose_curves(curves: Sequence[Curve]) -> list[Curve]:
    """The best of each optimizer, then the best of all, by their last test accuracy."""
    ranked = sorted(curves, key=lambda curve: -curve.test_top1[-1])
    first: dict[str, Curve] = {}
    for curve in ranked:
        first.setdefault(curve.optimizer, curve)
    others = [curve for curve in ranked if first[curve.optimizer] is not curve]
    return [*first.values(), *others][:MOST_CURVES]


def _find_seconds_left(states: Sequence[RunState], records: Mapping[str, LiveRecord]) -> float | None:
    """The work that is left by the machine time that a whole run took so far, shared among the runs under way."""
    num_running = sum(state.state == "running" for state in states)
    taken = [
        (records[state.run_id].trained_seconds, state.done_fraction)
        for state in states
        if state.run_id in records and state.done_fraction > 0
    ]
    work = sum(fraction for _, fraction in taken)
    if not num_running or not work:
        return None
    a_run = sum(seconds for seconds, _ in taken) / work
    open_work = sum(1 - state.done_fraction for state in states if state.state in ("running", "waiting", "interrupted"))
    slowest = max((state.seconds_left for state in states if state.seconds_left is not None), default=0.0)
    return max(slowest, a_run * open_work / num_running)


def _describe_running(state: RunState, record: LiveRecord, named: Mapping[str, tuple[str, str]]) -> RunningRun:
    return RunningRun(
        run_id=state.run_id,
        label=named.get(state.run_id, ("", ""))[0],
        done_fraction=state.done_fraction,
        epoch=record.epoch,
        num_epochs=record.num_epochs,
        test_top1=record.test_top1[-1] if record.test_top1 else None,
        seconds_left=state.seconds_left,
        cost_usd=record.cost_usd,
    )
