"""How a sweep is carried out: the options of `job submit` and `job doctor`, and the settings file that holds them.

Every field is an option of the same name with dashes, and a key of the file. What an option means to a back end, and
which back ends take it, says `job.submit.registry`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from job.errors import ManifestError, ObjectMissing, UsageError
from job.manifest import validate
from job.manifest.base import StrictModel
from job.secrets import tells_secret
from job.storage import read_uri

MEBIBYTES = {"Mi": 1, "Gi": 1024}
SIZE = re.compile(r"(\d+)(Mi|Gi)")
TOLERATION = re.compile(r"(?P<key>[^=:\s]+)(=(?P<value>[^:\s]*))?(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?")
MOST_ATTEMPTS = 10
"""The most that AWS Batch accepts: https://docs.aws.amazon.com/batch/latest/APIReference/API_RetryStrategy.html."""


def _check_size(text: str) -> str:
    if not SIZE.fullmatch(text) or not parse_mebibytes(text):
        raise ValueError(f"{text!r} is no size; must be a whole number with Mi or Gi, such as 6Gi")
    return text


def _check_toleration(text: str) -> str:
    if not TOLERATION.fullmatch(text):
        raise ValueError(f"{text!r} is no toleration; must be KEY[=VALUE][:EFFECT], such as sku=gpu:NoSchedule")
    return text


def _write_as_text(value: object) -> object:
    """A number as text, because a file writes `gpus: 1` where the command line has a text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _split_pairs(value: object) -> object:
    """`["A=b", "C"]` as `{"A": "b", "C": None}`: the command line has the former, a file has either."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return {name: text if separator else None for name, separator, text in (part.partition("=") for part in value)}
    if not isinstance(value, dict):
        raise ValueError("must be NAME=VALUE pairs")  # noqa: TRY004 - pydantic takes ValueErrors
    return value


def _check_variables(pairs: dict[str, str | None]) -> dict[str, str | None]:
    for name in pairs:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f"{name!r} is no name of a variable; must be NAME=VALUE, or NAME for this machine's value")
    return pairs


def _check_labels(pairs: dict[str, str | None]) -> dict[str, str | None]:
    for name, value in pairs.items():
        if not name or value is None:
            raise ValueError(f"{name!r} has no value; must be KEY=VALUE")
    return pairs


Size = Annotated[str, AfterValidator(_check_size)]
Toleration = Annotated[str, AfterValidator(_check_toleration)]
Variables = Annotated[dict[str, str | None], BeforeValidator(_split_pairs), AfterValidator(_check_variables)]
Labels = Annotated[dict[str, str | None], BeforeValidator(_split_pairs), AfterValidator(_check_labels)]


