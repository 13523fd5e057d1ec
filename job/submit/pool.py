"""The machines that a container may get: the instance types of a queue of Batch, or what a node selector names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from job.errors import JobError, UsageError
from job.logs import get_logger
from job.storage.aws import build_quick_client
from job.storage.translation import translate_errors
from job.submit.backend import Settings
from job.submit.options import Options
from job.submit.precision import Machines, find_capability
from job.submit.registry import Reach, find_backend

INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
"""https://kubernetes.io/docs/reference/labels-annotations-taints/#nodekubernetesioinstance-type."""


@dataclass(frozen=True)
class Pool:
    """What stands behind a queue of Batch."""

    instance_types: list[str]
    """In the order of the compute environments, each once."""
    markets: list[str]
    """`SPOT` or `EC2`, in the order in which they are tried."""
    max_vcpus: int
    """The most vCPUs at once in any one compute environment."""
    faults: list[str]
    """What keeps the queue or a compute environment from starting containers."""


def read_pool(queue: str, *, region: str | None) -> Pool:
    """The pool of a queue. Raises `UsageError` if there is no such queue, and the errors of AWS."""
    client = build_quick_client("batch", region=region)
    with translate_errors(f"Batch queue {queue}"):
        queues = client.describe_job_queues(jobQueues=[queue])["jobQueues"]
        if not queues:
            raise UsageError(f"--queue {queue}: there is no such queue in {client.meta.region_name}")
        order = [place["computeEnvironment"] for place in queues[0]["computeEnvironmentOrder"]]
        described = client.describe_compute_environments(computeEnvironments=order)["computeEnvironments"]
    found = {environment["computeEnvironmentArn"]: environment for environment in described}
    found |= {environment["computeEnvironmentName"]: environment for environment in described}
    environments = [found[name] for name in order if name in found]
    resources = [environment.get("computeResources", {}) for environment in environments]
    types = [each for resource in resources for each in resource.get("instanceTypes", [])]
    return Pool(
        instance_types=list(dict.fromkeys(types)),
        markets=[resource["type"] for resource in resources if "type" in resource],
        max_vcpus=max((resource.get("maxvCpus", 0) for resource in resources), default=0),
        faults=[*_find_faults("queue", queues[0], queues[0]["jobQueueName"])]
        + [fault for each in environments for fault in _find_faults("compute environment", each, _name(each))],
    )


def find_machines(options: Options, settings: Settings) -> Machines | None:
    """What is known of the machines that the containers may get; None for those of this machine.

    A pool that cannot be asked is one of which nothing is known.
    """
    if find_backend(options.to).reach is not Reach.NONE:
        return None
    labels = filter(None, options.node_selector.values())
    names = [label for label in labels if find_capability(label)]  # the others say nothing of the card
    if options.to == "batch" and settings.needs_gpu:
        try:
            names = read_pool(getattr(settings, "queue", ""), region=getattr(settings, "region", None)).instance_types
        except JobError as error:
            get_logger().warning("pool_not_known", reason=str(error))
    return Machines(needs_gpu=settings.needs_gpu, names=names)


def _name(environment: dict[str, Any]) -> str:
    return str(environment["computeEnvironmentName"])


def _find_faults(kind: str, described: dict[str, Any], name: str) -> list[str]:
    state, status = described.get("state"), described.get("status")
    if state == "ENABLED" and status == "VALID":
        return []
    return [f"{kind} {name} is {state}, {status}: {described.get('statusReason') or 'no reason given'}"]
