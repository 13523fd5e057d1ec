"""The back end `kubernetes`: one Indexed Job in batch/v1 for a submission, and what it needs beside it.

`render` is pure and gives the documents of `manifests/`; the rest talks to the cluster through the official client,
the extra `kubernetes`. Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import yaml

from job import __version__
from job.errors import AccessDeniedError, StorageError, UsageError
from job.plan import Submission, SubmittedJob
from job.submit.launch import CLAIM_SCHEME, MAX_ATTEMPTS, PERMANENT_EXIT_CODES, Launch
from job.submit.observation import Child

SUBMISSION_FOLDER = "/etc/job"
SUBMISSION_FILE = "submission.json"
FIELD_MANAGER = "job"
NOTES = {
    "30-job.yaml": """\
# Yours to set: `image`, and `--output` in `args`. Without S3 let the volume `output` be a claim,
#   persistentVolumeClaim: {claimName: NAME}
# and write to it with `--output /output`.
"""
}
"""Said above a document, by file name."""


@dataclass(frozen=True)
class KubernetesSettings:
    """Where and on what the containers run."""

    namespace: str = "job"
    context: str | None = None
    """Of the kubeconfig; None for its current one."""
    queue: str | None = None
    """A Kueue LocalQueue; None where Kueue is not used."""
    num_gpus: int = 1
    cpu: str = "3"
    memory: str = "12Gi"
    timeout_seconds: int = 24 * 3600
    """Of the whole Job."""
    keep_seconds: int = 7 * 24 * 3600
    """How long an ended Job stays visible."""


def render(launch: Launch, submission: Submission, settings: KubernetesSettings) -> dict[str, dict[str, Any]]:
    """The documents by file name, in the order of `kubectl apply`. Raises `UsageError` without an image.

    The Job's name carries a hash of everything in it: applying the same twice changes nothing, and what differs
    is another Job.
    """
    if not launch.image:
        raise UsageError("--to kubernetes needs --image")
    metadata = {"namespace": settings.namespace}
    labels = {
        "app.kubernetes.io/name": "job",
        "app.kubernetes.io/instance": launch.experiment,
        "app.kubernetes.io/version": __version__,
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/managed-by": "job-submit",
    }
    content = submission.model_dump_json(indent=1)
    spec = _job_spec(launch, settings, labels=labels)
    digest = hashlib.sha256(json.dumps([spec, content], sort_keys=True).encode()).hexdigest()[:10]
    name = f"{launch.experiment}-{digest}"
    for volume in spec["template"]["spec"]["volumes"]:
        if volume["name"] == "submission":
            volume["configMap"] = {"name": name}
    job_labels = labels | ({"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {})
    return {
        "00-namespace.yaml": {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": settings.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        "10-service-account.yaml": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata | {"name": "job"},
            "automountServiceAccountToken": False,
        },
        "20-submission.yaml": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata | {"name": name, "labels": labels},
            "immutable": True,
            "data": {SUBMISSION_FILE: content},
        },
        "30-job.yaml": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata | {"name": name, "labels": job_labels},
            "spec": spec | ({"suspend": True} if settings.queue else {}),  # Kueue starts it
        },
    }


def show(documents: dict[str, dict[str, Any]]) -> str:
    """The documents as the YAML that `kubectl apply` reads, each under its file name."""
    text = ""
    for name, document in documents.items():
        text += f"---\n# {name}\n{NOTES.get(name, '')}"
        text += yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120)
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Texts of several lines as blocks, as a person writes them."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def container_output(output: str) -> tuple[str, dict[str, Any]]:
    """Where a container writes for `output`, and the volume that lies at /output there.

    `pvc://CLAIM/FOLDER` is a folder on a PersistentVolumeClaim, for clusters without S3.
    """
    if not output.startswith(CLAIM_SCHEME):
        return output, {"name": "output", "emptyDir": {}}
    claim, _, folder = output.removeprefix(CLAIM_SCHEME).partition("/")
    return f"/output/{folder}".rstrip("/"), {"name": "output", "persistentVolumeClaim": {"claimName": claim}}


def _job_spec(launch: Launch, settings: KubernetesSettings, *, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "completionMode": "Indexed",
        "completions": launch.num_containers,
        "parallelism": launch.num_containers,
        "backoffLimitPerIndex": MAX_ATTEMPTS - 1,
        "maxFailedIndexes": launch.num_containers,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailIndex",
                    "onExitCodes": {"containerName": "job", "operator": "In", "values": list(PERMANENT_EXIT_CODES)},
                },
            ]
        },
        "activeDeadlineSeconds": settings.timeout_seconds,
        "ttlSecondsAfterFinished": settings.keep_seconds,
        "template": {"metadata": {"labels": labels}, "spec": _pod_spec(launch, settings)},
    }


def _pod_spec(launch: Launch, settings: KubernetesSettings) -> dict[str, Any]:
    output, output_volume = container_output(launch.output)
    limits = {"memory": settings.memory}
    if settings.num_gpus:
        limits["nvidia.com/gpu"] = str(settings.num_gpus)
    inside = replace(launch, output=output, submission=f"{SUBMISSION_FOLDER}/{SUBMISSION_FILE}")
    return {
        "restartPolicy": "Never",
        "volumes": [
            output_volume,
            {"name": "submission", "configMap": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        ],
        "containers": [
            {
                "name": "job",
                "image": launch.image,
                "args": inside.arguments,
                "env": [{"name": name, "value": value} for name, value in launch.environment.items()],
                "resources": {"requests": {"cpu": settings.cpu, "memory": settings.memory}, "limits": limits},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "output", "mountPath": "/output"},
                    {"name": "submission", "mountPath": SUBMISSION_FOLDER, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                    {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
                ],
            }
        ],
        "serviceAccountName": "job",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 120,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }


def submit(documents: dict[str, dict[str, Any]], settings: KubernetesSettings) -> SubmittedJob:
    """Create the documents; what is there already stays as it is. Four calls, whatever the number of containers."""
    from kubernetes import client

    core, batch = _clients(settings.context)
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
                    raise  # who may not make namespaces works in one that is there
    name = documents["30-job.yaml"]["metadata"]["name"]
    return SubmittedJob(backend="kubernetes", job=name, namespace=namespace, context=settings.context)


def observe(job: SubmittedJob) -> list[Child]:
    """What became of each container: two calls, whatever their number. Waiting ones carry why, in one sentence."""
    from kubernetes import client

    core, batch = _clients(job.context)
    with _translate_errors(f"Job {job.job}"):
        try:
            found = batch.read_namespaced_job(job.job, job.namespace)
        except client.ApiException as error:
            if error.status == 404:
                return []  # cancelled, or cleared away some days after its end
            raise
        pods = core.list_namespaced_pod(job.namespace, label_selector=f"batch.kubernetes.io/job-name={job.job}").items
    succeeded = _parse_indexes(found.status.completed_indexes)
    failed = _parse_indexes(found.status.failed_indexes)
    newest: dict[int, Any] = {}
    for pod in sorted(pods, key=lambda one: one.metadata.creation_timestamp):
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
    """Exit code and, in one sentence, what is the matter with a pod."""
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
    core, _ = _clients(job.context)
    selector = f"batch.kubernetes.io/job-name={job.job},batch.kubernetes.io/job-completion-index={index}"
    with _translate_errors(f"Job {job.job}"):
        pods = core.list_namespaced_pod(job.namespace, label_selector=selector).items
        if not pods:
            return []
        newest = max(pods, key=lambda one: one.metadata.creation_timestamp)
        text: str = core.read_namespaced_pod_log(newest.metadata.name, job.namespace, tail_lines=num_lines)
    return text.splitlines()


def cancel(job: SubmittedJob, *, reason: str) -> None:
    """Delete the Job and with it its pods: one call; they save their checkpoints. `reason` is for other back ends."""
    from kubernetes import client

    del reason
    _, batch = _clients(job.context)
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


def _clients(context: str | None) -> tuple[Any, Any]:
    from kubernetes import client, config

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
    from kubernetes import client
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
