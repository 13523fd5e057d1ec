"""The requests to AWS Batch: what a user reads in --dry-run, and what AWS would refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import validate_parameters

from job.errors import UsageError
from job.manifest import Sweep
from job.plan import Submission
from job.submit.backend import MAX_ATTEMPTS, RETRYABLE_EXIT_CODES, Launch
from job.submit.batch_documents import BatchSettings, render
from tests.models.batch_retries import EVALUATE_ON_EXIT, is_tried_again

SETTINGS = BatchSettings(
    queue="jobs", job_role="arn:aws:iam::123456789012:role/job", execution_role="arn:aws:iam::123456789012:role/pull",
    log_group="/aws/batch/job", region="eu-west-1", image="repository:abc",
)  # fmt: skip
SWEEP = Sweep.model_validate({"name": "optimizers", "blocks": [{"base": {"optimizer": {"name": "adam"}}}]})


def launch(num_containers: int = 12, *, experiment: str = "optimizers") -> Launch:
    return Launch(
        experiment=experiment, output="s3://bucket/runs", device="cuda",
        submission=Submission(sweep=SWEEP, containers=[[f"run-{index}"] for index in range(num_containers)]),
        submission_place="s3://bucket/runs/optimizers/submissions/0123456789.json",
    )  # fmt: skip


LAUNCH = launch()


def container(request: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = request["jobDefinition"]["containerProperties"]
    return properties


def test_requests_are_what_the_service_s_model_accepts() -> None:
    """botocore's own description of RegisterJobDefinition and SubmitJob: unknown or mistyped fields raise."""
    request = render(LAUNCH, SETTINGS)
    service = get_session().get_service_model("batch")
    for operation, parameters in (("RegisterJobDefinition", request["jobDefinition"]), ("SubmitJob", request["job"])):
        validate_parameters(parameters, service.operation_model(operation).input_shape)


def test_array_has_a_child_for_each_container_and_one_container_is_a_plain_job() -> None:
    assert render(LAUNCH, SETTINGS)["job"]["arrayProperties"] == {"size": 12}
    assert "arrayProperties" not in render(launch(1), SETTINGS)["job"]


def test_request_does_not_grow_with_the_sweep() -> None:
    """Container overrides end at 8,192 characters."""
    sizes = {len(json.dumps(render(launch(n), SETTINGS))) for n in (10, 99)}
    assert len(sizes) == 1
    job = render(launch(10_000), SETTINGS)["job"]
    assert len(json.dumps(job["containerOverrides"])) < 1000


def test_job_definition_is_named_by_its_content() -> None:
    name = render(LAUNCH, SETTINGS)["jobDefinition"]["jobDefinitionName"]
    same = render(launch(3, experiment="other"), SETTINGS)
    other = render(LAUNCH, replace(SETTINGS, image="repository:def"))
    assert same["jobDefinition"]["jobDefinitionName"] == name
    assert other["jobDefinition"]["jobDefinitionName"] != name
    assert render(LAUNCH, SETTINGS)["job"]["jobDefinition"] == name


def test_containers_get_the_arguments_of_job_run() -> None:
    assert render(LAUNCH, SETTINGS)["job"]["containerOverrides"]["command"] == [
        "--manifest", LAUNCH.submission_place, "--output", "s3://bucket/runs", "--experiment", "optimizers",
        "--device", "cuda",
    ]  # fmt: skip


def test_container_is_hardened_and_has_a_gpu() -> None:
    properties = container(render(LAUNCH, SETTINGS))
    assert properties["readonlyRootFilesystem"] is True
    assert properties["privileged"] is False
    assert properties["user"] == "10001:10001"
    assert properties["linuxParameters"]["initProcessEnabled"] is True
    assert properties["linuxParameters"]["sharedMemorySize"] == 1024
    assert properties["linuxParameters"]["tmpfs"][0]["containerPath"] == "/tmp"
    assert {"type": "GPU", "value": "1"} in properties["resourceRequirements"]
    assert properties["logConfiguration"]["options"]["awslogs-group"] == "/aws/batch/job"
    without = container(render(LAUNCH, replace(SETTINGS, num_gpus=0)))
    assert "GPU" not in {resource["type"] for resource in without["resourceRequirements"]}


@pytest.mark.parametrize(
    ("image", "told", "version"),
    [
        ("repository:abc", "repository:abc", "abc"),
        ("host:5000/repository", "host:5000/repository", "latest"),
        ("repository@sha256:0123", "repository@sha256:0123", "0123"),
        ("host:5000/repository:abc@sha256:0123", "host:5000/repository@sha256:0123", "abc"),
    ],
)
def test_image_is_told_by_its_digest_where_that_is_known(image: str, told: str, version: str) -> None:
    """ECS takes a tag or a digest, and not both."""
    definition = render(LAUNCH, replace(SETTINGS, image=image))["jobDefinition"]
    assert definition["containerProperties"]["image"] == told
    assert definition["tags"] == {"job:version": version}


def test_container_sees_what_its_machine_wrote_and_cannot_change_it() -> None:
    properties = container(render(LAUNCH, SETTINGS))
    (volume,), (mount,) = properties["volumes"], properties["mountPoints"]
    assert volume == {"name": "machine", "host": {"sourcePath": "/var/lib/job"}}
    assert mount == {"sourceVolume": "machine", "containerPath": "/var/lib/job", "readOnly": True}
    assert {"name": "JOB_MACHINE_FILE", "value": "/var/lib/job/machine.json"} in properties["environment"]


def test_sizes_and_attempts_are_those_of_the_settings() -> None:
    sizes = replace(SETTINGS, num_vcpus=2, memory_mebibytes=8192, timeout_seconds=600, attempts=2)
    definition = render(LAUNCH, sizes)["jobDefinition"]
    resources = {entry["type"]: entry["value"] for entry in definition["containerProperties"]["resourceRequirements"]}
    assert (resources["VCPU"], resources["MEMORY"]) == ("2", "8192")
    assert definition["timeout"] == {"attemptDurationSeconds": 600}
    assert definition["retryStrategy"]["attempts"] == 2


def test_last_attempt_is_the_last() -> None:
    strategy = render(LAUNCH, SETTINGS)["jobDefinition"]["retryStrategy"]
    assert not any(is_tried_again(strategy, attempt=MAX_ATTEMPTS, exit_code=code) for code in RETRYABLE_EXIT_CODES)


def test_retry_strategy_is_the_template_s_and_the_error_tree_s() -> None:
    strategy = render(LAUNCH, SETTINGS)["jobDefinition"]["retryStrategy"]
    rules = [{key[0].upper() + key[1:]: value for key, value in rule.items()} for rule in strategy["evaluateOnExit"]]
    assert rules == EVALUATE_ON_EXIT
    assert strategy["attempts"] == MAX_ATTEMPTS <= 10


@pytest.mark.parametrize("missing", ["queue", "image"])
def test_what_is_missing_is_said(missing: str) -> None:
    without: dict[str, Any] = {missing: ""}
    with pytest.raises(UsageError, match="--queue and --image, or --stack"):
        render(LAUNCH, replace(SETTINGS, **without))
