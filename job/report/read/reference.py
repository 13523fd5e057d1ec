"""A published study: its numbers, its curves and how it was set up, read from its file."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from job.errors import DataError, ObjectMissing, UsageError
from job.storage import read_uri

BUNDLED = ("lab-report",)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ReferenceEpoch(_Part):
    """One published epoch; accuracies are fractions of one."""

    epoch: int
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    train_loss: float | None = None
    """Mean cross entropy in nats; so is `test_loss`."""
    test_loss: float | None = None
    train_loss_sum: float | None = None
    """Where a study tells sums: over the training batches of the batches' means."""
    test_loss_sum: float | None = None
    """Over the test images."""


class ReferenceRun(_Part):
    """One published optimizer."""

    top1: float
    top5: float | None = None
    class_accuracy: list[float] = []
    epochs: list[ReferenceEpoch] = []


SetupField = Literal[
    "model", "dataset", "train_images", "test_images", "train_batches", "epochs", "learning_rate", "loss"
]


class Setup(_Part):
    """How the published study was done. What it states, what its numbers imply and what it leaves open stand apart."""

    model: str | None = None
    dataset: str | None = None
    train_images: Annotated[int, Field(gt=0)] | None = None
    test_images: Annotated[int, Field(gt=0)] | None = None
    train_batches: Annotated[int, Field(gt=0)] | None = None
    """In an epoch: what a sum of losses over them is divided by."""
    epochs: int | None = None
    learning_rate: float | None = None
    loss: str | None = None
    inferred_fields: list[SetupField] = []
    """Those of the fields above that the study does not state: they were inferred from its numbers."""
    inferred: list[str] = []
    """What else was inferred from its numbers, and from which."""
    not_stated: list[str] = []
    """What one would need to repeat the study and does not find in it."""
    classes: list[str] = []
    """The names of the classes, in the order of `class_accuracy`."""
    notes: list[str] = []
    """Remarks of which the file does not say whether the study states them."""


class Reference(_Part):
    """A published study."""

    source: str
    setup: Setup = Setup()
    optimizers: dict[str, ReferenceRun] = Field(min_length=1)


def mean_train_loss(epoch: ReferenceEpoch, setup: Setup) -> float | None:
    """The mean training loss of a published epoch in nats: as told, or from the sum. None where it cannot be known.

    The mean over batches of their means is that over the images where all batches have the same size.
    """
    return _divide(epoch.train_loss, epoch.train_loss_sum, setup.train_batches)


def mean_test_loss(epoch: ReferenceEpoch, setup: Setup) -> float | None:
    """The same of the test images."""
    return _divide(epoch.test_loss, epoch.test_loss_sum, setup.test_images)


def _divide(mean: float | None, total: float | None, num: int | None) -> float | None:
    if mean is not None:
        return mean
    return total / num if total is not None and num is not None else None


def read_reference(location: str) -> Reference:
    """The study at a path or an `s3://` URI, or the bundled one of this name.

    Raises `UsageError` where nothing is there, and `DataError` where it holds no study.
    """
    if location in BUNDLED:
        content = resources.files("job.report.read").joinpath("data", f"{location}.json").read_bytes()
    else:
        try:
            content = read_uri(location)
        except ObjectMissing as error:
            raise UsageError(f"--reference {location}: no such file; bundled: {', '.join(BUNDLED)}") from error
    try:
        return Reference.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(f"{location}: is no published study: {where}: {fault['msg']}") from error
