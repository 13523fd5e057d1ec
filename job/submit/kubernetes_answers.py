"""What a cluster's answers say: which containers wait, run or have ended and why, and whether a Job there is ours.

All functions are pure. They take Jobs as objects of the official client, and pods, of which there are many, as JSON.
Sources:
https://kubernetes.io/docs/concepts/workloads/controllers/job/ for conditions and indexes,
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ for pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from job.submit.backend import Child
from job.submit.kubernetes_documents import CONTAINER

INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"
COMPLETE, FAILED, SUSPENDED = ("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget"), ("Suspended",)
"""Types of a Job's conditions. The second one of a pair comes first in time, while pods are still being ended."""
STARTING = ("ContainerCreating", "PodInitializing")
"""Reasons to wait that every container has in its first seconds."""


@dataclass(frozen=True)
class Pod:
    """What is kept of a pod."""

    index: int
    """Its completion index."""
    name: str
    created_at: datetime
    phase: str
    exit_code: int | None
    """None if our container has not ended."""
    reason: str
    """Why it waits or failed, in one sentence; empty if it runs."""


def read_children(job: Any, pods: Iterable[Pod]) -> list[Child]:
    """What became of each index of a Job, by its conditions, its indexes and its pods, of which the newest counts."""
    succeeded, failed = (
        parse_indexes(job.status.completed_indexes),
        parse_indexes(job.status.failed_indexes),
    )
    newest: dict[int, Pod] = {}
    for pod in pods:
        if pod.index not in newest or pod.created_at >= newest[pod.index].created_at:
            newest[pod.index] = pod
    why_failed, why_waiting, all_succeeded = explain_failure(job), _explain_wait(job), is_complete(job)
    children = []
    for index in range(job.spec.completions):
        found = newest.get(index)
        exit_code, reason = (found.exit_code, found.reason) if found else (None, why_waiting)
        phase = found.phase if found else None
        if index in succeeded or all_succeeded or phase == "Succeeded":
            child = Child(index, "succeeded", 0, "")
        elif index in failed:
            child = Child(index, "failed", exit_code, reason if found else why_failed or "failed; its pod is gone")
        elif why_failed:
            child = Child(index, "failed", exit_code, why_failed)
        elif job.metadata.deletion_timestamp:
            child = Child(index, "gone", exit_code, f"the Job {job.metadata.name} is being deleted")
        else:
            child = Child(index, "running" if phase == "Running" else "waiting", exit_code, reason)
        children.append(child)
    return children


def read_pod(document: dict[str, Any]) -> Pod:
    """A pod as the server describes it in JSON, which leaves out what is empty."""
    metadata, status = document["metadata"], document["status"]
    exit_code, reason = _explain_pod(status)
    return Pod(
        index=int(metadata["annotations"][INDEX]),
        name=metadata["name"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        phase=status["phase"],
        exit_code=exit_code,
        reason=reason,
    )


def _explain_pod(status: dict[str, Any]) -> tuple[int | None, str]:
    """The exit code of our container, and the reason why it waits or failed."""
    of_ours = [container for container in status.get("containerStatuses", ()) if container["name"] == CONTAINER]
    exit_code, reason = _read_container(of_ours[0]) if of_ours else (None, "")
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    if status["phase"] == "Failed":
        disruption = conditions.get("DisruptionTarget")
        if status.get("reason"):  # the kubelet ended it: Evicted, DeadlineExceeded, …
            return exit_code, f"{status['reason']}: {status.get('message') or 'no message'}"
        if disruption and disruption["status"] == "True":
            return exit_code, _read_reason(disruption)
    if reason or status["phase"] == "Running":
        return exit_code, reason
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled["status"] == "False":
        return exit_code, _read_reason(scheduled)
    return exit_code, status.get("message") or f"its pod is {status['phase']}"


def _read_reason(of: dict[str, Any]) -> str:
    return f"{of.get('reason')}: {of.get('message') or 'no message'}"


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


def is_complete(job: Any) -> bool:
    """Whether every index of a Job has succeeded."""
    return find_condition(job, COMPLETE) is not None


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


def _read_container(container: dict[str, Any]) -> tuple[int | None, str]:
    state = container.get("state", {})
    ended, waiting = state.get("terminated"), state.get("waiting", {})
    if ended:
        return ended["exitCode"], f"{ended.get('reason') or 'ended'} with exit code {ended['exitCode']}"
    if waiting.get("reason") and waiting["reason"] not in STARTING:
        return None, _read_reason(waiting)
    return None, ""