class Options(StrictModel):
    """Where and on what the containers of a sweep run. A back end reads the fields that its registry entry names."""

    to: str = ""
    """The back end's name: local, docker, batch or kubernetes."""
    output: str | None = None
    """Folder, s3:// URI or pvc:// claim for the artefacts."""
    data: str | None = None
    """Folder or s3:// URI of the data set."""
    image: str = ""
    """The container image."""
    gpus: Annotated[str, BeforeValidator(_write_as_text), WithJsonSchema({"type": ["string", "integer"]})] = ""
    """GPUs of each container: a number; docker also takes `all`."""
    jobs: Annotated[int | None, Field(ge=1)] = None
    """How many containers run at once."""
    per_container: Annotated[int, Field(ge=1)] = 1
    """Runs that one container does, one after another."""
    cpus: Annotated[float | None, Field(gt=0)] = None
    """CPU cores of each container."""
    memory: Size | None = None
    """Memory of each container, such as 6Gi."""
    disk: Size | None = None
    """What each container may write on its node, such as 10Gi."""
    timeout: Annotated[int | None, Field(ge=60)] = None
    """Seconds after which an attempt is stopped. It saves its checkpoint."""
    attempts: Annotated[int | None, Field(ge=1, le=MOST_ATTEMPTS)] = None
    """How often a container is started at most, the first time included."""
    env: Variables = Field(default_factory=dict)
    """Variables of the containers. One without a value (null in a file) has that of this machine."""
    env_from: list[str] = Field(default_factory=list)
    """Secrets of the cluster whose keys become variables of the containers."""
    auto_precision: Literal["bf16", "fp16", "fp32"] | None = None
    """What `precision: auto` means in every run. By default it follows from the cards of the pool."""
    max_usd: Annotated[float | None, Field(gt=0)] = None
    """Submit no more than this buys, by the estimate of `job plan`."""
    stack: str | None = None
    """CloudFormation stack to read queue, roles, bucket, image and sizes from."""
    queue: str = ""
    """The job queue of Batch, or the LocalQueue of Kueue."""
    job_role: str = ""
    """ARN of the role that the containers have."""
    region: str | None = None
    """AWS region."""
    namespace: str = "job"
    """The namespace of the cluster."""
    context: str | None = None
    """Context of the kubeconfig; by default its current one."""
    service_account: str | None = None
    """A service account that is there already; by default `job`, which is created."""
    image_pull_secret: list[str] = Field(default_factory=list)
    """Secrets with which the cluster pulls the image."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    toleration: list[Toleration] = Field(default_factory=list)
    """Taints of nodes that the pods accept, as KEY[=VALUE][:EFFECT]. The GPU's own is accepted always."""
    pod_patch: dict[str, Any] = Field(default_factory=dict)
    """A strategic merge patch for the pod template, for everything that has no option."""

    def count_gpus(self) -> int:
        """GPUs of each container, 1 if the option is not given. Raises `UsageError` if its value is no number."""
        if self.gpus in ("", "all"):
            return 1
        if not self.gpus.isdigit():
            raise UsageError(f"--gpus {self.gpus}: must be a number")
        return int(self.gpus)

    def resolve_env(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables of the containers; one without a value has that of `environment`. Raises `UsageError`."""
        missing = [name for name, value in self.env.items() if value is None and name not in environment]
        if missing:
            raise UsageError(f"--env {missing[0]}: is not set on this machine; set it, or write {missing[0]}=VALUE")
        return {name: environment[name] if value is None else value for name, value in self.env.items()}

    def refuse_secrets(self, *, advice: str) -> None:
        """Raises `UsageError` for a variable whose name tells that its value is a secret."""
        for name in self.env:
            if tells_secret(name):
                raise UsageError(f"--env {name}: everyone who may look at the job could read its value; {advice}")

    def add(self, given: Options) -> Options:
        """These options, with every field that `given` sets in their place. Maps and lists are added to."""
        changes: dict[str, Any] = {}
        for name in given.model_fields_set:
            value, earlier = getattr(given, name), getattr(self, name)
            if isinstance(value, dict):
                value = earlier | value
            elif isinstance(value, list):
                value = earlier + value
            changes[name] = value
        return self.model_copy(update=changes)


def parse_mebibytes(size: str) -> int:
    """`6Gi` as 6144."""
    number, unit = size[:-2], size[-2:]
    return int(number) * MEBIBYTES[unit]


def parse_toleration(text: str) -> dict[str, str]:
    """`sku=gpu:NoSchedule` as Kubernetes writes it. A missing value, or a missing effect, stands for any."""
    found = TOLERATION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    parts = {"key": found["key"], "operator": "Exists" if found["value"] is None else "Equal"}
    parts |= {"value": found["value"]} if found["value"] is not None else {}
    return parts | ({"effect": found["effect"]} if found["effect"] else {})


def read_settings(location: str) -> Options:
    """The settings file at a path or `s3://` URI. Raises `ManifestError` with every fault, also if there is none."""
    return validate(read_yaml(location), Options, source=location)


def read_yaml(location: str) -> dict[str, Any]:
    """The YAML mapping at a path or `s3://` URI; JSON is YAML too. Raises `ManifestError`."""
    import yaml

    try:
        content = read_uri(location)
    except ObjectMissing as error:
        raise ManifestError(f"{location}: no such file") from error
    try:
        document = yaml.load(content, Loader=_build_loader())  # noqa: S506 - a safe one
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ManifestError(f"{location}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ManifestError(f"{location}: must be a YAML mapping, such as `to: kubernetes`")
    return document


def _build_loader() -> Any:
    """YAML's safe loader, which also refuses a key that stands twice: the second would silently win."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands twice", node.start_mark)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    return Loader
