"""The live page of `job status --html`: what the back ends say of a sweep, beside what its runs have recorded.

Only the command knows both rooms. The page is written when something has changed, and whole, as every object is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from job.cli.tables import NUM_SHOWN, SHOWN_STATES, group_runs
from job.home import prepare_matplotlib
from job.runs import LIVE_KEY
from job.secrets import redact
from job.versions import extra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from job.report.analysis.live import LiveSweep
    from job.storage import Store
    from job.submit.status import SweepStatus


class LivePage:
    """Keeps the page of one sweep fresh in its output."""

    def __init__(self, store: Store, experiment: str) -> None:
        """Raises `UsageError` where the packages of the report are missing."""
        prepare_matplotlib()
        with extra("report"):
            from job.report.analysis.live import name_configurations
            from job.report.read.live import LiveRecords, read_sweep_plan
            from job.report.render.live import render_live

        self._store, self._render = store, render_live
        self._records = LiveRecords(store, experiment)
        self._named = name_configurations(read_sweep_plan(store, experiment))
        self._written: LiveSweep | None = None

    @property
    def location(self) -> str:
        return self._store.locate(LIVE_KEY)

    def refresh(self, status: SweepStatus, versions: Mapping[str, str], *, now: datetime | None = None) -> bool:
        """Write the page if it has changed; returns whether it has. `versions` are those of the experiment's keys."""
        from job.report.analysis.live import RunState, Trouble, build_live

        troubles = [
            Trouble(state, len(runs), runs[0].run_id, redact(runs[0].reason), runs[0].exit_code)
            for state in SHOWN_STATES
            if state != "running"
            for runs in group_runs([run for run in status.runs if run.state == state and _is_told(state, run.reason)])[
                :NUM_SHOWN
            ]
        ]
        sweep = build_live(
            status.experiment,
            [RunState(run.run_id, run.state, run.done_fraction, run.seconds_left) for run in status.runs],
            self._records.read(versions),
            named=self._named,
            troubles=troubles,
            is_over=status.is_over,
        )
        if sweep == self._written:
            return False
        self._store.write(LIVE_KEY, self._render(sweep, source=self._store.uri, now=now or datetime.now(UTC)))
        self._written = sweep
        return True


def _is_told(state: str, reason: str) -> bool:
    """Whether a run of this state is worth a row: one that waits for its turn is not."""
    return state != "waiting" or bool(reason)
