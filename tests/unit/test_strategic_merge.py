"""Patches for the pod template: merged as kubectl merges them, which is asked itself where it is installed."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from job.submit.strategic_merge import MERGE_KEYS, merge

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "job"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "job",
                "image": "job:1",
                "args": ["--manifest", "x"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "6Gi"}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
    },
}  # fmt: skip
PATCHES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a value": {"spec": {"priorityClassName": "low"}},
    "a value in a map": {"spec": {"securityContext": {"runAsUser": 2000}}},
    "a key removed": {"spec": {"securityContext": {"runAsUser": None}}},
    "a container's value": {"spec": {"containers": [{"name": "job", "imagePullPolicy": "Always"}]}},
    "a variable changed and one added": {
        "spec": {"containers": [{"name": "job", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}]}
    },
    "a variable deleted": {"spec": {"containers": [{"name": "job", "env": [{"name": "A", "$patch": "delete"}]}]}},
    "a volume of another kind": {
        "spec": {"volumes": [{"name": "tmp", "emptyDir": None, "hostPath": {"path": "/mnt/scratch"}}]}
    },
    "a volume and its mount": {
        "spec": {
            "volumes": [{"name": "certificates", "secret": {"secretName": "ca"}}],
            "containers": [{"name": "job", "volumeMounts": [{"name": "certificates", "mountPath": "/certificates"}]}],
        }
    },
    "a list without keys": {"spec": {"tolerations": [{"key": "sku", "operator": "Exists"}]}},
    "arguments": {"spec": {"containers": [{"name": "job", "args": ["--help"]}]}},
    "a map replaced": {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 1}}},
    "annotations": {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}},
    "a sidecar": {"spec": {"initContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}]}},
    "a limit": {"spec": {"containers": [{"name": "job", "resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}]}},
}


def as_maps(value: Any, key: str = "") -> Any:
    """Lists that have a merge key as maps by it: their order means nothing, and kubectl has one of its own."""
    if isinstance(value, dict):
        return {name: as_maps(part, name) for name, part in value.items()}
    if isinstance(value, list) and key in MERGE_KEYS:
        return {part[MERGE_KEYS[key]]: as_maps(part) for part in value}
    return value


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", PATCHES)
def test_patch_gives_what_kubectl_gives(name: str) -> None:
    document = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": TEMPLATE}
    answer = subprocess.run(
        ["kubectl", "patch", "--local", "--filename=-", "--type=strategic", "--output=yaml",
         f"--patch={json.dumps({'template': PATCHES[name]})}"],
        input=json.dumps(document), capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    theirs = yaml.safe_load(answer.stdout)["template"]
    theirs["metadata"].pop("creationTimestamp", None)
    assert as_maps(merge(TEMPLATE, PATCHES[name])) == as_maps(theirs)


def test_merging_changes_neither_template_nor_patch() -> None:
    before = copy.deepcopy((TEMPLATE, PATCHES))
    for patch in PATCHES.values():
        merge(TEMPLATE, patch)
    assert before == (TEMPLATE, PATCHES)


def test_elements_are_merged_by_their_key_and_other_lists_replaced() -> None:
    merged = merge(TEMPLATE, PATCHES["a variable changed and one added"])["spec"]
    assert {one["name"]: one["value"] for one in merged["containers"][0]["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert merged["containers"][0]["image"] == "job:1"
    assert merge(TEMPLATE, PATCHES["a list without keys"])["spec"]["tolerations"] == [
        {"key": "sku", "operator": "Exists"}
    ]
    deleted = merge(TEMPLATE, PATCHES["a variable deleted"])["spec"]["containers"][0]["env"]
    assert [one["name"] for one in deleted] == ["B"]
