"""A kubelet as far as our pods need one: it runs the pods of a rendered Job in a real Docker engine.

What the pod's specification says about user, root file system, capabilities, volumes, variables, Secrets and memory
holds for the container. There is no scheduler: node selector, tolerations and requests are not looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker

INDEX = "JOB_COMPLETION_INDEX"
"""https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode."""


def run_pod(
    engine: docker.DockerClient,
    documents: list[dict[str, Any]],
    index: int,
    *,
    secrets: dict[str, dict[str, str]],
    folder: Path,
    timeout_seconds: float = 300,
) -> tuple[int, str]:
    """Exit code and output of the pod with this completion index. `secrets` are the cluster's, by name.

    Raises `KeyError` for a Secret or a ConfigMap that is not there, as a pod would wait for it for ever.
    """
    spec = _find(documents, "Job")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    environment = {pair["name"]: pair["value"] for pair in container.get("env", [])}
    for source in container.get("envFrom", []):
        environment = secrets[source["secretRef"]["name"]] | environment  # what stands in `env` counts first
    security, of_pod = container["securityContext"], spec["securityContext"]
    mounts, memory = _mount(documents, spec, container, folder=folder)
    started = engine.containers.run(
        container["image"],
        container["args"],
        detach=True,
        environment=environment | {INDEX: str(index)},
        user=f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}",
        read_only=security["readOnlyRootFilesystem"],
        cap_drop=security["capabilities"]["drop"],
        security_opt=[] if security["allowPrivilegeEscalation"] else ["no-new-privileges"],
        mem_limit=container["resources"]["limits"]["memory"].replace("Gi", "g").replace("Mi", "m"),
        volumes=mounts,
        tmpfs=memory,
    )
    try:
        code = started.wait(timeout=timeout_seconds)["StatusCode"]
        return code, started.logs().decode()
    finally:
        started.remove(force=True, v=True)


def _mount(
    documents: list[dict[str, Any]], spec: dict[str, Any], container: dict[str, Any], *, folder: Path
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The volumes of a pod as Docker's binds, and as what is in memory. ConfigMaps become files below `folder`."""
    binds, memory = {}, {}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "configMap" in volume:
            data = _find(documents, "ConfigMap", name=volume["configMap"]["name"])["data"]
            place = folder / volume["configMap"]["name"]
            place.mkdir(exist_ok=True)
            for name, content in data.items():
                (place / name).write_text(content)
            binds[str(place)] = {"bind": mount["mountPath"], "mode": "ro" if mount.get("readOnly") else "rw"}
        else:
            assert "emptyDir" in volume, f"{volume} is a kind of volume that this model does not have"
            memory[mount["mountPath"]] = "exec,mode=1777"
    return binds, memory


def _find(documents: list[dict[str, Any]], kind: str, *, name: str | None = None) -> dict[str, Any]:
    found = [
        document for document in documents if document["kind"] == kind and name in (None, document["metadata"]["name"])
    ]
    if not found:
        raise KeyError(f"{kind} {name}")
    return found[0]
