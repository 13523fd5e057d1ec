"""The back end `kubernetes`: one Indexed Job for a submission. This module sends it, and asks the cluster about it.

`job.submit.kubernetes_documents` renders what is sent, `job.submit.kubernetes_answers` reads what comes back, and
`job.submit.kubernetes_cluster` connects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from job.errors import UsageError
from job.logs import get_logger
from job.plan import SubmittedJob
from job.submit.backend import DEFAULT_OUTPUT, Child
from job.submit.kubernetes_answers import INDEX, Pod, find_differences, is_complete, is_over, read_children, read_pod
from job.submit.kubernetes_cluster import TIMEOUT_SECONDS, Cluster, connect, import_client, list_pods, translate_errors
from job.submit.kubernetes_documents import CONTAINER, KubernetesSettings, name_attempt, render, show
from job.submit.options import Options, parse_toleration

__all__ = ["cancel", "configure", "observe", "read_log", "render", "show", "submit"]

FIELD_MANAGER = "job"


def configure(options: Options) -> KubernetesSettings:
    """The `KubernetesSettings` that `options` give. Raises `UsageError` for an option that cannot be carried out."""
    options.refuse_secrets(advice="put it into a Secret of the cluster and name that with --env-from")
    settings = KubernetesSettings(
        output=options.output or DEFAULT_OUTPUT,
        image=options.image,
        namespace=options.namespace,
        context=options.context,
        queue=options.queue or None,
        num_gpus=options.count_gpus(),
        jobs=options.jobs,
        secrets=tuple(options.env_from),
        image_pull_secrets=tuple(options.image_pull_secret),
        service_account=options.service_account,
        node_selector={key: value or "" for key, value in options.node_selector.items()},
        tolerations=tuple(parse_toleration(text) for text in options.toleration),
        pod_patch=options.pod_patch,
    )
    given: dict[str, Any] = {
        "cpus": options.cpus,
        "memory": options.memory,
        "disk": options.disk,
        "timeout_seconds": options.timeout,
        "attempts": options.attempts,
    }
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def submit(documents: dict[str, dict[str, Any]], settings: KubernetesSettings) -> SubmittedJob:
    """Create the documents in four calls, whatever the number of containers. What exists already stays as it is.

    If the Job exists and runs, it is this submission already. If it has ended or is being deleted, another one is made
    under a name with the number of the attempt. Raises `UsageError` if something else stands under a name.
    """
    cluster = connect(settings.context)
    for document in documents.values():
        if document["kind"] not in ("ConfigMap", "Job"):
            _create(cluster, document)
    for attempt in count(1):
        named = name_attempt(documents, attempt)
        config_map, job = (next(one for one in named.values() if one["kind"] == kind) for kind in ("ConfigMap", "Job"))
        if not _create(cluster, config_map):
            _check_config_map(cluster, config_map)
        if _create(cluster, job) or _is_under_way(cluster, job):
            break
    return SubmittedJob(
        backend="kubernetes", job=job["metadata"]["name"], namespace=settings.namespace, context=cluster.context
    )


def _create(cluster: Cluster, document: dict[str, Any]) -> bool:
    """Create an object. Returns False if there is one of its name.

    It counts as there where the user may not create namespaces: such a user has one that exists.
    """
    client = import_client()
    kind, metadata = document["kind"], document["metadata"]
    create = {
        "Namespace": cluster.core.create_namespace,
        "ServiceAccount": cluster.core.create_namespaced_service_account,
        "ConfigMap": cluster.core.create_namespaced_config_map,
        "Job": cluster.batch.create_namespaced_job,
    }[kind]
    where = () if kind == "Namespace" else (metadata["namespace"],)
    with translate_errors(_name(document)):
        try:
            create(*where, document, field_manager=FIELD_MANAGER, _request_timeout=TIMEOUT_SECONDS)
        except client.ApiException as error:
            if error.status != 409 and not (error.status == 403 and kind == "Namespace"):
                raise
            return False
    return True


def _check_config_map(cluster: Cluster, document: dict[str, Any]) -> None:
    """Raises `UsageError` if the ConfigMap of the cluster tells the containers something else."""
    metadata = document["metadata"]
    with translate_errors(_name(document)):
        found = cluster.core.read_namespaced_config_map(
            metadata["name"], metadata["namespace"], _request_timeout=TIMEOUT_SECONDS
        )
    if found.data != document["data"]:
        raise UsageError(
            f"{_name(document)}: exists with other content; delete it, or submit under another --experiment"
        )


def _is_under_way(cluster: Cluster, document: dict[str, Any]) -> bool:
    """Whether a Job that exists already is this one and goes on. Raises `UsageError` if it is another one."""
    metadata = document["metadata"]
    found = _read_job(cluster, metadata["name"], metadata["namespace"])
    if found is None or is_over(found):
        return False
    differences = find_differences(found, document)
    if differences:
        raise UsageError(
            f"{_name(document)}: another one runs under this name: {'; '.join(differences)}; delete it, or submit "
            "under another --experiment"
        )
    get_logger().warning("job_runs_already", job=metadata["name"], consequence="nothing is started twice")
    return True


def observe(job: SubmittedJob) -> list[Child]:
    """What became of each container. It takes one call, and one more for every `PAGE_SIZE` pods unless all are done."""
    cluster = connect(job.context)
    found = _read_job(cluster, job.job, job.namespace)
    if found is None:
        return []  # it was cancelled, or removed some days after its end
    return read_children(found, () if is_complete(found) else _list_pods(cluster, job))


def read_log(job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
    """The last lines of one container's newest pod."""
    cluster = connect(job.context)
    newest = max(_list_pods(cluster, job, index=index), key=lambda pod: pod.created_at, default=None)
    if newest is None:
        return []
    with translate_errors(f"log of pod {newest.name}"):
        text: str = cluster.core.read_namespaced_pod_log(
            newest.name, job.namespace, container=CONTAINER, tail_lines=num_lines, _request_timeout=TIMEOUT_SECONDS
        )
    return text.splitlines()


def cancel(job: SubmittedJob, *, reason: str) -> bool:
    """Delete the Job with its pods in one call, and return whether it was there. The pods save their checkpoints.

    `reason` is not sent.
    """
    del reason
    client = import_client()
    cluster = connect(job.context)
    with translate_errors(f"Job {job.job}"):
        try:
            cluster.batch.delete_namespaced_job(
                job.job, job.namespace, propagation_policy="Foreground", _request_timeout=TIMEOUT_SECONDS
            )
        except client.ApiException as error:
            if error.status != 404:
                raise
            return False
    return True


def _read_job(cluster: Cluster, name: str, namespace: str | None) -> Any:
    """The Job of this name; None if there is none."""
    client = import_client()
    with translate_errors(f"Job {name}"):
        try:
            return cluster.batch.read_namespaced_job(name, namespace, _request_timeout=TIMEOUT_SECONDS)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise


def _list_pods(cluster: Cluster, job: SubmittedJob, *, index: int | None = None) -> Iterator[Pod]:
    """The pods of a Job, or those of one of its indexes."""
    selector = f"batch.kubernetes.io/job-name={job.job}"
    if index is not None:
        selector += f",{INDEX}={index}"
    return map(read_pod, list_pods(cluster, job.namespace, selector, what=f"pods of Job {job.job}"))


def _name(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"
