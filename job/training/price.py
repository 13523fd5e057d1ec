"""What the machine under a run costs an hour, as AWS tells it. Readable without torch.

It is asked once a process, in a thread of its own. A price is never worth a run: without rights, network or an answer
within seconds there is none.
"""

from __future__ import annotations

import re
from contextvars import copy_context
from threading import Thread
from time import monotonic
from typing import Any

from job.logs import get_logger
from job.training.host import Host

WAIT_SECONDS = 5.0
"""How long a result waits at most for the price, from the question on."""
CONNECT_SECONDS, ANSWER_SECONDS = 2, 3
"""After these, the question is given up."""


class HourlyPrice:
    """USD an hour. Asked for with `begin`; until the answer is there, and where none comes, it is not known."""

    def __init__(self, host: Host | None = None, *, given: float | None = None) -> None:
        """`given` is the price that the user named; then nobody is asked."""
        self._host = host or Host()
        self._usd = given
        self._thread: Thread | None = None
        self._deadline = 0.0

    @property
    def usd(self) -> float | None:
        """As far as it is known now."""
        return self._usd

    def begin(self) -> None:
        """Ask, unless it is known or asked already, or nothing is known of the machine."""
        if self._usd is not None or self._thread is not None or not (self._host.instance_type and self._host.market):
            return
        self._deadline = monotonic() + WAIT_SECONDS
        self._thread = Thread(target=copy_context().run, args=(self._ask,), name="price", daemon=True)
        self._thread.start()

    def wait(self) -> float | None:
        """The price, after the rest of the seconds that an answer may take."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._deadline - monotonic()))
        return self._usd

    def _ask(self) -> None:
        try:
            self._usd = ask_price(self._host)
        except Exception as error:  # noqa: BLE001 - whatever a service or a library does here, the run goes on
            get_logger().info("price_not_known", reason=str(error).partition("\n")[0] or type(error).__name__)
            return
        get_logger().info("price_found", usd_per_hour=self._usd, market=self._host.market)


def ask_price(host: Host) -> float:
    """USD an hour of the machine, as AWS tells it now.

    Needs the rights ec2:DescribeSpotPriceHistory and pricing:GetProducts. Raises whatever boto3 does, and `ValueError`
    where the machine is not described well enough, or the answer holds no price.
    """
    from job.storage.prices import PRICE_LIST_REGION, read_on_demand_price, read_spot_price

    region = host.region or (re.sub(r"[a-z]$", "", host.zone) if host.zone else None)
    if host.market not in ("spot", "on-demand"):
        raise ValueError(f"market {host.market}; must be spot or on-demand")
    if not region:
        raise ValueError("the region is not known")
    if host.market == "spot":
        if not host.zone:
            raise ValueError("the zone is not known")
        price = read_spot_price(_build_client("ec2", region=region), str(host.instance_type), zone=host.zone)
    else:
        client = _build_client("pricing", region=PRICE_LIST_REGION)
        price = read_on_demand_price(client, str(host.instance_type), region=region)
    if price is None:
        raise ValueError(f"no price of {host.instance_type} in {host.zone or region}")
    return price


def _build_client(service: str, *, region: str) -> Any:
    """A client that gives up soon. It has a session of its own, because a session is not made for two threads."""
    from botocore.config import Config

    from job.storage.aws import build_client

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"total_max_attempts": 1},
        user_agent_extra="job",
    )
    return build_client(service, region=region, config=config, is_fresh=True)
