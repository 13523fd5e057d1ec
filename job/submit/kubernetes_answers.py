"""What a cluster's answers say: which containers wait, run or have ended and why, and whether a Job there is ours.

All functions are pure; they take the objects of the official client. Sources:
https://kubernetes.io/docs/concepts/workloads/controllers/job/ for conditions and indexes,
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ for pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from job.submit.backend import Child
from job.submit.kubernetes_documents import CONTAINER

INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"
COMPLETE, FAILED, SUSPENDED = ("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget"), ("Suspended",)
"""Types of a Job's conditions. The second one of a pair comes first in time, while pods are still being ended."""
STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons to wait that every container has in its first seconds."""


def read_children(job: Any, pods: Iterable[Any]) -> list[Child]:
    """What became of each index of a Job, by its conditions, its indexes and its pods, of which the newest counts."""
    succeeded, failed = (
        parse_indexes(job.status.completed_indexes),
        parse_indexes(job.status.failed_indexes),
    )
    newest = {}
    for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
        newest[int(pod.metadata.annotations[INDEX])] = pod
    why_failed, why_waiting = explain_failure(job), _explain_wait(job)
    is_complete = find_condition(job, COMPLETE) is not None
    children = []
    for index in range(job.spec.completions):
        pod = newest.get(index)
        exit_code, reason = read_pod(pod) if pod else (None, why_waiting)
        phase = pod.status.phase if pod else None
        if index in succeeded or is_complete or phase == "Succeeded":
            child = Child(index, "succeeded", 0, "")
        elif index in failed:
            child = Child(index, "failed", exit_code, reason if pod else why_failed or "failed; its pod is gone")
        elif why_failed:
            child = Child(index, "failed", exit_code, why_failed)
        elif job.metadata.deletion_timestamp:
            child = Child(index, "gone", exit_code, f"the Job {job.metadata.name} is being deleted")
        else:
            child = Child(index, "running" if phase == "Running" else "waiting", exit_code, reason)
        children.append(child)
    return children


def read_pod(pod: Any) -> tuple[int | None, str]:
    """The exit code of a pod's container, and the reason why it waits or failed, in one sentence.

    The code is None if the container has not ended, the reason empty if it runs.
    """
    of_ours = [status for status in pod.status.container_statuses or () if status.name == CONTAINER]
    exit_code, reason = _read_container(of_ours[0]) if of_ours else (None, "")
    conditions = {condition.type: condition for condition in pod.status.conditions or ()}
    if pod.status.phase == "Failed":
        disruption = conditions.get("DisruptionTarget")
        if pod.status.reason:  # the kubelet ended it: Evicted, DeadlineExceeded, …
            return exit_code, f"{pod.status.reason}: {pod.status.message or 'no message'}"
        if disruption and disruption.status == "True":
            return exit_code, f"{disruption.reason}: {disruption.message}"
    if reason or pod.status.phase == "Running":
        return exit_code, reason
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled.status == "False":
        return exit_code, f"{scheduled.reason}: {scheduled.message}"
    return exit_code, pod.status.message or f"its pod is {pod.status.phase}"


def explain_failure(job: Any) -> str:
    """Why a Job has failed as a whole, or is about to; empty if it has not."""
    condition = find_condition(job, FAILED)
    return f"{condition.reason}: {condition.message}" if condition else ""


def find_condition(job: Any, types: Iterable[str]) -> Any:
    """The first condition of a Job that is true and of one of `types`; None if there is none."""
    return next(
        (one for one in job.status.conditions or () if one.type in types and one.status == "True"),
        None,
    )


def is_over(job: Any) -> bool:
    """Whether a Job will start nothing any more: it is complete, failed or being deleted."""
    return bool(job.metadata.deletion_timestamp or find_condition(job, COMPLETE + FAILED))


def find_differences(job: Any, document: dict[str, Any]) -> list[str]:
    """What a Job of the cluster does otherwise than `document` says, a sentence each.

    Compared is what makes it this submission. A server adds fields to the others, and Kueue may change them.
    """
    spec = document["spec"]
    wanted = next(one for one in spec["template"]["spec"]["containers"] if one["name"] == CONTAINER)
    found = next((one for one in job.spec.template.spec.containers if one.name == CONTAINER), None)
    pairs = {
        "completions": (job.spec.completions, spec["completions"]),
        "image": (found and found.image, wanted["image"]),
        "args": (found and found.args, wanted["args"]),
    }
    return [f"its {name} is {seen}, must be {must}" for name, (seen, must) in pairs.items() if seen != must]


def parse_indexes(text: str | None) -> set[int]:
    """`0,3-5` as {0, 3, 4, 5}."""
    indexes: set[int] = set()
    for part in (text or "").split(","):
        if part:
            first, _, last = part.partition("-")
            indexes.update(range(int(first), int(last or first) + 1))
    return indexes


def _explain_wait(job: Any) -> str:
    """Why an index without a pod waits."""
    if not (job.spec.suspend or find_condition(job, SUSPENDED)):
        return "its pod is not there yet"
    has_queue = QUEUE in (job.metadata.labels or {})
    return "suspended: Kueue has not admitted it" if has_queue else "suspended: it starts when its Job is resumed"


def _read_container(status: Any) -> tuple[int | None, str]:
    ended, waiting = status.state.terminated, status.state.waiting
    if ended:
        return ended.exit_code, f"{ended.reason or 'ended'} with exit code {ended.exit_code}"
    if waiting and waiting.reason and waiting.reason not in STARTING:
        return None, f"{waiting.reason}: {waiting.message or 'no message'}"
    return None, ""
