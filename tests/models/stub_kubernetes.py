"""A stub of the Kubernetes API, over real HTTP: it keeps what the client gives it as a server would, and runs nothing.

As a server does, it fills in defaults, drops what is empty, refuses a name that is taken, checks rights (RBAC), lists
pods in pages and deletes in the foreground. Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/,
https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and, for defaults,
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

INDEX = "batch.kubernetes.io/job-completion-index"
UNSET = 2**31 - 1
"""The backoffLimit of a Job that has a backoffLimitPerIndex."""
PATH = re.compile(
    r"/apis?/(?:(?P<group>batch)/)?v1(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>[a-z]+))?"
)
VERBS = {"POST": "create", "DELETE": "delete", "PATCH": "patch", "PUT": "update"}
POD_DEFAULTS = {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {}}
CONTAINER_DEFAULTS = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
KEPT_EMPTY = ("emptyDir", "securityContext", "resources", "status")
"""Fields that a server keeps although they are empty: those that are pointers or structures in its types."""


@dataclass(frozen=True)
class Asked:
    """What RBAC knows of a request."""

    verb: str
    group: str
    resource: str
    """With its part, such as `pods/log`."""
    namespace: str | None
    name: str | None

    @property
    def kind(self) -> str:
        """The resource as messages name it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


class Cluster:
    """The state of the stub, which tests look at and change."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        """By resource and name."""
        self.pods: list[dict[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.expiring: list[bool] = []
        """The next requests for a further page are answered with 410; whether each answer says where to go on."""
        self.refusal: tuple[int, str] | None = None
        """Status and message of every answer, where set."""
        self.rules: list[dict[str, Any]] | None = None
        """The rules of the user's roles; None where everything is allowed."""
        self.used: set[tuple[str, str, str]] = set()
        """Group, resource and verb of every request that a rule allowed."""
        self.deletions: list[str] = []
        """Propagation policies."""
        self.url = ""

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The Jobs, oldest first."""
        return [body for (resource, _), body in self.objects.items() if resource == "jobs"]

    @property
    def job(self) -> dict[str, Any]:
        """The only Job."""
        [found] = self.jobs
        return found

    def add_pod(
        self, index: int, status: dict[str, Any], *, log: str = "", age_seconds: float = 60, job: str | None = None
    ) -> None:
        """A pod for a completion index of the only Job, or of the one named `job`."""
        owner = job or self.job["metadata"]["name"]
        name, created = f"{owner}-{index}-{len(self.pods)}", datetime.now(UTC) - timedelta(seconds=age_seconds)
        labels = {"batch.kubernetes.io/job-name": owner, INDEX: str(index)}
        metadata = {"name": name, "labels": labels, "annotations": {INDEX: str(index)},
                    "creationTimestamp": created.isoformat()}  # fmt: skip
        containers = [{"name": "proxy"}, {"name": "job"}]
        self.pods.append({"metadata": metadata, "spec": {"containers": containers}, "status": status})
        self.logs[name] = log

    def set_condition(
        self, name: str, reason: str = "", message: str = "", *, job: dict[str, Any] | None = None
    ) -> None:
        """Make a condition of the only Job, or of `job`, true, as the controller of Jobs does."""
        condition = {"type": name, "status": "True", "reason": reason, "message": message, "lastProbeTime": now(),
                     "lastTransitionTime": now()}  # fmt: skip
        (job or self.job)["status"].setdefault("conditions", []).append(condition)

    def finish_deletions(self) -> None:
        """The pods of deleted Jobs have ended: their finalizers are taken away, and the Jobs are gone."""
        for key, body in list(self.objects.items()):
            if "deletionTimestamp" in body["metadata"]:
                del self.objects[key]
                self.pods = [
                    pod for pod in self.pods if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] != key[1]
                ]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.requests.append((method, path))
        if self.refusal:
            return refuse(self.refusal[0], "Refused", self.refusal[1])
        asked = parse(method, path)
        if not self._is_allowed(asked):
            where = f'in API group "{asked.group}"'
            where += f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
            said = f'{asked.kind} is forbidden: User "me" cannot {asked.verb} resource "{asked.resource}" {where}'
            return refuse(403, "Forbidden", said)
        match asked.verb, asked.resource:
            case "get", "pods/log":
                return self._read_log(asked, query)
            case "list", "pods":
                return self._list_pods(query)
            case "create", _:
                return self._create(asked, body)
        found = self.objects.get((asked.resource, asked.name or ""))
        if found is None:
            return refuse(404, "NotFound", f'{asked.kind} "{asked.name}" not found')
        if asked.verb == "delete":
            self._delete(found, (body or {}).get("propagationPolicy") or query["propagationPolicy"][0])
        return 200, found

    def _list_pods(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        """A page of them by name, and where the next one begins: behind a name, as in etcd.

        https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
        """
        wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
        place, limit = query.get("continue", [""])[0], int(query.get("limit", ["0"])[0])
        if place and self.expiring:
            goes_on = {"continue": place} if self.expiring.pop(0) else {}
            status, body = refuse(410, "Expired", "The provided continue parameter is too old")
            return status, body | {"metadata": goes_on}
        behind = [pod for pod in self.pods if pod["metadata"]["name"] > place]
        items = [pod for pod in behind if wanted.items() <= pod["metadata"]["labels"].items()]
        metadata = {"resourceVersion": "1"}
        if limit:
            items.sort(key=lambda pod: pod["metadata"]["name"])
            if len(items) > limit:
                metadata |= {"continue": items[limit - 1]["metadata"]["name"]}
                items = items[:limit]
        return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}

    def _is_allowed(self, asked: Asked) -> bool:
        if self.rules is None:
            return True
        allowed = any(
            asked.group in rule["apiGroups"] and asked.resource in rule["resources"] and asked.verb in rule["verbs"]
            for rule in self.rules
        )
        if allowed:
            self.used.add((asked.group, asked.resource, asked.verb))
        return allowed

    def _read_log(self, asked: Asked, query: dict[str, list[str]]) -> tuple[int, Any]:
        [pod] = [pod for pod in self.pods if pod["metadata"]["name"] == asked.name]
        if "container" not in query:
            said = f"a container name must be specified for pod {asked.name}, choose one of: [proxy job]"
            return refuse(400, "BadRequest", said)
        states = [one["state"] for one in pod["status"].get("containerStatuses", []) if one["name"] == "job"]
        if states and "waiting" in states[0]:
            said = f'container "job" in pod "{asked.name}" is waiting to start: {states[0]["waiting"]["reason"]}'
            return refuse(400, "BadRequest", said)
        lines = self.logs[asked.name or ""].splitlines()
        return 200, "\n".join(lines[-int(query["tailLines"][0]) :])

    def _create(self, asked: Asked, body: dict[str, Any]) -> tuple[int, Any]:
        key = (asked.resource, body["metadata"]["name"])
        if key in self.objects:
            said = f'{asked.kind} "{key[1]}" already exists'
            if "deletionTimestamp" in self.objects[key]["metadata"]:
                said = f"object is being deleted: {said}"
            return refuse(409, "AlreadyExists", said)
        self.objects[key] = fill_in(body)
        return 201, self.objects[key]

    def _delete(self, found: dict[str, Any], policy: str) -> None:
        """In the foreground an object stays, with a time of deletion, until what it owns is gone."""
        self.deletions.append(policy)
        assert policy == "Foreground", "a Job that goes at once would leave pods, or their end, unseen"
        found["metadata"].setdefault("deletionTimestamp", now())
        found["metadata"] |= {"deletionGracePeriodSeconds": 0, "finalizers": ["foregroundDeletion"]}


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(method: str, path: str) -> Asked:
    """What a request asks for, as RBAC would be asked."""
    found = PATH.fullmatch(path)
    assert found, path
    resource = "/".join(filter(None, (found["resource"], found["part"])))
    verb = VERBS.get(method) or ("get" if found["name"] else "list")
    return Asked(verb, found["group"] or "", resource, found["namespace"], found["name"])


def refuse(status: int, reason: str, message: str) -> tuple[int, Any]:
    """A refusal with the body that a server gives it."""
    return status, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
                    "reason": reason, "code": status}  # fmt: skip


def fill_in(body: dict[str, Any]) -> dict[str, Any]:
    """An object as a server keeps it: with its defaults, and without lists and maps that are empty."""
    kept: dict[str, Any] = drop_empty(copy.deepcopy(body))
    uid = str(uuid.uuid4())
    kept["metadata"] |= {"uid": uid, "resourceVersion": "1", "generation": 1, "creationTimestamp": now()}
    if kept["kind"] == "Job":
        fill_in_job(kept, uid)
    return kept


def fill_in_job(kept: dict[str, Any], uid: str) -> None:
    kept["status"] = {}
    spec = kept["spec"]
    labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": kept["metadata"]["name"]}
    template = spec["template"]
    template.setdefault("metadata", {})["labels"] = template["metadata"].get("labels", {}) | labels
    defaults = {
        "parallelism": 1, "completions": 1, "completionMode": "NonIndexed", "suspend": False, "manualSelector": False,
        "backoffLimit": UNSET if "backoffLimitPerIndex" in spec else 6, "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
    }  # fmt: skip
    kept["spec"] = defaults | spec
    template["spec"] = POD_DEFAULTS | template["spec"]
    template["spec"]["containers"] = [CONTAINER_DEFAULTS | one for one in template["spec"]["containers"]]
    for volume in template["spec"].get("volumes", []):
        if "configMap" in volume:
            volume["configMap"].setdefault("defaultMode", 420)


def drop_empty(value: Any) -> Any:
    """`value` without the lists, maps and nulls in it that hold nothing."""
    if isinstance(value, dict):
        parts = {key: drop_empty(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if key in KEPT_EMPTY or part not in (None, [], {})}
    return [drop_empty(part) for part in value] if isinstance(value, list) else value


def write_kubeconfig(path: Path, clusters: dict[str, str], *, current: str | None = None) -> None:
    """A kubeconfig with a context for each of `clusters`, which are URLs by name. The first is the current one."""
    names = list(clusters)
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": current or names[0],
        "users": [{"name": "me", "user": {}}],
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in clusters.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in names],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(config))


@contextmanager
def serve_cluster(stub: Cluster | None = None) -> Iterator[Cluster]:
    """A cluster that answers on `Cluster.url`."""
    cluster = stub or Cluster()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = cluster.answer(self.command, parts.path, parse_qs(parts.query), body)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
