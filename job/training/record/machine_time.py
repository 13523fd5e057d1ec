"""The time that the attempts at a run took of their machines, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from time import perf_counter

from job.runs import AttemptRecord
from job.training.host import Host
from job.training.price import HourlyPrice


class MachineTime:
    """Counts, from the start of an attempt to the end of its training."""

    def __init__(
        self, *, host: Host | None = None, price: HourlyPrice | None = None, startup_seconds: float = 0.0
    ) -> None:
        """`startup_seconds` is what the process took before, for its first run."""
        self._host, self._price = host or Host(), price or HourlyPrice()
        self._began = perf_counter() - startup_seconds
        self._started_at = datetime.now(UTC) - timedelta(seconds=startup_seconds)
        self._seconds: float | None = None

    def stop(self) -> None:
        """The training is over: from now on the machine belongs to the next run."""
        self._seconds = perf_counter() - self._began

    def wait_for_price(self) -> None:
        """Until the price is known, or is not to be known, for seconds at most."""
        self._price.wait()

    def record(self, number: int) -> AttemptRecord:
        """The attempt as it stands now."""
        seconds = perf_counter() - self._began if self._seconds is None else self._seconds
        return AttemptRecord(
            number=number,
            started_at=self._started_at,
            ended_at=self._started_at + timedelta(seconds=seconds),
            seconds=seconds,
            instance_type=self._host.instance_type,
            zone=self._host.zone,
            market=self._host.market,
            usd_per_hour=self._price.usd,
        )


def sum_cost(attempts: Iterable[AttemptRecord]) -> float | None:
    """USD: price times time of every attempt whose price is known; None where none is.

    Left out are attempts without a price, the boot of the machine and the pull of the image, what an attempt did after
    its last report, and the storing of the last artefacts, behind which the next run may train.
    """
    costs = [own.usd_per_hour * own.seconds / 3600 for own in attempts if own.usd_per_hour is not None]
    return sum(costs) if costs else None
