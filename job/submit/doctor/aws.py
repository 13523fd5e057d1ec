"""Checks of an AWS account for the back end `batch`: credentials, stack, queue, quotas, instance types and image.

Every question is one read with a bounded wait. Codes of quotas: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/
ec2-instance-quotas.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from job.errors import ObjectMissing, UsageError
from job.storage.aws import build_quick_client
from job.storage.translation import translate_errors
from job.submit import batch
from job.submit.batch_documents import BatchSettings
from job.submit.doctor.finding import Finding, Unseen, ask, look
from job.submit.options import Options
from job.submit.pool import Pool, read_pool

QUOTAS = {
    "g": ("G and VT", "L-3819A6DF", "L-DB2E81BA"),
    "p": ("P", "L-7212CCBC", "L-417A185B"),
    "standard": ("Standard", "L-34B43A08", "L-1216C47A"),
}
"""By family: its name, and the codes of its quotas of vCPUs, spot and on demand."""
FAMILIES = {"g": "g", "vt": "g", "p": "p"} | dict.fromkeys("acdhimrtz", "standard")
IMAGE_IN_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?/(?P<name>[^:@]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def check_batch(options: Options) -> Iterator[Finding]:
    """Whether Batch can start a container. Where one answer is needed for the next, it ends at the first fault."""
    caller = look("credentials", _describe_caller)
    yield caller
    if not caller.ok:
        return
    yield look("region", lambda: _check_region(options))
    found: list[BatchSettings] = []
    stack = look("stack" if options.stack else "options", lambda: _configure(options, found))
    yield stack
    if not found:
        return
    settings = found[0]
    pools: list[Pool] = []
    yield look("queue", lambda: _check_queue(settings, pools))
    if pools and pools[0].instance_types:
        pool, region = pools[0], settings.region
        yield look("instance types", lambda: _check_offers(pool, region))
        yield look("quota", lambda: _check_quotas(pool, settings))
    yield look("image", lambda: _check_image(settings))


def _describe_caller() -> str:
    with translate_errors("AWS credentials"):
        answer = build_quick_client("sts").get_caller_identity()
    return f"account {answer['Account']}, {answer['Arn']}"


def _check_region(options: Options) -> str:
    with translate_errors("AWS region"):
        return str(build_quick_client("batch", region=options.region).meta.region_name)


def _configure(options: Options, found: list[BatchSettings]) -> str:
    settings = batch.configure(options)
    if not settings.queue or not settings.image:
        raise UsageError("--to batch needs --queue and --image, or --stack NAME to read them from")
    found.append(settings)
    sizes = f"{settings.num_vcpus} vCPUs, {settings.memory_mebibytes} MiB and {settings.num_gpus} GPUs a container"
    return f"{options.stack}: {sizes}" if options.stack else sizes


def _check_queue(settings: BatchSettings, pools: list[Pool]) -> str:
    pool = read_pool(settings.queue, region=settings.region)
    pools.append(pool)
    if pool.faults:
        raise UsageError("; ".join(pool.faults))
    if 0 < pool.max_vcpus < settings.num_vcpus:
        raise UsageError(
            f"a container asks for {settings.num_vcpus} vCPUs, the queue has {pool.max_vcpus} at most; deploy the "
            "stack with a larger MaxVcpus"
        )
    markets = ", then ".join("spot" if market == "SPOT" else "on demand" for market in pool.markets)
    types, name = ", ".join(pool.instance_types), settings.queue.rpartition("/")[2]
    return f"{name}: {types}; {markets}, up to {pool.max_vcpus} vCPUs"


def _check_offers(pool: Pool, region: str | None) -> str:
    """Which types of the pool the region offers. A family, such as `g5`, or `optimal` stands for several types."""
    wanted = [name for name in pool.instance_types if "." in name]
    if not wanted:
        raise Unseen(f"{', '.join(pool.instance_types)}: are families, of which Batch chooses types")

    def question() -> str:
        client = build_quick_client("ec2", region=region)
        filters = [{"Name": "instance-type", "Values": wanted}]
        with translate_errors("instance types"):
            pages = client.get_paginator("describe_instance_type_offerings").paginate(
                LocationType="availability-zone", Filters=filters
            )
            offers = [offer for page in pages for offer in page["InstanceTypeOfferings"]]
        zones = {
            name: sorted({offer["Location"] for offer in offers if offer["InstanceType"] == name}) for name in wanted
        }
        where = client.meta.region_name
        absent = [name for name, places in zones.items() if not places]
        if len(absent) == len(wanted):
            raise UsageError(
                f"{where} offers none of {', '.join(wanted)}; deploy with other InstanceTypes, or elsewhere"
            )
        said = "; ".join(f"{name} in {len(places)} zones" for name, places in zones.items() if places)
        if absent:
            raise Unseen(f"{said}; {where} does not offer {', '.join(absent)}: deploy without")
        return said

    return ask("what the region offers", "ec2:DescribeInstanceTypeOfferings", question)


def _check_quotas(pool: Pool, settings: BatchSettings) -> str:
    """Whether one container fits into the quota of spot machines, or into that of machines on demand."""
    families = {FAMILIES.get(re.match(r"[a-z]+", name)[0]) for name in pool.instance_types}  # type: ignore[index]
    known = [QUOTAS[family] for family in QUOTAS if family in families]
    if not known:
        raise Unseen(f"no quota is known for {', '.join(pool.instance_types)}")

    def question() -> str:
        said, most = [], 0.0
        for name, spot, on_demand in known:
            values = [_read_quota(code, settings.region) for code in (spot, on_demand)]
            most = max(most, *values)
            said.append(f"{name}: {values[0]:g} vCPUs spot, {values[1]:g} on demand")
        if most < settings.num_vcpus:
            codes = [code for _, *pair in known for code in pair]
            raise UsageError(
                f"{'; '.join(said)}; a container needs {settings.num_vcpus}: ask for more with `aws service-quotas "
                f"request-service-quota-increase --service-code ec2 --quota-code {codes[0]} --desired-value 32`"
            )
        return "; ".join(said)

    return ask("the quota", "servicequotas:GetServiceQuota", question)


def _read_quota(code: str, region: str | None) -> float:
    """The quota's value, or AWS's default where the account has none of its own."""
    client = build_quick_client("service-quotas", region=region)
    questions: list[Callable[..., dict[str, dict[str, float]]]]
    questions = [client.get_service_quota, client.get_aws_default_service_quota]
    for question in questions:
        try:
            with translate_errors(f"quota {code}"):
                return float(question(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
        except (UsageError, ObjectMissing):
            continue
    raise Unseen(f"quota {code} is not known in {client.meta.region_name}")


def _check_image(settings: BatchSettings) -> str:
    place = IMAGE_IN_ECR.fullmatch(settings.image)
    if place is None:
        raise Unseen(f"{settings.image}: not in ECR, so whether it is there shows when a machine pulls it")
    wanted = {"imageDigest": place["digest"]} if place["digest"] else {"imageTag": place["tag"] or "latest"}

    def question() -> str:
        client = build_quick_client("ecr", region=place["region"])
        try:
            with translate_errors(settings.image):
                found = client.describe_images(
                    registryId=place["account"], repositoryName=place["name"], imageIds=[wanted]
                )["imageDetails"][0]
        except (UsageError, ObjectMissing) as error:
            raise UsageError(
                f"{settings.image} is not in the repository; run `make image push-image` ({error})"
            ) from error
        return f"{place['name']}: {found['imageDigest']}"

    return ask("the image", "ecr:DescribeImages", question)
