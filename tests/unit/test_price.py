"""What a machine costs: the host's description of it, AWS's answers over HTTP, and the sum over all attempts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from job.logs import configure_logs
from job.runs import AttemptRecord
from job.storage import FolderStore
from job.storage.prices import parse_price_list
from job.training.host import Host, read_host
from job.training.price import HourlyPrice, ask_price
from job.training.record.machine_time import MachineTime, sum_cost
from tests.conftest import Answer
from tests.results import result_in

SPOT = Host(instance_type="g5.xlarge", zone="eu-west-1a", region="eu-west-1", market="spot")
ON_DEMAND = SPOT.model_copy(update={"market": "on-demand"})
FILE = {"instance_type": "g5.xlarge", "zone": "eu-west-1a", "region": "eu-west-1", "market": "spot",
        "instance_id": "i-0123456789abcdef0"}  # fmt: skip


# The machine


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(FILE | {"what a later host adds": 1}))
    return path


def test_machine_is_known_from_the_file_that_its_host_wrote(machine: Path) -> None:
    assert read_host({"JOB_MACHINE_FILE": str(machine)}) == Host.model_validate(FILE)


def test_instance_type_in_the_environment_counts_before_the_file(machine: Path) -> None:
    found = read_host({"JOB_MACHINE_FILE": str(machine), "JOB_INSTANCE_TYPE": "mine.large"})
    assert (found.instance_type, found.zone) == ("mine.large", "eu-west-1a")
    assert read_host({"JOB_INSTANCE_TYPE": "mine.large"}).instance_type == "mine.large"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("{", "not a description of a machine"), ('{"zone": 1}', "not a"), ("[]", "not a")],
)  # fmt: skip
def test_file_that_is_missing_or_damaged_is_no_fault_and_is_told(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "machine.json"
    if content is not None:
        path.write_text(content)
    with structlog.testing.capture_logs() as events:
        assert read_host({"JOB_MACHINE_FILE": str(path)}) == Host()
    (event,) = events
    assert (event["event"], event["file"]) == ("machine_not_known", str(path))
    assert said in event["reason"]


def test_what_the_host_left_empty_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(FILE | {"zone": "", "market": None}))
    found = read_host({"JOB_MACHINE_FILE": str(path)})
    assert (found.instance_type, found.zone, found.market) == ("g5.xlarge", None, None)


def test_machine_that_nobody_describes_is_not_worth_a_word() -> None:
    with structlog.testing.capture_logs() as events:
        assert read_host({}) == Host()
    assert events == []


# AWS's answers


class Prices(BaseHTTPRequestHandler):
    """EC2's query API and the price list's JSON API, as far as a price takes them."""

    answers: dict[str, Callable[[], tuple[int, str]]]
    requests: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        target = self.headers.get("X-Amz-Target", "DescribeSpotPriceHistory").rpartition(".")[2]
        self.requests.append(f"{target} {body}")
        status, content = self.answers[target]()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml" if content.startswith("<") else "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def prices(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Prices]]:
    """A server that answers for ec2 and pricing, and the environment that leads boto3 to it."""
    handler = type("Handler", (Prices,), {"answers": {}, "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield handler
    server.shutdown()
    server.server_close()


def spot_history(*entries: tuple[str, str, str]) -> tuple[int, str]:
    """EC2's answer with (zone, time, price) of g5.xlarge."""
    items = "".join(
        f"<item><instanceType>g5.xlarge</instanceType><productDescription>Linux/UNIX</productDescription>"
        f"<spotPrice>{price}</spotPrice><timestamp>{moment}</timestamp><availabilityZone>{zone}</availabilityZone></item>"
        for zone, moment, price in entries
    )
    body = f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken></nextToken>"
    space = "http://ec2.amazonaws.com/doc/2016-11-15/"
    return 200, f'<DescribeSpotPriceHistoryResponse xmlns="{space}">{body}</DescribeSpotPriceHistoryResponse>'


def product(usd: str, *, unit: str = "Hrs") -> str:
    """A product of the price list, in its documented form."""
    dimension = {
        "unit": unit,
        "pricePerUnit": {"USD": usd},
        "description": "per On Demand Linux g5.xlarge",
        "endRange": "Inf",
    }
    reserved = {"unit": "Hrs", "pricePerUnit": {"USD": "0.1"}}
    terms = {"OnDemand": {"A.JRTCKXETXF": {"priceDimensions": {"A.JRTCKXETXF.6YS6EN2CT7": dimension}}},
             "Reserved": {"B.C": {"priceDimensions": {"B.C.D": reserved}}}}  # fmt: skip
    return json.dumps(
        {"product": {"attributes": {"instanceType": "g5.xlarge"}}, "serviceCode": "AmazonEC2", "terms": terms}
    )


