"""A stub of the Kubernetes API that is looked at and never changed: what `job doctor` reads of a cluster, over HTTP."""

from __future__ import annotations

from typing import Any

from tests.models.stub_kubernetes import Cluster


class Facts(Cluster):
    """A cluster with a namespace, GPUs and rights, which tests take away."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[tuple[str, str]] = set()
        """Verb and resource of what the user may not do, such as ("create", "jobs")."""
        self.found: dict[str, dict[str, Any]] = {
            "/version/": {"major": "1", "minor": "34", "gitVersion": "v1.34.1", "gitCommit": "", "gitTreeState": "",
                         "buildDate": "", "goVersion": "", "compiler": "", "platform": ""},
            "/api/v1/namespaces/job": {"metadata": {"name": "job"}, "status": {"phase": "Active"}},
        }  # fmt: skip
        """Answers by path. All other paths are 404."""
        self.forbidden: set[str] = set()
        """Paths that are 403."""
        self.set_nodes({"nvidia.com/gpu": "4"}, {})

    def set_nodes(self, *allocatable: dict[str, str]) -> None:
        """As many nodes, with these things to give."""
        nodes = [{"metadata": {"name": f"n{at}"}, "status": {"allocatable": of}} for at, of in enumerate(allocatable)]
        self.found["/api/v1/nodes"] = {"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": nodes}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.requests.append((method, path))
        if self.refusal:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        if path.endswith("/selfsubjectaccessreviews"):
            asked = body["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            allowed = (asked["verb"], resource) not in self.refused
            return 201, body | {"status": {"allowed": allowed}}
        assert method == "GET", "a doctor only looks"
        if path in self.forbidden:
            return 403, {"kind": "Status", "message": f'User "me" cannot get {path}'}
        if path not in self.found:
            return 404, {"kind": "Status", "reason": "NotFound", "message": f"{path} not found"}
        return 200, self.found[path]
