"""The protocol `Backend`, which the module of every back end fulfils, and the values that it takes and returns.

`job.submit.registry` lists the back ends. This file knows none of them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from job.plan import Submission, SubmittedJob

if TYPE_CHECKING:
    from job.submit.options import Options

RETRYABLE_EXIT_CODES = (71, 74, 75, 143)
"""Those of `job.errors` after which another attempt may succeed. Every other code is final on every back end, also what
kernels and shells give: 137 (killed for memory), 134 and 139 (crashed), 126 and 127 (not started)."""
MAX_ATTEMPTS = 5
"""How often a back end starts one container, the first time included, where --attempts does not say otherwise."""
DEFAULT_TIMEOUT_SECONDS = 4 * 3600
"""Of one attempt, on the back ends that cost money."""
DEFAULT_OUTPUT = "runs"

ContainerState = Literal["waiting", "running", "succeeded", "failed", "gone", "unknown"]
"""`gone`: the back end has forgotten the container, or is about to. `unknown`: the back end cannot be asked."""


class Settings(Protocol):
    """The fields of a back end's settings that `job submit` reads. All other fields are the back end's own.

    The variables of the containers are not among them: every back end has them from the launch.
    """

    @property
    def output(self) -> str:
        """Folder, `s3://` URI or `pvc://` claim that the runs write to."""

    @property
    def image(self) -> str:
        """The container image; empty where none was named."""

    @property
    def needs_gpu(self) -> bool:
        """Whether a container that finds no GPU is to fail instead of training on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the containers of one submission are told. The containers differ only in their index."""

    experiment: str
    output: str
    submission: Submission
    submission_place: str
    """The path or URI under which the containers read the submission."""
    data: str | None = None
    weights: tuple[str, ...] = ()
    """Places of pretrained weights that the runs name."""
    device: str = "auto"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<experiment>-<submission id>`."""
        return f"{self.experiment}-{self.submission.id}"

    @property
    def num_containers(self) -> int:
        return len(self.submission.containers)

    @property
    def arguments(self) -> list[str]:
        """Arguments of `job run`, the image's entry point."""
        arguments = ["--manifest", self.submission_place, "--output", self.output, "--experiment", self.experiment]
        if self.data:
            arguments += ["--data", self.data]
        if self.device != "auto":
            arguments += ["--device", self.device]
        return arguments


@dataclass(frozen=True)
class Child:
    """What a back end says of one container that was sent out."""

    index: int
    """Its completion index: its place in the submission."""
    state: ContainerState
    exit_code: int | None
    reason: str
    """Why it waits, failed, is gone or cannot be asked for, in one sentence; empty where there is nothing to say."""


@dataclass(frozen=True)
class Ended:
    """A container that ran on this machine and is not tried again."""

    index: int
    exit_code: int
    attempts: int


AnySettings = TypeVar("AnySettings")
Request = TypeVar("Request")


class Backend(Protocol[AnySettings, Request]):
    """Where containers can run. A module fulfils it with functions of these names.

    `render` and `show` are pure; the others may ask a service, and raise a `JobError` where it refuses.
    """

    def configure(self, options: Options) -> AnySettings:
        """The settings (`Settings`) that `options` give. What `options` leave open is filled in."""

    def render(self, launch: Launch, settings: AnySettings) -> Request:
        """The exact request. Raises `UsageError` where an option is missing."""

    def show(self, request: Request) -> str:
        """The request as `--dry-run` prints it."""

    def submit(self, request: Request, settings: AnySettings) -> SubmittedJob | Generator[Ended]:
        """Send the request, and return under which name the back end knows it from now on.

        A back end that carries the request out itself returns a generator instead, which yields each container as it
        ends. Closing the generator early stops the containers that run.
        """

    def observe(self, job: SubmittedJob) -> list[Child]:
        """What became of each container; an empty list if the back end has forgotten them."""

    def read_log(self, job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
        """The last `num_lines` log lines of one container; an empty list if the back end no longer has them."""

    def cancel(self, job: SubmittedJob, *, reason: str) -> bool:
        """Stop all containers that wait or run. Those that run save their checkpoints.

        Returns False if the back end knows nothing of them any more.
        """
