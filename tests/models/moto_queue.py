"""A job queue of AWS Batch in moto, over machines of the types that a test names."""

from __future__ import annotations

import boto3


def create_queue(name: str, *types: str) -> str:
    """Makes the queue `name` with one compute environment of spot machines, and all that moto wants for it."""
    iam, ec2, batch = (boto3.client(service) for service in ("iam", "ec2", "batch"))
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])["SecurityGroups"][0]
    resources = {
        "type": "SPOT", "minvCpus": 0, "maxvCpus": 64, "desiredvCpus": 0, "instanceRole": profile,
        "instanceTypes": list(types), "subnets": [subnet["SubnetId"]],
        "securityGroupIds": [group["GroupId"]], "spotIamFleetRole": role,
    }  # fmt: skip
    environment = batch.create_compute_environment(
        computeEnvironmentName=name, type="MANAGED", state="ENABLED", serviceRole=role, computeResources=resources
    )["computeEnvironmentArn"]
    order = [{"order": 1, "computeEnvironment": environment}]
    batch.create_job_queue(jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order)
    return name
