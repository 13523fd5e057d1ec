"""The documents that the back end `kubernetes` sends: one Indexed Job in batch/v1, and what it needs beside it.

All functions are pure. `manifests/` holds what is rendered for the bundled sweep of the four optimizers. Source:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from job import __version__
from job.errors import UsageError
from job.places import CLAIM_SCHEME
from job.submit.backend import (
    DEFAULT_OUTPUT,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_ATTEMPTS,
    RETRYABLE_EXIT_CODES,
    Launch,
)
from job.submit.strategic_merge import merge

CONTAINER = "job"
"""The name of the container that trains. A pod may have others beside it."""
SUBMISSION_FOLDER = "/etc/job"
SUBMISSION_FILE = "submission.json"
MAX_PARALLELISM = 10_000
"""With backoffLimitPerIndex: https://kubernetes.io/docs/concepts/workloads/controllers/job/#backoff-limit-per-index."""
MIN_PARALLELISM = "kueue.x-k8s.io/job-min-parallelism"
"""With it Kueue admits a Job for which the quota has less room than its parallelism, with as many pods as fit:
https://kueue.sigs.k8s.io/docs/tasks/run/jobs/#partial-admission. Kueue refuses a number that is not below the Job's."""
NOTES = {
    "00-namespace.yaml": """\
# To apply all of it: kubectl apply --server-side -f FOLDER
# Without --server-side kubectl keeps a copy of each object in an annotation, whose 262144 bytes a large sweep exceeds.
""",
    "30-job.yaml": """\
# Yours to set: `image`, and `--output` and `--data` in `args`. Without S3 let the volume `output` be a claim,
#   persistentVolumeClaim: {claimName: NAME}
# and write to it with `--output /output`.
""",
}
"""Comments that are shown above a document, by its file name."""


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings:
    """Where and on what the containers run."""

    output: str = DEFAULT_OUTPUT
    image: str = ""
    namespace: str = "job"
    context: str | None = None
    """A context of the kubeconfig; None for the current one."""
    queue: str | None = None
    """A Kueue LocalQueue; None where Kueue is not used."""
    num_gpus: int = 1
    jobs: int | None = None
    """How many pods run at once; None for all."""
    cpus: float = 1
    memory: str = "4Gi"
    disk: str = "10Gi"
    """What a container may write on its node, such as the decoded data set. If it writes more, its pod is evicted."""
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    """Of one pod, from its start on a node: the wait for a GPU does not count."""
    attempts: int = MAX_ATTEMPTS
    secrets: tuple[str, ...] = ()
    """Secrets whose keys become variables of the pods."""
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str | None = None
    """One that exists; None for one of our own, which is created with the Job."""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, str], ...] = ()
    pod_patch: dict[str, Any] = field(default_factory=dict)
    """A strategic merge patch for the pod template."""
    keep_seconds: int = 7 * 24 * 3600
    """How long an ended Job stays visible."""

    @property
    def needs_gpu(self) -> bool:
        return self.num_gpus > 0


def render(launch: Launch, settings: KubernetesSettings) -> dict[str, dict[str, Any]]:
    """The documents by file name, in the order of `kubectl apply`. Raises `UsageError` without an image.

    The Job's name carries a hash of everything in it, so that applying the same documents twice changes nothing, and
    different documents make another Job. No value in them is empty, because a server drops empty lists and the like,
    and a second `apply` would then report a change.
    """
    if not settings.image:
        raise UsageError("--to kubernetes needs --image")
    metadata = {"namespace": settings.namespace}
    labels = {
        "app.kubernetes.io/name": "job",
        "app.kubernetes.io/instance": launch.experiment,
        "app.kubernetes.io/version": __version__,
        "app.kubernetes.io/component": "training",
        "app.kubernetes.io/managed-by": "job-submit",
    }
    content = launch.submission.as_json()
    spec = _job_spec(launch, settings, labels=labels)
    spec["template"] = merge(spec["template"], settings.pod_patch)
    digest = hashlib.sha256(json.dumps([spec, content], sort_keys=True).encode()).hexdigest()[:10]
    name = f"{launch.experiment}-{digest}"
    for volume in spec["template"]["spec"]["volumes"]:
        if volume["name"] == "submission":
            volume["configMap"] = {"name": name}
    job_metadata: dict[str, Any] = metadata | {"name": name, "labels": labels}
    if settings.queue:
        job_metadata["labels"] = labels | {"kueue.x-k8s.io/queue-name": settings.queue}
        if spec["parallelism"] > 1:
            job_metadata["annotations"] = {MIN_PARALLELISM: "1"}
    documents: dict[str, dict[str, Any]] = {
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
            "metadata": job_metadata,
            "spec": spec | ({"suspend": True} if settings.queue else {}),  # Kueue starts it
        },
    }
    if settings.service_account:
        del documents["10-service-account.yaml"]
    return documents