def test_spot_price_is_the_newest_of_this_zone(prices: type[Prices]) -> None:
    prices.answers["DescribeSpotPriceHistory"] = lambda: spot_history(
        ("eu-west-1a", "2026-11-28T10:00:00Z", "0.41"),
        ("eu-west-1a", "2026-11-29T00:00:00Z", "0.4375"),
        ("eu-west-1b", "2026-11-29T01:00:00Z", "0.2"),
    )
    assert ask_price(SPOT) == 0.4375
    (request,) = prices.requests
    for part in (
        "InstanceType.1=g5.xlarge",
        "AvailabilityZone=eu-west-1a",
        "ProductDescription.1=Linux%2FUNIX",
        "StartTime=",
    ):
        assert part in request


def test_region_follows_from_the_zone_where_the_host_names_none(prices: type[Prices]) -> None:
    prices.answers["DescribeSpotPriceHistory"] = lambda: spot_history(("eu-west-1a", "2026-11-29T00:00:00Z", "0.4"))
    assert ask_price(SPOT.model_copy(update={"region": None})) == 0.4


def test_price_on_demand_is_that_of_the_price_list(prices: type[Prices]) -> None:
    prices.answers["GetProducts"] = lambda: (
        200,
        json.dumps({"FormatVersion": "aws_v1", "PriceList": [product("1.123")]}),
    )
    assert ask_price(ON_DEMAND) == 1.123
    (request,) = prices.requests
    asked = json.loads(request.partition(" ")[2])
    assert asked["ServiceCode"] == "AmazonEC2"
    assert {entry["Field"]: entry["Value"] for entry in asked["Filters"]} == {
        "instanceType": "g5.xlarge", "regionCode": "eu-west-1", "operatingSystem": "Linux", "preInstalledSw": "NA",
        "tenancy": "Shared", "capacitystatus": "Used",
    }  # fmt: skip


def test_price_list_gives_hours_on_demand_alone() -> None:
    assert list(parse_price_list([product("1.5"), product("0.0"), product("7", unit="Quantity"), "{}"])) == [1.5]


