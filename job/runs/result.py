"""result.json as pydantic models, and what it says of the machine that made it.

Units are those of `job.runs.records`.
"""

from __future__ import annotations

from typing import Literal

from job.manifest import Manifest
from job.runs.records import SCHEMA_VERSION, EpochRecord, Moment, Record, Scores
from job.runs.right_images import RightImages


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
    test_right: RightImages | None = None
    """Which test images were right, in the evaluation that `class_accuracy` and `confusion` are of; null where there
    was none before a divergence, and in results of before 2026-11-25."""
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
