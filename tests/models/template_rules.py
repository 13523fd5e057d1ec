"""What must hold of `infra/batch.yaml` and no linter looks at: pure functions over the template that return faults."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path
from typing import Any

from cfnlint.decode import cfn_yaml

from job.submit.backend import RETRYABLE_EXIT_CODES
from tests.models.batch_retries import EVALUATE_ON_EXIT, EXITED, OTHER_FAILURES, decide

Template = dict[str, Any]
Rule = Callable[[Template], list[str]]

RULES: dict[str, Rule] = {}
"""By name; `test_infra` has at least one mutation for each."""

OUTPUTS = {
    *("JobQueue", "JobDefinition", "JobRoleArn", "ExecutionRoleArn"),
    *("Bucket", "RepositoryUri", "LogGroup", "Region", "SubmitterPolicyArn"),
}
STUCK_REASONS = {
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
}
"""https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable_time_limit_actions.html"""
MISSING_KEYS = ("runs/optimizers/runs/adam-s0-0123456789/result.json", "data/stl10/train_X.bin")
"""Keys that a run asks for before they exist."""
WITHOUT_RESOURCES = {
    *("batch:DescribeComputeEnvironments", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues"),
    *("batch:DescribeJobs", "batch:ListJobs", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeSpotPriceHistory"),
    *("pricing:GetProducts", "servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota"),
}
"""Actions that know no resources, so that a statement must name `*`:
https://docs.aws.amazon.com/service-authorization/latest/reference/"""


def load_template(path: Path) -> Template:
    """The template with `!Ref X` as `{"Ref": "X"}` and so on, as CloudFormation sees it."""
    template: Template = json.loads(json.dumps(cfn_yaml.load(str(path)), default=str))
    return template


def rule(function: Rule) -> Rule:
    """Register `function` under its name."""
    RULES[function.__name__] = function
    return function


