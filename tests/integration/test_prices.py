"""Prices of AWS, from a real HTTP server: spot prices from moto's EC2, those on demand from a stub of the price list."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from job.errors import AccessDeniedError, StorageError
from job.storage import prices
from job.storage.prices import read_on_demand_price, read_spot_price
from tests.models.stub_aws import StubAws, serve_aws


@pytest.fixture
def price_list(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubAws]:
    """The price list beside moto's services; `bucket` leads boto3 to these."""
    with serve_aws() as stub:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", stub.url)
        yield stub


def test_price_on_demand_is_that_of_a_plain_linux_machine_in_the_region(price_list: StubAws) -> None:
    price_list.prices = {("eu-west-1", "g5.xlarge"): 1.123, ("us-east-1", "g5.xlarge"): 1.006}
    assert read_on_demand_price("g5.xlarge", region="eu-west-1") == 1.123
    assert read_on_demand_price("g6.xlarge", region="eu-west-1") is None
    [(_, asked), _] = price_list.requests
    assert {each["Field"]: each["Value"] for each in asked["Filters"]} == {
        "instanceType": "g5.xlarge", "regionCode": "eu-west-1", "operatingSystem": "Linux", "tenancy": "Shared",
        "preInstalledSw": "NA", "capacitystatus": "Used",
    }  # fmt: skip


def test_missing_right_to_the_price_list_is_access_denied(price_list: StubAws) -> None:
    price_list.refusal = "AccessDeniedException"
    with pytest.raises(AccessDeniedError, match="price of g5.xlarge"):
        read_on_demand_price("g5.xlarge", region="eu-west-1")


def test_spot_price_is_the_median_of_the_zones_or_that_of_one_zone(bucket: str) -> None:
    everywhere = read_spot_price("g5.xlarge", region="us-east-1")
    here = read_spot_price("g5.xlarge", region="us-east-1", zone="us-east-1a")
    assert everywhere is not None
    assert here is not None
    assert 0 < everywhere < 100
    assert 0 < here < 100
    assert read_spot_price("p99.huge", region="us-east-1") is None


def test_price_list_that_never_answers_is_given_up_after_seconds(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StorageError):
            read_on_demand_price("g5.xlarge", region="us-east-1")
