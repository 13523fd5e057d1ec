"""The back ends by name: what must be known of each before its module is imported.

A new back end is one module that fulfils `job.submit.backend.Backend`, and its entry here. The command line takes its
choices, help and messages from here, and imports the module of the chosen back end alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from job.errors import UsageError

if TYPE_CHECKING:
    from job.submit.backend import Backend


class Reach(Enum):
    """Which files of this machine the containers of a back end can read and write."""

    ALL = "all"
    """The containers are processes of this machine."""
    MOUNTED = "mounted"
    """The containers run on this machine, and see the paths of it that are mounted. Any other path is in the image."""
    NONE = "none"
    """The containers run on other machines. Every path is in the image."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One back end."""

    summary: str
    """What a container is, for the help of --to."""
    load: Callable[[], Backend[Any, Any]]
    """Imports the module. Before that, nothing is imported that takes time or belongs to an extra."""
    reach: Reach
    takes_claims: bool = False
    """Whether the output may be `pvc://CLAIM`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the options of `job submit` mean to this back end, by their names in `job.submit.options.Options`."""


def _load_processes() -> Backend[Any, Any]:
    from job.submit import processes

    return processes


def _load_batch() -> Backend[Any, Any]:
    from job.submit import batch

    return batch


def _load_kubernetes() -> Backend[Any, Any]:
    from job.submit import kubernetes

    return kubernetes


_TIMEOUT = "seconds after which an attempt is stopped with its checkpoint saved"
_ENV = "a variable of the containers; NAME alone has the value of this machine; may be repeated"
_ATTEMPTS = "how often a container is started at most, by default 5"

BACKENDS: dict[str, Entry] = {
    "local": Entry(
        summary="processes on this machine",
        load=_load_processes,
        reach=Reach.ALL,
        options={
            "gpus": "with a number above 0, a machine without GPU is a fault",
            "jobs": "how many run at once and share the cores, by default 1",
            "timeout": f"{_TIMEOUT}, by default none",
            "attempts": _ATTEMPTS,
            "env": _ENV,
        },
    ),
    "docker": Entry(
        summary="containers on this machine",
        load=_load_processes,
        reach=Reach.MOUNTED,
        options={
            "image": "the container image",
            "gpus": "a number or `all`, by default none",
            "jobs": "how many run at once and share the cores, by default 1",
            "cpus": "the most cores that a container uses, by default all",
            "memory": "the most memory that a container has, by default all",
            "timeout": f"{_TIMEOUT}, by default none",
            "attempts": _ATTEMPTS,
            "env": _ENV,
        },
    ),
    "batch": Entry(
        summary="one AWS Batch array job",
        load=_load_batch,
        reach=Reach.NONE,
        options={
            "image": "the container image",
            "gpus": "how many each container has, by default 1",
            "cpus": "vCPUs of each container, by default the stack's or 4",
            "memory": "memory of each container, by default the stack's or 12Gi",
            "timeout": f"{_TIMEOUT}, by default the stack's or 14400",
            "attempts": _ATTEMPTS,
            "env": _ENV,
            "stack": "CloudFormation stack to read queue, roles, bucket, image and sizes from",
            "queue": "the job queue",
            "job_role": "ARN of the role that the containers have",
            "region": "AWS region",
        },
    ),
    "kubernetes": Entry(
        summary="one Indexed Job",
        load=_load_kubernetes,
        reach=Reach.NONE,
        takes_claims=True,
        options={
            "image": "the container image",
            "gpus": "how many each container has, by default 1",
            "jobs": "how many pods run at once, by default all",
            "cpus": "cores that each pod asks for, by default 1",
            "memory": "memory that each pod asks for and may use, by default 4Gi",
            "disk": "what each pod asks for and may write on its node, by default 10Gi",
            "timeout": f"{_TIMEOUT}, by default 14400",
            "attempts": _ATTEMPTS,
            "env": _ENV,
            "env_from": "a Secret whose keys become variables of the pods; may be repeated",
            "queue": "a LocalQueue of Kueue",
            "namespace": "the namespace, by default job",
            "context": "context of the kubeconfig, by default its current one",
            "service_account": "a service account that exists, by default `job`, which is created",
            "image_pull_secret": "a Secret with which the image is pulled; may be repeated",
            "node_selector": "a label that nodes must have; may be repeated",
            "toleration": "a taint that the pods accept beside that of GPUs; may be repeated",
            "pod_patch": "YAML file with a strategic merge patch for the pod template, for what has no option",
        },
    ),
}
"""In the order in which help and messages name them."""


def find_backend(name: str) -> Entry:
    """The entry of a back end. Raises `UsageError` if there is no back end of that name."""
    if name not in BACKENDS:
        raise UsageError(f"{name}: no such back end; must be {join_words(list(BACKENDS))}")
    return BACKENDS[name]


def load_backend(name: str) -> Backend[Any, Any]:
    """The module of a back end, imported now. Raises `UsageError` if there is no back end of that name."""
    return find_backend(name).load()


def describe_backends() -> str:
    """Every back end, with a summary of what its containers are, for help."""
    return "; ".join(f"{name}: {entry.summary}" for name, entry in BACKENDS.items())


def describe_option(option: str) -> str:
    """What an option of `job submit` means to the back ends that take it, for help."""
    names: dict[str, list[str]] = {}
    for name, entry in BACKENDS.items():
        if option in entry.options:
            names.setdefault(entry.options[option], []).append(name)
    return "; ".join(f"{', '.join(takers)}: {meaning}" for meaning, takers in names.items()) + "."


def join_words(words: list[str]) -> str:
    """`words` as a choice within a sentence: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
