"""The connection to a cluster: which context of the kubeconfig is meant, how it lists pods, and what its refusals mean
to a user.

It uses the official client, which the extra `kubernetes` installs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from job.errors import AccessDeniedError, StorageError, UsageError
from job.versions import extra

TIMEOUT_SECONDS = (10, 60)
"""Of one request: until the cluster takes the connection, and between two parts of its answer."""
NUM_RETRIES = 1
"""Further tries to connect; the client's own default of three lets a dead cluster take four times the time-out."""

PAGE_SIZE = 500
"""Pods that are asked for at a time, as kubectl does. One answer with all of 10,000 has 60 MB."""
MAX_EXPIRED = 3
"""How often a list may expire, which servers let happen after some minutes, before we give up."""


@dataclass(frozen=True)
class Cluster:
    """The two APIs that we call, and under which name the kubeconfig knows the cluster."""

    core: Any
    batch: Any
    context: str | None
    """None in a pod, where the service account's own cluster is meant."""


def connect(context: str | None) -> Cluster:
    """The cluster of a context; of the kubeconfig's current one, or of the pod that this runs in, if it is None.

    Raises `UsageError` if there is no such context, or no cluster at all.
    """
    client = import_client()
    from kubernetes import config
    from yaml import YAMLError

    settings = client.Configuration()
    settings.retries = NUM_RETRIES
    try:
        name: str | None = context or _find_current()
        config.load_kube_config(context=name, client_configuration=settings)  # type: ignore[no-untyped-call]
    except (config.ConfigException, YAMLError, OSError) as error:
        if context:
            raise UsageError(f"no cluster: context {context}: {error}") from error
        try:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            raise UsageError(f"no cluster: {error}") from error
        name = None
    api = client.ApiClient(settings)
    return Cluster(client.CoreV1Api(api), client.BatchV1Api(api), name)


def _find_current() -> str:
    """The name of the kubeconfig's current context."""
    from kubernetes import config

    _, current = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
    return str(current["name"])


def import_client() -> Any:
    """The official client. Raises `UsageError` where its extra is not installed."""
    with extra("kubernetes"):
        from kubernetes import client
    return client


def list_pods(cluster: Cluster, namespace: str | None, selector: str, *, what: str) -> Iterator[dict[str, Any]]:
    """The pods that have the labels of `selector`, as JSON, page by page.

    A list that expires meanwhile goes on from where it was if the server says how, and begins anew otherwise: a pod can
    then come again, and later ones than the list's beginning are there. `what` is named in errors. Source:
    https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks.
    """
    client = import_client()
    place, num_expired = None, 0
    while True:
        asked = {"label_selector": selector, "limit": PAGE_SIZE} | ({"_continue": place} if place else {})
        with translate_errors(what):
            try:
                # As models of the client, each pod would take five times as long: they check every field.
                answer = cluster.core.list_namespaced_pod(
                    namespace, **asked, _preload_content=False, _request_timeout=TIMEOUT_SECONDS
                )
                page = json.loads(answer.data)
            except client.ApiException as error:
                num_expired += 1
                if error.status != 410 or num_expired > MAX_EXPIRED:
                    raise
                place = _read_place(json.loads(error.body))
                continue
        yield from page["items"]
        place = _read_place(page)
        if place is None:
            return


def _read_place(answer: dict[str, Any]) -> str | None:
    """Where a list goes on; None where it is at its end, or has to begin anew."""
    return answer.get("metadata", {}).get("continue") or None


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Raises what the cluster refuses, or does not answer, as an error of `job.errors` about `what`."""
    client = import_client()
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
        why = getattr(error, "reason", None) or error  # without the request, which the retries put before it
        raise StorageError(f"{what}: the cluster cannot be reached: {why}") from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
