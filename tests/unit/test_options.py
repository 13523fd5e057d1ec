"""Options of `job submit`: from a settings file and the command line, checked once, and refused in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from job.errors import ManifestError, UsageError
from job.submit.options import Options, parse_mebibytes, parse_toleration, read_settings
from tests.conftest import ROOT, Answer

Job = Callable[..., Answer]
SWEEP = ROOT / "manifests/sweeps/smoke.json"
EXAMPLE = ROOT / "infra/settings/on-prem.yaml"


def write(folder: Path, **settings: Any) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_example_is_valid_by_the_model_and_by_the_printed_schema(job: Job) -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    jsonschema.validate(document, json.loads(job("schema", "settings").stdout))
    options = read_settings(str(EXAMPLE))
    assert (options.to, options.gpus, options.env_from) == ("kubernetes", "1", ["s3"])


def test_example_renders_everything_that_it_says(job: Job) -> None:
    answer = job("submit", "--manifest", SWEEP, "--settings", EXAMPLE, "--dry-run")
    assert answer.exit_code == 0, answer.stderr
    spec = next(part for part in yaml.safe_load_all(answer.stdout) if part["kind"] == "Job")["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["parallelism"] == 4 < spec["completions"] or spec["parallelism"] == spec["completions"]
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://minio.storage.svc:9000"} in container["env"]
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "10Gi"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"accelerator": "nvidia"}
    assert {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"} in pod["tolerations"]
    assert pod["activeDeadlineSeconds"] == 7200
    assert pod["priorityClassName"] == "low"


def test_command_line_counts_before_the_file_and_adds_to_its_lists(job: Job, tmp_path: Path) -> None:
    path = write(
        tmp_path, to="kubernetes", image="job:file", output="s3://bucket/file", env={"A": "1", "B": "2"}, timeout=600
    )
    answer = job(
        "submit", "-m", SWEEP, "--settings", path, "--dry-run", "--image", "job:line", "--env", "B=3", "--env", "C=4"
    )  # fmt: skip
    assert answer.exit_code == 0, answer.stderr
    spec = next(part for part in yaml.safe_load_all(answer.stdout) if part["kind"] == "Job")["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "job:line"
    assert {one["name"]: one["value"] for one in spec["containers"][0]["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert spec["activeDeadlineSeconds"] == 600


@pytest.mark.parametrize("to", ["local", "docker"])
def test_one_file_drives_the_back_ends_of_this_machine(to: str, job: Job, tmp_path: Path) -> None:
    """What means nothing to one of them is passed over, because the file is for others too."""
    path = write(
        tmp_path, image="job:x", output=str(tmp_path / "out"), jobs=2, cpus=1.5, memory="4Gi", env={"A": "1"},
        toleration=["sku=gpu:NoSchedule"],
    )  # fmt: skip
    answer = job("submit", "-m", SWEEP, "--settings", path, "--to", to, "--dry-run")
    assert answer.exit_code == 0, answer.stderr
    first = answer.stdout.splitlines()[0]
    assert ("--cpus 1.5 --memory 4096m" in first) == (to == "docker")
    assert ("--env A=1" if to == "docker" else "env A=1 ") in first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("to: [", "settings.yaml: not YAML: "),
        ("- to", "settings.yaml: must be a YAML mapping"),
        ("to: local\nto: docker", "key 'to' stands twice"),
        ("contxt: prod", "settings.yaml: contxt is not known; did you mean 'context'?"),
        ("memory: 12 GB", "settings.yaml: memory: '12 GB' is no size; must be a whole number with Mi or Gi"),
        ("timeout: 5", "settings.yaml: timeout is 5; must be >= 60"),
        ("attempts: 11", "settings.yaml: attempts is 11; must be <= 10"),
        ("env: {DEBUG: 1}", "settings.yaml: env.DEBUG is 1; must be a valid string"),
        ("env: 3", "settings.yaml: env: must be NAME=VALUE pairs"),
        ("env: {A-B: x}", "'A-B' is no name of a variable"),
        ("node_selector: [gpu]", "settings.yaml: node_selector: 'gpu' has no value; must be KEY=VALUE"),
        ("toleration: ['a:b:c']", "'a:b:c' is no toleration; must be KEY[=VALUE][:EFFECT]"),
        ("auto_precision: int8", "settings.yaml: auto_precision is \"int8\"; must be 'bf16', 'fp16' or 'fp32'"),
    ],
)
def test_wrong_settings_file_is_refused_with_the_place(text: str, said: str, job: Job, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    answer = job("submit", "-m", SWEEP, "--settings", tmp_path / "settings.yaml", "--dry-run")
    assert answer.exit_code == ManifestError.exit_code
    assert said in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "local", "--memory", "4Gi"), "--memory: means nothing to --to local; it is for docker, batch or kub"),
        (("--to", "batch", "--toleration", "a"), "--toleration: means nothing to --to batch; it is for kubernetes"),
        (("--to", "docker", "--memory", "12 GB"), "--memory: '12 GB' is no size"),
        (("--to", "docker", "--cpus", "nan"), "--cpus nan: must be a finite number"),
        (("--to", "local", "--jobs", "0"), "--jobs is 0; must be >= 1"),
        (("--to", "local", "--env", "A B=c"), "'A B' is no name of a variable"),
        (("--to", "local", "--env", "SURELY_NOT_SET"), "--env SURELY_NOT_SET: is not set on this machine"),
        (("--to", "kubernetes", "--image", "x", "--output", "s3://bucket/x", "--env", "MY_TOKEN=abcdef"),
         "--env MY_TOKEN: everyone who may look at the job could read its value; put it into a Secret"),
        (("--to", "batch", "--image", "x", "--queue", "q", "--output", "s3://bucket/x", "--cpus", "1.5"),
         "--cpus 1.5: Batch counts whole vCPUs; write 2"),
        ((), "--to is missing; must be local, docker, batch or kubernetes, here or in the file of --settings"),
    ],
)  # fmt: skip
def test_wrong_option_is_refused_by_its_name(arguments: tuple[str, ...], said: str, job: Job) -> None:
    answer = job("submit", "-m", SWEEP, "--dry-run", *arguments)
    assert answer.exit_code == UsageError.exit_code, answer.stderr
    assert said in answer.stderr


def test_value_of_a_variable_of_this_machine_is_in_no_command_of_docker(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-secret")
    arguments = ("submit", "-m", SWEEP, "--to", "docker", "--image", "x", "--output", tmp_path, "--dry-run")
    answer = job(*arguments, "--env", "HF_TOKEN")
    assert " --env HF_TOKEN " in answer.stdout
    assert "planted-secret" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(("size", "mebibytes"), [("512Mi", 512), ("6Gi", 6144)])
def test_sizes_are_mebibytes(size: str, mebibytes: int) -> None:
    assert parse_mebibytes(size) == mebibytes


@pytest.mark.parametrize(
    ("text", "toleration"),
    [
        ("gpu", {"key": "gpu", "operator": "Exists"}),
        ("gpu:NoExecute", {"key": "gpu", "operator": "Exists", "effect": "NoExecute"}),
        ("sku=gpu:NoSchedule", {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}),
        ("sku=", {"key": "sku", "operator": "Equal", "value": ""}),
    ],
)
def test_toleration_is_written_as_kubernetes_has_it(text: str, toleration: dict[str, str]) -> None:
    assert parse_toleration(text) == toleration


def test_every_field_of_the_settings_is_described() -> None:
    fields = Options.model_json_schema()["properties"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
