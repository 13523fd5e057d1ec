"""`precision: auto` means the same in every run of a sweep, whichever machines its containers get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from job.plan import plan_key
from job.storage import open_store
from tests.conftest import TINY, Answer

Job = Callable[..., Answer]
DEFAULTS = {name: value for name, value in TINY.items() if name not in ("name", "optimizer", "precision")}


def write(folder: Path, *, rates: list[float], **defaults: Any) -> Path:
    block = {"base": {"optimizer": {"name": "sgd"}}, "vary": {"optimizer.lr": rates}}
    path = folder / "sweep.json"
    path.write_text(json.dumps({"name": "small", "defaults": DEFAULTS | defaults, "blocks": [block]}))
    return path


def rendered(answer: Answer) -> dict[str, Any]:
    """The submission that the containers of a rendered Job read."""
    assert answer.exit_code == 0, answer.stderr
    documents = list(yaml.safe_load_all(answer.stdout))
    return json.loads(next(one for one in documents if one["kind"] == "ConfigMap")["data"]["submission.json"])


@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ((), "fp16"),
        (("--gpus", "0"), "fp32"),
        (("--node-selector", "cloud.google.com/gke-accelerator=nvidia-l4", "--node-selector", "pool=a"), "bf16"),
        (("--node-selector", "cloud.google.com/gke-accelerator=nvidia-tesla-t4"), "fp16"),
        (("--auto-precision", "bf16"), "bf16"),
    ],
)
def test_pods_are_told_what_auto_means(
    arguments: tuple[str, ...], precision: str, job: Job, bucket: str, tmp_path: Path
) -> None:
    answer = job("submit", "-m", write(tmp_path, rates=[0.1]), "--to", "kubernetes", "--image", "job:x", "--output",
                 bucket, "--dry-run", *arguments)  # fmt: skip
    assert rendered(answer)["auto_precision"] == precision
    assert f"`precision: auto` means {precision} in every run" in answer.stderr


def test_precision_that_the_manifest_names_is_left_to_it(job: Job, bucket: str, tmp_path: Path) -> None:
    path = write(tmp_path, rates=[0.1], precision="fp32")
    answer = job("submit", "-m", path, "--to", "kubernetes", "--image", "job:x", "--output", bucket, "--dry-run")
    assert "auto_precision" not in rendered(answer)
    assert "means" not in answer.stderr


def test_later_submissions_train_in_the_arithmetic_of_the_first(
    job: Job, bucket: str, spool: Path, tmp_path: Path
) -> None:
    submit = ("--to", "spool", "--output", bucket, "--image", "job:x", "--queue", "night")
    assert job("submit", "-m", write(tmp_path, rates=[0.1]), *submit, "--auto-precision", "bf16").exit_code == 0
    store = open_store(bucket)
    assert json.loads(store.read(plan_key("small")))["auto_precision"] == "bf16"

    more = write(tmp_path, rates=[0.1, 0.2])
    again = job("submit", "-m", more, *submit)
    assert "`precision: auto` means bf16 in every run" in again.stderr
    keys = [key for key in store.list_keys("small/submissions/") if not key.endswith(".job.json")]
    assert [json.loads(store.read(key))["auto_precision"] for key in keys] == ["bf16", "bf16"]

    refused = job("submit", "-m", write(tmp_path, rates=[0.3]), *submit, "--auto-precision", "fp16")
    assert refused.exit_code == 2
    assert "--auto-precision fp16: the plan of small says bf16" in refused.stderr


@pytest.mark.parametrize(
    ("types", "precision"), [(["g5.xlarge", "g6.xlarge"], "bf16"), (["g5.xlarge", "g4dn.xlarge"], "fp16")]
)
def test_weakest_card_of_a_queue_decides(
    types: list[str], precision: str, job: Job, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    make_queue(f"queue-{precision}", types)
    answer = job("submit", "-m", write(tmp_path, rates=[0.1]), "--to", "batch", "--image", "job:x", "--output", bucket,
                 "--queue", f"queue-{precision}", "--dry-run")  # fmt: skip
    assert answer.exit_code == 0, answer.stderr
    assert f"`precision: auto` means {precision} in every run" in answer.stderr


def make_queue(name: str, types: list[str]) -> None:
    """A queue of Batch over one environment with machines of these types, in moto's server."""
    ec2, iam, batch = (boto3.client(service) for service in ("ec2", "iam", "batch"))
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(VpcId=subnet["VpcId"], GroupName=name, Description=name)["GroupId"]
    for role in (f"service-{name}", f"machine-{name}"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"machine-{name}")
    created = batch.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        state="ENABLED",
        serviceRole=iam.get_role(RoleName=f"service-{name}")["Role"]["Arn"],
        computeResources={
            "type": "EC2", "minvCpus": 0, "maxvCpus": 8, "instanceTypes": types, "subnets": [subnet["SubnetId"]],
            "securityGroupIds": [group], "instanceRole": profile,
        },
    )  # fmt: skip
    order = [{"order": 1, "computeEnvironment": created["computeEnvironmentArn"]}]
    batch.create_job_queue(jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order)
