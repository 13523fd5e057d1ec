"""What is left to do of a sweep, and what every back end tells its containers: the same everywhere.

sweep → plan − finished runs − runs under way = submission → launch → request of a back end
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from job.errors import AccessDeniedError, StorageError
from job.logs import get_logger
from job.manifest import Sweep
from job.plan import (
    Submission,
    SubmittedJob,
    SweepPlan,
    build_plan,
    build_submission,
    job_key,
    plan_key,
    submission_key,
)
from job.runs import RunKeys
from job.storage import Store, open_store
from job.submit.stale import Stale, find_stale, put_aside
from job.submit.status import observe_children, read_submitted

PERMANENT_EXIT_CODES = (1, 2, 65, 66, 67, 68, 69)
RETRYABLE_EXIT_CODES = (71, 74, 75, 143)
"""As the tree in `job.errors` has them."""
MAX_ATTEMPTS = 5
CLAIM_SCHEME = "pvc://"
"""An output on a PersistentVolumeClaim, which only the cluster's containers reach."""


@dataclass(frozen=True)
class Launch:
    """One submission: `num_containers` containers that differ in their index alone."""

    name: str
    """`<experiment>-<submission id>`."""
    experiment: str
    output: str
    submission: str
    """Path or URI under which the containers read it."""
    num_containers: int
    image: str = ""
    data: str | None = None
    device: str = "auto"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """Arguments of `job run`, the image's entry point."""
        arguments = ["--manifest", self.submission, "--output", self.output, "--experiment", self.experiment]
        if self.data:
            arguments += ["--data", self.data]
        if self.device != "auto":
            arguments += ["--device", self.device]
        return arguments


@dataclass(frozen=True)
class Work:
    """What is left to do of a sweep."""

    experiment: str
    output: str
    plan: SweepPlan
    submission: Submission
    store: Store | None
    """None where only containers reach the output."""
    num_done: int
    num_busy: int
    """Runs in containers that an earlier submission started, and that have not ended."""
    stale: list[Stale] = field(default_factory=list)
    """Finished runs that are to be made again."""

    def launch(self, *, image: str, data: str | None, device: str) -> Launch:
        """The same for every back end."""
        key = submission_key(self.experiment, self.submission.id)
        _, _, digest = image.partition("@")
        return Launch(
            name=f"{self.experiment}-{self.submission.id}",
            experiment=self.experiment,
            output=self.output,
            submission=self.store.locate(key) if self.store else "",
            num_containers=len(self.submission.containers),
            image=image,
            data=data,
            device=device,
            environment={"JOB_IMAGE_DIGEST": digest} if digest else {},
        )

    def write(self) -> None:
        """Put the plan and the submission where containers, status and report find them, and stale results aside."""
        if self.store:
            put_aside(self.store, self.experiment, self.stale)
            self.store.write(plan_key(self.experiment), self.plan.model_dump_json(indent=1).encode())
            key = submission_key(self.experiment, self.submission.id)
            self.store.write(key, self.submission.as_json().encode())

    def write_job(self, job: SubmittedJob) -> None:
        """Remember under which name the back end knows the submission."""
        if self.store:
            self.store.write(job_key(self.experiment, self.submission.id), job.model_dump_json(indent=1).encode())


def prepare(
    sweep: Sweep,
    *,
    source: str,
    output: str,
    experiment: str,
    per_container: int,
    is_dry_run: bool = False,
    origin: Mapping[str, str] | None = None,
) -> Work:
    """What of `sweep` is to be submitted. Storage is listed once, whatever the number of runs.

    With `origin`, what would run now, finished runs that something else made are to be made again.
    A dry run goes on without storage that cannot be reached, as if nothing were done yet.
    """
    plan = build_plan(sweep, source=source)
    store = None if output.startswith(CLAIM_SCHEME) else open_store(output)
    done: set[str] = set()
    busy: set[str] = set()
    stale: list[Stale] = []
    if store:
        try:
            done = find_done(plan, store, experiment=experiment)
            busy = find_busy(store, experiment=experiment)
            if origin is not None:
                finished = [run.run_id for run in plan.runs if run.run_id in done - busy]
                stale = find_stale(store, experiment, finished, origin)
            done -= {each.run_id for each in stale}
            busy -= done
        except (AccessDeniedError, StorageError) as error:
            if not is_dry_run:
                raise
            get_logger().warning("output_not_read", reason=str(error), consequence="every run is rendered")
    runs = [run for run in plan.runs if run.run_id not in done | busy]
    newest = max((each.finished_at for each in stale), default=None)
    replaces = newest.isoformat() if newest else None
    submission = build_submission(sweep, runs, per_container=per_container, replaces=replaces)
    return Work(experiment, output, plan, submission, store, num_done=len(done), num_busy=len(busy), stale=stale)


def find_done(plan: SweepPlan, store: Store, *, experiment: str) -> set[str]:
    """The ids of the runs of `plan` that have a result."""
    keys = set(store.list_keys(f"{experiment}/runs/"))
    return {run.run_id for run in plan.runs if RunKeys(experiment, run.run_id).result in keys}


def find_busy(store: Store, *, experiment: str) -> set[str]:
    """The ids of the runs whose containers wait or run."""
    children = observe_children(read_submitted(store, experiment))
    return {run_id for run_id, child in children.items() if child.state in ("waiting", "running")}
