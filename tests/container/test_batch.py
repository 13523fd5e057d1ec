"""A sweep on AWS Batch from `job submit` to the results: moto's server runs the real image in the real engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from job.plan import plan_key
from tests.conftest import TINY, Answer
from tests.container.engine import Bucket
from tests.models.batch_model import batch_model

pytestmark = pytest.mark.timeout(1800)
FLAKY, STEPS = 3, 2
"""Index of the container whose machine is taken away twice."""
BAD_WEIGHTS = "/absent/weights.pth"
SWEEP: dict[str, Any] = {
    "name": "cloud",
    "defaults": {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {"epochs": 1},
    "blocks": [
        {
            "base": {"name": "adam", "optimizer": {"name": "adam"}},
            "vary": {"optimizer.lr": [0.0001, 0.001, 0.01, 0.1]},
        },
        {"base": {"name": "bad", "optimizer": {"name": "sgd"}, "model": {"weights": BAD_WEIGHTS}}},
    ],
}
"""Four configurations that work and, as the fifth, one whose weights are not there."""


def time_budget(index: int, attempt: int) -> dict[str, str]:
    """The flaky container may do one step in each of its first two attempts: it ends with 75."""
    return {"JOB_TIME_BUDGET": "0.001"} if index == FLAKY and attempt <= STEPS else {}


@pytest.fixture
def queue(s3: Bucket, compute: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The queue, with this process's boto3 led to it and Batch as we model it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with batch_model(environment=s3.environment | {"JOB_THREADS": "1"}, interference=time_budget, machines=2):
        yield compute


@pytest.fixture(scope="module")
def compute(s3: Bucket) -> str:
    """A Batch queue over a compute environment."""
    session = boto3.session.Session(
        aws_access_key_id=s3.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3.environment["AWS_SECRET_ACCESS_KEY"],
        region_name=s3.environment["AWS_DEFAULT_REGION"],
    )
    endpoint = s3.environment["AWS_ENDPOINT_URL"]
    ec2, iam, batch = (session.client(name, endpoint_url=endpoint) for name in ("ec2", "iam", "batch"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/25")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName="batch", Description="batch")["GroupId"]
    iam.create_role(RoleName="service", AssumeRolePolicyDocument="{}")
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="machine")
    iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")
    created = batch.create_compute_environment(
        computeEnvironmentName="machines",
        type="MANAGED",
        state="ENABLED",
        serviceRole=iam.get_role(RoleName="service")["Role"]["Arn"],
        computeResources={
            "type": "EC2", "minvCpus": 0, "maxvCpus": 8, "instanceTypes": ["t2.small"], "subnets": [subnet],
            "securityGroupIds": [group],
            "instanceRole": iam.get_instance_profile(InstanceProfileName="machine")["InstanceProfile"]["Arn"],
        },
    )  # fmt: skip
    order = [{"order": 1, "computeEnvironment": created["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName="jobs", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    return "jobs"


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(2)  # to ask takes a share of the CPU that the containers wait for


def under_way(counts: dict[str, int]) -> int:
    return counts["waiting"] + counts["running"]


def states(job: Callable[..., Answer], s3: Bucket) -> dict[str, Any]:
    return json.loads(job("status", f"{s3.uri}/batch", "--json").stdout)


def test_array_of_five_with_a_bad_and_a_flaky_configuration(
    job: Callable[..., Answer], image: str, queue: str, s3: Bucket, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.json"
    sweep.write_text(json.dumps(SWEEP))
    settings = tmp_path / "settings.yaml"  # JSON is YAML
    fields = {"to": "batch", "output": f"{s3.uri}/batch", "queue": queue, "gpus": 0, "image": image, "cpus": 1,
              "memory": "3Gi", "timeout": 900, "attempts": 4, "env": {"JOB_INSTANCE_TYPE": "by-file"}}  # fmt: skip
    settings.write_text(json.dumps(fields))
    arguments = ("--manifest", sweep, "--settings", settings)
    submitted = job("submit", *arguments)
    assert submitted.exit_code == 0, submitted.stderr
    assert "5 runs in 5 containers" in submitted.stdout
    assert describe(json.loads(record(s3))["job"])["arrayProperties"]["size"] == 5

    assert "nothing to do" in job("submit", *arguments).stdout  # they are under way
    wait_until(lambda: not under_way(states(job, s3)["counts"]), seconds=800)

    parent = json.loads(record(s3))["job"]
    wait_until(lambda: describe(parent)["status"] == "FAILED", seconds=300)  # a result stands before its container ends

    seen = states(job, s3)
    assert seen["counts"]["done"] == 4, seen
    [failed] = [run for run in seen["runs"] if run["state"] == "failed"]
    assert failed["run_id"].startswith("bad-s0-")
    assert failed["exit_code"] == 66
    assert BAD_WEIGHTS in failed["reason"]
    assert BAD_WEIGHTS in job("logs", f"{s3.uri}/batch", failed["run_id"]).stdout

    children = boto3.client("batch").describe_jobs(jobs=[f"{parent}:{index}" for index in range(5)])["jobs"]
    codes = {
        int(child["jobId"].rpartition(":")[2]): [one["container"]["exitCode"] for one in child["attempts"]]
        for child in children
    }
    assert codes == {index: [0] for index in range(5)} | {FLAKY: [75, 75, 0], 4: [66]}
    plan = json.loads(s3.get(f"batch/{plan_key('cloud')}"))
    flaky = json.loads(s3.get(f"batch/cloud/runs/{plan['runs'][FLAKY]['run_id']}/result.json"))
    assert flaky["attempts"] == 3
    assert flaky["environment"]["instance_type"] == "by-file"
    (definition,) = {child["jobDefinition"] for child in children}
    (registered,) = boto3.client("batch").describe_job_definitions(jobDefinitions=[definition])["jobDefinitions"]
    assert registered["retryStrategy"]["attempts"] == 4
    assert registered["timeout"]["attemptDurationSeconds"] == 900

    again = job("submit", *arguments)
    assert "1 runs in 1 containers" in again.stdout  # the bad one alone, as a plain job
    wait_until(lambda: states(job, s3)["counts"]["failed"] == 1, seconds=300)


def describe(job_id: str) -> dict[str, Any]:
    return boto3.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]


def record(s3: Bucket) -> bytes:
    """The first submission's job record."""
    return s3.get(next(key for key in s3.keys("batch/cloud/submissions/") if key.endswith(".job.json")))