def test_spot_prices_are_asked_for_as_a_real_ec2_api_takes_it(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto knows one price for every type and zone. The first answer takes seconds: it reads its tables then."""
    monkeypatch.setattr("job.training.price.ANSWER_SECONDS", 60)
    for name, value in (("ENDPOINT_URL", s3_endpoint), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    assert ask_price(SPOT) == 0.00001


# Never in the way


def ask(host: Host, *, given: float | None = None) -> tuple[float | None, list[Any]]:
    """The price after the wait, and what was logged."""
    price = HourlyPrice(host, given=given)
    with structlog.testing.capture_logs() as events:
        price.begin()
        price.begin()  # every run of a process does
        found = price.wait()
    return found, events


def test_price_is_asked_once_a_process_and_logged(prices: type[Prices]) -> None:
    prices.answers["DescribeSpotPriceHistory"] = lambda: spot_history(("eu-west-1a", "2026-11-29T00:00:00Z", "0.4"))
    price, events = ask(SPOT)
    assert price == 0.4
    assert [event["event"] for event in events] == ["price_found"]
    assert len(prices.requests) == 1


@pytest.mark.parametrize(
    "status_and_body",
    [
        (403, "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>"),
        (503, "<Response><Errors><Error><Code>Unavailable</Code></Error></Errors></Response>"),
        (200, "<html>a proxy's page</html>"),
        (200, "no XML"),
        spot_history(),
        spot_history(("eu-west-1a", "2026-11-29T00:00:00Z", "much")),
    ],
    ids=["no right", "down", "page", "nonsense", "no price", "no number"],
)  # fmt: skip
def test_answer_without_a_price_is_one_line_and_no_fault(
    prices: type[Prices], status_and_body: tuple[int, str]
) -> None:
    prices.answers["DescribeSpotPriceHistory"] = lambda: status_and_body
    price, events = ask(SPOT)
    assert price is None
    assert [event["event"] for event in events] == ["price_not_known"]
    assert len(prices.requests) == 1  # it is not asked again and again


def test_server_that_does_not_answer_is_not_waited_for(prices: type[Prices], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.training.price.WAIT_SECONDS", 0.3)
    monkeypatch.setattr("job.training.price.ANSWER_SECONDS", 120)
    silence = threading.Event()
    prices.answers["DescribeSpotPriceHistory"] = lambda: (silence.wait(120), spot_history())[1]
    price = HourlyPrice(SPOT)
    price.begin()
    assert price.wait() is None
    (asking,) = (thread for thread in threading.enumerate() if thread.name == "price")  # it goes on in vain
    silence.set()
    asking.join(120)  # what it says is not another test's
    assert not asking.is_alive()


def test_credentials_that_are_missing_are_no_fault(prices: type[Prices], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    price, (event,) = ask(SPOT)
    assert price is None
    assert "credentials" in event["reason"].lower()


@pytest.mark.parametrize(
    "host",
    [Host(), Host(instance_type="g5.xlarge"), Host(market="spot", zone="eu-west-1a")],
    ids=["nothing", "no market", "no type"],
)
def test_machine_of_which_too_little_is_known_is_not_asked_for(prices: type[Prices], host: Host) -> None:
    assert ask(host) == (None, [])
    assert prices.requests == []


@pytest.mark.parametrize(
    "host", [SPOT.model_copy(update={"market": "scheduled"}), SPOT.model_copy(update={"zone": None})]
)
def test_machine_that_has_no_price_is_told(prices: type[Prices], host: Host) -> None:
    price, (event,) = ask(host)
    assert (price, event["event"]) == (None, "price_not_known")
    assert prices.requests == []


def test_price_that_the_user_names_is_not_asked_for(prices: type[Prices]) -> None:
    assert ask(SPOT, given=2.0) == (2.0, [])
    assert prices.requests == []


def test_run_asks_for_the_price_of_the_machine_that_it_knows(
    prices: type[Prices], machine: Path, job: Callable[..., Answer], tiny: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("job.training.price.WAIT_SECONDS", 60)  # this machine may be busy
    prices.answers["DescribeSpotPriceHistory"] = lambda: spot_history(("eu-west-1a", "2026-11-29T00:00:00Z", "0.4"))
    monkeypatch.setenv("JOB_MACHINE_FILE", str(machine))
    told = job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out")
    assert told.exit_code == 0, told.stderr
    assert '"price_found"' in told.stderr
    found = result_in(FolderStore(tmp_path / "out"))
    (own,) = found.attempt_records
    assert (own.instance_type, own.zone, own.market, own.usd_per_hour) == ("g5.xlarge", "eu-west-1a", "spot", 0.4)
    assert found.estimated_cost_usd == pytest.approx(0.4 * own.seconds / 3600)


# The sum


NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def attempt(number: int, *, seconds: float, usd_per_hour: float | None) -> AttemptRecord:
    ended_at = NOON + timedelta(seconds=seconds)
    return AttemptRecord(number=number, started_at=NOON, ended_at=ended_at, seconds=seconds, usd_per_hour=usd_per_hour)


def test_cost_is_price_times_time_of_every_attempt_with_a_price() -> None:
    attempts = [
        attempt(1, seconds=1800, usd_per_hour=0.4),
        attempt(2, seconds=1000, usd_per_hour=None),
        attempt(3, seconds=3600, usd_per_hour=1.0),
    ]
    assert sum_cost(attempts) == pytest.approx(1.2)
    assert sum_cost(attempts[1:2]) is None
    assert sum_cost([]) is None


def test_time_counts_from_the_start_of_the_process_to_the_end_of_the_training() -> None:
    configure_logs()
    machine_time = MachineTime(host=SPOT, price=HourlyPrice(given=3.6), startup_seconds=100)
    machine_time.stop()
    stopped = machine_time.record(1)
    time.sleep(0.05)
    assert machine_time.record(1) == stopped
    assert 100 <= stopped.seconds < 200
    assert stopped.ended_at - stopped.started_at == timedelta(seconds=stopped.seconds)
    assert (stopped.instance_type, stopped.zone, stopped.market) == ("g5.xlarge", "eu-west-1a", "spot")
    assert sum_cost([stopped]) == pytest.approx(3.6 * stopped.seconds / 3600)