def of_type(template: Template, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and properties of every resource of one type."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == kind:
            yield name, resource.get("Properties", {})


def require(*, held: bool, fault: str) -> list[str]:
    """`fault`, unless it held."""
    return [] if held else [fault]


def each(template: Template, kind: str, held: Callable[[dict[str, Any]], bool], fault: str) -> list[str]:
    """`fault` for every resource of `kind` that does not hold, and one more if there is none at all."""
    found = list(of_type(template, kind))
    faults = [f"{name}: {fault}" for name, properties in found if not held(properties)]
    return faults if found else [f"there is no {kind}"]


def job(template: Template) -> dict[str, Any]:
    """The properties of the one job definition."""
    ((_, properties),) = of_type(template, "AWS::Batch::JobDefinition")
    return properties


def statements(template: Template, role: str) -> list[dict[str, Any]]:
    """What a role's inline policies, or a managed policy, say; `Action` and `Resource` are always lists."""
    properties = template["Resources"][role]["Properties"]
    policies = [properties] if "PolicyDocument" in properties else properties.get("Policies", [])
    return [
        {**statement, "Action": as_list(statement["Action"]), "Resource": as_list(statement["Resource"])}
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def as_list(value: Any) -> list[Any]:
    """`value` itself or the only element."""
    return value if isinstance(value, list) else [value]


def text(value: Any) -> str:
    """What is written in a `!Sub`, or in a plain string; nothing for other functions."""
    return str(value.get("Fn::Sub", "")) if isinstance(value, dict) else str(value)


def lowest(template: Template, value: Any) -> float:
    """The least that a number can be, which for a parameter is its MinValue."""
    if isinstance(value, dict):
        parameter = template["Parameters"][value["Ref"]]
        return float(parameter.get("MinValue", "-inf"))
    return float(value)


@rule
def exit_rules_are_five_at_most(template: Template) -> list[str]:
    count = len(job(template)["RetryStrategy"]["EvaluateOnExit"])
    return require(held=count <= 5, fault=f"EvaluateOnExit has {count} rules; AWS takes 5")


@rule
def exit_rules_are_those_of_the_design(template: Template) -> list[str]:
    rules = job(template)["RetryStrategy"]["EvaluateOnExit"]
    return require(held=rules == EVALUATE_ON_EXIT, fault=f"EvaluateOnExit is {rules}")


@rule
def exit_codes_are_retried_as_the_program_says(template: Template) -> list[str]:
    rules = job(template)["RetryStrategy"]["EvaluateOnExit"]
    faults = [
        f"exit code {code}: {answer}"
        for code in range(1, 256)
        if ((answer := decide(rules, exit_code=code, status=EXITED)) == "RETRY") != (code in RETRYABLE_EXIT_CODES)
    ]
    if decide(rules, exit_code=137, reason="OutOfMemoryError: Container killed", status=EXITED) != "EXIT":
        faults.append("a job without enough memory is tried again")
    return faults


@rule
def failures_beside_the_program_are_retried(template: Template) -> list[str]:
    rules = job(template)["RetryStrategy"]["EvaluateOnExit"]
    return [
        f"{status!r}, {reason!r} ends the job"
        for status, reason in OTHER_FAILURES
        if decide(rules, status=status, reason=reason) != "RETRY"
    ]


@rule
def attempts_are_one_to_ten(template: Template) -> list[str]:
    attempts = job(template)["RetryStrategy"]["Attempts"]
    return require(held=1 <= attempts <= 10, fault=f"Attempts is {attempts}; AWS takes 1 to 10")


@rule
def timeout_is_a_minute_at_least(template: Template) -> list[str]:
    seconds = lowest(template, job(template).get("Timeout", {}).get("AttemptDurationSeconds", 0))
    return require(held=seconds >= 60, fault=f"the timeout may be {seconds:g} s; AWS takes 60 and more")


@rule
def a_job_gets_one_gpu(template: Template) -> list[str]:
    resources = {
        entry["Type"]: entry["Value"] for entry in job(template)["ContainerProperties"]["ResourceRequirements"]
    }
    held = resources.get("GPU") == "1" and {"VCPU", "MEMORY"} <= set(resources)
    return require(held=held, fault=f"ResourceRequirements are {resources}")


@rule
def environment_holds_no_secret(template: Template) -> list[str]:
    container = job(template)["ContainerProperties"]
    secret = re.compile(r"secret|passw|token|credential|access_?key|api_?key|private", re.IGNORECASE)
    key_id = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")
    return [
        f"the environment holds {entry['Name']}"
        for entry in container.get("Environment", [])
        if secret.search(entry["Name"]) or key_id.search(str(entry["Value"]))
    ]


@rule
def container_is_not_privileged(template: Template) -> list[str]:
    container = job(template)["ContainerProperties"]
    return require(held=container.get("Privileged", False) is False, fault="the container is privileged")


@rule
def container_is_not_root(template: Template) -> list[str]:
    user = str(job(template)["ContainerProperties"].get("User", ""))
    return require(held=bool(re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", user)), fault=f"the user is {user!r}")


@rule
def root_is_read_only_and_tmp_is_not(template: Template) -> list[str]:
    container = job(template)["ContainerProperties"]
    mounts = {mount["ContainerPath"] for mount in container.get("LinuxParameters", {}).get("Tmpfs", [])}
    return require(held=container.get("ReadonlyRootFilesystem") is True, fault="the root can be written") + require(
        held="/tmp" in mounts, fault="/tmp cannot be written"
    )


@rule
def container_has_init_and_shared_memory(template: Template) -> list[str]:
    linux = job(template)["ContainerProperties"].get("LinuxParameters", {})
    held = linux.get("InitProcessEnabled") is True and linux.get("SharedMemorySize", 0) >= 64
    return require(held=held, fault=f"LinuxParameters are {linux}")


@rule
def job_role_is_not_the_execution_role(template: Template) -> list[str]:
    container = job(template)["ContainerProperties"]
    roles = container.get("JobRoleArn"), container.get("ExecutionRoleArn")
    return require(held=None not in roles and roles[0] != roles[1], fault=f"the roles are {roles}")


@rule
def job_role_deletes_nothing(template: Template) -> list[str]:
    deleting = ("s3:deleteobject", "s3:deleteobjectversion", "s3:deletebucket", "s3:putlifecycleconfiguration")
    return [
        f"the job role may {action}"
        for statement in statements(template, "JobRole")
        for action in statement["Action"]
        if any(fnmatch.fnmatchcase(name, action.lower()) for name in deleting)
    ]


@rule
def no_policy_has_wildcards(template: Template) -> list[str]:
    whole = ("*", "arn:aws:s3:::*", "${Bucket.Arn}*", "${Bucket.Arn}/*")
    faults = []
    for name in ("JobRole", "SubmitterPolicy"):
        for statement in statements(template, name):
            faults += [f"{name} may {action}" for action in statement["Action"] if "*" in action]
            if not WITHOUT_RESOURCES.issuperset(statement["Action"]):
                faults += [f"{name} reaches {place}" for place in map(text, statement["Resource"]) if place in whole]
    managed = template["Resources"]["JobRole"]["Properties"].get("ManagedPolicyArns", [])
    return faults + [f"the job role has {arn}" for arn in managed]


@rule
def job_role_reads_prices(template: Template) -> list[str]:
    actions = {action for statement in statements(template, "JobRole") for action in statement["Action"]}
    return [
        f"the job role may not {action}"
        for action in ("ec2:DescribeSpotPriceHistory", "pricing:GetProducts")
        if action not in actions
    ]


@rule
def submitter_gives_jobs_these_two_roles_alone(template: Template) -> list[str]:
    roles = [
        statement["Resource"]
        for statement in statements(template, "SubmitterPolicy")
        if "iam:PassRole" in statement["Action"]
    ]
    wanted = [{"Fn::GetAtt": ["JobRole", "Arn"]}, {"Fn::GetAtt": ["ExecutionRole", "Arn"]}]
    return require(held=roles == [wanted], fault=f"the submitter passes {roles}")


@rule
def submitter_submits_to_this_queue_and_ends_jobs_of_this_program(template: Template) -> list[str]:
    found = statements(template, "SubmitterPolicy")
    queues = [statement["Resource"][0] for statement in found if "batch:SubmitJob" in statement["Action"]]
    ends = [statement.get("Condition") for statement in found if "batch:TerminateJob" in statement["Action"]]
    return require(held=queues == [{"Ref": "JobQueue"}], fault=f"the submitter submits to {queues}") + require(
        held=ends == [{"Null": {"aws:ResourceTag/job:experiment": "false"}}], fault="the submitter ends any job"
    )


@rule
def job_role_writes_runs_alone(template: Template) -> list[str]:
    return [
        f"the job role may {action} {place}"
        for statement in statements(template, "JobRole")
        for action in statement["Action"]
        for place in map(text, statement["Resource"])
        if action.startswith("s3:Put") and not place.startswith("${Bucket.Arn}/runs/")
    ]


@rule
def missing_keys_are_404_and_listing_is_by_prefix(template: Template) -> list[str]:
    """S3 answers 404 only if `s3:ListBucket` would be allowed; it may ask with the key as prefix, or without one."""
    conditions = [
        statement.get("Condition", {})
        for statement in statements(template, "JobRole")
        if "s3:ListBucket" in statement["Action"]
    ]

    def allowed(prefix: str | None) -> bool:
        return any(condition_holds(condition, prefix) for condition in conditions)

    faults = [f"a missing {key} would be a 403" for key in MISSING_KEYS if not (allowed(key) and allowed(None))]
    return faults + require(held=not allowed("other/"), fault="the job role lists other prefixes")


def condition_holds(condition: dict[str, dict[str, Any]], prefix: str | None) -> bool:
    """Whether conditions on `s3:prefix` hold for a request with it, or without (None)."""
    return all(
        operator.endswith("IfExists")
        if prefix is None
        else any(fnmatch.fnmatchcase(prefix, pattern) for pattern in as_list(keys["s3:prefix"]))
        for operator, keys in condition.items()
    )


@rule
def bucket_takes_tls_alone(template: Template) -> list[str]:
    def denies_plain_http(properties: dict[str, Any]) -> bool:
        return any(
            statement["Effect"] == "Deny"
            and statement["Principal"] == "*"
            and statement["Action"] == "s3:*"
            and len(as_list(statement["Resource"])) == 2
            and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
            for statement in properties["PolicyDocument"]["Statement"]
        )

    return each(template, "AWS::S3::BucketPolicy", denies_plain_http, "plain HTTP is not denied")


@rule
def bucket_is_not_public(template: Template) -> list[str]:
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    return each(
        template,
        "AWS::S3::Bucket",
        lambda bucket: all(bucket.get("PublicAccessBlockConfiguration", {}).get(name) is True for name in names),
        "public access is not blocked",
    )


@rule
def bucket_is_encrypted(template: Template) -> list[str]:
    return each(template, "AWS::S3::Bucket", lambda bucket: "BucketEncryption" in bucket, "is not encrypted")


@rule
def bucket_owner_owns_the_objects(template: Template) -> list[str]:
    def enforced(bucket: dict[str, Any]) -> bool:
        return bucket.get("OwnershipControls", {}).get("Rules") == [{"ObjectOwnership": "BucketOwnerEnforced"}]

    return each(template, "AWS::S3::Bucket", enforced, "ACLs are in use")


@rule
def results_outlive_the_stack(template: Template) -> list[str]:
    bucket = template["Resources"]["Bucket"]
    held = bucket.get("DeletionPolicy") == bucket.get("UpdateReplacePolicy") == "Retain"
    return require(held=held, fault="deleting the stack deletes the results")


def lifecycle(template: Template) -> list[dict[str, Any]]:
    """The bucket's lifecycle rules that are in force."""
    rules = template["Resources"]["Bucket"]["Properties"].get("LifecycleConfiguration", {}).get("Rules", [])
    return [entry for entry in rules if entry["Status"] == "Enabled"]


@rule
def incomplete_uploads_are_aborted(template: Template) -> list[str]:
    held = any(
        entry.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation") == 1
        and not {"Prefix", "TagFilters"} & set(entry)
        for entry in lifecycle(template)
    )
    return require(held=held, fault="incomplete uploads stay for ever")


@rule
def checkpoints_expire_and_nothing_else(template: Template) -> list[str]:
    tag = {"Key": "kind", "Value": "checkpoint"}
    expiring = [entry for entry in lifecycle(template) if any("Expiration" in key for key in entry)]
    held = [(entry.get("TagFilters"), entry.get("ExpirationInDays")) for entry in expiring] == [([tag], 14)]
    tagging = [
        statement for statement in statements(template, "JobRole") if "s3:PutObjectTagging" in statement["Action"]
    ]
    only_this = {"StringEquals": {f"s3:RequestObjectTag/{tag['Key']}": tag["Value"]}}
    return require(held=held, fault=f"expiring: {expiring}") + require(
        held=[statement.get("Condition") for statement in tagging] == [only_this],
        fault="the job role may not set this tag, or may set others",
    )


@rule
def repository_tags_are_immutable_and_scanned(template: Template) -> list[str]:
    return each(
        template,
        "AWS::ECR::Repository",
        lambda repository: (
            repository.get("ImageTagMutability") == "IMMUTABLE"
            and repository.get("ImageScanningConfiguration") == {"ScanOnPush": True}
            and bool(json.loads(repository.get("LifecyclePolicy", {}).get("LifecyclePolicyText", "{}")).get("rules"))
        ),
        "tags can be moved, images are not scanned on push, or all are kept",
    )


@rule
def logs_expire(template: Template) -> list[str]:
    return each(template, "AWS::Logs::LogGroup", lambda group: "RetentionInDays" in group, "has no retention")


def launch(template: Template) -> dict[str, Any]:
    """What the one launch template says."""
    ((_, properties),) = of_type(template, "AWS::EC2::LaunchTemplate")
    data: dict[str, Any] = properties["LaunchTemplateData"]
    return data


@rule
def metadata_needs_a_token(template: Template) -> list[str]:
    tokens = launch(template).get("MetadataOptions", {}).get("HttpTokens")
    return require(held=tokens == "required", fault=f"HttpTokens is {tokens}: IMDSv1 answers")


@rule
def metadata_is_one_hop_away(template: Template) -> list[str]:
    hops = launch(template).get("MetadataOptions", {}).get("HttpPutResponseHopLimit")
    return require(held=hops == 1, fault=f"HttpPutResponseHopLimit is {hops}")


@rule
def volumes_are_encrypted(template: Template) -> list[str]:
    volumes = [mapping["Ebs"] for mapping in launch(template).get("BlockDeviceMappings", [])]
    held = bool(volumes) and all(volume.get("Encrypted") is True for volume in volumes)
    return require(held=held, fault="a volume is not encrypted")


def user_data(template: Template) -> list[str]:
    """The shell scripts that a machine runs when it starts, in their order."""
    message = message_from_string(launch(template).get("UserData", {}).get("Fn::Base64", ""))
    return [str(part.get_payload()) for part in message.walk() if part.get_content_type() == "text/x-shellscript"]


@rule
def machine_prepares_its_agent_its_facts_and_its_end(template: Template) -> list[str]:
    """What the scripts do is shown by running them, in `test_user_data`."""
    scripts = user_data(template)
    told = ("ECS_ENABLE_SPOT_INSTANCE_DRAINING=true", "/var/lib/job/machine.json", "spot/instance-action")
    held = len(scripts) == 3 and all(word in script for word, script in zip(told, scripts, strict=True))
    return require(held=held, fault=f"the user data are {len(scripts)} scripts: {scripts}")


@rule
def jobs_see_what_their_machine_is(template: Template) -> list[str]:
    container = job(template)["ContainerProperties"]
    folders = {volume["Name"]: volume["Host"]["SourcePath"] for volume in container.get("Volumes", [])}
    mounts = [
        (folders.get(mount["SourceVolume"]), mount["ContainerPath"], mount.get("ReadOnly"))
        for mount in container.get("MountPoints", [])
    ]
    files = [entry["Value"] for entry in container["Environment"] if entry["Name"] == "JOB_MACHINE_FILE"]
    held = mounts == [("/var/lib/job", "/var/lib/job", True)] and files == ["/var/lib/job/machine.json"]
    return require(held=held, fault=f"mounts are {mounts}, JOB_MACHINE_FILE is {files}")


@rule
def machines_scale_to_zero(template: Template) -> list[str]:
    return each(
        template,
        "AWS::Batch::ComputeEnvironment",
        lambda environment: environment["ComputeResources"].get("MinvCpus") == 0,
        "keeps machines that nobody uses",
    )


@rule
def spot_comes_first(template: Template) -> list[str]:
    ((_, queue),) = of_type(template, "AWS::Batch::JobQueue")
    environments = dict(of_type(template, "AWS::Batch::ComputeEnvironment"))
    order = sorted(queue["ComputeEnvironmentOrder"], key=lambda entry: entry["Order"])
    found = [environments[entry["ComputeEnvironment"]["Ref"]]["ComputeResources"] for entry in order]
    kinds = [(resources["Type"], resources["AllocationStrategy"]) for resources in found]
    wanted = [("SPOT", "SPOT_PRICE_CAPACITY_OPTIMIZED"), ("EC2", "BEST_FIT_PROGRESSIVE")]
    return require(held=kinds == wanted, fault=f"the queue's order is {kinds}")


@rule
def on_demand_machines_have_a_maximum_of_their_own(template: Template) -> list[str]:
    environments = of_type(template, "AWS::Batch::ComputeEnvironment")
    most = {found["ComputeResources"]["Type"]: found["ComputeResources"]["MaxvCpus"] for _, found in environments}
    defaults = {kind: template["Parameters"][value["Ref"]]["Default"] for kind, value in most.items()}
    return require(held=defaults["EC2"] < defaults["SPOT"], fault=f"the maxima are {most}: {defaults}")


@rule
def machines_start_in_a_third_zone_where_there_is_one(template: Template) -> list[str]:
    condition = "HasThreeZones"
    wanted = [
        {"Ref": "SubnetA"},
        {"Ref": "SubnetB"},
        {"Fn::If": [condition, {"Ref": "SubnetC"}, {"Ref": "AWS::NoValue"}]},
    ]
    third = [template["Resources"][name].get("Condition") for name in ("SubnetC", "RouteOfSubnetC")]
    return each(
        template,
        "AWS::Batch::ComputeEnvironment",
        lambda environment: environment["ComputeResources"]["Subnets"] == wanted,
        "does not start machines in three zones",
    ) + require(held=third == [condition] * 2, fault=f"the third zone is made if {third}")


@rule
def stuck_jobs_are_cancelled(template: Template) -> list[str]:
    ((_, queue),) = of_type(template, "AWS::Batch::JobQueue")
    actions = queue.get("JobStateTimeLimitActions", [])
    within = all(600 <= action["MaxTimeSeconds"] <= 86400 for action in actions)
    held = {action["Reason"] for action in actions} == STUCK_REASONS and within
    return require(held=held, fault=f"JobStateTimeLimitActions are {actions}")


@rule
def nothing_connects_to_the_machines(template: Template) -> list[str]:
    return each(
        template, "AWS::EC2::SecurityGroup", lambda group: not group.get("SecurityGroupIngress"), "lets something in"
    )


@rule
def s3_is_reached_inside_aws(template: Template) -> list[str]:
    return each(
        template,
        "AWS::EC2::VPCEndpoint",
        lambda endpoint: endpoint.get("VpcEndpointType") == "Gateway" and bool(endpoint.get("RouteTableIds")),
        "is no gateway in the route table",
    )


@rule
def budget_sends_mail(template: Template) -> list[str]:
    return each(
        template,
        "AWS::Budgets::Budget",
        lambda budget: bool(budget.get("NotificationsWithSubscribers")),
        "tells nobody",
    )


@rule
def outputs_are_what_submit_reads(template: Template) -> list[str]:
    return require(held=set(template["Outputs"]) == OUTPUTS, fault=f"Outputs are {sorted(template['Outputs'])}")
