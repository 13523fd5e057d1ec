"""What an hour of a machine costs in AWS at this moment: EC2's spot prices, and the price list for machines on demand.

`job plan` and `job submit --max-usd` ask before a sweep, and a run asks for its own machine. Each question has one
bounded wait, so nobody waits long for a price. Sources:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html and
https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

from job.storage.translation import translate_errors

PRICE_LIST_REGION = "us-east-1"
"""The price list is served in a few regions, and knows the prices of all."""
PRODUCT = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
"""A plain Linux machine. The list also has those with a licence, dedicated hosts and reserved capacity."""


def read_spot_price(client: Any, instance_type: str, *, zone: str | None = None) -> float | None:
    """USD for an hour of a spot machine now: in `zone`, or the median over the region's zones; None if none is offered.

    `client` is one of EC2 in the region. Raises `AccessDeniedError`, `StorageError` or `UsageError`.
    """
    now = datetime.now(UTC)
    where = {"AvailabilityZone": zone} if zone else {}
    with translate_errors(f"spot price of {instance_type}"):
        # from now on: the answer is then the price that holds in each zone, and not its history
        pages = client.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=[instance_type], ProductDescriptions=["Linux/UNIX"], StartTime=now, EndTime=now, **where
        )
        entries = [entry for page in pages for entry in page["SpotPriceHistory"]]
    newest: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry["Timestamp"]):
        if entry["InstanceType"] == instance_type and zone in (None, entry["AvailabilityZone"]):
            newest[entry["AvailabilityZone"]] = entry
    return median(float(entry["SpotPrice"]) for entry in newest.values()) if newest else None


def read_on_demand_price(client: Any, instance_type: str, *, region: str) -> float | None:
    """USD for an hour of a machine on demand by the price list; None if the region does not offer the type.

    `client` is one of the price list, in `PRICE_LIST_REGION`. Raises `AccessDeniedError`, `StorageError` or
    `UsageError`.
    """
    fields = PRODUCT | {"instanceType": instance_type, "regionCode": region}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    with translate_errors(f"price of {instance_type}"):
        answer = client.get_products(ServiceCode="AmazonEC2", FormatVersion="aws_v1", Filters=filters)
    return min(parse_price_list(answer["PriceList"]), default=None)


def parse_price_list(products: Iterable[str]) -> Iterator[float]:
    """Every hourly price on demand, in USD, in the JSON documents that the price list gives for products.

    A price of 0 stands for what another product is billed for, and is left out. The form is that of
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file.html.
    """
    for product in products:
        for term in json.loads(product).get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                usd = float(dimension.get("pricePerUnit", {}).get("USD", 0))
                if dimension.get("unit") == "Hrs" and usd > 0:
                    yield usd
