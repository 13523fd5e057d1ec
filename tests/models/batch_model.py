"""Our model of AWS Batch, where moto's own ends.

moto starts real containers, but does not tell children their index and attempt, carries out no retry strategy, kills
without grace, never fails an array's parent, and fails where a host folder that a job mounts is missing.

What is added here follows the documentation, not AWS itself:
https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html and
https://docs.aws.amazon.com/batch/latest/APIReference/API_RetryStrategy.html.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import docker
from docker.models.containers import Container
from moto.batch import models

from tests.models.batch_retries import is_tried_again

GRACE_SECONDS = 25
ChildEnvironment = Callable[[int, int], dict[str, str]]


class Job(models.Job):
    """moto's job with index, attempt, retries, grace and a parent that fails."""

    role_environment: ClassVar[dict[str, str]] = {}
    """What a container's role would give it."""
    interference: ClassVar[ChildEnvironment]
    """Further variables of a child, by index and attempt (from 1): the test's own."""
    machines: ClassVar[threading.BoundedSemaphore]
    _again = False

    def _get_container_property(self, p: str, default: Any) -> Any:
        if p != "environment":
            return super()._get_container_property(p, default)
        properties = self.job_definition.container_properties or {}
        listed = [*properties.get(p, []), *self.container_overrides.get(p, [])]
        values = self.role_environment | {one["name"]: one["value"] for one in listed}
        attempt = len(self.attempts) + 1  # asked for before the attempt begins
        values |= {"AWS_BATCH_JOB_ID": self.job_id, "AWS_BATCH_JOB_ATTEMPT": str(attempt)}
        if "index" in self.array_properties:
            index = self.array_properties["index"]
            values |= {"AWS_BATCH_JOB_ARRAY_INDEX": str(index)} | type(self).interference(index, attempt)
        return [{"name": key, "value": value} for key, value in values.items()]

    def run(self) -> None:
        with self.machines:
            while True:
                self._again = False
                super().run()
                if not self._again:
                    return
                self.job_stopped, self.exit_code, self.status = False, None, "SUBMITTED"

    def _mark_stopped(self, success: bool = True) -> None:
        if self.job_stopped:
            return
        strategy = self.job_definition.retry_strategy or {}
        failed = not success and not self.stop and self.exit_code is not None
        if failed and is_tried_again(strategy, attempt=len(self.attempts), exit_code=self.exit_code or 0):
            self._again = self.job_stopped = True
            self._stop_attempt()
        else:
            super()._mark_stopped(success)
        if self.latest_attempt and self.exit_code is not None:
            self.latest_attempt["container"]["exitCode"] = self.exit_code

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        if self.exit_code is not None and "container" in described:
            described["container"]["exitCode"] = self.exit_code
        states = {child.status for child in self._child_jobs or []}
        if states and states <= {"SUCCEEDED", "FAILED"}:
            self.status = described["status"] = "FAILED" if "FAILED" in states else "SUCCEEDED"
        return described

    def terminate(self, reason: str) -> None:
        for job in (self, *(self._child_jobs or [])):
            job.stop, job.job_stopped_reason = True, reason


class Mount(docker.types.Mount):
    """A folder of the host. For one that is missing Docker makes an empty one for ECS; here it is empty memory."""

    def __init__(self, target: str, source: str, type: str = "bind", **options: Any) -> None:  # noqa: A002 - Docker's
        if Path(source).exists():
            super().__init__(target, source, type=type, **options)
        else:
            super().__init__(target, None, type="tmpfs", **options)


def _kill(container: Container, signal: str | None = None) -> None:
    container.stop(timeout=GRACE_SECONDS)  # SIGTERM, then SIGKILL


@contextmanager
def batch_model(*, environment: dict[str, str], interference: ChildEnvironment, machines: int) -> Iterator[None]:
    """moto's Batch as modelled here, with `machines` containers at once."""
    Job.role_environment, Job.interference = environment, staticmethod(interference)
    Job.machines = threading.BoundedSemaphore(machines)
    with (
        patch.object(models, "Job", Job), patch.object(Container, "kill", _kill),
        patch.object(docker.types, "Mount", Mount),
    ):  # fmt: skip
        yield
