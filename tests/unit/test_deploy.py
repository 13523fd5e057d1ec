"""`make deploy`, `push-image` and `destroy`, with an `aws` and a `docker` that write down how they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.models.template_rules import Template, load_template

pytestmark = pytest.mark.skipif(not (shutil.which("make") and shutil.which("bash")), reason="needs make and bash")
AWS = """#!/bin/bash
printf 'aws %s\\n' "$*" >> "$CALLS"
case "$*" in
    *describe-stacks*InstanceTypes*) printf '%s\\n' "$STACKS_TYPES" ;;
    *describe-stacks*RepositoryUri*) echo 123456789012.dkr.ecr.eu-west-1.amazonaws.com/job-repository ;;
    *describe-instance-type-offerings*) printf '%s\\n' "$OFFERED" ;;
    *describe-subnets*) printf '%s\\n' "$DEFAULT_ZONES" ;;
    *describe-availability-zones*) printf '%s\\n' "$ZONES" ;;
    *"--logical-resource-id Bucket "*) echo job-bucket-1 ;;
    *"--logical-resource-id SubmitterPolicy "*) [ -n "$POLICY" ] && echo "$POLICY" ;;
    *list-entities-for-policy*PolicyUsers*) printf 'ann\\tbob\\n' ;;
    *list-entities-for-policy*PolicyRoles*) echo scientists ;;
    *get-login-password*) echo a-password ;;
esac
"""
DOCKER = """#!/bin/bash
printf 'docker %s\\n' "$*" >> "$CALLS"
"""
DEFAULTS = "g4dn.xlarge,g5.xlarge,g6.xlarge"


class Account:
    """What the region offers, and what make called."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls"
        for name, script in (("aws", AWS), ("docker", DOCKER)):
            executable = folder / name
            executable.write_text(script)
            executable.chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(self.calls_file), "STACKS_TYPES": "",
            "OFFERED": DEFAULTS.replace(",", "\t"), "DEFAULT_ZONES": "a\tb\tc", "ZONES": "", "POLICY": "",
        }  # fmt: skip

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    def called(self, words: str) -> list[str]:
        calls = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [call for call in calls if words in call]

    @property
    def parameters(self) -> dict[str, str]:
        """Those of the one deployment. Of two values the AWS CLI takes the last."""
        (deployed,) = self.called("cloudformation deploy")
        return dict(given.split("=", 1) for given in deployed.partition("--parameter-overrides ")[2].split())


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(ROOT / "infra" / "batch.yaml")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def test_deploy_gives_the_types_that_the_region_offers_and_names_the_others(account: Account) -> None:
    account.environment["OFFERED"] = "g5.xlarge\tg4dn.xlarge"
    done = account.make("deploy", "TAG=0123abc", "BUDGET_EMAIL=someone@example.com")
    assert done.returncode == 0, done.stderr
    assert account.parameters == {
        "ImageTag": "0123abc", "BudgetEmail": "someone@example.com", "InstanceTypes": "g4dn.xlarge,g5.xlarge",
        "Zones": "3",
    }  # fmt: skip
    assert "left out: g6.xlarge, which EC2 does not offer in this region" in done.stderr
    (asked,) = account.called("describe-instance-type-offerings")
    assert f"Values={DEFAULTS}" in asked


def test_targets_name_parameters_outputs_and_resources_of_the_template(account: Account, template: Template) -> None:
    account.make("deploy", "push-image", "destroy", "TAG=0123abc", "BUDGET_EMAIL=someone@example.com")
    required = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
    assert required <= set(account.parameters) <= set(template["Parameters"])
    (asked,) = account.called("OutputKey==")
    assert asked.partition("OutputKey=='")[2].partition("'")[0] in template["Outputs"]
    named = [
        asked.partition("--logical-resource-id ")[2].split()[0] for asked in account.called("--logical-resource-id")
    ]
    assert set(named) == {"Bucket", "SubmitterPolicy"} <= set(template["Resources"])


def test_region_without_any_of_the_types_is_said_before_anything_is_made(account: Account) -> None:
    account.environment["OFFERED"] = ""
    done = account.make("deploy", "TAG=0123abc")
    assert done.returncode == 2
    assert f"InstanceTypes is {DEFAULTS}: EC2 offers none of them in this region" in done.stderr
    assert account.called("cloudformation deploy") == []


