"""The records that a run leaves, as pydantic models: what is written, and what every later version still reads.

Accuracies are fractions of one, losses are means per image in nats, times are seconds of a monotonic clock unless the
name says `at`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from job.manifest import Manifest

SCHEMA_VERSION = 1
"""Of every record. A new field has a default and leaves it as it is; it rises when an old reader would go wrong, and
then old records must still be read. tests/data/version-1 is read for ever."""


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises `ValueError` for one at an end of the calendar that lies outside of it in UTC."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{moment.isoformat()} lies outside the years 1 to 9999 in UTC") from error


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A point in time, in UTC; one that names no zone is taken to be."""
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    """What a run writes; readers ignore fields that a later version added."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, ser_json_inf_nan="null")


class Scores(Record):
    """Loss and accuracy over one part of the data."""

    loss: float | None
    """Mean cross entropy in nats; null when it was not finite."""
    top1: float
    top5: float | None = None
    """null where it was not measured, as over the training images."""


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
    """Norm of the weights after the epoch minus those that the training started from; null where it was not measured,
    as in older results."""


class Diagnostics(Record):
    """What the optimizer did at some steps of an epoch."""

    steps: list[int]
    """Steps since the start of training, from 0."""
    backbone: GroupDiagnostics | None
    """null when the backbone is frozen."""
    fc: GroupDiagnostics


class EpochRecord(Record):
    """One line of history.jsonl."""

    schema_version: int = SCHEMA_VERSION
    epoch: int
    """From 1."""
    train: Scores
    """Over the epoch's own forward passes, while the weights change."""
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
    """Beside every checkpoint: without it, or different from it, a checkpoint does not count."""

    schema_version: int = SCHEMA_VERSION
    size_bytes: int
    sha256: str
    configuration: str
    """`configuration_digest` of the manifest it belongs to."""


class Progress(Record):
    """progress.json: how far a run is, for those who watch it."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    state: Literal["starting", "running", "interrupted", "failed", "completed", "diverged"]
    attempt: int
    epoch: Count
    """Whole epochs done."""
    step: Count
    """Steps done of the next one."""
    num_epochs: Annotated[int, Field(ge=1)]
    num_steps: Count
    """Steps in an epoch; 0 until they are known."""
    loss: float | None = None
    """Mean training loss of the last whole epoch."""
    test_top1: float | None = None
    images_per_second: float | None = None
    trained_seconds: Seconds = 0.0
    """Training and evaluation that lead to this state, over all attempts."""
    lost_seconds: Seconds = 0.0
    """Training and evaluation that had to be done again, as far as earlier attempts reported it."""
    updated_at: Moment
    error: str | None = None
    exit_code: int | None = None

    @property
    def done_fraction(self) -> float:
        """Of the training steps, in [0, 1]."""
        epochs = self.epoch + (self.step / self.num_steps if self.num_steps else 0.0)
        return min(1.0, epochs / self.num_epochs)


class GradientCheck(Record):
    """What the first batch's gradients showed of one precision on this machine, before the training."""

    precision: str
    num_images: int
    """Of the first batch."""
    parameter: str
    """The one whose gradient was the worst."""
    error: float | None
    """|gradient - reference| / |reference| of that parameter, the reference being fp32's by other kernels; null where
    it is not finite."""
    repeats: bool
    """The same computation gave the same bits, or the device does not promise it."""
    passed: bool


class Environment(Record):
    """What a result depends on besides the manifest."""

    schema_version: int = SCHEMA_VERSION
    package_version: str
    python: str
    platform: str
    packages: dict[str, str]
    device: str
    """`cpu` or the GPU's name."""
    driver: str | None
    cuda: str | None
    cpu_capability: str
    num_threads: int
    precision: str
    """What `auto` resolved to."""
    gradient_checks: list[GradientCheck] | None = None
    """The last one is of `precision`; null in records of before 2026-11-25."""
    git_sha: str | None
    image_digest: str | None
    instance_type: str | None
    data_sha256: str
    weights_sha256: str | None


class BestEpoch(Record):
    """The epoch one would keep, and what it was chosen on."""

    epoch: int
    chosen_on: Literal["validation", "test"]
    """`test` means that no choice independent of the reported number was made."""
    test: Scores


class Divergence(Record):
    """The first step whose loss was not finite."""

    epoch: int
    """From 1."""
    step: int
    """From 1, within the epoch."""


class Timings(Record):
    """Seconds of the attempt that finished the run, except train and evaluate: these are over all attempts."""

    startup: float
    """From the start of the process to the start of staging: interpreter and imports."""
    staging: float
    """Data set and weights: fetch, decode, verify."""
    preflight: float = 0.0
    """Whether the gradients of the first batch are right."""
    train: float
    evaluate: float
    upload: float
    """Waiting for storage; uploads behind the training do not count. In a process with more runs the next one trains
    while the last artefacts of this one are stored."""
    total: float


class Efficiency(Record):
    """How well the training used the device."""

    flop_per_image: int
    """Floating-point operations of the forward and backward pass; a multiply-add counts as two."""
    achieved_flops: float | None
    """Per second of training time."""
    peak_flops: float | None
    """Of the device in its precision, by its data sheet; null where it is not known."""
    utilisation_fraction: float | None
    """achieved_flops / peak_flops."""
    energy_joules: float | None
    """Of the whole GPU while the attempt that finished the run trained and evaluated; null without NVML."""


class RunResult(Record):
    """result.json: the run exists when this does."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    experiment: str
    attempt_id: str
    """Random; tells the writer that lost the acknowledgement of its own commit from a second writer."""
    manifest: Manifest
    status: Literal["completed", "diverged"]
    divergence: Divergence | None
    classes: list[str]
    num_train: int
    num_validation: int
    num_test: int
    num_parameters: int
    final: Scores | None
    """Test scores after the last epoch; null when the first epoch diverged."""
    best: BestEpoch | None
    class_accuracy: list[float | None]
    """Test top-1 per class after the last evaluated epoch; null for a class without test images."""
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones; counts of test images."""
    history: list[EpochRecord]
    timings: Timings
    train_images_per_second: float | None
    peak_memory_bytes: int
    """Of the GPU's allocator, or of the process where there is no GPU."""
    efficiency: Efficiency | None = None
    environment: Environment | None = None
    """As in environment.json; null in results of before 2026-11."""
    attempts: int
    lost_seconds: float
    estimated_cost_usd: float | None
    """Price per hour times the seconds of all attempts; null where no price was given."""
    finished_at: Moment
