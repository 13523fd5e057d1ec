"""Finds stale results and puts them aside, to be made again. A result is stale if its origin differs from that of what
would run now.

An origin (`job.runs.origins`) is the version and commit of this program, torch, torchvision, and the image's digest. A
part that is unknown on one side counts as equal. The files of a result that is put aside, except the checkpoints, move
to <experiment>/superseded/<run_id>/<when it was finished>/, where neither status nor report looks.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from pydantic import ValidationError

from job import __version__
from job.errors import AccessDeniedError, ObjectMissing, UsageError
from job.places import CLAIM_SCHEME
from job.runs import Environment, RunKeys, RunResult, describe_origin, differences, is_checkpoint_key, superseded_prefix
from job.runs.origins import PACKAGES, build_origin
from job.storage import Store
from job.submit.backend import Settings
from job.submit.registry import Reach
from job.versions import find_commit, find_packages

COMMIT_TAG = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{12,40}(-dirty)?")
"""A tag as `make push-image` gives it: a commit. One of digits alone does not count, because it may be a date."""
NUM_WORKERS = 16
"""Runs that are read, or put aside, at the same time."""
SHOWN_DIGITS = 12
"""Digits of a commit or digest that are shown to people."""


@dataclass(frozen=True)
class Stale:
    """A result that was not made by what would run now."""

    run_id: str
    differences: dict[str, tuple[str, str]]
    """The parts that differ, each with its value when the result was made, and now."""
    finished_at: datetime


def read_origin(settings: Settings, reach: Reach) -> dict[str, str]:
    """The origin that the containers of a back end would have. Raises `UsageError` if nothing of it is known."""
    if settings.output.startswith(CLAIM_SCHEME):
        raise UsageError(f"--stale: only containers reach {settings.output}, so the results there cannot be looked at")
    match reach:
        case Reach.ALL:
            return read_local_origin()
        case Reach.MOUNTED:
            origin = build_origin(code=_read_image_commit(settings.image)) | read_image_origin(settings.image)
        case Reach.NONE:
            origin = read_image_origin(settings.image)
        case _:
            assert_never(reach)
    if not origin:
        raise UsageError(
            f"--stale: nothing is known of what --image {settings.image or '(none)'} holds; name it by its digest "
            "(NAME@sha256:…) or by a tag that is a commit, as `make push-image` does"
        )
    return origin


def read_local_origin() -> dict[str, str]:
    """The origin that a process on this machine would have."""
    packages = find_packages(PACKAGES)
    return build_origin(version=__version__, code=find_commit(), **packages, image=os.environ.get("JOB_IMAGE_DIGEST"))


def read_image_origin(image: str) -> dict[str, str]:
    """What the name of an image says about its origin: the digest, and the code if the tag is a commit."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return build_origin(code=tag if COMMIT_TAG.fullmatch(tag) else None, image=digest)


def find_stale(store: Store, experiment: str, run_ids: Iterable[str], origin: Mapping[str, str]) -> list[Stale]:
    """Those of the finished runs whose origin differs from `origin`. It takes a small read for each run."""
    ordered = list(run_ids)
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        found = pool.map(lambda run_id: _compare(store, RunKeys(experiment, run_id), origin), ordered)
        return [stale for stale in found if stale is not None]


def put_aside(store: Store, experiment: str, stale: Iterable[Stale]) -> None:
    """Move the files of stale results aside. Afterwards the runs look as if they had never begun.

    The result is removed last, so a run that was moved only in part is still found as stale. Raises
    `AccessDeniedError` if files may not be removed: the runs are then as they were, and the copies stay.
    """
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        list(pool.map(lambda result: _put_aside(store, RunKeys(experiment, result.run_id), result.finished_at), stale))


def describe_stale(stale: Iterable[Stale]) -> list[str]:
    """A line for each way in which results differ: how many runs, in what they differ, and an example."""
    groups: dict[str, list[str]] = {}
    for result in stale:
        parts = [f"{name} {_short(made)}, now {_short(now)}" for name, (made, now) in result.differences.items()]
        groups.setdefault("; ".join(parts), []).append(result.run_id)
    return [f"{len(runs):,} made by {what}: such as {runs[0]}" for what, runs in groups.items()]


def _read_image_commit(image: str) -> str | None:
    """The commit that an image of this machine's Docker was built from; None where that is not known."""
    command = ["docker", "image", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", image]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    variables = dict(line.partition("=")[::2] for line in answer.stdout.splitlines())
    return variables.get("JOB_GIT_SHA")


def _compare(store: Store, keys: RunKeys, origin: Mapping[str, str]) -> Stale | None:
    environment = _read_environment(store, keys)
    if environment is not None and not differences(describe_origin(environment), origin):
        return None
    try:
        result = RunResult.model_validate_json(store.read(keys.result))
    except (ObjectMissing, ValidationError):
        return None  # what made it is not known; the report lists it as corrupt
    found = differences(describe_origin(environment or result.environment), origin)
    return Stale(keys.run_id, found, result.finished_at) if found else None


def _read_environment(store: Store, keys: RunKeys) -> Environment | None:
    """The environment, from its own file: result.json holds it too, but is larger because of the history."""
    try:
        return Environment.model_validate_json(store.read(keys.environment))
    except (ObjectMissing, ValidationError):
        return None


def _put_aside(store: Store, keys: RunKeys, finished_at: datetime) -> None:
    target = superseded_prefix(keys, finished_at)
    there = store.list_keys(f"{keys.prefix}/")
    for key in there:
        if not is_checkpoint_key(key):  # only deleted, so that no new run continues the old training from it
            store.copy(key, f"{target}{key.removeprefix(f'{keys.prefix}/')}")
    last = [keys.environment, keys.result]
    store.delete([key for key in there if key not in last])
    left = [key for key in store.list_keys(f"{keys.prefix}/") if key not in last]
    if not left:
        store.delete(last)
        left = store.list_keys(f"{keys.prefix}/")
    if left:
        raise AccessDeniedError(
            f"{store.locate(left[0])}: cannot be removed, but --stale has to remove old results; "
            "use credentials that may delete there"
        )


def _short(value: str) -> str:
    """`value`, shortened to `SHOWN_DIGITS` if it is a commit or digest."""
    kind, colon, digest = value.rpartition(":")
    if re.fullmatch(r"[0-9a-f]{13,}", digest):
        return f"{kind}{colon}{digest[:SHOWN_DIGITS]}"
    commit, dash, rest = value.partition("-")
    return f"{commit[:SHOWN_DIGITS]}{dash}{rest}" if re.fullmatch(r"[0-9a-f]{13,}", commit) else value
