"""`infra/submitter-rbac.yaml`: the rights that the commands need of a cluster, no fewer and no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT, Answer
from tests.models.stub_kubernetes import Cluster, serve_cluster, write_kubeconfig

Job = Callable[..., Answer]
FILE = ROOT / "infra/submitter-rbac.yaml"


def documents() -> list[dict[str, Any]]:
    """What the file creates."""
    return list(yaml.safe_load_all(FILE.read_text()))


def optional() -> list[dict[str, Any]]:
    """What a comment at its end says for those who create namespaces as well."""
    _, _, comment = FILE.read_text().partition("these beside a role there:\n#\n")
    return list(yaml.safe_load_all("".join(line.removeprefix("# ") for line in comment.splitlines(keepends=True))))


def rules(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for document in of for rule in document.get("rules", [])]


def allowed(of: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Group, resource and verb of everything that the rules allow."""
    return {
        (group, resource, verb)
        for rule in rules(of)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with serve_cluster() as stub:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, {"stub": stub.url})
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield stub


def drive(job: Job, cluster: Cluster, sweep: Path, bucket: str) -> None:
    """Every request that the commands can make: submit, again after a failure, status, logs and cancel."""
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": [0.001, 0.002]}}
    sweep.write_text(json.dumps({"name": "rates", "blocks": [block]}))
    submit = (
        "submit",
        "-m",
        sweep,
        "--to",
        "kubernetes",
        "--image",
        "r/job:1",
        "--output",
        bucket,
        "--data",
        "download",
    )
    assert job(*submit).exit_code == 0
    cluster.add_pod(0, {"phase": "Failed"}, log="one\ntwo\n")
    cluster.job["status"]["failedIndexes"] = "0"
    seen = job("status", bucket, "--json")
    assert seen.exit_code == 0, seen.stderr
    assert job("logs", bucket, json.loads(seen.stdout)["runs"][0]["run_id"]).stdout == "one\ntwo\n"
    cluster.set_condition("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    assert job(*submit).exit_code == 0
    cancelled = job("cancel", bucket)
    assert cancelled.exit_code == 0, cancelled.stderr


def test_documents_are_valid_and_belong_together() -> None:
    namespace, role, binding = documents()
    cluster_role, cluster_binding = optional()
    for document in (namespace, role, binding, cluster_role, cluster_binding):
        kubernetes_validate.validate(document, "1.33", strict=True)
    assert {namespace["metadata"]["name"], role["metadata"]["namespace"], binding["metadata"]["namespace"]} == {"job"}
    for granted, by in ((role, binding), (cluster_role, cluster_binding)):
        assert (by["roleRef"]["kind"], by["roleRef"]["name"]) == (granted["kind"], granted["metadata"]["name"])
    assert namespace == yaml.safe_load((ROOT / "manifests/00-namespace.yaml").read_text())


def test_every_request_is_allowed_and_every_right_is_used(
    job: Job, cluster: Cluster, tmp_path: Path, bucket: str
) -> None:
    cluster.rules = rules(documents())
    drive(job, cluster, tmp_path / "sweep.json", bucket)
    assert cluster.used == allowed(documents())
    assert ("namespaces", "job") not in cluster.objects  # an administrator has made it


def test_namespace_is_made_by_those_who_may(job: Job, cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    cluster.rules = rules(documents() + optional())
    drive(job, cluster, tmp_path / "sweep.json", bucket)
    assert cluster.used == allowed(documents() + optional())
    assert ("namespaces", "job") in cluster.objects
