"""Checks that a finished run was made with the data and weights that the command names now.

Data that are not on this machine are not fetched for this; the log then says that they were not compared. This module
can be imported without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from job.errors import AccessDeniedError, ConflictError, StorageError, UnusablePlace
from job.logs import get_logger
from job.manifest import models
from job.runs import Environment, RunResult
from job.storage import is_remote
from job.training.inputs.cache import expand_cache
from job.training.inputs.datasets import STAGED
from job.training.inputs.listing import list_images
from job.training.inputs.loading import Inputs
from job.training.inputs.staged import find_staged
from job.training.settings import RunSettings

ADVICE = "put back what it was trained on, or name another --output or --experiment"


def check_finished(result: RunResult, settings: RunSettings, *, inputs: Inputs, place: str) -> bool:
    """Compare data and weights with those of `result`, which lies at `place`. Returns whether all could be compared.

    Raises `ConflictError` if they differ. The log says what could not be compared, and why. A reason that is new to
    `inputs` is logged as a warning, which a terminal shows.
    """
    reasons = dict(_compare_inputs(result, settings, inputs=inputs, place=place))
    for what, reason in reasons.items():
        log = get_logger().warning if inputs.is_new((what, reason)) else get_logger().info
        log("inputs_not_compared", what=what, reason=reason)
    return not reasons


def _compare_inputs(
    result: RunResult, settings: RunSettings, *, inputs: Inputs, place: str
) -> Iterator[tuple[str, str]]:
    """Compare, and yield what could not be compared, each with the reason."""
    if result.environment is None:
        yield "data and weights", "the result was made before their digests were recorded"
        return
    absent = _why_data_are_absent(result.manifest.dataset, settings)
    if absent is not None:
        yield "data", absent
    elif result.manifest.dataset.name != "synthetic":  # generated images depend on the manifest alone
        _check_data(result, result.environment, settings, inputs=inputs, place=place)
    source = result.manifest.model.weights
    if source in models.NAMED_WEIGHTS:  # the name alone says which weights they are
        return
    try:
        seen = inputs.weights_sha256(source, settings)
    except (StorageError, AccessDeniedError) as error:
        yield "weights", str(error)
    else:
        _compare("weights", result.environment.weights_sha256, seen, place=place)


def check_same_inputs(earlier: Environment, now: Environment, *, place: str) -> None:
    """Raises `ConflictError` if `earlier`, which lies at `place`, was made with other data or weights than `now`."""
    _compare("data", earlier.data_sha256, now.data_sha256, place=place)
    _compare("weights", earlier.weights_sha256, now.weights_sha256, place=place)


def _compare(what: str, recorded: str | None, seen: str | None, *, place: str) -> None:
    if recorded != seen:
        raise ConflictError(f"{place}: was made with other {what} (sha256 {recorded}, here {seen}); {ADVICE}")


def _why_data_are_absent(dataset: models.Dataset, settings: RunSettings) -> str | None:
    """Why the data cannot be read without fetching them; None where they can."""
    match dataset:
        case models.Synthetic():
            return None
        case models.Folder():
            if settings.data is None:
                return "--data is not given"
            is_here = _find_classes(dataset, settings) is not None
        case models.OfficialDataset():
            is_here = STAGED[dataset.name].is_at_hand(settings.data, cache=expand_cache(settings.cache))
    return None if is_here else f"they are not on this machine ({settings.data or settings.cache})"


def _check_data(result: RunResult, recorded: Environment, settings: RunSettings, *, inputs: Inputs, place: str) -> None:
    if isinstance(result.manifest.dataset, models.Folder):
        classes = _find_classes(result.manifest.dataset, settings)
        if classes is not None and classes != result.classes:
            changed = ", ".join(sorted(set(classes) ^ set(result.classes))[:10])
            raise ConflictError(
                f"{place}: was made with other data: only one of the two has the classes {changed}; {ADVICE}"
            )
    _compare("data", recorded.data_sha256, inputs.data_sha256(result.manifest, settings), place=place)


def _find_classes(dataset: models.Folder, settings: RunSettings) -> list[str] | None:
    """The classes of the images at --data, staged or as files; None if none are there, or the bucket does not tell."""
    data = settings.data or ""
    if not is_remote(data) and (Path(data) / "train").is_dir():
        return list(list_images(Path(data)).classes)
    try:
        staged = find_staged(data, size=dataset.size)
    except (StorageError, AccessDeniedError, UnusablePlace):
        return None
    return staged.classes if staged is not None else None
