"""Prices of AWS, over real HTTP: spot prices from moto's EC2, those on demand from a stub of the price list."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.errors import AccessDeniedError, StorageError
from job.storage import aws
from job.storage.prices import PRICE_LIST_REGION, read_on_demand_price, read_spot_price
from tests.conftest import Answer
from tests.models.stub_aws import StubAws, serve_aws


@pytest.fixture
def price_list(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubAws]:
    """The price list beside moto's services; `bucket` leads boto3 to these."""
    monkeypatch.setattr("job.storage.aws.ANSWER_SECONDS", 60)  # moto's first answer of a service takes long
    with serve_aws() as stub:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", stub.url)
        yield stub


def price_list_client() -> Any:
    return aws.build_quick_client("pricing", region=PRICE_LIST_REGION)


def test_price_on_demand_is_that_of_a_plain_linux_machine_in_the_region(price_list: StubAws) -> None:
    price_list.prices = {("eu-west-1", "g5.xlarge"): 1.123, ("us-east-1", "g5.xlarge"): 1.006}
    assert read_on_demand_price(price_list_client(), "g5.xlarge", region="eu-west-1") == 1.123
    assert read_on_demand_price(price_list_client(), "g6.xlarge", region="eu-west-1") is None
    [(_, asked), _] = price_list.requests
    assert {each["Field"]: each["Value"] for each in asked["Filters"]} == {
        "instanceType": "g5.xlarge", "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used",
    }  # fmt: skip


def test_missing_right_to_the_price_list_is_access_denied(price_list: StubAws) -> None:
    price_list.refusal = "AccessDeniedException"
    with pytest.raises(AccessDeniedError, match=r"price of g5\.xlarge"):
        read_on_demand_price(price_list_client(), "g5.xlarge", region="eu-west-1")


def test_spot_price_is_the_median_of_the_zones_or_that_of_one_zone(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.storage.aws.ANSWER_SECONDS", 60)  # moto's first answer of a service takes long
    client = aws.build_quick_client("ec2")
    everywhere = read_spot_price(client, "g5.xlarge")
    here = read_spot_price(client, "g5.xlarge", zone="us-east-1a")
    assert everywhere is not None
    assert here is not None
    assert 0 < everywhere < 100
    assert 0 < here < 100
    assert read_spot_price(client, "p99.huge") is None


def test_price_list_that_never_answers_is_given_up_after_seconds(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StorageError):
            read_on_demand_price(price_list_client(), "g5.xlarge", region="us-east-1")


Job = Callable[..., Answer]


def test_plan_asks_aws_for_the_prices_of_its_region(job: Job, price_list: StubAws, tiny: Callable[..., Path]) -> None:
    price_list.prices = {("eu-west-1", "g5.xlarge"): 3600.0, ("us-east-1", "g5.xlarge"): 1800.0}
    plan = ("plan", "--manifest", tiny(), "--prices", "aws")
    months = {f"{datetime.now(UTC):%Y-%m}"}
    said = job(*plan, "--region", "eu-west-1")
    assert said.exit_code == 0, said.stderr
    months.add(f"{datetime.now(UTC):%Y-%m}")
    assert any(f"prices of eu-west-1 in {month}" in said.stdout for month in months)
    dollars = {region: _dollars(job(*plan, "--region", region).stdout) for region in ("eu-west-1", "us-east-1")}
    assert dollars["eu-west-1"] == pytest.approx(2 * dollars["us-east-1"], rel=0.01)
    assert dollars["us-east-1"] == pytest.approx(_dollars(job(*plan).stdout))  # of AWS_DEFAULT_REGION


def test_type_that_the_region_does_not_offer_is_named(job: Job, price_list: StubAws, tiny: Callable[..., Path]) -> None:
    answer = job("plan", "--manifest", tiny(), "--prices", "aws", "--region", "eu-west-1")
    assert answer.exit_code == 2
    assert "g5.xlarge has no price in eu-west-1: it is not offered there; take another type" in answer.stderr


def test_prices_of_aws_need_a_region(
    job: Job, bucket: str, tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    answer = job("plan", "--manifest", tiny(), "--prices", "aws")
    assert answer.exit_code == 2
    assert "region" in answer.stderr


def _dollars(text: str) -> float:
    (found,) = re.findall(r"\$([\d.]+) on demand", text)
    return float(found)
