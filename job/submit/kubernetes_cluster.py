"""The connection to a cluster: which context of the kubeconfig is meant, and what its refusals mean to a user.

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
