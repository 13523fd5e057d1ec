"""The back end `batch`: one AWS Batch array job for a submission, or a plain job if it has only one container.

This module sends it, and asks AWS about it. `job.submit.batch_documents` renders what is sent, and
`job.submit.batch_stack` reads the stack that `--stack` names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from job.errors import UsageError
from job.plan import SubmittedJob
from job.storage.aws import build_client
from job.storage.translation import translate_errors
from job.submit.backend import DEFAULT_OUTPUT, MAX_ATTEMPTS, Child, ContainerState
from job.submit.batch_documents import BatchSettings, render, show
from job.submit.batch_stack import read_stack
from job.submit.options import Options, parse_mebibytes

__all__ = ["cancel", "configure", "observe", "read_log", "render", "show", "submit"]

STATES: dict[str, ContainerState] = {
    "SUBMITTED": "waiting", "PENDING": "waiting", "RUNNABLE": "waiting", "STARTING": "waiting",
    "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed",
}  # fmt: skip

NO_LOG = ("ResourceNotFoundException", "AccessDeniedException")
"""Answers of CloudWatch Logs where there is no such group or stream, or no right to it:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html."""


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
    if options.stack:
        settings = read_stack(options.stack, settings)
    settings = replace(settings, **_read_sizes(options))
    return replace(settings, output=settings.output or DEFAULT_OUTPUT)


def _read_sizes(options: Options) -> dict[str, Any]:
    """The fields of `BatchSettings` that say how much each container gets, as far as `options` name them."""
    sizes: dict[str, Any] = {
        "num_vcpus": int(options.cpus) if options.cpus else None,
        "memory_mebibytes": parse_mebibytes(options.memory) if options.memory else None,
        "timeout_seconds": options.timeout,
    }
    return {name: value for name, value in sizes.items() if value is not None}


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


def cancel(job: SubmittedJob, *, reason: str) -> bool:
    """End all containers that wait or run, in one call. Running ones save their checkpoints."""
    with translate_errors(f"Batch job {job.job}"):
        build_client("batch", region=job.region).terminate_job(jobId=job.job, reason=reason)
    return True