@pytest.mark.parametrize(
    ("given", "stacks", "kept"),
    [
        ("PARAMETERS=MaxVcpus=128 InstanceTypes=g6e.xlarge,g5.xlarge", "g4dn.xlarge", "g5.xlarge"),
        ("PARAMETERS=MaxVcpus=128", "g4dn.xlarge", "g4dn.xlarge"),
        ("PARAMETERS=MaxVcpus=128 InstanceTypes=g5,g4dn.xlarge", "", "g5,g4dn.xlarge"),
    ],
    ids=["named", "the stack's own", "a family"],
)
def test_types_are_those_named_then_those_that_the_stack_has(
    account: Account, given: str, stacks: str, kept: str
) -> None:
    account.environment["STACKS_TYPES"] = stacks
    assert account.make("deploy", "TAG=0123abc", given).returncode == 0
    assert account.parameters["InstanceTypes"] == kept
    assert account.parameters["MaxVcpus"] == "128"


@pytest.mark.parametrize(
    ("default", "every", "given", "zones"),
    [
        ("a\tb", "a\tb\tc", "", "2"),  # Fn::GetAZs passes over a zone whose default subnet was deleted
        ("", "a\tb\tc\td", "", "3"),
        ("a\tb\tc", "", "Zones=2", "2"),
    ],
)
def test_third_zone_is_used_where_cloudformation_finds_one(
    account: Account, default: str, every: str, given: str, zones: str
) -> None:
    account.environment |= {"DEFAULT_ZONES": default, "ZONES": every}
    assert account.make("deploy", "TAG=0123abc", f"PARAMETERS={given}").returncode == 0
    assert account.parameters["Zones"] == zones


@pytest.mark.parametrize("target", ["deploy", "push-image"])
def test_image_of_changes_that_are_not_committed_is_refused(account: Account, target: str) -> None:
    """The repository's tags cannot be moved, so a second push of the tag would fail, after minutes."""
    done = account.make(target, "TAG=0123abc-dirty")
    assert done.returncode == 2
    assert "TAG is 0123abc-dirty: the images of a tag must come from one commit; commit your changes" in done.stderr
    assert account.called("") == []


def test_image_is_pushed_under_its_tag_to_the_stack_s_repository(account: Account) -> None:
    assert account.make("push-image", "TAG=0123abc", "IMAGE=job:mine").returncode == 0
    repository = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/job-repository"
    assert account.called("docker") == [
        "docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        f"docker tag job:mine {repository}:0123abc",
        f"docker push {repository}:0123abc",
    ]


@pytest.mark.parametrize("policy", ["arn:aws:iam::123456789012:policy/job-SubmitterPolicy-1", ""])
def test_destroy_deletes_the_stack_and_says_that_the_bucket_stays(account: Account, policy: str) -> None:
    account.environment["POLICY"] = policy
    done = account.make("destroy", "STACK=mine")
    assert done.returncode == 0, done.stderr
    (asked, waited) = account.called("aws cloudformation delete-stack") + account.called("wait stack-delete-complete")
    assert asked == "aws cloudformation delete-stack --stack-name mine"
    assert waited == "aws cloudformation wait stack-delete-complete --stack-name mine"
    assert "The bucket job-bucket-1 stays" in done.stdout
    assert "aws s3 rb s3://job-bucket-1 --force" in done.stdout
    assert account.called("aws s3 ") == []
    detached = [f"detach-user-policy --user-name {name}" for name in ("ann", "bob")]
    detached += ["detach-role-policy --role-name scientists"]
    wanted = [f"aws iam {words} --policy-arn {policy}" for words in detached] if policy else []
    assert account.called("detach-") == wanted


def test_destroy_of_a_stack_that_cannot_be_found_deletes_nothing(account: Account, tmp_path: Path) -> None:
    (tmp_path / "aws").write_text('#!/bin/bash\necho "aws $*" >> "$CALLS"\necho no such stack >&2\nexit 254\n')
    done = account.make("destroy", "STACK=absent")
    assert done.returncode == 2
    assert "no such stack" in done.stderr
    assert account.called("delete-stack") == []
