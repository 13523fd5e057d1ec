"""What an hour of a machine costs in AWS at this moment: EC2's spot prices, and the price list for machines on demand.

`job plan` and `job submit --max-usd` ask before a sweep, and a run asks for its own machine. Each question has one
bounded wait, so nobody waits long for a price. Sources:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html and
https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

from job.storage.aws import build_quick_client
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


def read_spot_price(instance_type: str, *, region: str | None = None, zone: str | None = None) -> float | None:
    """USD for an hour of a spot machine now: in `zone`, or the median over the region's zones; None if none is offered.

    Raises `AccessDeniedError`, `StorageError` or `UsageError`.
    """
    now = datetime.now(UTC)
    where = {"AvailabilityZone": zone} if zone else {}
    with translate_errors(f"spot price of {instance_type}"):
        pages = build_quick_client("ec2", region=region).get_paginator("describe_spot_price_history")
        # from now on: the answer is then the price that holds in each zone, and not its history
        found = pages.paginate(
            InstanceTypes=[instance_type], ProductDescriptions=["Linux/UNIX"], StartTime=now, EndTime=now, **where
        )
        entries = [entry for page in found for entry in page["SpotPriceHistory"]]
    newest: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry["Timestamp"]):
        newest[entry["AvailabilityZone"]] = entry
    return median(float(entry["SpotPrice"]) for entry in newest.values()) if newest else None


def read_on_demand_price(instance_type: str, *, region: str) -> float | None:
    """USD for an hour of a machine on demand by the price list; None if the region does not offer the type.

    Raises `AccessDeniedError`, `StorageError` or `UsageError`.
    """
    fields = PRODUCT | {"instanceType": instance_type, "regionCode": region}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    with translate_errors(f"price of {instance_type}"):
        client = build_quick_client("pricing", region=PRICE_LIST_REGION)
        answer = client.get_products(ServiceCode="AmazonEC2", FormatVersion="aws_v1", Filters=filters)
    return max((price for product in answer["PriceList"] for price in _hourly_prices(product)), default=None)


def _hourly_prices(product: str) -> Iterator[float]:
    """The prices of an hour in one entry of the price list, which is JSON within JSON."""
    for offer in json.loads(product)["terms"].get("OnDemand", {}).values():
        for dimension in offer["priceDimensions"].values():
            if dimension["unit"] == "Hrs" and "USD" in dimension["pricePerUnit"]:
                price = float(dimension["pricePerUnit"]["USD"])
                if price > 0:
                    yield price
