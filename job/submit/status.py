"""A sweep as one object: the state of each of its runs, from the records in storage and what the back ends say.

records in storage:  result.json → done;  files without it → `job.runs.judge_unfinished`;  no files → waiting,
                     or held where a race never sent it
back ends:           exit codes, why a container waits, and whether it is still known (`job.submit.submissions`)
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, assert_never, get_args

from job.errors import JobError, ObjectMissing, UsageError
from job.logs import get_logger
from job.plan import is_submission_key, plan_key, read_is_race, read_plan, read_sent, submissions_prefix
from job.runs import Judgement, RunKeys, judge_unfinished, runs_prefix
from job.storage import Store
from job.submit.backend import Child
from job.submit.registry import load_backend
from job.submit.submissions import observe_children, read_submitted

State = Literal["done", "running", "waiting", "interrupted", "failed", "lost", "gone", "corrupt", "held"]
STATES: tuple[State, ...] = get_args(State)
"""In the order in which they are shown."""
Unfinished = Literal["running", "waiting", "interrupted", "failed", "lost", "gone", "corrupt"]
"""The states that a run without a result can be in, where it was asked for."""
HELD = "not asked for by `job race`: it sends more seeds of what may still be the best"
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
    """Why it waits, failed, is lost or gone; empty where there is nothing to say."""
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
        """Of the runs that were asked for."""
        parts = [run.done_fraction for run in self.runs if run.state != "held"]
        return sum(parts) / len(parts) if parts else 0.0

    @property
    def is_over(self) -> bool:
        """Whether no run will go on by itself: each is done, failed, lost, gone, corrupt or held."""
        return all(run.state in ("done", "failed", "lost", "gone", "corrupt", "held") for run in self.runs)


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


def find_done(run_ids: Iterable[str], store: Store, *, experiment: str) -> set[str]:
    """Those of `run_ids` that have a result. It takes one listing, however many there are."""
    return _select_done(run_ids, set(store.list_keys(runs_prefix(experiment))), experiment=experiment)


def find_busy(store: Store, *, experiment: str, now: datetime | None = None) -> set[str]:
    """The ids of the runs whose containers wait or run.

    Where a back end cannot be asked, a warning says why, and those of its runs count whose own word is fresh.
    """
    children = observe_children(read_submitted(store, experiment))
    unknown = {run_id: child.reason for run_id, child in children.items() if child.state == "unknown"}
    for reason in sorted(set(unknown.values())):
        get_logger().warning("back_end_not_asked", reason=reason, consequence="its runs count as their records say")
    judged = _judge_begun(store, experiment, unknown, now=now) if unknown else {}
    fresh = {run_id for run_id, judgement in judged.items() if judgement.state == "running"}
    return fresh | {run_id for run_id, child in children.items() if child.state in ("waiting", "running")}


def observe_sweep(
    store: Store, experiment: str, *, listed: Iterable[str] | None = None, now: datetime | None = None
) -> SweepStatus:
    """The state of every run. It takes one listing, and a read for each run that has begun and is not done.

    `listed` are the keys of the experiment's runs, where they are known already.
    """
    planned = read_planned(store, experiment)
    keys = set(store.list_keys(runs_prefix(experiment)) if listed is None else listed)
    done = _select_done(planned, keys, experiment=experiment)
    judged = _judge_begun(store, experiment, [run_id for run_id in planned if run_id not in done], keys=keys, now=now)
    children = observe_children(read_submitted(store, experiment))
    held = _find_held(store, experiment, planned)
    runs = [
        RunStatus(run_id, "done", done_fraction=1.0)
        if run_id in done
        else RunStatus(run_id, "held", reason=HELD)
        if run_id in held and run_id not in judged
        else judge_run(run_id, judged.get(run_id), children.get(run_id))
        for run_id in planned
    ]
    left = [run.seconds_left for run in runs if run.seconds_left is not None]
    return SweepStatus(experiment, runs, max(left) if left else None)


def read_log(store: Store, experiment: str, run_id: str, *, num_lines: int) -> list[str]:
    """The last log lines of a run, from its container or else its log.jsonl. Raises `UsageError` if there are none."""
    refusals = []
    for submitted in read_submitted(store, experiment):
        index = submitted.index_of(run_id)
        if index is not None:
            job = submitted.job
            try:
                lines = load_backend(job.backend).read_log(job, index=index, num_lines=num_lines)
            except JobError as error:
                refusals.append(f"{job.backend} does not show its container's: {error}")
                continue
            if lines:
                return lines
    key = RunKeys(experiment, run_id).log
    try:
        return store.read(key).decode().splitlines()[-num_lines:]
    except ObjectMissing as error:
        reasons = "; ".join(["no log", *refusals, "`job status` lists the runs"])
        raise UsageError(f"{store.locate(key)}: {reasons}") from error


def read_last_words(store: Store, status: SweepStatus) -> dict[str, list[str]]:
    """The last log lines of the first few failed runs, by run id. Where a log is missing or refused, there are none."""
    failed = [run.run_id for run in status.runs if run.state == "failed"][:NUM_LAST_WORDS]
    words: dict[str, list[str]] = {}
    for run_id in failed:
        with contextlib.suppress(JobError):  # neither a container nor a log is left, or no right to read them
            words[run_id] = read_log(store, status.experiment, run_id, num_lines=LAST_LINES)
    return words


def judge_run(run_id: str, judgement: Judgement | None, child: Child | None) -> RunStatus:
    """The state of a run that has no result.

    `judgement` is what its own files say, None if it has none. `child` is what the back end says of its container.
    """
    code, said = (child.exit_code, child.reason) if child else (None, "")
    if judgement is None:
        return RunStatus(run_id, _settle_unbegun(child), exit_code=code, reason=said)
    last = judgement.progress
    state = _settle(judgement, child)
    match state:
        case "failed":
            reason = (judgement.reason if last and last.error else "") or said
        case "waiting":
            reason = said or judgement.reason
        case "lost" | "gone" | "corrupt":
            reason = "; ".join(filter(None, (judgement.reason, said)))
        case "running" | "interrupted":
            own = "" if judgement.reason == state else judgement.reason or judgement.state
            also = "its container runs" if judgement.state != state else said if _is_unknown(child) else ""
            reason = "; ".join(filter(None, (own, also)))
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
    """The state by both. If the container failed, the run will not go on.

    If it waits or runs, the scheduler has tried again or will, whatever the last attempt left. If the back end has
    forgotten it, what had not ended by itself will not go on.
    """
    own = judgement.state
    if child and child.state == "failed":
        return "failed"
    if child and child.state in ("waiting", "running") and own != "running":
        return child.state
    return "gone" if child and child.state == "gone" and own in ("interrupted", "lost") else own


def _settle_unbegun(child: Child | None) -> Unfinished:
    """The state of a run without any record. A container that ended without leaving one has failed."""
    if child and child.state in ("failed", "succeeded"):
        return "failed"
    return "gone" if child and child.state == "gone" else "waiting"


def _find_held(store: Store, experiment: str, planned: Iterable[str]) -> set[str]:
    """Of a race, the runs that no submission has; of another plan none."""
    if not read_is_race(store.read(plan_key(experiment))):
        return set()
    keys = [key for key in store.list_keys(submissions_prefix(experiment)) if is_submission_key(key)]
    return set(planned) - {run_id for key in keys for run_id in read_sent(store.read(key))}


def _is_unknown(child: Child | None) -> bool:
    return child is not None and child.state == "unknown"


def _judge_begun(
    store: Store, experiment: str, run_ids: Iterable[str], *, keys: set[str] | None = None, now: datetime | None
) -> dict[str, Judgement]:
    """What became of those of `run_ids` that have files, by their own word. They are read several at a time."""
    prefix = runs_prefix(experiment)
    listed = set(store.list_keys(prefix)) if keys is None else keys
    begun = {key.removeprefix(prefix).partition("/")[0] for key in listed}
    started = [run_id for run_id in run_ids if run_id in begun]
    when = now or datetime.now(UTC)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda run_id: _read_progress(store, RunKeys(experiment, run_id)), started)
        return {run_id: judge_unfinished(last, now=when) for run_id, last in zip(started, read, strict=True)}


def _select_done(run_ids: Iterable[str], keys: set[str], *, experiment: str) -> set[str]:
    return {run_id for run_id in run_ids if RunKeys(experiment, run_id).result in keys}


def _read_progress(store: Store, keys: RunKeys) -> bytes | None:
    try:
        return store.read(keys.progress)
    except ObjectMissing:
        return None
