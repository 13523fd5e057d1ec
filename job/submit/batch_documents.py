"""The requests that the back end `batch` sends: a job definition, and a job that uses it.

All functions are pure. Sources: the Batch API reference, https://docs.aws.amazon.com/batch/latest/APIReference/,
operations RegisterJobDefinition and SubmitJob.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from job.errors import UsageError
from job.submit.backend import DEFAULT_TIMEOUT_SECONDS, MAX_ATTEMPTS, RETRYABLE_EXIT_CODES, Launch

EVALUATE_ON_EXIT = [
    *({"onExitCode": str(code), "action": "RETRY"} for code in RETRYABLE_EXIT_CODES),
    {"onStatusReason": "Essential container in task exited*", "action": "EXIT"},
]
"""Batch tries these rules in this order, and allows five. If none matches, it tries the container again, as one whose
machine was taken back (`Host EC2 …`) or one that did not start (`Task failed to start`), whatever the reason. Sources:
https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html and
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html."""
MACHINE_FOLDER = "/var/lib/job"
"""Where a machine of the stack says what it is (infra/batch.yaml), and where a container sees it. On other machines
Docker makes an empty folder: https://docs.aws.amazon.com/batch/latest/APIReference/API_Host.html."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Where and on what the containers run."""

    output: str = ""
    """Empty until the stack, or the default, fills it in."""
    image: str = ""
    """`REPOSITORY`, then `:TAG`, `@DIGEST` or both. With both, the tag is for people: Batch is told the digest."""
    queue: str = ""
    job_role: str = ""
    execution_role: str = ""
    log_group: str = ""
    region: str | None = None
    num_gpus: int = 1
    num_vcpus: int = 4
    memory_mebibytes: int = 12_288
    """The smallest machines with a GPU have 16 GiB, of which the system keeps a part."""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    """Of one attempt."""
    attempts: int = MAX_ATTEMPTS

    @property
    def needs_gpu(self) -> bool:
        return self.num_gpus > 0


def render(launch: Launch, settings: BatchSettings) -> dict[str, Any]:
    """The two requests: `jobDefinition` for RegisterJobDefinition, `job` for SubmitJob. Raises `UsageError`."""
    if not settings.queue or not settings.image:
        raise UsageError("--to batch needs --queue and --image, or --stack NAME to read them from")
    definition = _render_definition(settings)
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:10]
    definition = {"jobDefinitionName": f"job-{digest}"} | definition
    region = {"AWS_DEFAULT_REGION": settings.region} if settings.region else {}
    environment = [{"name": name, "value": value} for name, value in (region | launch.environment).items()]
    job: dict[str, Any] = {
        "jobName": launch.name,
        "jobQueue": settings.queue,
        "jobDefinition": definition["jobDefinitionName"],
        "containerOverrides": {"command": launch.arguments, "environment": environment},
        "tags": {"job:experiment": launch.experiment},
        "propagateTags": True,
    }
    if launch.num_containers > 1:
        job["arrayProperties"] = {"size": launch.num_containers}
    return {"jobDefinition": definition, "job": job}


def show(request: dict[str, Any]) -> str:
    """The two requests as JSON."""
    return f"{json.dumps(request, indent=2)}\n"


def _render_definition(settings: BatchSettings) -> dict[str, Any]:
    resources = [
        {"type": "VCPU", "value": str(settings.num_vcpus)},
        {"type": "MEMORY", "value": str(settings.memory_mebibytes)},
    ]
    if settings.num_gpus:
        resources.append({"type": "GPU", "value": str(settings.num_gpus)})
    pinned, version = _split_image(settings.image)
    container: dict[str, Any] = {
        "image": pinned,
        "command": ["--help"],
        "environment": [{"name": "JOB_MACHINE_FILE", "value": f"{MACHINE_FOLDER}/machine.json"}],
        "volumes": [{"name": "machine", "host": {"sourcePath": MACHINE_FOLDER}}],
        "mountPoints": [{"sourceVolume": "machine", "containerPath": MACHINE_FOLDER, "readOnly": True}],
        "resourceRequirements": resources,
        "readonlyRootFilesystem": True,
        "privileged": False,
        "user": "10001:10001",
        "linuxParameters": {
            "initProcessEnabled": True,
            "sharedMemorySize": 1024,
            "tmpfs": [{"containerPath": "/tmp", "size": 4096, "mountOptions": ["rw", "nosuid", "nodev"]}],  # noqa: S108
        },
    }
    if settings.job_role:
        container["jobRoleArn"] = settings.job_role
    if settings.execution_role:
        container["executionRoleArn"] = settings.execution_role
    if settings.log_group:
        options = {"awslogs-group": settings.log_group, "awslogs-stream-prefix": "job"}
        container["logConfiguration"] = {"logDriver": "awslogs", "options": options}
    return {
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": container,
        "retryStrategy": {"attempts": settings.attempts, "evaluateOnExit": EVALUATE_ON_EXIT},
        "timeout": {"attemptDurationSeconds": settings.timeout_seconds},
        "propagateTags": True,
        "tags": {"job:version": version},
    }


def _split_image(image: str) -> tuple[str, str]:
    """The image as ECS takes it, which is by tag or by digest but not by both, and its version in one word.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html, `image`.
    """
    name, _, digest = image.partition("@")
    path, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return (f"{path}{slash}{repository}@{digest}" if digest else image), tag or digest.rpartition(":")[2] or "latest"
