"""Checks of a cluster for the back end `kubernetes`: connection, rights, what the pods name, and GPUs on its nodes.

Rights are asked for one by one with SelfSubjectAccessReview, which every user may create:
https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from job.errors import AccessDeniedError, UsageError
from job.places import CLAIM_SCHEME
from job.submit.doctor.finding import Finding, Unseen, look
from job.submit.kubernetes import configure
from job.submit.kubernetes_cluster import Cluster, connect, import_client, translate_errors
from job.submit.options import Options

SECONDS = (5, 20)
"""Of one request: until the cluster takes the connection, and between two parts of its answer."""
GPU = "nvidia.com/gpu"
RIGHTS = (
    ("batch", "jobs", "create"),
    ("batch", "jobs", "get"),
    ("batch", "jobs", "delete"),
    ("", "configmaps", "create"),
    ("", "configmaps", "get"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
)
"""API group, resource and verb of what `job submit`, `status`, `logs` and `cancel` do: the role of
infra/submitter-rbac.yaml."""
KUEUE_VERSIONS = ("v1beta2", "v1beta1")
OWN_ACCOUNT = "job"
"""The service account that `job submit` creates."""
OWN_ACCOUNT_RIGHT = ("", "serviceaccounts", "create")


def check_kubernetes(options: Options) -> Iterator[Finding]:
    """Whether the cluster can start a pod. Without a connection there is nothing more to ask."""
    yield look("options", lambda: _check_options(options))
    found: list[Cluster] = []
    cluster = look("cluster", lambda: _connect(options, found))
    yield cluster
    if not cluster.ok:
        return
    api, namespace = found[0], options.namespace
    yield look("rights", lambda: _check_rights(api, options))
    yield look("namespace", lambda: _check_namespace(api, namespace))
    account = options.service_account or OWN_ACCOUNT
    yield look("service account", lambda: _check_account(api, account, namespace, is_own=not options.service_account))
    for secret in (*options.env_from, *options.image_pull_secret):
        yield look(f"secret {secret}", lambda secret=secret: _check_secret(api, secret, namespace))  # type: ignore[misc]
    if (options.output or "").startswith(CLAIM_SCHEME):
        claim = str(options.output).removeprefix(CLAIM_SCHEME).partition("/")[0]
        yield look("claim", lambda: _check_claim(api, claim, namespace))
    if options.queue:
        yield look("kueue", lambda: _check_queue(api, options.queue, namespace))
    if options.count_gpus():
        yield look("gpu", lambda: _check_gpus(api, options))


def _check_options(options: Options) -> str:
    settings = configure(options)
    if not options.image:
        raise UsageError("--to kubernetes needs --image")
    return f"{settings.image}, {settings.num_gpus} GPUs a pod"


def _connect(options: Options, found: list[Cluster]) -> str:
    client, cluster = import_client(), connect(options.context)
    with translate_errors("cluster"):
        version = client.VersionApi(cluster.core.api_client).get_code(_request_timeout=SECONDS)
    found.append(cluster)
    return f"context {cluster.context or '(of this pod)'}, Kubernetes {version.git_version}"


def _check_rights(cluster: Cluster, options: Options) -> str:
    client = import_client()
    reviews = client.AuthorizationV1Api(cluster.core.api_client)
    wanted = [*RIGHTS]
    if not options.service_account:
        wanted.append(OWN_ACCOUNT_RIGHT)
    refused = []
    for group, resource, verb in wanted:
        name, _, part = resource.partition("/")
        attributes = client.V1ResourceAttributes(
            group=group, resource=name, subresource=part or None, verb=verb, namespace=options.namespace
        )
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        )
        with translate_errors("rights"):
            answer = reviews.create_self_subject_access_review(review, _request_timeout=SECONDS)
        if not answer.status.allowed:
            refused.append(f"{verb} {resource}")
    if refused:
        raise AccessDeniedError(
            f"these credentials may not {', '.join(refused)} in namespace {options.namespace}; an administrator can "
            "give them the role of infra/submitter-rbac.yaml"
        )
    return f"all {len(wanted)} that submit, status, logs and cancel need in namespace {options.namespace}"


def _check_namespace(cluster: Cluster, namespace: str) -> str:
    found = _read(f"namespace {namespace}", lambda: cluster.core.read_namespace(namespace, _request_timeout=SECONDS))
    if found is None:
        raise Unseen(f"{namespace}: is not there; submit creates it if these credentials may")
    return f"{namespace}: {found.status.phase}"


def _check_account(cluster: Cluster, name: str, namespace: str, *, is_own: bool) -> str:
    read = cluster.core.read_namespaced_service_account
    found = _read(f"service account {name}", lambda: read(name, namespace, _request_timeout=SECONDS))
    if found is None and is_own:
        return f"{name}: is not there yet; submit creates it"
    if found is None:
        raise UsageError(
            f"--service-account {name}: is not in namespace {namespace}; create it, or leave the option out"
        )
    return f"{name}: is there"


def _check_secret(cluster: Cluster, name: str, namespace: str) -> str:
    """Whether the Secret is there. Its content is not read for anything, and shown nowhere."""
    read = cluster.core.read_namespaced_secret
    found = _read(f"Secret {name}", lambda: read(name, namespace, _request_timeout=SECONDS))
    if found is None:
        raise UsageError(
            f"is not in namespace {namespace}; create it with `kubectl create secret generic {name} --namespace "
            f"{namespace} --from-env-file FILE`, or for images with `kubectl create secret docker-registry`"
        )
    return f"is there, with the keys {', '.join(sorted(found.data or {})) or '(none)'}"


def _check_claim(cluster: Cluster, name: str, namespace: str) -> str:
    read = cluster.core.read_namespaced_persistent_volume_claim
    found = _read(f"claim {name}", lambda: read(name, namespace, _request_timeout=SECONDS))
    if found is None:
        raise UsageError(f"{name}: is not in namespace {namespace}; create it as infra/kubernetes.md says")
    return f"{name}: {found.status.phase}, {', '.join(found.spec.access_modes)}"


def _check_queue(cluster: Cluster, queue: str, namespace: str) -> str:
    custom = import_client().CustomObjectsApi(cluster.core.api_client)
    for version in KUEUE_VERSIONS:
        place = ("kueue.x-k8s.io", version, namespace, "localqueues", queue)
        found = _read(
            f"LocalQueue {queue}",
            lambda place=place: custom.get_namespaced_custom_object(*place, _request_timeout=SECONDS),  # type: ignore[misc]
        )
        if found is not None:
            return f"LocalQueue {queue} of ClusterQueue {found['spec']['clusterQueue']}"
    raise UsageError(f"--queue {queue}: no LocalQueue of Kueue has this name in namespace {namespace}")


def _check_gpus(cluster: Cluster, options: Options) -> str:
    """Whether a node that the pods accept can give as many GPUs as one of them asks for."""
    labels = ",".join(f"{name}={value}" for name, value in options.node_selector.items())
    try:
        with translate_errors("nodes"):
            nodes = cluster.core.list_node(label_selector=labels, _request_timeout=SECONDS).items
    except AccessDeniedError as error:
        raise Unseen(f"nodes cannot be seen without the right to list them: {error}") from error
    offered = [int((node.status.allocatable or {}).get(GPU, 0)) for node in nodes]
    wanted, which = options.count_gpus(), f" with {labels}" if labels else ""
    if max(offered, default=0) < wanted:
        raise UsageError(
            f"none of {len(nodes)} nodes{which} offers {wanted} {GPU}: install NVIDIA's device plugin or add such "
            "nodes; nodes that an autoscaler would add are not seen, and --gpus 0 trains on CPUs"
        )
    return f"{sum(offered)} {GPU} on {sum(count >= wanted for count in offered)} of {len(nodes)} nodes{which}"


def _read(what: str, question: Callable[[], Any]) -> Any:
    """The object, or None if there is none. Raises `Unseen` if these credentials may not look."""
    client = import_client()
    try:
        with translate_errors(what):
            try:
                return question()
            except client.ApiException as error:
                if error.status == 404:
                    return None
                raise
    except AccessDeniedError as error:
        raise Unseen(f"{what} cannot be seen: {error}") from error
