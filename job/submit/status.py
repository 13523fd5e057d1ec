"""A sweep as one object: the state of each of its runs, from the records in storage and what the back ends say.

records in storage:  result.json → done;  files without it → `job.runs.judge_unfinished`;  no files → waiting
back ends:           exit codes, and why what waits is waiting
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from job.errors import ObjectMissing, UsageError
from job.plan import Submission, SubmittedJob, SweepPlan, plan_key, submissions_prefix
from job.runs import Judgement, RunKeys, judge_unfinished
from job.storage import Store
from job.submit.observation import Child

STATES = ("done", "running", "waiting", "interrupted", "failed", "lost", "corrupt")
NUM_LAST_WORDS, LAST_LINES = 5, 3
"""Failed runs whose log is shown, and how much of it."""
READERS = 16
"""Records read side by side."""


@dataclass(frozen=True)
class RunStatus:
    """One run of a sweep."""

    run_id: str
    state: str
    """One of `STATES`."""
    done_fraction: float = 0.0
    """Of its training steps."""
    exit_code: int | None = None
    reason: str = ""
    """Why it waits, failed or is lost; empty where there is nothing to say."""
    seconds_left: float | None = None
    attempt: int = 0


@dataclass(frozen=True)
class SweepStatus:
    """All runs of an experiment."""

    experiment: str
    runs: list[RunStatus]
    seconds_left: float | None
    """Of the slowest running one; what waits is not in it."""

    @property
    def counts(self) -> dict[str, int]:
        """Runs by state, all states."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES}

    @property
    def done_fraction(self) -> float:
        return sum(run.done_fraction for run in self.runs) / len(self.runs) if self.runs else 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of itself."""
        return all(run.state in ("done", "failed", "lost", "corrupt") for run in self.runs)


@dataclass(frozen=True)
class Submitted:
    """A submission and under which name its back end knows it."""

    submission: Submission
    job: SubmittedJob

    def index_of(self, run_id: str) -> int | None:
        """The container that does `run_id`."""
        return next((i for i, runs in enumerate(self.submission.containers) if run_id in runs), None)


def find_experiment(store: Store, experiment: str | None) -> str:
    """`experiment`, or the only sweep below the output. Raises `UsageError` where there is none, or several."""
    if experiment is not None:
        return experiment
    names = [name for name in store.list_folders() if plan_key(name) in store.list_keys(plan_key(name))]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(
            f"{store.uri}: no sweep is here; name the --output of `job submit`, or of `job run` with a sweep: it holds "
            "<experiment>/sweep.json. Runs of single manifests are shown by `job report`"
        )
    raise UsageError(f"{store.uri}: name one with --experiment; sweeps: {', '.join(names)}")


def read_plan(store: Store, experiment: str) -> SweepPlan:
    """The plan that was submitted last. Raises `UsageError` when it cannot be read."""
    key = plan_key(experiment)
    try:
        return SweepPlan.model_validate_json(store.read(key))
    except (ObjectMissing, ValidationError) as error:
        fault = str(error).partition("\n")[0]
        raise UsageError(f"{store.locate(key)}: not a plan ({fault}); submit the sweep again") from error


def read_submitted(store: Store, experiment: str) -> list[Submitted]:
    """What was sent to back ends, in no order."""
    found = []
    for key in store.list_keys(submissions_prefix(experiment)):
        if key.endswith(".job.json"):
            job = SubmittedJob.model_validate_json(store.read(key))
            submission = Submission.model_validate_json(store.read(key.replace(".job.json", ".json")))
            found.append(Submitted(submission, job))
    return found


def backend(name: str) -> Any:
    """The module of a back end: `observe`, `read_log`, `cancel`."""
    return import_module(f"job.submit.{name}")


def observe_sweep(store: Store, experiment: str, *, now: datetime | None = None) -> SweepStatus:
    """The state of every run. One listing, and a read for each run that has begun and is not done."""
    plan = read_plan(store, experiment)
    keys = set(store.list_keys(f"{experiment}/runs/"))
    done = {run.run_id for run in plan.runs if RunKeys(experiment, run.run_id).result in keys}
    begun = {key.split("/")[2] for key in keys} - done
    started = [run.run_id for run in plan.runs if run.run_id in begun]
    when = now or datetime.now(UTC)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda run_id: _read_progress(store, RunKeys(experiment, run_id)), started)
        judged = {run_id: judge_unfinished(last, now=when) for run_id, last in zip(started, read, strict=True)}
    children = observe_children(read_submitted(store, experiment))
    runs = [
        RunStatus(run.run_id, "done", done_fraction=1.0)
        if run.run_id in done
        else judge_run(run.run_id, judged.get(run.run_id), children.get(run.run_id))
        for run in plan.runs
    ]
    left = [run.seconds_left for run in runs if run.seconds_left is not None]
    return SweepStatus(experiment, runs, max(left) if left else None)


def read_log(store: Store, experiment: str, run_id: str, *, num_lines: int) -> list[str]:
    """The last lines of a run: of its container, or of its log.jsonl. Raises `UsageError` where there are none."""
    for one in read_submitted(store, experiment):
        index = one.index_of(run_id)
        if index is not None:
            lines: list[str] = backend(one.job.backend).read_log(one.job, index=index, num_lines=num_lines)
            if lines:
                return lines
    key = RunKeys(experiment, run_id).log
    try:
        return store.read(key).decode().splitlines()[-num_lines:]
    except ObjectMissing as error:
        raise UsageError(f"{store.locate(key)}: no log; `job status` lists the runs") from error


def read_last_words(store: Store, status: SweepStatus) -> dict[str, list[str]]:
    """The last log lines of the first few failed runs, by run id."""
    failed = [run.run_id for run in status.runs if run.state == "failed"][:NUM_LAST_WORDS]
    words: dict[str, list[str]] = {}
    for run_id in failed:
        with contextlib.suppress(UsageError):  # neither a container nor a log is left
            words[run_id] = read_log(store, status.experiment, run_id, num_lines=LAST_LINES)
    return words


def judge_run(run_id: str, judgement: Judgement | None, child: Child | None) -> RunStatus:
    """The state of a run without result: what its own files say, None without any, and what its container says."""
    code, said = (child.exit_code, child.reason) if child else (None, "")
    if judgement is None:
        is_failed = child is not None and child.state in ("failed", "succeeded")  # it ended, and left no record
        return RunStatus(run_id, "failed" if is_failed else "waiting", exit_code=code, reason=said)
    last = judgement.progress
    state = _settle(judgement, child)
    match state:
        case "failed":
            reason = (judgement.reason if last and last.error else "") or said
        case "waiting":
            reason = said
        case "lost" | "corrupt":
            reason = "; ".join(filter(None, (judgement.reason, said)))
        case _:
            reason = "" if judgement.reason == state else judgement.reason
    fraction = last.done_fraction if last else 0.0
    is_going = state == "running" and last is not None and fraction > 0
    return RunStatus(
        run_id,
        state,
        done_fraction=fraction,
        exit_code=last.exit_code if last and last.exit_code is not None else code,
        reason=reason,
        seconds_left=last.trained_seconds * (1 - fraction) / fraction if last and is_going else None,
        attempt=last.attempt if last else 0,
    )


def _settle(judgement: Judgement, child: Child | None) -> str:
    """The state where files and back end disagree: a container that failed will not go on, one that waits will."""
    if child and child.state == "failed":
        return "failed"
    if child and child.state == "waiting" and judgement.state in ("lost", "corrupt"):
        return "waiting"
    return judgement.state


def observe_children(submitted: Iterable[Submitted]) -> dict[str, Child]:
    """Containers by run id. Of several submissions with a run, the one where it is still under way counts."""
    found: dict[str, Child] = {}
    for one in submitted:
        for child in backend(one.job.backend).observe(one.job):
            for run_id in one.submission.containers[child.index]:
                if run_id not in found or child.state in ("waiting", "running"):
                    found[run_id] = child
    return found


def _read_progress(store: Store, keys: RunKeys) -> bytes | None:
    try:
        return store.read(keys.progress)
    except ObjectMissing:
        return None
