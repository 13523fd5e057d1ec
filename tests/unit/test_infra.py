"""`infra/`: the linter's rules, ours with a mutation for each, and a deployment into moto."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from cfnlint.api import lint_file
from kubernetes.utils.quantity import parse_quantity
from moto import mock_aws

from job.errors import Terminated, UsageError
from job.submit.batch import configure
from job.submit.batch_documents import BatchSettings
from job.submit.batch_stack import read_stack
from job.submit.options import Options
from tests.conftest import ROOT, Answer
from tests.models.batch_retries import EVALUATE_ON_EXIT, EXITED, decide
from tests.models.template_rules import OUTPUTS, RULES, Template, as_list, load_template, statements

BATCH = ROOT / "infra" / "batch.yaml"
POD_ROLE = ROOT / "infra" / "pod-role.yaml"
GONE = object()
"""As the new value: take the key away."""

BUCKET = ("Bucket", "Properties")
JOB = ("JobDefinition", "Properties")
CONTAINER = (*JOB, "ContainerProperties")
EXIT_RULES = (*JOB, "RetryStrategy", "EvaluateOnExit")
QUEUE = ("JobQueue", "Properties")
MACHINE = ("LaunchTemplate", "Properties", "LaunchTemplateData")
JOB_POLICY = ("JobRole", "Properties", "Policies", 0, "PolicyDocument", "Statement")
READ, WRITE, TAG, LIST = ((*JOB_POLICY, index) for index in range(4))
TLS = ("BucketPolicy", "Properties", "PolicyDocument", "Statement", 0)
SPOT = ("SpotEnvironment", "Properties", "ComputeResources")
ON_DEMAND = ("OnDemandEnvironment", "Properties", "ComputeResources")
SUBMITTER = ("SubmitterPolicy", "Properties", "PolicyDocument", "Statement")
SECRET = [{"Name": "AWS_SECRET_ACCESS_KEY", "Value": "x"}]
KEY_ID = [{"Name": "WHO", "Value": "AKIA" + "A" * 16}]


@dataclass(frozen=True)
class Mutation:
    """One change that `rule` must notice; `path` starts at a resource, or at a section of the template."""

    rule: str
    path: tuple[str | int, ...]
    value: Any

    def apply(self, template: Template) -> Template:
        changed = copy.deepcopy(template)
        *parents, last = self.path
        place: Any = changed if self.path[0] in changed else changed["Resources"]
        for key in parents:
            place = place[key]
        if self.value is GONE:
            del place[last]
        else:
            place[last] = self.value
        return changed


MUTATIONS = [
    Mutation("exit_rules_are_five_at_most", EXIT_RULES, [*EVALUATE_ON_EXIT, EVALUATE_ON_EXIT[-1]]),
    Mutation("exit_rules_are_those_of_the_design", EXIT_RULES, EVALUATE_ON_EXIT[::-1]),
    Mutation("exit_rules_are_those_of_the_design", (*EXIT_RULES, 0), GONE),
    *(Mutation("exit_codes_are_retried_as_the_program_says", (*EXIT_RULES, index), GONE) for index in range(5)),
    Mutation("exit_codes_are_retried_as_the_program_says", EXIT_RULES, EVALUATE_ON_EXIT[::-1]),
    Mutation("exit_codes_are_retried_as_the_program_says", (*EXIT_RULES, 2, "OnExitCode"), "7*"),
    Mutation("failures_beside_the_program_are_retried", (*EXIT_RULES, 4), {"OnReason": "*", "Action": "EXIT"}),
    Mutation("failures_beside_the_program_are_retried", (*EXIT_RULES, 4), {"OnStatusReason": "*", "Action": "EXIT"}),
    Mutation("attempts_are_one_to_ten", (*JOB, "RetryStrategy", "Attempts"), 11),
    Mutation("timeout_is_a_minute_at_least", (*JOB, "Timeout"), {"AttemptDurationSeconds": 59}),
    Mutation("timeout_is_a_minute_at_least", (*JOB, "Timeout"), GONE),
    Mutation("timeout_is_a_minute_at_least", (*JOB, "Timeout"), {"AttemptDurationSeconds": {"Ref": "JobVcpus"}}),
    Mutation("a_job_gets_one_gpu", (*CONTAINER, "ResourceRequirements", 0), GONE),
    Mutation("environment_holds_no_secret", (*CONTAINER, "Environment"), SECRET),
    Mutation("environment_holds_no_secret", (*CONTAINER, "Environment"), KEY_ID),
    Mutation("container_is_not_privileged", (*CONTAINER, "Privileged"), True),
    Mutation("container_is_not_root", (*CONTAINER, "User"), "0:0"),
    Mutation("container_is_not_root", (*CONTAINER, "User"), GONE),
    Mutation("root_is_read_only_and_tmp_is_not", (*CONTAINER, "ReadonlyRootFilesystem"), False),
    Mutation("root_is_read_only_and_tmp_is_not", (*CONTAINER, "LinuxParameters", "Tmpfs"), GONE),
    Mutation("container_has_init_and_shared_memory", (*CONTAINER, "LinuxParameters", "InitProcessEnabled"), GONE),
    Mutation("container_has_init_and_shared_memory", (*CONTAINER, "LinuxParameters", "SharedMemorySize"), GONE),
    Mutation(
        "job_role_is_not_the_execution_role", (*CONTAINER, "ExecutionRoleArn"), {"Fn::GetAtt": ["JobRole", "Arn"]}
    ),
    Mutation("job_role_is_not_the_execution_role", (*CONTAINER, "JobRoleArn"), GONE),
    Mutation("job_role_deletes_nothing", (*WRITE, "Action", 0), "s3:DeleteObject"),
    Mutation("job_role_deletes_nothing", (*WRITE, "Action", 0), "s3:*"),
    Mutation("no_policy_has_wildcards", (*WRITE, "Action"), "s3:Put*"),
    Mutation("no_policy_has_wildcards", (*READ, "Resource"), "*"),
    Mutation("no_policy_has_wildcards", (*READ, "Resource"), {"Fn::Sub": "${Bucket.Arn}/*"}),
    Mutation("no_policy_has_wildcards", ("JobRole", "Properties", "ManagedPolicyArns"), ["AmazonS3FullAccess"]),
    Mutation("no_policy_has_wildcards", (*SUBMITTER, 0, "Action"), "cloudformation:*"),
    Mutation("no_policy_has_wildcards", (*SUBMITTER, 5, "Resource"), "*"),
    Mutation("job_role_reads_prices", ("JobRole", "Properties", "Policies", 1), GONE),
    Mutation("submitter_gives_jobs_these_two_roles_alone", (*SUBMITTER, 3, "Resource"), "*"),
    Mutation("submitter_submits_to_this_queue_and_ends_jobs_of_this_program", (*SUBMITTER, 2, "Resource"), "*"),
    Mutation("submitter_submits_to_this_queue_and_ends_jobs_of_this_program", (*SUBMITTER, 5, "Condition"), GONE),
    Mutation("job_role_writes_runs_alone", (*WRITE, "Resource"), {"Fn::Sub": "${Bucket.Arn}/data/*"}),
    Mutation("missing_keys_are_404_and_listing_is_by_prefix", LIST, GONE),
    Mutation("missing_keys_are_404_and_listing_is_by_prefix", (*LIST, "Condition"), GONE),
    Mutation(
        "missing_keys_are_404_and_listing_is_by_prefix",
        (*LIST, "Condition"),
        {"StringLike": {"s3:prefix": ["runs/*", "data/*"]}},
    ),
    Mutation(
        "missing_keys_are_404_and_listing_is_by_prefix",
        (*LIST, "Condition"),
        {"StringLikeIfExists": {"s3:prefix": "runs/*"}},
    ),
    Mutation("bucket_takes_tls_alone", ("BucketPolicy",), GONE),
    Mutation("bucket_takes_tls_alone", (*TLS, "Effect"), "Allow"),
    Mutation("bucket_takes_tls_alone", (*TLS, "Condition"), GONE),
    Mutation("bucket_is_not_public", (*BUCKET, "PublicAccessBlockConfiguration"), GONE),
    Mutation("bucket_is_not_public", (*BUCKET, "PublicAccessBlockConfiguration", "BlockPublicPolicy"), False),
    Mutation("bucket_is_encrypted", (*BUCKET, "BucketEncryption"), GONE),
    Mutation("bucket_owner_owns_the_objects", (*BUCKET, "OwnershipControls"), GONE),
    Mutation("results_outlive_the_stack", ("Bucket", "DeletionPolicy"), "Delete"),
    Mutation("incomplete_uploads_are_aborted", (*BUCKET, "LifecycleConfiguration", "Rules", 0), GONE),
    Mutation("incomplete_uploads_are_aborted", (*BUCKET, "LifecycleConfiguration", "Rules", 0, "Status"), "Disabled"),
    Mutation("checkpoints_expire_and_nothing_else", (*BUCKET, "LifecycleConfiguration", "Rules", 1), GONE),
    Mutation(
        "checkpoints_expire_and_nothing_else", (*BUCKET, "LifecycleConfiguration", "Rules", 1, "TagFilters"), GONE
    ),
    Mutation("checkpoints_expire_and_nothing_else", TAG, GONE),
    Mutation("checkpoints_expire_and_nothing_else", (*TAG, "Condition"), GONE),
    Mutation(
        "repository_tags_are_immutable_and_scanned", ("Repository", "Properties", "ImageTagMutability"), "MUTABLE"
    ),
    Mutation(
        "repository_tags_are_immutable_and_scanned", ("Repository", "Properties", "ImageScanningConfiguration"), GONE
    ),
    Mutation("repository_tags_are_immutable_and_scanned", ("Repository", "Properties", "LifecyclePolicy"), GONE),
    Mutation("logs_expire", ("LogGroup", "Properties", "RetentionInDays"), GONE),
    Mutation("metadata_needs_a_token", (*MACHINE, "MetadataOptions", "HttpTokens"), "optional"),
    Mutation("metadata_is_one_hop_away", (*MACHINE, "MetadataOptions", "HttpPutResponseHopLimit"), 2),
    Mutation("volumes_are_encrypted", (*MACHINE, "BlockDeviceMappings", 0, "Ebs", "Encrypted"), False),
    Mutation("volumes_are_encrypted", (*MACHINE, "BlockDeviceMappings"), GONE),
    Mutation("machine_prepares_its_agent_its_facts_and_its_end", (*MACHINE, "UserData"), GONE),
    Mutation("jobs_see_what_their_machine_is", (*CONTAINER, "MountPoints"), GONE),
    Mutation("jobs_see_what_their_machine_is", (*CONTAINER, "MountPoints", 0, "ReadOnly"), False),
    Mutation("jobs_see_what_their_machine_is", (*CONTAINER, "Volumes", 0, "Host", "SourcePath"), "/var/lib/other"),
    Mutation("machines_scale_to_zero", (*SPOT, "MinvCpus"), 4),
    Mutation("spot_comes_first", (*QUEUE, "ComputeEnvironmentOrder", 0, "Order"), 3),
    Mutation("spot_comes_first", (*SPOT, "AllocationStrategy"), "BEST_FIT"),
    Mutation("on_demand_machines_have_a_maximum_of_their_own", (*ON_DEMAND, "MaxvCpus"), {"Ref": "MaxVcpus"}),
    Mutation("machines_start_in_a_third_zone_where_there_is_one", (*ON_DEMAND, "Subnets", 2), GONE),
    Mutation("machines_start_in_a_third_zone_where_there_is_one", ("RouteOfSubnetC", "Condition"), GONE),
    Mutation("stuck_jobs_are_cancelled", (*QUEUE, "JobStateTimeLimitActions"), GONE),
    Mutation("stuck_jobs_are_cancelled", (*QUEUE, "JobStateTimeLimitActions", 0, "MaxTimeSeconds"), 60),
    Mutation(
        "nothing_connects_to_the_machines",
        ("SecurityGroup", "Properties", "SecurityGroupIngress"),
        [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}],
    ),
    Mutation("s3_is_reached_inside_aws", ("S3Endpoint",), GONE),
    Mutation("budget_sends_mail", ("Budget",), GONE),
    Mutation("outputs_are_what_submit_reads", ("Outputs", "Region"), GONE),
]


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(BATCH)


@pytest.mark.parametrize("path", [BATCH, POD_ROLE], ids=lambda path: path.name)
def test_cfn_lint_finds_nothing(path: Path) -> None:
    assert lint_file(path) == []


@pytest.mark.parametrize("name", RULES)
def test_the_template_keeps_every_rule(template: Template, name: str) -> None:
    assert RULES[name](template) == []


def test_every_rule_has_a_mutation() -> None:
    assert {mutation.rule for mutation in MUTATIONS} == set(RULES)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.rule}-{mutation.path[-1]}")
def test_every_mutation_is_noticed(template: Template, mutation: Mutation) -> None:
    assert RULES[mutation.rule](mutation.apply(template))


@pytest.mark.parametrize(
    ("seen", "answer"),
    [
        ({"exit_code": 65, "status": EXITED}, "EXIT"),
        ({"exit_code": 7, "status": EXITED}, "EXIT"),
        ({"exit_code": 75, "status": EXITED}, "RETRY"),
        ({"exit_code": 137, "status": EXITED}, "EXIT"),
        ({"exit_code": 137, "status": "Host EC2 (instance i-1) terminated."}, "RETRY"),
        ({"reason": "CannotPullContainerError: manifest has been retried", "status": "Task failed to start"}, "RETRY"),
    ],
)
def test_batch_decides_by_the_first_match(seen: dict[str, Any], answer: str) -> None:
    assert decide(EVALUATE_ON_EXIT, **seen) == answer


def test_job_that_is_stopped_before_its_spot_machine_goes_is_tried_again() -> None:
    """The machine sends it SIGTERM; the run saves its checkpoint and it and its container end with 143."""
    assert decide(EVALUATE_ON_EXIT, exit_code=Terminated.exit_code, status=EXITED) == "RETRY"


def test_batch_retries_what_no_rule_matches() -> None:
    assert decide([{"OnExitCode": "7*", "Action": "EXIT"}], exit_code=1) == "RETRY"


def test_a_pod_may_do_what_a_batch_job_may(template: Template) -> None:
    pod = json.loads(
        json.dumps(load_template(POD_ROLE)).replace("arn:${AWS::Partition}:s3:::${Bucket}", "${Bucket.Arn}")
    )
    of_job = json.loads(
        json.dumps(template).replace('{"Fn::GetAtt": ["Bucket", "Arn"]}', '{"Fn::Sub": "${Bucket.Arn}"}')
    )
    runs_and_data = [statement for statement in statements(of_job, "JobRole") if statement["Sid"] != "Price"]
    assert statements(pod, "PodRole") == runs_and_data


def test_the_kubernetes_note_holds_what_pods_expect() -> None:
    note = (ROOT / "infra" / "kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", note, flags=re.DOTALL)
    entries = [entry for block in blocks for entry in yaml.safe_load_all(block)]
    objects = {entry["kind"]: entry for entry in entries if "kind" in entry}
    (settings,) = [entry for entry in entries if "kind" not in entry]
    assert Options.model_validate(settings).pod_patch["spec"]["volumes"][0]["name"] == "certificates"
    assert set(objects) == {"ResourceFlavor", "ClusterQueue", "LocalQueue", "PersistentVolumeClaim"}
    assert {objects[kind]["metadata"]["namespace"] for kind in ("LocalQueue", "PersistentVolumeClaim")} == {"job"}
    assert objects["LocalQueue"]["spec"]["clusterQueue"] == objects["ClusterQueue"]["metadata"]["name"]
    (group,) = objects["ClusterQueue"]["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == objects["ResourceFlavor"]["metadata"]["name"]
    assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]


def test_kueue_s_example_has_room_for_four_of_our_pods(job: Callable[..., Answer]) -> None:
    """Kueue counts requests, and limits where there is no request. What has no quota is never admitted."""
    note = (ROOT / "infra/kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", note, flags=re.DOTALL)
    entries = [entry for block in blocks for entry in yaml.safe_load_all(block)]
    (queue,) = [entry for entry in entries if entry.get("kind") == "ClusterQueue"]
    (flavor,) = queue["spec"]["resourceGroups"][0]["flavors"]
    quota = {resource["name"]: resource["nominalQuota"] for resource in flavor["resources"]}
    answer = job("submit", "--manifest", ROOT / "manifests/sweeps/optimizers.json", "--to", "kubernetes", "--dry-run",
                 "--queue", "job", "--image", "job:x", "--output", "s3://bucket/study")  # fmt: skip
    (document,) = [entry for entry in yaml.safe_load_all(answer.stdout) if entry["kind"] == "Job"]
    resources = document["spec"]["template"]["spec"]["containers"][0]["resources"]
    wanted = resources["limits"] | resources["requests"]
    assert set(wanted) <= set(quota)
    pods = {name: float(parse_quantity(quota[name]) // parse_quantity(amount)) for name, amount in wanted.items()}
    assert min(pods.values()) == pods["nvidia.com/gpu"] == 4
    assert document["spec"]["parallelism"] > 4  # so it is admitted only in parts
    assert document["metadata"]["annotations"] == {"kueue.x-k8s.io/job-min-parallelism": "1"}


@dataclass(frozen=True)
class Stack:
    """A deployed stack's outputs, and what moto did not deploy of it."""

    outputs: dict[str, str]
    not_deployed: set[str]


