"""What was sent to back ends, and what they say of its containers.

One back end that cannot be asked, or has forgotten a submission, never hides what the others say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from job.errors import JobError, ObjectMissing, UsageError
from job.plan import Submission, SubmittedJob, job_key, submission_key, submissions_prefix
from job.storage import Store
from job.submit.backend import Child, ContainerState
from job.submit.registry import find_backend, load_backend

PRECEDENCE: dict[ContainerState, int] = {
    "waiting": 0, "running": 0, "unknown": 1, "failed": 2, "succeeded": 2, "gone": 3,
}  # fmt: skip
"""If several submissions hold a run, the container with the lowest number counts."""


@dataclass(frozen=True)
class Submitted:
    """A submission, and the name under which its back end knows it."""

    submission: Submission
    job: SubmittedJob

    def index_of(self, run_id: str) -> int | None:
        """The index of the container that does `run_id`; None if there is none."""
        return next((i for i, runs in enumerate(self.submission.containers) if run_id in runs), None)

    def observe(self) -> list[Child]:
        """What the back end says of each container: `gone` if it has forgotten it, `unknown` if it cannot be asked."""
        job = self.job
        state: ContainerState
        try:
            children = load_backend(job.backend).observe(job)
            if children:
                return children
            state = "gone"
            reason = f"{job.backend} no longer knows {job.job}, which was cancelled, or removed after its end"
        except JobError as error:
            state, reason = "unknown", f"{job.backend} cannot be asked about {job.job}: {error}"
        return [Child(index, state, None, reason) for index in range(len(self.submission.containers))]


def read_submitted(store: Store, experiment: str) -> list[Submitted]:
    """What was sent to back ends, in no order. Raises `UsageError` for a back end that this version does not know."""
    found = []
    for key in store.list_keys(submissions_prefix(experiment)):
        if key.endswith(".job.json"):
            job = SubmittedJob.model_validate_json(store.read(key))
            try:
                find_backend(job.backend)
            except UsageError as error:
                raise UsageError(f"{store.locate(key)}: {error}") from error
            submission = Submission.model_validate_json(store.read(key.replace(".job.json", ".json")))
            found.append(Submitted(submission, job))
    return found


def write_submitted(store: Store, experiment: str, submitted: Submitted) -> None:
    """Store under which name the back end knows the submission.

    If the same submission was sent to another place before, which perhaps could not be asked this time, that record is
    kept beside it, so that status and cancel still know of both. In the same place the earlier one is over.
    """
    submission, job = submitted.submission, submitted.job
    key = job_key(experiment, submission.id)
    try:
        earlier = store.read(key)
    except ObjectMissing:
        earlier = None
    if earlier is not None and _place(SubmittedJob.model_validate_json(earlier)) != _place(job):
        aside = f"{submission.id}-{hashlib.sha256(earlier).hexdigest()[:10]}"
        store.write(submission_key(experiment, aside), submission.as_json().encode())
        store.write(job_key(experiment, aside), earlier)
    store.write(key, job.model_dump_json(indent=1).encode())


def _place(job: SubmittedJob) -> tuple[str | None, ...]:
    """Where a back end carries a submission out."""
    return job.backend, job.region, job.context, job.namespace


def observe_children(submitted: Iterable[Submitted]) -> dict[str, Child]:
    """The container of each run, by run id. If several submissions hold a run, `PRECEDENCE` says which one counts."""
    found: dict[str, Child] = {}
    for one in submitted:
        for child in one.observe():
            for run_id in one.submission.containers[child.index]:
                if run_id not in found or PRECEDENCE[child.state] < PRECEDENCE[found[run_id].state]:
                    found[run_id] = child
    return found
