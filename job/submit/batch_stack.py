"""What the CloudFormation stack of infra/batch.yaml says of where and on what containers run: `--stack`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from job.errors import UsageError
from job.storage.aws import build_client
from job.storage.translation import translate_errors
from job.submit.batch_documents import BatchSettings


def read_stack(name: str, settings: BatchSettings) -> BatchSettings:
    """`settings` with the sizes of the stack `name`, and with its outputs where fields are empty. Its image is pinned.

    Raises `UsageError` if there is no such stack, if it is not whole, or if its image has not been pushed.
    """
    with translate_errors(f"stack {name}"):
        client = build_client("cloudformation", region=settings.region)
        described = client.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    if "JobQueue" not in outputs:
        raise UsageError(
            f"stack {name}: is {described['StackStatus']}, without the output JobQueue; must be a finished stack of "
            "infra/batch.yaml, which `make deploy` makes"
        )
    parameters = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in described["Parameters"]}
    region = outputs["Region"]
    return replace(
        settings,
        output=settings.output or f"s3://{outputs['Bucket']}/runs",
        image=settings.image or _pin_image(name, outputs["RepositoryUri"], parameters["ImageTag"], region),
        queue=settings.queue or outputs["JobQueue"],
        job_role=settings.job_role or outputs["JobRoleArn"],
        execution_role=outputs["ExecutionRoleArn"],
        log_group=outputs["LogGroup"],
        region=region,
        num_vcpus=int(parameters["JobVcpus"]),
        memory_mebibytes=int(parameters["JobMemoryMiB"]),
        timeout_seconds=int(parameters["JobTimeoutSeconds"]),
    )


def _pin_image(stack: str, repository: str, tag: str, region: str) -> str:
    """`REPOSITORY:TAG@DIGEST`, so that what runs, and what the results say of it, is exactly this image."""
    registry, _, name = repository.partition("/")
    account = registry.partition(".")[0]
    client: Any = build_client("ecr", region=region)
    with translate_errors(f"stack {stack}: image {repository}:{tag}"):
        try:
            (image,) = client.describe_images(registryId=account, repositoryName=name, imageIds=[{"imageTag": tag}])[
                "imageDetails"
            ]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ImageNotFoundException":
                raise
            raise UsageError(
                f"stack {stack}: image {repository}:{tag} is not there; `make image push-image` pushes it, from the "
                "commit that `make deploy` was called at"
            ) from error
    return f"{repository}:{tag}@{image['imageDigest']}"
