"""What is left to do of a sweep, and what its containers are told.

sweep → plan − finished runs − runs under way = submission → launch → request of a back end
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from job.errors import AccessDeniedError, StorageError, UsageError
from job.logs import get_logger
from job.manifest import Sweep
from job.manifest.document import MAX_BYTES
from job.places import CLAIM_SCHEME
from job.plan import (
    AutoPrecision,
    Submission,
    SubmittedJob,
    SweepPlan,
    build_submission,
    plan_key,
    read_auto_precision,
    submission_key,
)
from job.storage import Store, open_store
from job.submit.backend import Launch, Settings
from job.submit.inputs import find_weights
from job.submit.precision import Machines, choose_auto_precision
from job.submit.stale import Stale, find_stale, put_aside
from job.submit.status import find_busy, find_done
from job.submit.submissions import Submitted, write_submitted


@dataclass(frozen=True, kw_only=True)
class Order:
    """What `job submit` was asked to do with a sweep."""

    experiment: str
    output: str
    per_container: int = 1
    is_dry_run: bool = False
    """In a dry run, an output that cannot be read counts as empty."""
    origin: Mapping[str, str] | None = None
    """The origin of what would run now (`job.runs.origins`). If given, finished runs of another one are done again."""
    only: frozenset[str] | None = None
    """The runs that may be sent; by default all of the plan."""


@dataclass(frozen=True)
class Work:
    """What is left to do of a sweep."""

    experiment: str
    output: str
    plan: SweepPlan
    submission: Submission
    store: Store | None
    """None if only containers reach the output."""
    done: tuple[str, ...]
    """Runs that have a result and are not done again, in the order of the plan."""
    num_busy: int
    """Runs in containers that an earlier submission started, and that have not ended."""
    stale: list[Stale] = field(default_factory=list)
    """Finished runs that are done again."""

    def launch(self, settings: Settings, *, data: str | None, env: Mapping[str, str]) -> Launch:
        """What the containers are told, with the variables `env`. It is the same for every back end.

        Raises `UsageError` if that is more than they read.
        """
        num_bytes = len(self.submission.as_json().encode())
        if num_bytes > MAX_BYTES:
            raise UsageError(
                f"{self.experiment}: the list of its runs has {num_bytes:,} bytes, and a container reads at most "
                f"{MAX_BYTES:,}; take fewer samples, or divide the sweep into several with names of their own"
            )
        key = submission_key(self.experiment, self.submission.id)
        _, _, digest = settings.image.partition("@")
        return Launch(
            experiment=self.experiment,
            output=self.output,
            submission=self.submission,
            submission_place=self.store.locate(key) if self.store else "",
            data=data,
            weights=tuple(find_weights(self.plan)),
            device="cuda" if settings.needs_gpu else "auto",
            environment=({"JOB_IMAGE_DIGEST": digest} if digest else {}) | dict(env),
        )

    def settle_precision(
        self, *, asked: AutoPrecision | None, find_machines: Callable[[], Machines | None]
    ) -> tuple[Work, str]:
        """The same with what `auto` means in every run, and a sentence on it; no sentence if no run leaves it open.

        Raises `UsageError` if `asked` is another precision than that in which runs of this experiment were trained.
        """
        if all(run.manifest.precision != "auto" for run in self.plan.runs):
            return self, ""
        planned = self._read_planned_precision()
        if asked and planned and asked != planned:
            raise UsageError(
                f"--auto-precision {asked}: the plan of {self.experiment} says {planned}, and runs of two precisions "
                "do not compare; leave the option out, or name another --experiment"
            )
        machines = None if asked or planned else find_machines()
        chosen = choose_auto_precision(asked=asked, planned=planned, machines=machines)
        settled = {"auto_precision": chosen}
        work = replace(
            self,
            plan=self.plan.model_copy(update=settled),
            submission=self.submission.model_copy(update=settled),
        )
        return work, f"`precision: auto` means {chosen} in every run" if chosen else ""

    def _read_planned_precision(self) -> AutoPrecision | None:
        """What the experiment's stored plan says that `auto` means; None where there is none, or it cannot be read."""
        try:
            return read_auto_precision(self.store.read(plan_key(self.experiment))) if self.store else None
        except (StorageError, AccessDeniedError, ValueError):
            return None

    def keep_first(self, num_containers: int) -> Work:
        """The same with its first containers alone. Stale results of the others stay where they are."""
        containers = self.submission.containers[:num_containers]
        kept = {run_id for container in containers for run_id in container}
        return replace(
            self,
            submission=self.submission.model_copy(update={"containers": containers}),
            stale=[result for result in self.stale if result.run_id in kept],
        )

    def write(self) -> None:
        """Write the plan and submission where containers, status and report find them, and put stale results aside."""
        if self.store:
            self.store.probe(plan_key(self.experiment), self.plan.model_dump_json(indent=1).encode())
            put_aside(self.store, self.experiment, self.stale)
            key = submission_key(self.experiment, self.submission.id)
            self.store.write(key, self.submission.as_json().encode())

    def write_job(self, job: SubmittedJob) -> None:
        """Store the name under which the back end knows the submission."""
        if self.store:
            write_submitted(self.store, self.experiment, Submitted(self.submission, job))


def prepare(sweep: Sweep, plan: SweepPlan, order: Order) -> Work:
    """What is left to do of `plan`, which `sweep` expands to. Storage is listed once, however many runs there are.

    Raises `AccessDeniedError` or `StorageError` if the output, or a back end that has runs of it, cannot be asked. A
    dry run warns instead, and treats runs whose state is unknown as not done.
    """
    store = None if order.output.startswith(CLAIM_SCHEME) else open_store(order.output)
    done: set[str] = set()
    busy: set[str] = set()
    stale: list[Stale] = []
    if store:
        try:
            done = find_done(plan.run_ids, store, experiment=order.experiment)
            busy = find_busy(store, experiment=order.experiment)
            if order.origin is not None:
                settled = [run_id for run_id in plan.run_ids if run_id in done - busy]
                stale = find_stale(store, order.experiment, settled, order.origin)
            done -= {result.run_id for result in stale}
            busy -= done
        except (AccessDeniedError, StorageError) as error:
            if not order.is_dry_run:
                raise
            get_logger().warning("output_not_read", reason=str(error), consequence="runs of unknown state are rendered")
    wanted = [run_id for run_id in plan.run_ids if order.only is None or run_id in order.only]
    runs = [run_id for run_id in wanted if run_id not in done | busy]
    newest = max((result.finished_at for result in stale), default=None)
    replaces = newest.isoformat() if newest else None
    return Work(
        experiment=order.experiment,
        output=order.output,
        plan=plan,
        submission=build_submission(sweep, runs, per_container=order.per_container, replaces=replaces),
        store=store,
        done=tuple(run_id for run_id in plan.run_ids if run_id in done),
        num_busy=len(busy),
        stale=stale,
    )