def test_cancel_ends_what_waits_and_what_runs(
    job: Callable[..., Answer], image: str, queue: str, s3: Bucket, tmp_path: Path
) -> None:
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": [0.0001, 0.0003, 0.001]}}
    fields = {"name": "cancelled", "defaults": SWEEP["defaults"] | {"epochs": 500}, "blocks": [block]}
    sweep = tmp_path / "sweep.json"
    sweep.write_text(json.dumps(fields))
    output = f"{s3.uri}/cancel"
    job("submit", "-m", sweep, "--to", "batch", "--output", output, "--queue", queue, "--gpus", "0", "--image", image)

    def counts() -> dict[str, int]:
        return json.loads(job("status", output, "--json").stdout)["counts"]

    prefix = "cancel/cancelled/runs/"
    wait_until(lambda: any(key.endswith("/history.jsonl") for key in s3.keys(prefix)), seconds=300)  # one is training
    assert counts()["running"] > 0
    assert job("cancel", output).exit_code == 0
    wait_until(lambda: not under_way(counts()), seconds=300)
    stopped = [key for key in s3.keys(prefix) if key.endswith("/progress.json")]
    assert {json.loads(s3.get(key))["exit_code"] for key in stopped} <= {143, None}
    assert any("/checkpoints/" in key for key in s3.keys(prefix))
    assert not any(key.endswith("/result.json") for key in s3.keys(prefix))
