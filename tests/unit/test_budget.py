"""What a sum of money buys: never more than it pays for, whatever the containers take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.errors import UsageError
from job.submit.budget import LEAST_DEADLINE_SECONDS, SLACK, Costs, describe_budget, describe_seconds, fit_budget

FOUR = Costs(container_seconds=[1000.0] * 4, startup_seconds=100.0, usd_per_hour=3.6)
"""A dollar is 1000 seconds. A container needs 100 + 1.25 * 1000 seconds: $1.35."""


def test_sum_that_suffices_starts_all_and_gives_each_its_share_of_the_time() -> None:
    budget = fit_budget(FOUR, max_usd=8.0)
    assert (budget.num_containers, budget.num_left_out) == (4, 0)
    assert budget.deadline_seconds == 2000 - 100
    assert budget.usd == pytest.approx(8.0)
    assert budget.estimated_usd == pytest.approx(4.4)
    assert budget.total_usd == pytest.approx(4.4)
    assert describe_budget(budget) == (
        "--max-usd 8: 4 containers start, estimated at $4.40; an attempt is stopped after 31 min, so that they cost at "
        "most $8.00 if each takes one attempt"
    )


def test_smaller_sum_starts_the_first_ones_and_says_what_the_rest_would_need() -> None:
    budget = fit_budget(FOUR, max_usd=3.0)
    assert (budget.num_containers, budget.num_left_out) == (2, 2)
    assert budget.deadline_seconds == 1400
    assert "2 are left out: all would cost about $4.40 and need --max-usd 5.40" in describe_budget(budget)
    assert fit_budget(FOUR, max_usd=5.40).num_left_out == 0
    assert fit_budget(FOUR, max_usd=5.39).num_left_out == 1


def test_sum_that_buys_nothing_is_refused_with_what_the_first_container_needs() -> None:
    with pytest.raises(UsageError, match=r"--max-usd 1 buys no container: the first needs \$1\.35"):
        fit_budget(FOUR, max_usd=1.0)


def test_shorter_deadline_that_is_wanted_stays() -> None:
    assert fit_budget(FOUR, max_usd=8.0, deadline_seconds=1500).deadline_seconds == 1500
    assert fit_budget(FOUR, max_usd=8.0, deadline_seconds=14_400).deadline_seconds == 1900


def test_long_container_ends_the_list_because_one_deadline_holds_for_all() -> None:
    costs = Costs(container_seconds=[100.0, 100.0, 10_000.0], startup_seconds=0.0, usd_per_hour=3.6)
    budget = fit_budget(costs, max_usd=12.0)
    assert budget.num_containers == 2


@given(
    seconds=st.lists(st.floats(1, 1e6), min_size=1, max_size=50),
    startup=st.floats(0, 1000),
    price=st.floats(0.01, 100),
    max_usd=st.floats(0.01, 1e6),
    wanted=st.none() | st.integers(60, 10**6),
)
def test_one_attempt_of_every_container_never_costs_more_than_the_sum(
    seconds: list[float], startup: float, price: float, max_usd: float, wanted: int | None
) -> None:
    costs = Costs(container_seconds=seconds, startup_seconds=startup, usd_per_hour=price)
    try:
        budget = fit_budget(costs, max_usd=max_usd, deadline_seconds=wanted)
    except UsageError:
        assert (startup + max(LEAST_DEADLINE_SECONDS, SLACK * seconds[0])) * price / 3600 > max_usd * (1 - 1e-9)
        return
    num, deadline = budget.num_containers, budget.deadline_seconds
    assert num * (startup + deadline) * price / 3600 <= max_usd * (1 + 1e-9)
    assert deadline >= 60
    if wanted is None:
        assert all(deadline >= SLACK * each for each in seconds[:num])
    assert num + budget.num_left_out == len(seconds)
    assert budget.estimated_usd <= max_usd * (1 + 1e-9)


@pytest.mark.parametrize(
    ("seconds", "said"), [(60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations_are_told_in_hours_and_minutes(seconds: float, said: str) -> None:
    assert describe_seconds(seconds) == said