@pytest.fixture
def stack(template: Template, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The template in moto's CloudFormation, changed only where moto differs from AWS.

    moto wants compute environments to have a ServiceRole, where AWS takes the service-linked one; it makes up a
    repository name with capitals, which its own ECR then refuses; it does not split a list parameter's default value;
    it leaves AWS::NoValue in a list, so there are three zones here.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for_moto = copy.deepcopy(template)
    for_moto["Resources"]["Repository"]["Properties"]["RepositoryName"] = "job"
    for name in ("SpotEnvironment", "OnDemandEnvironment"):
        for_moto["Resources"][name]["Properties"]["ServiceRole"] = {"Fn::GetAtt": ["ExecutionRole", "Arn"]}
    parameters = {
        "ImageTag": "0123abc",
        "BudgetEmail": "someone@example.com",
        "Zones": "3",
        "InstanceTypes": template["Parameters"]["InstanceTypes"]["Default"],
    }
    with mock_aws():
        cloudformation = boto3.client("cloudformation")
        with pytest.warns(UserWarning, match="not supported by moto") as notes:
            cloudformation.create_stack(
                StackName="job",
                TemplateBody=json.dumps(for_moto),
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM"],
            )
        (description,) = cloudformation.describe_stacks(StackName="job")["Stacks"]
        assert description["StackStatus"] == "CREATE_COMPLETE"
        yield Stack(
            outputs={output["OutputKey"]: output["OutputValue"] for output in description["Outputs"]},
            not_deployed={str(note.message).split()[3] for note in notes},
        )


def test_moto_deploys_all_but_two_resources(stack: Stack) -> None:
    assert stack.not_deployed == {"AWS::S3::BucketPolicy", "AWS::Budgets::Budget"}  # those, only the rules above check


def test_the_outputs_of_a_deployed_stack_name_what_is_there(stack: Stack) -> None:
    outputs = stack.outputs
    assert set(outputs) == OUTPUTS
    batch, s3 = boto3.client("batch"), boto3.client("s3")
    (queue,) = batch.describe_job_queues(jobQueues=[outputs["JobQueue"]])["jobQueues"]
    (definition,) = batch.describe_job_definitions(jobDefinitions=[outputs["JobDefinition"]])["jobDefinitions"]
    container = definition["containerProperties"]
    assert [entry["order"] for entry in queue["computeEnvironmentOrder"]] == [1, 2]
    assert container["image"] == f"{outputs['RepositoryUri']}:0123abc"
    assert (container["jobRoleArn"], container["executionRoleArn"]) == (
        outputs["JobRoleArn"],
        outputs["ExecutionRoleArn"],
    )
    assert container["logConfiguration"]["options"] == {
        "awslogs-group": outputs["LogGroup"],
        "awslogs-region": outputs["Region"],
        "awslogs-stream-prefix": "job",
    }
    assert {"name": "JOB_OUTPUT", "value": f"s3://{outputs['Bucket']}/runs"} in container["environment"]
    assert s3.head_bucket(Bucket=outputs["Bucket"])["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_deployed_queue_tries_spot_machines_first(stack: Stack) -> None:
    batch = boto3.client("batch")
    (queue,) = batch.describe_job_queues(jobQueues=[stack.outputs["JobQueue"]])["jobQueues"]
    kinds = []
    for entry in queue["computeEnvironmentOrder"]:
        described = batch.describe_compute_environments(computeEnvironments=[entry["computeEnvironment"]])
        kinds += [environment["computeResources"]["type"] for environment in described["computeEnvironments"]]
    assert kinds == ["SPOT", "EC2"]


def test_a_deployed_bucket_is_encrypted(stack: Stack) -> None:
    """moto passes over a bucket's other properties: the rules above check them."""
    configuration = boto3.client("s3").get_bucket_encryption(Bucket=stack.outputs["Bucket"])
    (rule,) = configuration["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_a_deployed_job_role_names_this_bucket_alone(stack: Stack) -> None:
    iam = boto3.client("iam")
    role = stack.outputs["JobRoleArn"].rpartition("/")[2]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert set(names) == {"runs-and-data", "prices"}
    document = ast.literal_eval(
        iam.get_role_policy(RoleName=role, PolicyName="runs-and-data")["PolicyDocument"]
    )  # as moto prints it
    places = [place for statement in document["Statement"] for place in as_list(statement["Resource"])]
    arn = f"arn:aws:s3:::{stack.outputs['Bucket']}"
    assert set(places) == {f"{arn}/runs/*", f"{arn}/data/*", f"{arn}/runs/*/checkpoints/*", arn}


def push(stack: Stack, *, tag: str) -> str:
    """Push an image to the stack's repository; its digest."""
    name = stack.outputs["RepositoryUri"].partition("/")[2]
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:0"}, "layers": []})
    pushed = boto3.client("ecr").put_image(repositoryName=name, imageManifest=manifest, imageTag=tag)["image"]
    digest: str = pushed["imageId"]["imageDigest"]
    assert digest.startswith("sha256:")
    return digest


def test_submit_reads_queue_roles_bucket_image_and_sizes_from_the_stack(stack: Stack) -> None:
    digest = push(stack, tag="0123abc")
    found = read_stack("job", BatchSettings())
    assert found == BatchSettings(
        output=f"s3://{stack.outputs['Bucket']}/runs",
        image=f"{stack.outputs['RepositoryUri']}:0123abc@{digest}",
        queue=stack.outputs["JobQueue"],
        job_role=stack.outputs["JobRoleArn"],
        execution_role=stack.outputs["ExecutionRoleArn"],
        log_group=stack.outputs["LogGroup"],
        region="eu-central-1",
        num_vcpus=4,
        memory_mebibytes=12288,
        timeout_seconds=14400,
    )
    given = BatchSettings(queue="mine", output="s3://mine/runs", image="mine:1")
    own = read_stack("job", given)
    assert (own.queue, own.output, own.image) == (given.queue, given.output, given.image)


def test_sizes_are_the_stack_s_where_no_option_says_otherwise(stack: Stack) -> None:
    push(stack, tag="0123abc")
    sizes = {"JobVcpus": "8", "JobMemoryMiB": "30000", "JobTimeoutSeconds": "7200"}
    kept = ("ImageTag", "BudgetEmail", "Zones", "InstanceTypes")
    boto3.client("cloudformation").update_stack(
        StackName="job",
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in sizes.items()]
        + [{"ParameterKey": key, "UsePreviousValue": True} for key in kept],
        Capabilities=["CAPABILITY_IAM"],
    )
    settings = configure(Options(to="batch", stack="job"))
    assert (settings.num_vcpus, settings.memory_mebibytes, settings.timeout_seconds) == (8, 30000, 7200)
    given = configure(Options(to="batch", stack="job", cpus=2, memory="8Gi", timeout=600))
    assert (given.num_vcpus, given.memory_mebibytes, given.timeout_seconds) == (2, 8192, 600)


def test_image_that_is_not_pushed_is_said_with_what_to_do(stack: Stack) -> None:
    push(stack, tag="of-another-commit")
    image = f"{re.escape(stack.outputs['RepositoryUri'])}:0123abc"
    with pytest.raises(UsageError, match=f"^stack job: image {image} is not there; `make image push-image` pushes it"):
        read_stack("job", BatchSettings())


def test_stack_that_is_not_whole_is_named_with_its_state() -> None:
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    with mock_aws():
        boto3.client("cloudformation", region_name="eu-west-1").create_stack(
            StackName="other", TemplateBody=json.dumps(template)
        )
        with pytest.raises(UsageError, match="stack other: is CREATE_COMPLETE, without the output JobQueue; must be"):
            read_stack("other", BatchSettings(region="eu-west-1"))


def test_stack_that_does_not_exist_is_named(stack: Stack) -> None:
    with pytest.raises(UsageError, match="stack absent: "):
        read_stack("absent", BatchSettings())
