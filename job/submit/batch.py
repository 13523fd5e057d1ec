"""The back end `batch`: one AWS Batch array job for a submission, or a plain job if it has only one container.

`render` is pure; `submit`, `observe`, `read_log` and `cancel` do the I/O. Sources: the Batch API reference,
https://docs.aws.amazon.com/batch/latest/APIReference/, operations RegisterJobDefinition and SubmitJob.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from job.errors import UsageError
from job.plan import SubmittedJob
from job.storage.aws import build_client
from job.storage.translation import translate_errors
from job.submit.backend import (
    DEFAULT_OUTPUT,
    MAX_ATTEMPTS,
    RETRYABLE_EXIT_CODES,
    Child,
    ContainerState,
    Launch,
    Options,
)

EVALUATE_ON_EXIT = [
    *({"onExitCode": str(code), "action": "RETRY"} for code in RETRYABLE_EXIT_CODES),
    {"onStatusReason": "Essential container in task exited*", "action": "EXIT"},
]
"""Batch tries these rules in this order, and allows five. If none matches, it tries the container again, as one whose
machine was taken back (`Host EC2 …`) or one that did not start (`Task failed to start`), whatever the reason. Sources:
https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html and
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html."""
STATES: dict[str, ContainerState] = {
    "SUBMITTED": "waiting", "PENDING": "waiting", "RUNNABLE": "waiting", "STARTING": "waiting",
    "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed",
}  # fmt: skip

NO_LOG = ("ResourceNotFoundException", "AccessDeniedException")
"""Answers of CloudWatch Logs where there is no such group or stream, or no right to it:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Where and on what the containers run."""

    output: str = ""
    """Empty until the stack, or the default, fills it in."""
    image: str = ""
    queue: str = ""
    job_role: str = ""
    execution_role: str = ""
    log_group: str = ""
    region: str | None = None
    num_gpus: int = 1
    num_vcpus: int = 4
    memory_mebibytes: int = 12_288
    """The smallest machines with a GPU have 16 GiB, of which the system keeps a part."""
    timeout_seconds: int = 4 * 3600
    """Of one attempt."""

    @property
    def needs_gpu(self) -> bool:
        return self.num_gpus > 0


def configure(options: Options) -> BatchSettings:
    """The `BatchSettings` that `options` give. What they leave open is read from the stack, if they name one.

    Raises `UsageError` if there is no such stack.
    """
    settings = BatchSettings(
        output=options.output or "",
        image=options.image,
        queue=options.queue,
        job_role=options.job_role,
        region=options.region,
        num_gpus=options.count_gpus(),
    )
    if options.stack:
        settings = read_stack(options.stack, settings)
    return replace(settings, output=settings.output or DEFAULT_OUTPUT)


def read_stack(name: str, settings: BatchSettings) -> BatchSettings:
    """`settings`, with empty fields filled in from the CloudFormation stack `name` (infra/batch.yaml)."""
    with translate_errors(f"stack {name}"):
        client = build_client("cloudformation", region=settings.region)
        described = client.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in described["Parameters"]}
    return replace(
        settings,
        output=settings.output or f"s3://{outputs['Bucket']}/runs",
        image=settings.image or f"{outputs['RepositoryUri']}:{parameters['ImageTag']}",
        queue=settings.queue or outputs["JobQueue"],
        job_role=settings.job_role or outputs["JobRoleArn"],
        execution_role=outputs["ExecutionRoleArn"],
        log_group=outputs["LogGroup"],
        region=outputs["Region"],
    )


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
    container: dict[str, Any] = {
        "image": settings.image,
        "command": ["--help"],
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
        "retryStrategy": {"attempts": MAX_ATTEMPTS, "evaluateOnExit": EVALUATE_ON_EXIT},
        "timeout": {"attemptDurationSeconds": settings.timeout_seconds},
        "propagateTags": True,
        "tags": {"job:version": settings.image.rpartition(":")[2]},
    }


def submit(request: dict[str, Any], settings: BatchSettings) -> SubmittedJob:
    """Register the job definition if it is new, and submit, in three calls, whatever the number of containers."""
    client = build_client("batch", region=settings.region)
    name = request["jobDefinition"]["jobDefinitionName"]
    with translate_errors(f"Batch queue {request['job']['jobQueue']}"):
        found = client.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"]
        if not found:
            client.register_job_definition(**request["jobDefinition"])
        answer = client.submit_job(**request["job"])
    return SubmittedJob(backend="batch", job=answer["jobId"], region=client.meta.region_name)


def observe(job: SubmittedJob) -> list[Child]:
    """What became of each container. A container that waits has the reason: Batch's own, if there is one."""
    client = build_client("batch", region=job.region)
    with translate_errors(f"Batch job {job.job}"):
        described = client.describe_jobs(jobs=[job.job])["jobs"]
        if not described:
            return []  # Batch forgets jobs a week after they end
        parent = described[0]
        if parent.get("arrayProperties", {}).get("size"):
            children = [_read_child(child, index=_read_index(child)) for child in _list_children(client, job.job)]
        else:
            children = [_read_child(parent, index=0)]
        if any(child.state == "waiting" and not child.reason for child in children):
            why = _explain_wait(client, parent)
            children = [
                replace(child, reason=child.reason or why) if child.state == "waiting" else child for child in children
            ]
    return sorted(children, key=lambda child: child.index)


