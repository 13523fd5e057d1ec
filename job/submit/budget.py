"""How much of a sweep a sum of money buys: which containers start, and after how long an attempt of one is stopped.

What is bounded is one attempt of every container: containers x (start of a machine + deadline) x price <= the sum. The
price is that of the dearest machine of the pool on demand, and a container must fit on the slowest one. Not bounded are
attempts that begin anew after an interruption, disks, traffic and storage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from job.errors import UsageError

SLACK = 1.25
"""How much longer than estimated a container may take before it is stopped, because an estimate is no measurement."""
LEAST_DEADLINE_SECONDS = 60
"""The least that Batch takes, https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html."""
ROUNDING = 1e-6
"""Seconds: a quotient of floats that should be whole may be this much less."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What containers are estimated to cost."""

    container_seconds: Sequence[float]
    """What each container takes from its first instruction to its end, in the order of the plan."""
    startup_seconds: float
    """From the request of a machine to the container's first instruction; it is paid for as well."""
    usd_per_hour: float
    """Of the dearest machine that a container may get."""

    def usd(self, seconds: float) -> float:
        """What `seconds` of one machine cost."""
        return seconds * self.usd_per_hour / 3600

    @property
    def total_usd(self) -> float:
        """What all containers cost, if each takes as long as estimated and one attempt suffices."""
        return self.usd(sum(self.container_seconds) + len(self.container_seconds) * self.startup_seconds)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sum of money buys."""

    max_usd: float
    num_containers: int
    """How many containers start: the first ones of the plan."""
    num_left_out: int
    """How many do not."""
    deadline_seconds: int
    """After this, an attempt of a container is stopped."""
    usd: float
    """What is spent at most, if every container takes one attempt."""
    estimated_usd: float
    """What those that start are estimated to cost."""
    total_usd: float
    """What all containers are estimated to cost."""
    needed_usd: float
    """The sum with which none would be left out."""


def fit_budget(costs: Costs, *, max_usd: float, deadline_seconds: int | None = None) -> Budget:
    """As many containers as `max_usd` buys, in their order, and the deadline that holds them to it.

    `deadline_seconds` is the longest deadline that is wanted in any case. Raises `UsageError` if the sum does not buy
    the first container.
    """
    needs = [_needed_usd(costs, num) for num in range(1, len(costs.container_seconds) + 1)]
    num = sum(need <= max_usd for need in needs)  # each container more needs more
    if num == 0:
        raise UsageError(
            f"--max-usd {max_usd:g} buys no container: the first needs ${_round_up(needs[0])} on a machine of "
            f"${costs.usd_per_hour:.3f} an hour"
        )
    affordable = math.floor(max_usd / num / costs.usd_per_hour * 3600 - costs.startup_seconds + ROUNDING)
    deadline = min(affordable, deadline_seconds or affordable)
    started = costs.container_seconds[:num]
    return Budget(
        max_usd=max_usd,
        num_containers=num,
        num_left_out=len(needs) - num,
        deadline_seconds=deadline,
        usd=num * costs.usd(costs.startup_seconds + deadline),
        estimated_usd=costs.usd(sum(started) + num * costs.startup_seconds),
        total_usd=costs.total_usd,
        needed_usd=needs[-1],
    )


def describe_budget(budget: Budget) -> str:
    """One sentence for the person who submits: what starts, what it may cost, and what is left out."""
    said = (
        f"--max-usd {budget.max_usd:g}: {budget.num_containers:,} containers start, estimated at "
        f"${budget.estimated_usd:.2f}; an attempt is stopped after {describe_seconds(budget.deadline_seconds)}, so "
        f"that they cost at most ${budget.usd:.2f} if each takes one attempt"
    )
    if not budget.num_left_out:
        return said
    return (
        f"{said}; {budget.num_left_out:,} are left out: all would cost about ${budget.total_usd:.2f} and "
        f"need --max-usd {_round_up(budget.needed_usd)}; submit the sweep again for the rest"
    )


def describe_seconds(seconds: float) -> str:
    """`2 h 5 min`, or minutes alone below an hour."""
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _needed_usd(costs: Costs, num: int) -> float:
    """The sum that the first `num` containers need. One deadline holds for all, so the longest of them counts."""
    deadline = max(LEAST_DEADLINE_SECONDS, SLACK * max(costs.container_seconds[:num]))
    return num * costs.usd(costs.startup_seconds + math.ceil(deadline))


def _round_up(usd: float) -> str:
    """A sum that suffices, in whole cents."""
    return f"{math.ceil(usd * 100) / 100:.2f}"
