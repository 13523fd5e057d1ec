"""The back end `batch`: one AWS Batch array job for a submission, or a plain job if it has only one container.

`render` is pure; `submit`, `observe`, `read_log` and `cancel` do the I/O. Sources: the Batch API reference,
https://docs.aws.amazon.com/batch/latest/APIReference/, operations RegisterJobDefinition and SubmitJob.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any

from job.errors import UsageError
from job.plan import SubmittedJob
from job.storage.aws import build_client
from job.storage.translation import translate_errors
from job.submit.backend import DEFAULT_OUTPUT, DEFAULT_TIMEOUT_SECONDS, MAX_ATTEMPTS, Child, ContainerState, Launch
from job.submit.options import Options, parse_mebibytes

EVALUATE_ON_EXIT = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},  # the spot machine was taken back
    {"onReason": "CannotPullContainerError:*", "action": "RETRY"},
    {"onExitCode": "7*", "action": "RETRY"},
    {"onExitCode": "143", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]
"""Batch tries these rules in this order, and allows five. If none matches, it tries the container again."""
STATES: dict[str, ContainerState] = {
    "SUBMITTED": "waiting", "PENDING": "waiting", "RUNNABLE": "waiting", "STARTING": "waiting",
    "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed",
}  # fmt: skip


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
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    """Of one attempt."""
    attempts: int = MAX_ATTEMPTS

    @property
    def needs_gpu(self) -> bool:
        return self.num_gpus > 0


def configure(options: Options) -> BatchSettings:
    """The `BatchSettings` that `options` give. What they leave open is read from the stack, if they name one.

    Raises `UsageError` if there is no such stack, and for an option that Batch cannot carry out.
    """
    options.refuse_secrets(advice="give the containers a role that may read what they need (--job-role)")
    if options.cpus is not None and not options.cpus.is_integer():
        raise UsageError(f"--cpus {options.cpus:g}: Batch counts whole vCPUs; write {math.ceil(options.cpus)}")
    settings = BatchSettings(
        output=options.output or "",
        image=options.image,
        queue=options.queue,
        job_role=options.job_role,
        region=options.region,
        num_gpus=options.count_gpus(),
        attempts=options.attempts or MAX_ATTEMPTS,
    )
    settings = replace(settings, **_read_sizes(options))
    if options.stack:
        settings = read_stack(options.stack, settings)
    return replace(settings, output=settings.output or DEFAULT_OUTPUT)


def _read_sizes(options: Options) -> dict[str, Any]:
    """The fields of `BatchSettings` that say how much each container gets, as far as `options` name them."""
    sizes: dict[str, Any] = {
        "num_vcpus": int(options.cpus) if options.cpus else None,
        "memory_mebibytes": parse_mebibytes(options.memory) if options.memory else None,
        "timeout_seconds": options.timeout,
    }
    return {name: value for name, value in sizes.items() if value is not None}


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
        "retryStrategy": {"attempts": settings.attempts, "evaluateOnExit": EVALUATE_ON_EXIT},
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
    """What became of each container. A container that waits has the reason in one sentence."""
    client = build_client("batch", region=job.region)
    with translate_errors(f"Batch job {job.job}"):
        described = client.describe_jobs(jobs=[job.job])["jobs"]
        if not described:
            return []  # Batch forgets jobs a week after they end
        parent = described[0]
        why = _explain_wait(client, parent)
        if not parent.get("arrayProperties", {}).get("size"):
            return [_read_child(parent, index=0, why=why)]
        children = []
        for status in STATES:
            pages = client.get_paginator("list_jobs").paginate(arrayJobId=job.job, jobStatus=status)
            children += [child for page in pages for child in page["jobSummaryList"]]
        return sorted(
            (_read_child(job, index=int(job["jobId"].rpartition(":")[2]), why=why) for job in children),
            key=lambda child: child.index,
        )


def _read_child(job: dict[str, Any], *, index: int, why: str) -> Child:
    container = job.get("container", {})
    state = STATES[job["status"]]
    reason = why if state == "waiting" else container.get("reason") or job.get("statusReason", "")
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
    """The last log lines of the newest attempt of one container; an empty list if its log is gone."""
    client = build_client("batch", region=job.region)
    with translate_errors(f"Batch job {job.job}"):
        described = client.describe_jobs(jobs=[_child_id(client, job, index)])["jobs"]
        if not described or not described[0].get("container", {}).get("logStreamName"):
            return []
        container = described[0]["container"]
        options = container.get("logConfiguration", {}).get("options", {})
        events = build_client("logs", region=job.region).get_log_events(
            logGroupName=options.get("awslogs-group", "/aws/batch/job"),
            logStreamName=container["logStreamName"],
            limit=num_lines,
            startFromHead=False,
        )
    return [event["message"] for event in events["events"]]


def _child_id(client: Any, job: SubmittedJob, index: int) -> str:
    parent = client.describe_jobs(jobs=[job.job])["jobs"]
    is_array = bool(parent and parent[0].get("arrayProperties", {}).get("size"))
    return f"{job.job}:{index}" if is_array else job.job


def cancel(job: SubmittedJob, *, reason: str) -> None:
    """End all containers that wait or run, in one call. Running ones save their checkpoints."""
    with translate_errors(f"Batch job {job.job}"):
        build_client("batch", region=job.region).terminate_job(jobId=job.job, reason=reason)