def _list_children(client: Any, parent: str) -> Iterator[dict[str, Any]]:
    """The children of an array job, each as Batch sums it up."""
    for status in STATES:
        for page in client.get_paginator("list_jobs").paginate(arrayJobId=parent, jobStatus=status):
            yield from page["jobSummaryList"]


def _read_index(child: dict[str, Any]) -> int:
    return int(child["jobId"].rpartition(":")[2])


def _read_child(job: dict[str, Any], *, index: int) -> Child:
    """A container that waits has the reason that Batch gives for it, which stands on the child and not on its parent:
    https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable.html."""
    container = job.get("container", {})
    state = STATES[job["status"]]
    told = str(job.get("statusReason", ""))
    reason = told if state == "waiting" else container.get("reason") or told
    return Child(index=index, state=state, exit_code=container.get("exitCode"), reason=reason)


def _explain_wait(client: Any, parent: dict[str, Any]) -> str:
    """Why a job does not start: Batch's own reason, else what is wrong with its queue or compute environments."""
    if parent["status"] in ("SUCCEEDED", "FAILED"):
        return ""
    if parent.get("statusReason"):
        return str(parent["statusReason"])
    queues = client.describe_job_queues(jobQueues=[parent["jobQueue"]])["jobQueues"]
    if not queues:
        return f"queue {parent['jobQueue']} does not exist"
    queue = queues[0]
    if queue["state"] != "ENABLED":
        return f"queue {queue['jobQueueName']} is {queue['state']}"
    names = [place["computeEnvironment"] for place in queue["computeEnvironmentOrder"]]
    environments = client.describe_compute_environments(computeEnvironments=names)["computeEnvironments"]
    for environment in environments:
        state, status = environment.get("state"), environment.get("status")
        if state != "ENABLED" or status != "VALID":
            said = environment.get("statusReason") or "no reason given"
            return f"compute environment {environment['computeEnvironmentName']} is {state}, {status}: {said}"
    return "waiting for an instance: capacity, quota or max vCPUs; the queue's time limit cancels what waits too long"


def read_log(job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
    """The last log lines of one container's newest attempt; an empty list if its log is gone, or may not be read."""
    client = build_client("batch", region=job.region)
    with translate_errors(f"Batch job {job.job}"):
        described = client.describe_jobs(jobs=[_child_id(client, job, index)])["jobs"]
        if not described or not described[0].get("container", {}).get("logStreamName"):
            return []
        container = described[0]["container"]
        options = container.get("logConfiguration", {}).get("options", {})
        logs = build_client("logs", region=job.region)
        try:
            events = logs.get_log_events(
                logGroupName=options.get("awslogs-group", "/aws/batch/job"),
                logStreamName=container["logStreamName"],
                limit=num_lines,
                startFromHead=False,
            )["events"]
        except ClientError as error:
            if error.response["Error"]["Code"] not in NO_LOG:
                raise
            return []
    return [event["message"] for event in events]


def _child_id(client: Any, job: SubmittedJob, index: int) -> str:
    parent = client.describe_jobs(jobs=[job.job])["jobs"]
    is_array = bool(parent and parent[0].get("arrayProperties", {}).get("size"))
    return f"{job.job}:{index}" if is_array else job.job


def cancel(job: SubmittedJob, *, reason: str) -> None:
    """End all containers that wait or run, in one call. Running ones save their checkpoints."""
    with translate_errors(f"Batch job {job.job}"):
        build_client("batch", region=job.region).terminate_job(jobId=job.job, reason=reason)
