"""What the schema of Kubernetes lets through and a cluster, or a bill, does not: rules over the rendered documents."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.models.batch_retries import exit_codes

Documents = dict[str, dict[str, Any]]
Rule = Callable[[Documents], list[str]]
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[KMGTP]i?)?")
MAX_CONFIG_MAP_BYTES = 1024 * 1024
MAX_COMPLETIONS = 100_000
"""Of an Indexed Job with backoffLimitPerIndex, whose parallelism must then be at most 10,000."""
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "managed-by")}
SECRETS = re.compile(r"secret|password|token|aws_access", re.IGNORECASE)


def job(documents: Documents) -> dict[str, Any]:
    return documents["30-job.yaml"]


def pod(documents: Documents) -> dict[str, Any]:
    spec: dict[str, Any] = job(documents)["spec"]["template"]["spec"]
    return spec


def container(documents: Documents) -> dict[str, Any]:
    first: dict[str, Any] = pod(documents)["containers"][0]
    return first


def failure_rules(documents: Documents) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = job(documents)["spec"]["podFailurePolicy"]["rules"]
    return rules


def decide(documents: Documents, *, exit_code: int, disrupted: bool) -> str:
    """What the failure policy does with a pod; Count where no rule matches. No operator matches exit code 0.

    https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
    """
    for rule in failure_rules(documents):
        conditions = rule.get("onPodConditions", [])
        if disrupted and any(one["type"] == "DisruptionTarget" and one["status"] == "True" for one in conditions):
            return str(rule["action"])
        codes = rule.get("onExitCodes")
        if codes and exit_code and (exit_code in codes["values"]) == (codes["operator"] == "In"):
            return str(rule["action"])
    return "Count"


def fault(holds: bool, message: str) -> list[str]:
    return [] if holds else [message]


def check_fail_index(documents: Documents) -> list[str]:
    uses = any(rule["action"] == "FailIndex" for rule in failure_rules(documents))
    return fault(not uses or "backoffLimitPerIndex" in job(documents)["spec"], "FailIndex needs backoffLimitPerIndex")


def check_restart_policy(documents: Documents) -> list[str]:
    return fault(pod(documents).get("restartPolicy") == "Never", "podFailurePolicy needs restartPolicy Never")


def check_success_in_rule(documents: Documents) -> list[str]:
    values = [code for rule in failure_rules(documents) for code in rule.get("onExitCodes", {}).get("values", [])]
    return fault(0 not in values, "exit code 0 cannot stand in a rule with operator In")


def check_disruption_first(documents: Documents) -> list[str]:
    first = failure_rules(documents)[0]
    return fault(first["action"] == "Count" and "onPodConditions" in first, "a disruption must be counted first")


def check_exit_codes(documents: Documents) -> list[str]:
    worth_it = {code for code, again in exit_codes().items() if again}
    return [
        f"exit code {code} must be {'counted' if code in worth_it else 'final'}"
        for code in range(1, 256)
        if decide(documents, exit_code=code, disrupted=False) != ("Count" if code in worth_it else "FailIndex")
    ]


def check_values_of_exit_codes(documents: Documents) -> list[str]:
    """Ordered and without duplicates, as the API server demands."""
    values = [rule["onExitCodes"]["values"] for rule in failure_rules(documents) if "onExitCodes" in rule]
    return [f"{codes} must be ordered" for codes in values if codes != sorted(set(codes)) or not codes]


def check_container_name(documents: Documents) -> list[str]:
    names = [rule["onExitCodes"].get("containerName") for rule in failure_rules(documents) if "onExitCodes" in rule]
    return fault(set(names) <= {container(documents)["name"]}, "a rule names a container that is not there")


def check_names(documents: Documents) -> list[str]:
    """The name of an Indexed Job's pod ends in its index, and is a host name."""
    spec, name = job(documents)["spec"], job(documents)["metadata"]["name"]
    names = [document["metadata"]["name"] for document in documents.values()] + [f"{name}-{spec['completions'] - 1}"]
    return [f"{one} is no DNS label" for one in names if not DNS_LABEL.fullmatch(one)]


def check_quantities(documents: Documents) -> list[str]:
    resources = container(documents)["resources"]
    given = [str(value) for kind in resources.values() for value in kind.values()]
    return [f"{value} is no quantity" for value in given if not QUANTITY.fullmatch(value)]


def check_security(documents: Documents) -> list[str]:
    of_pod, of_container = pod(documents)["securityContext"], container(documents)["securityContext"]
    return (
        fault(of_pod.get("runAsNonRoot") is True and of_pod.get("runAsUser", 0) > 0, "must not run as root")
        + fault(of_pod.get("seccompProfile") == {"type": "RuntimeDefault"}, "seccomp must be RuntimeDefault")
        + fault(of_container.get("readOnlyRootFilesystem") is True, "the root file system must be read-only")
        + fault(of_container.get("allowPrivilegeEscalation") is False, "privileges must not grow")
        + fault(of_container.get("capabilities") == {"drop": ["ALL"]}, "all capabilities must go")
        + fault(not of_container.get("privileged"), "must not be privileged")
    )


def check_token(documents: Documents) -> list[str]:
    return fault(pod(documents).get("automountServiceAccountToken") is False, "needs no token of the cluster")


def check_service_account(documents: Documents) -> list[str]:
    name = documents["10-service-account.yaml"]["metadata"]["name"]
    return fault(pod(documents).get("serviceAccountName") == name, "the service account is not the pod's")


