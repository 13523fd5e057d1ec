"""result.json as pydantic models, and environment.json, which says what made the result.

Units are those of `job.runs.records`.
"""

from typing import Literal

from pydantic import Field

from job.manifest import Manifest
from job.runs.records import SCHEMA_VERSION, AttemptRecord, EpochRecord, Moment, Record, Scores
from job.runs.right_images import RightImages


class GradientCheck(Record):
    """What the gradients of the first batch showed about one precision on this machine, before the training."""

    precision: str
    num_images: int
    """Of the first batch."""
    parameter: str
    """The parameter whose gradient was the worst."""
    error: float | None
    """|gradient - reference| / |reference| of that parameter. The reference is its gradient in fp32 by other kernels.
    null if the error is not finite."""
    repeats: bool
    """Whether the same computation gave the same bits again; true also if the device does not promise it."""
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
    """The precision that was used; if the manifest says `auto`, what it resolved to."""
    graphs: bool | None = None
    """Whether steps and evaluations were replayed as CUDA graphs, but for what no graph can hold; null in records from
    before 2026-11-29, which did so on a GPU unless they were told not to."""
    gradient_checks: list[GradientCheck] | None = None
    """The last check is of `precision`; null in records from before 2026-11-25."""
    git_sha: str | None
    image_digest: str | None
    instance_type: str | None
    data_sha256: str
    weights_sha256: str | None


class BestEpoch(Record):
    """The epoch whose weights one would keep, and the part of the data on which it was chosen."""

    epoch: int
    chosen_on: Literal["validation", "test"]
    """`test` means that the choice was not independent of the reported number."""
    test: Scores


class Divergence(Record):
    """The first step whose loss was not finite."""

    epoch: int
    """From 1."""
    step: int
    """From 1, within the epoch."""


class Timings(Record):
    """Seconds of the attempt that finished the run, except `train` and `evaluate`, which are over all attempts."""

    startup: float
    """From the start of the process to the start of staging: interpreter and imports."""
    staging: float
    """Data set and weights: fetch, decode, verify."""
    preflight: float = 0.0
    """The check whether the gradients of the first batch are right."""
    train: float
    evaluate: float
    upload: float
    """Waiting for storage. Uploads during the training do not count. In a process with several runs, the next run
    trains while the last artefacts of this one are stored."""
    total: float


class Efficiency(Record):
    """How well the training used the device."""

    flop_per_image: int
    """Floating-point operations of the forward and backward pass; a multiply-add counts as two."""
    achieved_flops: float | None
    """Floating-point operations per second of training time."""
    peak_flops: float | None
    """Floating-point operations per second of the device in this precision, by its data sheet; null if not known."""
    utilisation_fraction: float | None
    """achieved_flops / peak_flops."""
    energy_joules: float | None
    """Energy of the whole GPU while the attempt that finished the run trained and evaluated; null without NVML."""


class RunResult(Record):
    """result.json. It is written last, so a run is finished if it exists."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    experiment: str
    attempt_id: str
    """Random. If the answer to a commit was lost, the writer sees by this id whether the result is its own."""
    manifest: Manifest
    status: Literal["completed", "diverged"]
    divergence: Divergence | None
    classes: list[str]
    num_train: int
    num_validation: int
    num_test: int
    num_parameters: int
    final: Scores | None
    """Test scores after the last epoch; null if the first epoch diverged."""
    best: BestEpoch | None
    class_accuracy: list[float | None]
    """Test top-1 per class after the last evaluated epoch; null for a class without test images."""
    confusion: list[list[int]]
    """Rows are true classes, columns predicted ones; counts of test images."""
    test_right: RightImages | None = None
    """Which test images were classified correctly, in the same evaluation as for `class_accuracy` and `confusion`; null
    if there was no evaluation before a divergence, and in results from before 2026-11-25."""
    history: list[EpochRecord]
    timings: Timings
    train_images_per_second: float | None
    peak_memory_bytes: int
    """Peak of the GPU's allocator, or of the process if there is no GPU."""
    efficiency: Efficiency | None = None
    environment: Environment | None = None
    """The same as environment.json; null in results from before 2026-11."""
    attempts: int
    attempt_records: list[AttemptRecord] = Field(default_factory=list)
    """The attempts one by one, those that were lost included; without those from before 2026-11-29."""
    lost_seconds: float
    estimated_cost_usd: float | None
    """Price times time of every attempt whose price is known (`attempt_records`); null if none is. Without the boot of
    the machines, the pull of the image, and the storing of the last artefacts. In results from before 2026-11-29 it is
    the price that was given, for the time of all attempts."""
    finished_at: Moment
