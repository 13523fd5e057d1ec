"""The records that a run writes, as pydantic models. Every later version of this program still reads them.

Accuracies are fractions of one, and losses are means per image in nats. Times are seconds of a monotonic clock, unless
the name ends in `at`: then it is a point in time.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from job.runs.measured import MEASURED_EVERY

SCHEMA_VERSION = 1
"""The version of every record. A new field has a default and does not change the version. The version rises only if an
old reader would misread new records; old records must be read even then. tests/data/version-1 is read for ever."""


def _in_utc(moment: datetime) -> datetime:
    """`moment` in UTC. Raises `ValueError` if it lies outside the years 1 to 9999 there."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{moment.isoformat()} lies outside the years 1 to 9999 in UTC") from error


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time, in UTC. If it names no time zone, UTC is assumed."""
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    """Base of everything that a run writes. Readers ignore fields that a later version added."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Scores(Record):
    """Loss and accuracy over one part of the data."""

    loss: float | None
    """Mean cross entropy in nats; null if it was not finite."""
    top1: float
    top5: float | None = None
    """null if it was not measured, as over the training images."""


class GroupDiagnostics(Record):
    """Euclidean norms over all weights of one group, one value per measured step."""

    num_weights: int
    gradient_norm: list[float | None]
    update_norm: list[float | None]
    """Norm of what the step added to the weights."""
    weight_norm: list[float | None]
    """Norm of the weights before the step."""
    update_to_weight: list[float | None]
    """update_norm / weight_norm."""
    update_rms: list[float | None]
    """Effective step size: root mean square over the group's weights of what the step added."""
    distance_from_start: float | None = None
    """Norm of the difference between the weights after the epoch and those at the start of the training; null if it was
    not measured, as in older results."""


class Diagnostics(Record):
    """What the optimizer did at some steps of an epoch."""

    steps: list[int]
    """The steps that were measured, counted from 0 at the start of training."""
    backbone: GroupDiagnostics | None
    """null when the backbone is frozen."""
    fc: GroupDiagnostics

    def mean(self, group: str, quantity: str) -> float | None:
        """The mean of `quantity` over every tenth step of the epoch; null where it was not measured or not finite.

        Of the first steps, which are all measured, no more count, or they would have half the weight.
        """
        return self.means(group, (quantity,))[0]

    def means(self, group: str, quantities: Sequence[str]) -> list[float | None]:
        """`mean` of each of `quantities`."""
        measured: GroupDiagnostics | None = getattr(self, group)
        if measured is None:
            return [None] * len(quantities)
        even = [index for index, step in enumerate(self.steps) if step % MEASURED_EVERY == 0]
        every: list[list[float | None]] = [getattr(measured, quantity) for quantity in quantities]
        if even and len(even) < len(self.steps):
            every = [[values[index] for index in even] for values in every]
        return [_mean(values) for values in every]


def _mean(values: list[float | None]) -> float | None:
    """Of those that are finite; None without any."""
    try:
        total = math.fsum(cast("list[float]", values))
    except (TypeError, ValueError, OverflowError):  # a null, infinities of both signs, a sum that no float holds
        total = math.nan
    if values and math.isfinite(total):
        return total / len(values)
    finite = [value for value in values if value is not None and math.isfinite(value)]  # hardly ever, and slow
    return math.fsum(finite) / len(finite) if finite else None


class EpochRecord(Record):
    """One line of history.jsonl."""

    schema_version: int = SCHEMA_VERSION
    epoch: int
    """From 1."""
    train: Scores
    """Over the epoch's own forward passes, so while the weights changed."""
    test: Scores
    validation: Scores | None = None
    """Over the held-out part of the training images, where there is one."""
    learning_rate: float
    """At the epoch's last step."""
    diagnostics: Diagnostics
    train_seconds: float
    evaluate_seconds: float
    train_images_per_second: float
    evaluate_images_per_second: float


class CheckpointDigest(Record):
    """Stored beside every checkpoint. A checkpoint that lacks this record, or differs from it, is not used."""

    schema_version: int = SCHEMA_VERSION
    size_bytes: int
    sha256: str
    configuration: str
    """`configuration_digest` of the manifest that the checkpoint belongs to."""
    precision: Literal["bf16", "fp16", "tf32", "fp32"] | None = None
    """In which it was trained; null in records from before 2026-11-29."""


class AttemptRecord(Record):
    """One attempt at a run, and the machine that it had."""

    number: Annotated[int, Field(ge=1)]
    started_at: Moment
    """When the process began; of a later run in one process, when the run began."""
    ended_at: Moment
    """When its training was over or it failed. Of an attempt that was lost, its last sign of life."""
    seconds: Seconds
    """From start to end."""
    instance_type: str | None = None
    zone: str | None = None
    market: str | None = None
    """`spot` or `on-demand`."""
    usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """What the user named, else what AWS told; null where it is not known."""


class Progress(Record):
    """progress.json: how far a run is, for those who watch it."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    state: Literal["starting", "running", "interrupted", "failed", "completed", "diverged"]
    attempt: int
    epoch: Count
    """Whole epochs done."""
    step: Count
    """Steps done of the next epoch."""
    num_epochs: Annotated[int, Field(ge=1)]
    num_steps: Count
    """Steps in an epoch; 0 until they are known."""
    loss: float | None = None
    """Mean training loss of the last whole epoch."""
    test_top1: float | None = None
    images_per_second: float | None = None
    trained_seconds: Seconds = 0.0
    """Time of the training and evaluation that led to this state, over all attempts."""
    lost_seconds: Seconds = 0.0
    """Time of the training and evaluation that had to be done again, as far as earlier attempts reported it."""
    attempt_records: list[AttemptRecord] = Field(default_factory=list)
    """Every attempt so far, the present one last; without those from before 2026-11-29."""
    updated_at: Moment
    error: str | None = None
    exit_code: int | None = None

    @property
    def done_fraction(self) -> float:
        """The fraction of the training steps that is done, in [0, 1]."""
        epochs = self.epoch + (self.step / self.num_steps if self.num_steps else 0.0)
        return min(1.0, epochs / self.num_epochs)
