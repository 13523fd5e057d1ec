"""Checks that the finished runs of a sweep were made with the data and weights that `job submit` names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from job.cli.options import DEFAULT_CACHE

if TYPE_CHECKING:
    from job.runs import RunResult
    from job.submit.work import Work


def check_done(work: Work, *, data: str | None, is_here: bool) -> None:
    """Compare the finished runs with `data` and the weights of the manifests, as `job run` does.

    If the containers do not run on this machine (`is_here` is false), nothing is compared, and standard error says so.
    Raises `ConflictError` (68) for the first run that was made with other data or weights.
    """
    not_compared = _compare(work, data=data) if is_here else _count_others(work)
    if not_compared:
        typer.echo(f"{work.experiment}: data and weights of {not_compared} finished runs were not compared", err=True)


def _count_others(work: Work) -> int:
    """How many finished runs depend on more than their manifests: on files of data or weights."""
    from job.manifest.models import NAMED_WEIGHTS

    done = set(work.done)
    manifests = [run.manifest for run in work.plan.runs if run.run_id in done]
    return sum(
        manifest.dataset.name != "synthetic" or manifest.model.weights not in NAMED_WEIGHTS for manifest in manifests
    )


def _compare(work: Work, *, data: str | None) -> int:
    """How many finished runs could not be compared. Runs that had, and now name, the same inputs are compared once."""
    from job.training.inputs.finished import check_finished
    from job.training.inputs.loading import Inputs
    from job.training.settings import RunSettings

    if work.store is None:
        return 0
    groups: dict[Hashable, tuple[RunResult, str]] = {}
    counts: Counter[Hashable] = Counter()
    for result, place in _read_results(work):
        key = _inputs_of(result)
        counts[key] += 1
        groups.setdefault(key, (result, place))
    cache = Path(os.environ.get("JOB_CACHE") or DEFAULT_CACHE)  # where the runs look for it
    settings, inputs = RunSettings(data=data, cache=cache), Inputs()
    not_compared = 0
    for key in sorted(groups, key=str):  # one data set after the other, because `Inputs` keeps only the last
        result, place = groups[key]
        if not check_finished(result, settings, inputs=inputs, place=place):
            not_compared += counts[key]
    return not_compared


def _read_results(work: Work) -> Iterator[tuple[RunResult, str]]:
    """The results of the finished runs, with their places. Raises `ConflictError` for a file that is no result."""
    from job.runs import RunKeys
    from job.storage import read_ahead
    from job.training.record.folder import RunFolder

    store = work.store
    if store is None:
        return
    every = [RunKeys(work.experiment, run_id) for run_id in work.done]
    contents = read_ahead(store, [keys.result for keys in every])
    for keys, (_, content) in zip(every, contents, strict=True):
        if content is not None:
            folder = RunFolder(store, keys)
            yield folder.parse_result(content), folder.locate_result()


def _inputs_of(result: RunResult) -> Hashable:
    """What the comparison of a result depends on."""
    made = result.environment
    digests = (made.data_sha256, made.weights_sha256) if made else None
    dataset, weights = result.manifest.dataset.model_dump_json(), result.manifest.model.weights
    return dataset, weights, digests, tuple(result.classes)
