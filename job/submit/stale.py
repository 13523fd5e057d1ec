"""Results that something else made than what would run now: finding them, and putting them aside to be made again.

Compared are the origins (`job.runs.origins`): version and commit of this program, torch, torchvision, and the image's
digest. What is not known on one of both sides is no difference. A superseded result is kept, with all of its files but
the checkpoints, under <experiment>/superseded/<run_id>/<when it was finished>/: neither status nor report looks there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from job import __version__
from job.errors import AccessDeniedError, ObjectMissing
from job.runs import Environment, RunKeys, RunResult, describe_origin, differences, is_checkpoint_key, superseded_prefix
from job.runs.origins import PACKAGES, build_origin
from job.storage import Store
from job.versions import find_commit, find_packages

COMMIT_TAG = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{12,40}(-dirty)?")
"""A tag that `make push-image` gives: a commit. One of digits alone may be a date."""
NUM_WORKERS = 16
"""Runs looked at, or put aside, at the same time."""
SHOWN_DIGITS = 12
"""Of commits and digests, for people."""


@dataclass(frozen=True)
class Stale:
    """A result that something else made."""

    run_id: str
    differences: dict[str, tuple[str, str]]
    """By what differs: what made the result, and what would run now."""
    finished_at: datetime


def read_local_origin() -> dict[str, str]:
    """What a process on this machine would run with."""
    packages = find_packages(PACKAGES)
    return build_origin(version=__version__, code=find_commit(), **packages, image=os.environ.get("JOB_IMAGE_DIGEST"))


def read_image_origin(image: str) -> dict[str, str]:
    """What the name of an image tells of what it runs: its digest, and its code where the tag is a commit."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return build_origin(code=tag if COMMIT_TAG.fullmatch(tag) else None, image=digest)


def find_stale(store: Store, experiment: str, run_ids: Iterable[str], origin: Mapping[str, str]) -> list[Stale]:
    """Those of the finished runs that were made by something else than `origin`; a small read for each run."""
    ordered = list(run_ids)
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        found = pool.map(lambda run_id: _compare(store, RunKeys(experiment, run_id), origin), ordered)
        return [stale for stale in found if stale is not None]


def put_aside(store: Store, experiment: str, stale: Iterable[Stale]) -> None:
    """Make room for new results; afterwards the runs look as if they had never begun.

    The result goes last, so that a run that is half put aside is still a stale one. Raises `AccessDeniedError` where
    the files may not be removed; then everything is as it was, and the copies are there as well.
    """
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        list(pool.map(lambda each: _put_aside(store, RunKeys(experiment, each.run_id), each.finished_at), stale))


def describe_stale(stale: Iterable[Stale]) -> list[str]:
    """One line for each way in which results differ: how, how many runs, and an example."""
    groups: dict[str, list[str]] = {}
    for each in stale:
        parts = [f"{name} {_short(made)}, now {_short(now)}" for name, (made, now) in each.differences.items()]
        groups.setdefault("; ".join(parts), []).append(each.run_id)
    return [f"{len(runs):,} made by {what}: such as {runs[0]}" for what, runs in groups.items()]


def _compare(store: Store, keys: RunKeys, origin: Mapping[str, str]) -> Stale | None:
    environment = _read_environment(store, keys)
    if environment is not None and not differences(describe_origin(environment), origin):
        return None
    try:
        result = RunResult.model_validate_json(store.read(keys.result))
    except (ObjectMissing, ValidationError):
        return None  # the report lists what is corrupt; who made it is not known
    found = differences(describe_origin(environment or result.environment), origin)
    return Stale(keys.run_id, found, result.finished_at) if found else None


def _read_environment(store: Store, keys: RunKeys) -> Environment | None:
    """It is small; the result, which has it too, holds the whole history."""
    try:
        return Environment.model_validate_json(store.read(keys.environment))
    except (ObjectMissing, ValidationError):
        return None


def _put_aside(store: Store, keys: RunKeys, finished_at: datetime) -> None:
    target = superseded_prefix(keys, finished_at)
    there = store.list_keys(f"{keys.prefix}/")
    for key in there:
        if not is_checkpoint_key(key):  # it would only carry the old training on
            store.copy(key, f"{target}{key.removeprefix(f'{keys.prefix}/')}")
    last = [keys.environment, keys.result]
    store.delete([key for key in there if key not in last])
    left = [key for key in store.list_keys(f"{keys.prefix}/") if key not in last]
    if not left:
        store.delete(last)
        left = store.list_keys(f"{keys.prefix}/")
    if left:
        raise AccessDeniedError(
            f"{store.locate(left[0])}: cannot be removed, and --stale makes room for new results; "
            "use credentials that may delete there"
        )


def _short(value: str) -> str:
    """Commits and digests as far as people compare them."""
    kind, colon, digest = value.rpartition(":")
    if re.fullmatch(r"[0-9a-f]{13,}", digest):
        return f"{kind}{colon}{digest[:SHOWN_DIGITS]}"
    commit, dash, rest = value.partition("-")
    return f"{commit[:SHOWN_DIGITS]}{dash}{rest}" if re.fullmatch(r"[0-9a-f]{13,}", commit) else value
