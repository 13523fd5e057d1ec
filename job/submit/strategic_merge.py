"""Kubernetes' strategic merge patch, as far as a pod template needs it.

Source: https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md;
the keys by which lists are merged are the `patchMergeKey` of the fields in the API reference.
"""

from __future__ import annotations

from typing import Any

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
}
"""The key that tells the elements of a list apart. Any other list, such as `tolerations`, is replaced whole."""
DIRECTIVE = "$patch"


def merge(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`document` with `patch` merged into it; neither is changed.

    Maps are merged key by key, null removes a key, lists of `MERGE_KEYS` are merged element by element. A map with
    `$patch: replace` replaces the one that it stands for, and an element with `$patch: delete` removes it.
    """
    if patch.get(DIRECTIVE) == "replace":
        return {key: value for key, value in patch.items() if key != DIRECTIVE}
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            earlier = merged.get(key)
            merged[key] = merge(earlier if isinstance(earlier, dict) else {}, value)
        elif isinstance(value, list) and key in MERGE_KEYS:
            merged[key] = _merge_list(merged.get(key) or [], value, name=MERGE_KEYS[key])
        else:
            merged[key] = value
    return merged


def _merge_list(elements: list[Any], changes: list[Any], *, name: str) -> list[Any]:
    """`elements` with `changes` merged into those of the same `name`."""
    changed = {change.get(name): change for change in changes}
    known = {element.get(name) for element in elements}
    kept = [
        merge(element, changed.get(element.get(name), {}))
        for element in elements
        if changed.get(element.get(name), {}).get(DIRECTIVE) != "delete"
    ]
    new = [merge({}, change) for change in changes if change.get(name) not in known and DIRECTIVE not in change]
    return new + kept
