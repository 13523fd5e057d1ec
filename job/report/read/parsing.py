"""One result.json as a record, or the reason why it cannot be used. What lies in a bucket may be anything."""

from __future__ import annotations

import json

from pydantic import ValidationError

from job.runs import QUANTITIES, SCHEMA_VERSION, Environment, RunKeys, RunResult, unpack_right


def parse_result(content: bytes, *, key: str) -> RunResult:
    """The result under `key`. Raises `ValueError` whose text is the reason why it cannot be used."""
    try:
        result = RunResult.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(_reason(error, content)) from error
    _check(result, key)
    return result


def parse_environment(content: bytes) -> Environment | None:
    """The record in an environment.json; None where it cannot be read. The run's result counts all the same."""
    try:
        return Environment.model_validate_json(content)
    except ValidationError:
        return None


def _check(result: RunResult, key: str) -> None:
    """Raise `ValueError` for a result that fits the schema but that no run could have written."""
    if RunKeys(result.experiment, result.run_id).result != key:
        raise ValueError(f"belongs to {result.experiment}/{result.run_id}")
    scores = [result.final, result.best.test if result.best else None]
    scores += [part for record in result.history for part in (record.train, record.test, record.validation)]
    fractions = [part.top1 for part in scores if part] + [
        part.top5 for part in scores if part and part.top5 is not None
    ]
    if not all(0 <= value <= 1 for value in fractions):
        raise ValueError("has an accuracy that is no fraction of one")
    _check_epochs(result)
    num_classes = len(result.classes)
    if len(result.class_accuracy) not in (0, num_classes) or any(
        len(row) != len(result.confusion) for row in result.confusion
    ):
        raise ValueError(f"has class-wise numbers that do not fit its {num_classes} classes")
    if len(result.confusion) not in (0, num_classes):
        raise ValueError(f"has a confusion matrix that does not fit its {num_classes} classes")
    _check_right_images(result)
    for record in result.history:
        for group in (record.diagnostics.backbone, record.diagnostics.fc):
            if group and {len(getattr(group, name)) for name in QUANTITIES} != {len(record.diagnostics.steps)}:
                raise ValueError(f"has diagnostics of epoch {record.epoch} that do not fit its steps")


def _check_epochs(result: RunResult) -> None:
    if [record.epoch for record in result.history] != list(range(1, len(result.history) + 1)):
        raise ValueError("has a history whose epochs are not 1, 2, 3, …")
    if result.status == "completed" and not result.history:
        raise ValueError("says that it completed, and has no epoch")
    best = result.best
    if best is not None and best.chosen_on == "validation" and not 1 <= best.epoch <= len(result.history):
        raise ValueError(f"has a best epoch {best.epoch} that is not among the {len(result.history)} of its history")


def _check_right_images(result: RunResult) -> None:
    images = result.test_right
    if images is None:
        return
    if images.num_images != result.num_test:
        raise ValueError(f"says of {images.num_images} test images whether they were right, and has {result.num_test}")
    if images.epoch > len(result.history):
        raise ValueError(
            f"says which test images were right after epoch {images.epoch}, and has {len(result.history)} epochs"
        )
    # Not compared with the accuracy in the history: a run that had only its evaluation left may have made it on another
    # machine, whose rounding turns an image or two. The confusion matrix is of the same evaluation.
    num_right = int(unpack_right(images).sum())
    expected = sum(row[index] for index, row in enumerate(result.confusion))
    if num_right != expected:
        raise ValueError(f"says which {num_right} test images were right, and its confusion matrix has {expected}")


def _reason(error: ValidationError, content: bytes) -> str:
    try:
        version = json.loads(content).get("schema_version", SCHEMA_VERSION)
    except (ValueError, AttributeError, RecursionError):
        version = SCHEMA_VERSION
    faults = error.errors(include_url=False, include_input=False)
    where = ".".join(str(part) for part in faults[0]["loc"])
    more = f", and {len(faults) - 1} more faults" if len(faults) > 1 else ""
    what = "is no result"
    if version != SCHEMA_VERSION:
        what = f"was written with schema version {version!r:.20}, which this program ({SCHEMA_VERSION}) cannot read"
    return f"{what}: {where + ': ' if where else ''}{faults[0]['msg']}{more}"[:300]