def check_gpu(documents: Documents) -> list[str]:
    """A GPU is asked for as a limit, tolerated as a taint, and demanded of the program."""
    wants = "nvidia.com/gpu" in container(documents)["resources"]["limits"]
    tolerated = "nvidia.com/gpu" in [one["key"] for one in pod(documents).get("tolerations", [])]
    demanded = container(documents)["args"][-2:] == ["--device", "cuda"]
    return fault(
        tolerated == wants, "the GPU's taint must be tolerated where one is asked for, and only there"
    ) + fault(wants == demanded, "a GPU must be asked for where the program demands one")


def check_disk(documents: Documents) -> list[str]:
    """Without a request a pod is the first to be evicted when the disk of its node is full."""
    resources = container(documents)["resources"]
    disk = resources["requests"].get("ephemeral-storage")
    sizes = {volume["emptyDir"]["sizeLimit"] for volume in pod(documents)["volumes"]
             if volume["name"] == "tmp" and "sizeLimit" in volume["emptyDir"]}  # fmt: skip
    return fault(disk is not None and {disk} == sizes, "the disk that a pod may fill must be asked for") + fault(
        resources["limits"].get("ephemeral-storage") == disk, "a pod must not fill more disk than it asks for"
    )


def check_queue(documents: Documents) -> list[str]:
    """Kueue admits a Job whole, so one that is larger than the quota waits for ever without this.

    It refuses a least number of pods that is not below their number.
    """
    metadata = job(documents)["metadata"]
    queued = "kueue.x-k8s.io/queue-name" in metadata["labels"]
    partly = metadata.get("annotations", {}).get("kueue.x-k8s.io/job-min-parallelism") == "1"
    suspended = job(documents)["spec"].get("suspend", False)
    several = job(documents)["spec"]["parallelism"] > 1
    return fault(queued == suspended, "a queued Job must be suspended, and no other") + fault(
        partly == (queued and several), "a queued Job of several pods must be admitted in parts, and no other"
    )


def check_mounts(documents: Documents) -> list[str]:
    mounts = {one["mountPath"]: one["name"] for one in container(documents)["volumeMounts"]}
    volumes = {one["name"]: one for one in pod(documents)["volumes"]}
    shm = volumes.get(mounts.get("/dev/shm", ""), {})
    return (
        fault({"/tmp", "/dev/shm", "/output", "/etc/job"} <= set(mounts), "a place to write, or the plan, is missing")
        + fault(set(mounts.values()) == set(volumes), "mounts and volumes differ")
        + fault(shm.get("emptyDir", {}).get("medium") == "Memory", "/dev/shm must be memory")
    )


def check_config_map(documents: Documents) -> list[str]:
    document = documents["20-submission.yaml"]
    used = [one["configMap"]["name"] for one in pod(documents)["volumes"] if "configMap" in one]
    size = sum(len(text.encode()) for text in document["data"].values())
    return (
        fault(used == [document["metadata"]["name"]], "the pod mounts another ConfigMap")
        + fault(document.get("immutable") is True, "containers of one Job must read one plan")
        + fault(size <= MAX_CONFIG_MAP_BYTES, f"{size} bytes do not fit into a ConfigMap")
    )


def check_indexes(documents: Documents) -> list[str]:
    spec = job(documents)["spec"]
    return (
        fault(spec.get("completionMode") == "Indexed", "containers must know their index")
        + fault(1 <= spec["completions"] <= MAX_COMPLETIONS, "too many completions")
        + fault(spec["parallelism"] <= 10_000, "too many at once for backoffLimitPerIndex")
        + fault(spec.get("maxFailedIndexes", 0) >= spec["completions"], "one failed index must not end the others")
    )


def check_ends(documents: Documents) -> list[str]:
    spec = job(documents)["spec"]
    return (
        fault(pod(documents).get("terminationGracePeriodSeconds") == 120, "the grace period must be 120 s")
        + fault(spec.get("podReplacementPolicy") == "Failed", "two pods of one index must not overlap")
        + fault(pod(documents).get("activeDeadlineSeconds", 0) > 0, "a pod must end some time")
        + fault("activeDeadlineSeconds" not in spec, "the wait for a GPU must not count")
        + fault(spec.get("ttlSecondsAfterFinished", 0) > 0, "an ended Job must be cleared away")
        + fault(0 < spec.get("backoffLimitPerIndex", 0) < 10, "a few attempts, not none and not many")
    )


def check_labels(documents: Documents) -> list[str]:
    metadata = [job(documents)["metadata"], job(documents)["spec"]["template"]["metadata"]]
    return fault(all(set(one["labels"]) >= LABELS for one in metadata), "the recommended labels are missing")


def check_entry_point(documents: Documents) -> list[str]:
    return fault("command" not in container(documents), "a command would replace the image's entry point")


def check_secrets(documents: Documents) -> list[str]:
    return [
        f"{one['name']} in the environment"
        for one in container(documents).get("env", [])
        if SECRETS.search(one["name"])
    ]


def check_namespace(documents: Documents) -> list[str]:
    name = documents["00-namespace.yaml"]["metadata"]["name"]
    others = [
        document["metadata"].get("namespace") for key, document in documents.items() if key != "00-namespace.yaml"
    ]
    return fault(set(others) == {name}, "the documents lie in several namespaces")


def check_nothing_empty(documents: Documents) -> list[str]:
    """The server drops `env: []` and the like; `kubectl apply` of the same file then says `configured` every time."""
    return [f"{path} is empty" for document in documents.values() for path in find_empty(document)]


def find_empty(value: Any, path: str = "") -> list[str]:
    """The paths of all empty lists, maps and texts and of all nulls."""
    if value is None or (isinstance(value, dict | list | str) and not value):
        return [path]
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in parts for found in find_empty(part, f"{path}.{key}".lstrip("."))]


RULES: dict[str, Rule] = {
    name.removeprefix("check_"): function for name, function in list(globals().items()) if name.startswith("check_")
}
