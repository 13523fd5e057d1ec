"""The back end `kubernetes`: one Indexed Job for a submission. This module sends it, and asks the cluster about it.

It uses the official client, which the extra `kubernetes` installs. `job.submit.kubernetes_documents` renders what is
sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from job.errors import AccessDeniedError, StorageError, UsageError
from job.plan import SubmittedJob
from job.submit.backend import DEFAULT_OUTPUT, Child
from job.submit.kubernetes_documents import KubernetesSettings, render, show
from job.submit.options import Options, parse_toleration
from job.versions import extra

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
    """Create the documents in four calls, whatever the number of containers. What exists already stays as it is."""
    client = _import_client()
    core, batch = _build_clients(settings.context)
    namespace = settings.namespace
    create = {
        "Namespace": lambda body: core.create_namespace(body, field_manager=FIELD_MANAGER),
        "ServiceAccount": lambda body: core.create_namespaced_service_account(
            namespace, body, field_manager=FIELD_MANAGER
        ),
        "ConfigMap": lambda body: core.create_namespaced_config_map(namespace, body, field_manager=FIELD_MANAGER),
        "Job": lambda body: batch.create_namespaced_job(namespace, body, field_manager=FIELD_MANAGER),
    }
    for document in documents.values():
        with _translate_errors(f"{document['kind']} {document['metadata']['name']}"):
            try:
                create[document["kind"]](document)
            except client.ApiException as error:
                if error.status != 409 and not (error.status == 403 and document["kind"] == "Namespace"):
                    raise  # a user who may not create namespaces uses one that exists
    name = documents["30-job.yaml"]["metadata"]["name"]
    return SubmittedJob(backend="kubernetes", job=name, namespace=namespace, context=settings.context)


def observe(job: SubmittedJob) -> list[Child]:
    """What became of each container. It takes two calls, however many containers there are."""
    client = _import_client()
    core, batch = _build_clients(job.context)
    with _translate_errors(f"Job {job.job}"):
        try:
            found = batch.read_namespaced_job(job.job, job.namespace)
        except client.ApiException as error:
            if error.status == 404:
                return []  # it was cancelled, or removed some days after its end
            raise
        pods = core.list_namespaced_pod(job.namespace, label_selector=f"batch.kubernetes.io/job-name={job.job}").items
    succeeded = _parse_indexes(found.status.completed_indexes)
    failed = _parse_indexes(found.status.failed_indexes)
    newest: dict[int, Any] = {}
    for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
        newest[int(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"])] = pod
    why_none = "suspended: Kueue has not admitted it" if found.spec.suspend else "its pod is not there yet"
    children = []
    for index in range(found.spec.completions):
        pod = newest.get(index)
        exit_code, reason = _read_pod(pod) if pod else (None, why_none)
        if index in succeeded:
            children.append(Child(index, "succeeded", 0, ""))
        elif index in failed:
            children.append(Child(index, "failed", exit_code, reason if pod else "failed; its pod is gone"))
        else:
            is_running = pod is not None and pod.status.phase == "Running"
            children.append(Child(index, "running" if is_running else "waiting", exit_code, reason))
    return children


def _read_pod(pod: Any) -> tuple[int | None, str]:
    """The exit code of a pod, and the reason why it waits or failed, in one sentence."""
    for status in pod.status.container_statuses or ():
        ended = status.state.terminated
        if ended:
            return ended.exit_code, f"{ended.reason or 'ended'} with exit code {ended.exit_code}"
        waiting = status.state.waiting
        if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return None, f"{waiting.reason}: {waiting.message or 'no message'}"
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return None, f"{condition.reason}: {condition.message}"
    if pod.status.phase == "Running":
        return None, ""
    return None, pod.status.message or f"its pod is {pod.status.phase}"


def read_log(job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
    """The last lines of one container's newest pod."""
    core, _ = _build_clients(job.context)
    selector = f"batch.kubernetes.io/job-name={job.job},batch.kubernetes.io/job-completion-index={index}"
    with _translate_errors(f"Job {job.job}"):
        pods = core.list_namespaced_pod(job.namespace, label_selector=selector).items
        if not pods:
            return []
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
        text: str = core.read_namespaced_pod_log(newest.metadata.name, job.namespace, tail_lines=num_lines)
    return text.splitlines()


def cancel(job: SubmittedJob, *, reason: str) -> None:
    """Delete the Job with its pods in one call. The pods save their checkpoints. `reason` is not sent."""
    del reason
    client = _import_client()
    _, batch = _build_clients(job.context)
    with _translate_errors(f"Job {job.job}"):
        try:
            batch.delete_namespaced_job(job.job, job.namespace, propagation_policy="Foreground")
        except client.ApiException as error:
            if error.status != 404:  # it is gone already
                raise


def _parse_indexes(text: str | None) -> set[int]:
    """`0,3-5` as {0, 3, 4, 5}."""
    indexes: set[int] = set()
    for part in (text or "").split(","):
        if part:
            first, _, last = part.partition("-")
            indexes.update(range(int(first), int(last or first) + 1))
    return indexes


def _import_client() -> Any:
    """The official client. Raises `UsageError` where its extra is not installed."""
    with extra("kubernetes"):
        from kubernetes import client
    return client


def _build_clients(context: str | None) -> tuple[Any, Any]:
    """The clients of the core API and of the API of Jobs. Raises `UsageError` if no cluster is configured."""
    client = _import_client()
    from kubernetes import config

    try:
        api = config.new_client_from_config(context=context)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            raise UsageError(f"no cluster: {error}") from error
        api = client.ApiClient()
    return client.CoreV1Api(api), client.BatchV1Api(api)


@contextmanager
def _translate_errors(what: str) -> Iterator[None]:
    client = _import_client()
    from urllib3.exceptions import HTTPError

    try:
        yield
    except client.ApiException as error:
        said = _message(error)
        if error.status in (401, 403):
            raise AccessDeniedError(f"{what}: {said}") from error
        if error.status in (400, 404, 422):
            raise UsageError(f"{what}: {said}") from error
        raise StorageError(f"{what}: {said}") from error
    except HTTPError as error:
        raise StorageError(f"{what}: the cluster cannot be reached: {error}") from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
