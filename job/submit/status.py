"""A sweep as one object: the state of each of its runs, from the records in storage and what the back ends say.

records in storage:  result.json → done;  files without it → `job.runs.judge_unfinished`;  no files → waiting
back ends:           exit codes, and why a container waits
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, assert_never, get_args

from job.errors import ObjectMissing, UsageError
from job.plan import Submission, SubmittedJob, plan_key, read_plan, submissions_prefix
from job.runs import Judgement, RunKeys, judge_unfinished, runs_prefix
from job.storage import Store
from job.submit.backend import Child
from job.submit.registry import find_backend, load_backend

State = Literal["done", "running", "waiting", "interrupted", "failed", "lost", "corrupt"]
STATES: tuple[State, ...] = get_args(State)
"""In the order in which they are shown."""
Unfinished = Literal["running", "waiting", "interrupted", "failed", "lost", "corrupt"]
"""The states that a run without a result can be in."""
NUM_LAST_WORDS, LAST_LINES = 5, 3
"""How many failed runs have their log shown, and how many lines of it."""
READERS = 16
"""Records that are read at the same time."""


@dataclass(frozen=True)
class RunStatus:
    """One run of a sweep."""

    run_id: str
    state: State
    done_fraction: float = 0.0
    """The fraction of its training steps that is done."""
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
    """The time until the slowest of the running runs is done. Runs that wait are not counted."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state. Every state is there."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES}

    @property
    def done_fraction(self) -> float:
        return sum(run.done_fraction for run in self.runs) / len(self.runs) if self.runs else 0.0

    @property
    def is_over(self) -> bool:
        """Whether no run will go on by itself: each is done, failed, lost or corrupt."""
        return all(run.state in ("done", "failed", "lost", "corrupt") for run in self.runs)


@dataclass(frozen=True)
class Submitted:
    """A submission, and the name under which its back end knows it."""

    submission: Submission
    job: SubmittedJob

    def index_of(self, run_id: str) -> int | None:
        """The index of the container that does `run_id`; None if there is none."""
        return next((i for i, runs in enumerate(self.submission.containers) if run_id in runs), None)


def find_experiment(store: Store, experiment: str | None) -> str:
    """`experiment`; if it is None, the only sweep in the output. Raises `UsageError` if there is none, or several."""
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


def read_planned(store: Store, experiment: str) -> list[str]:
    """The run ids of the plan that was submitted last. Raises `UsageError` where it cannot be read."""
    key = plan_key(experiment)
    try:
        return read_plan(store.read(key))
    except (ObjectMissing, ValueError) as error:
        fault = str(error).partition("\n")[0]
        raise UsageError(f"{store.locate(key)}: not a plan ({fault}); submit the sweep again") from error


def read_submitted(store: Store, experiment: str) -> list[Submitted]:
    """What was sent to back ends, in no order. Raises `UsageError` for a back end that this version does not know."""
    found = []
    for key in store.list_keys(submissions_prefix(experiment)):
        if key.endswith(".job.json"):
            job = SubmittedJob.model_validate_json(store.read(key))
            try:
                find_backend(job.backend)
            except UsageError as error:
                raise UsageError(f"{store.locate(key)}: {error}") from error
            submission = Submission.model_validate_json(store.read(key.replace(".job.json", ".json")))
            found.append(Submitted(submission, job))
    return found


def find_done(run_ids: Iterable[str], store: Store, *, experiment: str) -> set[str]:
    """Those of `run_ids` that have a result. It takes one listing, however many there are."""
    return _select_done(run_ids, set(store.list_keys(runs_prefix(experiment))), experiment=experiment)


def find_busy(store: Store, *, experiment: str) -> set[str]:
    """The ids of the runs whose containers wait or run."""
    children = observe_children(read_submitted(store, experiment))
    return {run_id for run_id, child in children.items() if child.state in ("waiting", "running")}


def observe_sweep(store: Store, experiment: str, *, now: datetime | None = None) -> SweepStatus:
    """The state of every run. It takes one listing, and a read for each run that has begun and is not done."""
    planned = read_planned(store, experiment)
    prefix = runs_prefix(experiment)
    keys = set(store.list_keys(prefix))
    done = _select_done(planned, keys, experiment=experiment)
    begun = {key.removeprefix(prefix).partition("/")[0] for key in keys} - done
    started = [run_id for run_id in planned if run_id in begun]
    when = now or datetime.now(UTC)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda run_id: _read_progress(store, RunKeys(experiment, run_id)), started)
        judged = {run_id: judge_unfinished(last, now=when) for run_id, last in zip(started, read, strict=True)}
    children = observe_children(read_submitted(store, experiment))
    runs = [
        RunStatus(run_id, "done", done_fraction=1.0)
        if run_id in done
        else judge_run(run_id, judged.get(run_id), children.get(run_id))
        for run_id in planned
    ]
    left = [run.seconds_left for run in runs if run.seconds_left is not None]
    return SweepStatus(experiment, runs, max(left) if left else None)


def read_log(store: Store, experiment: str, run_id: str, *, num_lines: int) -> list[str]:
    """The last log lines of a run, from its container or else its log.jsonl. Raises `UsageError` if there are none."""
    for submitted in read_submitted(store, experiment):
        index = submitted.index_of(run_id)
        if index is not None:
            job = submitted.job
            lines = load_backend(job.backend).read_log(job, index=index, num_lines=num_lines)
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
    """The state of a run that has no result.

    `judgement` is what its own files say, None if it has none. `child` is what the back end says of its container.
    """
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
        case "running" | "interrupted":
            reason = "" if judgement.reason == state else judgement.reason
        case _:
            assert_never(state)
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


def _settle(judgement: Judgement, child: Child | None) -> Unfinished:
    """The state by both. If the container failed, the run will not go on; if it waits, a lost or corrupt run will."""
    if child and child.state == "failed":
        return "failed"
    if child and child.state == "waiting" and judgement.state in ("lost", "corrupt"):
        return "waiting"
    return judgement.state


def observe_children(submitted: Iterable[Submitted]) -> dict[str, Child]:
    """The container of each run, by run id. If several submissions hold a run, one that waits or runs counts."""
    found: dict[str, Child] = {}
    for submission in submitted:
        for child in load_backend(submission.job.backend).observe(submission.job):
            for run_id in submission.submission.containers[child.index]:
                if run_id not in found or child.state in ("waiting", "running"):
                    found[run_id] = child
    return found


def _select_done(run_ids: Iterable[str], keys: set[str], *, experiment: str) -> set[str]:
    return {run_id for run_id in run_ids if RunKeys(experiment, run_id).result in keys}


def _read_progress(store: Store, keys: RunKeys) -> bytes | None:
    try:
        return store.read(keys.progress)
    except ObjectMissing:
        return None
