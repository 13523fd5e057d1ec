"""A stub of the Kubernetes API, over real HTTP: it keeps what the client gives it, and runs nothing."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "batch.kubernetes.io/job-completion-index"


class Cluster:
    """The state of the stub, which tests look at and change."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        """By kind and name."""
        self.pods: list[dict[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.refusal: tuple[int, str] | None = None
        """Status and message of every answer, where set."""
        self.deletions: list[str] = []
        """Propagation policies."""
        self.url = ""

    @property
    def job(self) -> dict[str, Any]:
        """The only Job."""
        [found] = [body for (kind, _), body in self.objects.items() if kind == "jobs"]
        return found

    def add_pod(self, index: int, status: dict[str, Any], *, log: str = "", age_seconds: float = 60) -> None:
        """A pod of the Job for a completion index."""
        name, created = f"pod-{index}-{len(self.pods)}", datetime.now(UTC) - timedelta(seconds=age_seconds)
        labels = {"batch.kubernetes.io/job-name": self.job["metadata"]["name"], INDEX: str(index)}
        metadata = {"name": name, "labels": labels, "annotations": {INDEX: str(index)},
                    "creationTimestamp": created.isoformat()}  # fmt: skip
        self.pods.append({"metadata": metadata, "spec": {"containers": [{"name": "job"}]}, "status": status})
        self.logs[name] = log

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.requests.append((method, path))
        if self.refusal:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        if found := re.fullmatch(r"/api/v1/namespaces/[^/]+/pods/([^/]+)/log", path):
            lines = self.logs[found[1]].splitlines()
            return 200, "\n".join(lines[-int(query["tailLines"][0]) :])
        if path.endswith("/pods"):
            wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
            items = [one for one in self.pods if wanted.items() <= one["metadata"]["labels"].items()]
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        if method == "POST":
            key = (path.rpartition("/")[2], body["metadata"]["name"])
            if key in self.objects:
                return 409, {
                    "kind": "Status",
                    "reason": "AlreadyExists",
                    "message": f'{key[0]} "{key[1]}" already exists',
                }
            self.objects[key] = {"status": {}} | body
            return 201, self.objects[key]
        kind, name = path.split("/")[-2:]
        if (kind, name) not in self.objects:
            return 404, {"kind": "Status", "reason": "NotFound", "message": f'{kind} "{name}" not found'}
        if method == "DELETE":
            self.deletions.append((body or {}).get("propagationPolicy") or query["propagationPolicy"][0])
            return 200, self.objects.pop((kind, name))
        return 200, self.objects[kind, name]


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