def name_attempt(documents: dict[str, dict[str, Any]], number: int) -> dict[str, dict[str, Any]]:
    """`documents` as they are for the first attempt; for a later one with its number in the Job's name.

    The ConfigMap is renamed with it, so that each Job has one of its own and survives the removal of an earlier one.
    """
    if number == 1:
        return documents
    first = documents["30-job.yaml"]["metadata"]["name"]
    named = copy.deepcopy(documents)
    for file in ("20-submission.yaml", "30-job.yaml"):
        named[file]["metadata"]["name"] = f"{first}-{number}"
    for volume in named["30-job.yaml"]["spec"]["template"]["spec"]["volumes"]:
        if volume.get("configMap") == {"name": first}:
            volume["configMap"] = {"name": f"{first}-{number}"}
    return named


def show(documents: dict[str, dict[str, Any]]) -> str:
    """The documents as the YAML that `kubectl apply` reads, each under its file name."""
    text = ""
    for name, document in documents.items():
        text += f"---\n# {name}\n{NOTES.get(name, '')}"
        text += yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120)
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as blocks, and what stands twice twice, as a person does."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def container_output(output: str, *, disk: str) -> tuple[str, dict[str, Any]]:
    """The place that a container writes to for `output`, and the volume at /output. On the node, it takes up to `disk`.

    `pvc://CLAIM/FOLDER` is a folder on a PersistentVolumeClaim, for clusters without S3.
    """
    if not output.startswith(CLAIM_SCHEME):
        return output, {"name": "output", "emptyDir": {"sizeLimit": disk}}
    claim, _, folder = output.removeprefix(CLAIM_SCHEME).partition("/")
    return f"/output/{folder}".rstrip("/"), {"name": "output", "persistentVolumeClaim": {"claimName": claim}}


def _job_spec(launch: Launch, settings: KubernetesSettings, *, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "completionMode": "Indexed",
        "completions": launch.num_containers,
        "parallelism": min(settings.jobs or launch.num_containers, launch.num_containers, MAX_PARALLELISM),
        "backoffLimitPerIndex": settings.attempts - 1,
        "maxFailedIndexes": launch.num_containers,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                # first, so that a 137 after a preemption, a drain or an eviction is not final; counted, so that it ends
                {"action": "Count", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailIndex",
                    "onExitCodes": {
                        "containerName": CONTAINER,
                        "operator": "NotIn",
                        "values": list(RETRYABLE_EXIT_CODES),
                    },
                },
            ]
        },
        "ttlSecondsAfterFinished": settings.keep_seconds,
        "template": {"metadata": {"labels": labels}, "spec": _pod_spec(launch, settings)},
    }


def _pod_spec(launch: Launch, settings: KubernetesSettings) -> dict[str, Any]:
    output, output_volume = container_output(launch.output, disk=settings.disk)
    requests = {"cpu": f"{settings.cpus:g}", "memory": settings.memory, "ephemeral-storage": settings.disk}
    limits = {"memory": settings.memory, "ephemeral-storage": settings.disk}
    tolerations = list(settings.tolerations)
    if settings.num_gpus:
        limits["nvidia.com/gpu"] = str(settings.num_gpus)
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    environment = [{"name": name, "value": value} for name, value in launch.environment.items()]
    secrets = [{"secretRef": {"name": name}} for name in settings.secrets]
    pull_secrets = [{"name": name} for name in settings.image_pull_secrets]
    inside = replace(launch, output=output, submission_place=f"{SUBMISSION_FOLDER}/{SUBMISSION_FILE}")
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": settings.timeout_seconds,
        "volumes": [
            output_volume,
            {"name": "submission", "configMap": {}},
            {"name": "tmp", "emptyDir": {"sizeLimit": settings.disk}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        ],
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "args": inside.arguments,
                **({"env": environment} if environment else {}),
                **({"envFrom": secrets} if secrets else {}),
                "resources": {"requests": requests, "limits": limits},
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
        **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
        "serviceAccountName": settings.service_account or "job",
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
        **({"nodeSelector": settings.node_selector} if settings.node_selector else {}),
        **({"tolerations": tolerations} if tolerations else {}),
    }
