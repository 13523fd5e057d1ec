"""An output's runs as tables: lists the keys once, reads what is new in parallel, keeps rows and drops the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from job.errors import ObjectMissing, UsageError
from job.logs import get_logger
from job.plan import read_plan
from job.report.cache import TABLES, Tables, read_cache, write_cache
from job.report.frames import (
    DIAGNOSTIC_COLUMNS,
    EPOCH_COLUMNS,
    HOLE_COLUMNS,
    QUANTITIES,
    RUN_COLUMNS,
    Runs,
    add_attributes,
)
from job.report.holes import Hole, describe_unfinished, find_missing
from job.report.parsing import Floats, RunRows, build_rows, parse_environment, parse_result
from job.runs import GROUPS, Environment, RunKeys, RunResult, is_result_key
from job.storage import Store, open_store

NUM_READERS = 10
"""Threads; botocore keeps this many connections in its pool by default."""


def load_runs(uri: str, *, experiment: str | None = None) -> Runs:
    """The runs in a folder or under an `s3://` URI, of one experiment or of all, as pandas tables.

    Raises `UsageError` where no run is, `AccessDeniedError` or `StorageError`.
    """
    return read_runs(open_store(uri), experiment=experiment)


def read_runs(
    store: Store, *, experiment: str | None = None, now: datetime | None = None, keep_cache: bool = False
) -> Runs:
    """`load_runs` for an open store. `now` decides which silent runs are lost; `keep_cache` writes the cache."""
    versions = list_runs(store, experiment)
    cached = read_cache(store)
    results = {key: version for key, version in versions.items() if is_result_key(key)}
    known = dict(zip(cached["runs"]["run"].map(_result_key), cached["runs"]["version"], strict=True))
    new = [key for key, version in results.items() if known.get(key) != version]
    parsed, broken = _read_results(store, new)
    get_logger().info("results_read", read=len(new), from_cache=len(results) - len(new), unusable=len(broken))
    tables = _merge(cached, parsed, versions, experiment)
    if keep_cache and (parsed or len(tables["runs"]) != len(cached["runs"])):
        write_cache(store, tables)
    own = tables["runs"]["run"].map(_result_key).isin(results)
    runs = tables["runs"][own].drop(columns="version").reset_index(drop=True)
    holes = broken + _read_holes(store, versions, now=now or datetime.now(UTC)) + _diverged(runs)
    return Runs(
        runs=add_attributes(runs),
        **{name: tables[name][tables[name]["run"].isin(runs["run"])] for name in ("epochs", "classes", "diagnostics")},
        holes=pd.DataFrame([astuple(hole) for hole in holes], columns=list(HOLE_COLUMNS)),
    )


def read_confusion(store: Store, runs: Iterable[str]) -> tuple[list[str], Floats] | None:
    """Classes and counts of test images over `runs`, a row per true class; None where none has them.

    Read from the results once more: in the tables they would be most of the memory.
    """
    with ThreadPoolExecutor(NUM_READERS) as readers:
        contents = list(readers.map(lambda run: store.read(_result_key(run)), runs))
    results = [RunResult.model_validate_json(content) for content in contents]
    known = [result for result in results if result.confusion]
    if not known:
        return None
    return known[0].classes, np.sum([np.array(result.confusion, dtype=float) for result in known], axis=0)


def list_runs(store: Store, experiment: str | None) -> dict[str, str]:
    """Keys and versions of what runs and plans left. Raises `UsageError` where nothing is."""
    versions = store.list_versions(f"{experiment}/" if experiment else "")
    if any(_is_of_a_run_or_plan(key) for key in versions):
        return versions
    if experiment:
        there = sorted({key.split("/")[0] for key in store.list_keys("") if "/runs/" in key}) or ["none"]
        raise UsageError(f"{store.uri}: no experiment {experiment!r} here; there are: {', '.join(there)[:500]}")
    what = "no run is here" if versions else "nothing is here"
    inside = any(key.endswith("result.json") for key in versions)
    advice = "this looks like the inside of one: name the folder above" if inside else "or the place is mistyped"
    raise UsageError(
        f"{store.uri}: {what}; name the folder or s3:// URI that runs had as --output: it holds "
        f"<experiment>/runs/<run id>/; {advice}"
    )


def _is_of_a_run_or_plan(key: str) -> bool:
    parts = key.split("/")
    return (len(parts) >= 4 and parts[1] == "runs") or (len(parts) == 2 and parts[1] == "sweep.json")


def _read_results(store: Store, keys: list[str]) -> tuple[list[tuple[str, RunRows]], list[Hole]]:
    parsed: list[tuple[str, RunRows]] = []
    broken: list[Hole] = []
    with ThreadPoolExecutor(NUM_READERS) as readers:
        for key, outcome in zip(keys, readers.map(lambda key: _read_result(store, key), keys), strict=True):
            if isinstance(outcome, str):
                get_logger().warning("result_ignored", result=store.locate(key), reason=outcome)
                broken.append(Hole(*_parts(key), "corrupt", f"result.json {outcome}"))
            else:
                parsed.append((key, outcome))
    return parsed, broken


def _read_result(store: Store, key: str) -> RunRows | str:
    """The rows, or the reason why there are none."""
    try:
        result = parse_result(store.read(key), key=key)
    except ObjectMissing:
        return "vanished while the report was written"
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


def _merge(
    cached: Tables, parsed: list[tuple[str, RunRows]], versions: Mapping[str, str], experiment: str | None
) -> Tables:
    """What is cached and still as it was, and what was just read, ordered by run."""
    read = {rows.run["run"] for _, rows in parsed}
    keys = cached["runs"]["run"].map(_result_key)
    current = [
        run not in read and (versions.get(key) == version if experiment in (None, key.split("/")[0]) else True)
        for run, key, version in zip(cached["runs"]["run"], keys, cached["runs"]["version"], strict=True)
    ]
    kept = cached["runs"][np.array(current, dtype=bool)]
    old = {"runs": kept} | {
        name: table[table["run"].isin(kept["run"])] for name, table in cached.items() if name != "runs"
    }
    if not parsed:
        return old
    new = _build_tables(parsed, versions)
    merged = {name: pd.concat([old[name], new[name]]) if len(old[name]) else new[name] for name in TABLES}
    return {name: table.sort_values("run", kind="stable", ignore_index=True) for name, table in merged.items()}


def _build_tables(parsed: list[tuple[str, RunRows]], versions: Mapping[str, str]) -> Tables:
    rows = [each for _, each in parsed]
    names = np.array([each.run["run"] for each in rows], dtype=object)
    runs = pd.DataFrame([each.run for each in rows], columns=list(RUN_COLUMNS))
    runs.insert(0, "version", [versions[key] for key, _ in parsed])
    epochs = pd.DataFrame(np.concatenate([each.epochs for each in rows]), columns=list(EPOCH_COLUMNS))
    epochs["epoch"] = epochs["epoch"].astype(int)
    epochs.insert(0, "run", names.repeat([len(each.epochs) for each in rows]))
    classes = pd.DataFrame(
        {
            "run": names.repeat([len(each.classes) for each in rows]),
            "class": [name for each in rows for name in each.classes],
            "top1": np.array([value for each in rows for value in each.classes.values()], dtype=float),
        }
    )
    return {"runs": runs, "epochs": epochs, "classes": classes, "diagnostics": _build_diagnostics(rows)}


def _build_diagnostics(rows: list[RunRows]) -> pd.DataFrame:
    parts = [(each.run["run"], group, each.diagnostics[group]) for each in rows for group in GROUPS]
    table = pd.DataFrame(np.concatenate([values for *_, values in parts]), columns=list(DIAGNOSTIC_COLUMNS))
    table["step"] = table["step"].astype(int)
    sizes = [len(values) for *_, values in parts]
    table.insert(0, "group", np.array([group for _, group, _ in parts], dtype=object).repeat(sizes))
    table.insert(0, "run", np.array([run for run, *_ in parts], dtype=object).repeat(sizes))
    return table.astype(dict.fromkeys(QUANTITIES, "float64"))


def _read_holes(store: Store, versions: Iterable[str], *, now: datetime) -> list[Hole]:
    """Runs without a result, and planned ones without a trace."""
    seen, finished, plans = set(), set(), []
    for key in versions:
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
            planned[key.split("/")[0]] = read_plan(store.read(key))
        except ValueError as error:
            reason = f"is no plan: {str(error).splitlines()[0]}"
            holes.append(Hole(key.split("/")[0], "sweep.json", "corrupt", reason))
    unfinished = sorted(seen - finished)
    with ThreadPoolExecutor(NUM_READERS) as readers:
        states = readers.map(lambda run: _read_progress(store, *run), unfinished)
        holes += [describe_unfinished(*run, state, now=now) for run, state in zip(unfinished, states, strict=True)]
    return holes + find_missing(planned, seen)


def _read_progress(store: Store, experiment: str, run_id: str) -> bytes | None:
    try:
        return store.read(RunKeys(experiment, run_id).progress)
    except ObjectMissing:
        return None


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


def _result_key(run: str) -> str:
    experiment, _, run_id = run.partition("/")
    return RunKeys(experiment, run_id).result
