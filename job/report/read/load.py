"""An output's runs as tables: lists the keys once, reads the results in parallel, keeps rows and drops the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from job.errors import ObjectMissing, UsageError
from job.logs import get_logger
from job.plan import is_submission_key, read_is_race, read_plan, read_sent
from job.report.read.frames import HOLE_COLUMNS, Runs, add_attributes
from job.report.read.holes import Hole, describe_unfinished, find_missing
from job.report.read.parsing import parse_environment, parse_result
from job.report.read.rows import Floats, RunRows, build_rows
from job.report.read.tables import Tables
from job.runs import Environment, RunKeys, RunResult, is_result_key
from job.storage import Store, open_store, read_ahead


def load_runs(uri: str, *, experiment: str | None = None) -> Runs:
    """The runs in a folder or under an `s3://` URI, of one experiment or of all, as pandas tables.

    Raises `UsageError` where no run is, `AccessDeniedError` or `StorageError`.
    """
    return read_runs(open_store(uri), experiment=experiment)


def read_runs(store: Store, *, experiment: str | None = None, now: datetime | None = None) -> Runs:
    """`load_runs` for an open store. `now` decides which silent runs are lost."""
    keys = list_runs(store, experiment)
    gathered, broken = _read_results(store, sorted(filter(is_result_key, keys), key=_name_run))
    holes = broken + _read_holes(store, keys, now=now or datetime.now(UTC))  # first: a large plan takes memory too
    tables = gathered.build()
    holes += _diverged(tables["runs"])
    return Runs(
        runs=add_attributes(tables["runs"]),
        **{name: tables[name] for name in ("epochs", "classes", "diagnostics")},
        holes=pd.DataFrame([astuple(hole) for hole in holes], columns=list(HOLE_COLUMNS)),
        test_right=gathered.test_right,
    )


def read_confusion(store: Store, runs: Iterable[str]) -> tuple[list[str], Floats] | None:
    """Classes and counts of test images over `runs`, a row per true class; None where none has them.

    They are read from the results a second time, because in the tables they would take most of the memory.
    """
    contents = read_ahead(store, map(_result_key, runs))
    results = [RunResult.model_validate_json(content) for _, content in contents if content is not None]
    known = [result for result in results if result.confusion]
    if not known:
        return None
    return known[0].classes, np.sum([np.array(result.confusion, dtype=float) for result in known], axis=0)


def list_runs(store: Store, experiment: str | None) -> list[str]:
    """The keys of what runs and plans left. Raises `UsageError` where there is nothing of them."""
    keys = store.list_keys(f"{experiment}/" if experiment else "")
    if any(_is_of_a_run_or_plan(key) for key in keys):
        return keys
    if experiment:
        there = sorted({key.split("/")[0] for key in store.list_keys("") if "/runs/" in key}) or ["none"]
        raise UsageError(f"{store.uri}: no experiment {experiment!r} here; there are: {', '.join(there)[:500]}")
    what = "no run is here" if keys else "nothing is here"
    inside = any(key.endswith("result.json") for key in keys)
    advice = "this looks like the inside of one: name the folder above" if inside else "or the place is mistyped"
    raise UsageError(
        f"{store.uri}: {what}; name the folder or s3:// URI that runs had as --output: it holds "
        f"<experiment>/runs/<run id>/; {advice}"
    )


def _is_of_a_run_or_plan(key: str) -> bool:
    parts = key.split("/")
    return (len(parts) >= 4 and parts[1] == "runs") or (len(parts) == 2 and parts[1] == "sweep.json")


def _read_results(store: Store, keys: list[str]) -> tuple[Tables, list[Hole]]:
    """The tables of the results under `keys`, and those that cannot be used."""
    tables, num_read = Tables(), 0
    broken: list[Hole] = []
    for key, content in read_ahead(store, keys):
        outcome = _read_rows(store, key, content)
        if isinstance(outcome, str):
            get_logger().warning("result_ignored", result=store.locate(key), reason=outcome)
            broken.append(Hole(*_parts(key), "corrupt", f"result.json {outcome}"))
        else:
            tables.add(outcome)
            num_read += 1
    get_logger().info("results_read", read=num_read, unusable=len(broken))
    return tables, broken


def _read_rows(store: Store, key: str, content: bytes | None) -> RunRows | str:
    """The rows of the result under `key`, or the reason why there are none."""
    if content is None:
        return "vanished while the report was written"
    try:
        result = parse_result(content, key=key)
    except ValueError as error:
        return str(error)
    if result.environment is None:  # results of before 2026-11 left it to environment.json
        result = result.model_copy(update={"environment": _read_environment(store, key)})
    return build_rows(result)


def _read_environment(store: Store, result_key: str) -> Environment | None:
    try:
        return parse_environment(store.read(RunKeys(*_parts(result_key)).environment))
    except ObjectMissing:
        return None


def _read_holes(store: Store, keys: Sequence[str], *, now: datetime) -> list[Hole]:
    """Runs without a result, and planned ones without a trace."""
    seen, finished, plans = set(), set(), []
    for key in keys:
        parts = key.split("/")
        if len(parts) >= 4 and parts[1] == "runs":
            seen.add(_parts(key))
            if is_result_key(key):
                finished.add(_parts(key))
        elif len(parts) == 2 and parts[1] == "sweep.json":
            plans.append(key)
    holes: list[Hole] = []
    planned = {}
    for key in plans:
        try:
            planned[key.split("/")[0]] = _read_planned(store, key, keys)
        except ValueError as error:
            reason = f"is no plan: {str(error).splitlines()[0]}"
            holes.append(Hole(key.split("/")[0], "sweep.json", "corrupt", reason))
    unfinished = sorted(seen - finished)
    states = read_ahead(store, [RunKeys(*run).progress for run in unfinished])
    holes += [describe_unfinished(*run, state, now=now) for run, (_, state) in zip(unfinished, states, strict=True)]
    return holes + find_missing(planned, seen)


def _read_planned(store: Store, plan_key: str, keys: Iterable[str]) -> list[str]:
    """The runs of a sweep.json; of a race only those that it has sent. Raises `ValueError` if it is no plan."""
    content = store.read(plan_key)
    planned = read_plan(content)
    if not read_is_race(content):
        return planned
    folder = plan_key.partition("/")[0] + "/"
    sent = {
        run_id
        for key in keys
        if key.startswith(folder) and is_submission_key(key)
        for run_id in read_sent(store.read(key))
    }
    return [run_id for run_id in planned if run_id in sent]


def _diverged(runs: pd.DataFrame) -> list[Hole]:
    lost = runs[runs["status"] == "diverged"]
    return [
        Hole(run.experiment, run.run_id, "diverged", f"loss not finite in epoch {epoch:.0f}, step {step:.0f}")
        for run, epoch, step in zip(lost.itertuples(), lost["diverged_epoch"], lost["diverged_step"], strict=True)
    ]


def _parts(key: str) -> tuple[str, str]:
    """Experiment and run id of a key of a run."""
    experiment, _, run_id, *_ = key.split("/")
    return experiment, run_id


def _name_run(key: str) -> str:
    return "/".join(_parts(key))


def _result_key(run: str) -> str:
    experiment, _, run_id = run.partition("/")
    return RunKeys(experiment, run_id).result
