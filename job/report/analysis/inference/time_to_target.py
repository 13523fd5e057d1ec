"""What it takes to reach a target, where some runs never did: their time is censored, not missing.

The mean over the runs that reached it prefers a configuration that rarely gets there, but then early. The restricted
mean is that of min(time, horizon), by the area below the curve of Kaplan and Meier (1958, JASA 53), as in Royston and
Parmar (2013, BMC Medical Research Methodology 13:152). Its variance is Greenwood's, times n / (n - 1), so that without
censoring the result is the mean with its t interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from job.report.analysis.inference.failures import LEVEL


@dataclass(frozen=True)
class TimeToTarget:
    """In the unit of the times: seconds, epochs or dollars."""

    num_reached: int
    num: int
    horizon: float
    """Nothing beyond it counts."""
    mean: float
    """Of the part of the time that lies before the horizon."""
    low: float | None
    high: float | None
    """None with one run, and where all took the same time."""
    median: float | None
    """The time by which half of the runs are expected to have reached it; None where fewer ever do."""


def estimate_time(times: Sequence[float], reached: Sequence[bool], *, horizon: float | None = None) -> TimeToTarget:
    """The time to a target of at least one run; of those that did not reach it, how long they were watched.

    Configurations are compared at one `horizon`: the shortest watch of all of them. By default it is the longest
    time of these runs.
    """
    ends, happened = np.asarray(times, dtype=float), np.asarray(reached, dtype=bool)
    limit = float(ends.max()) if horizon is None else min(horizon, float(ends.max()))
    happened = happened & (ends <= limit)
    ends = np.minimum(ends, limit)
    moments = np.unique(ends[happened])
    at_risk = (ends[None, :] >= moments[:, None]).sum(axis=1)
    events = ((ends[None, :] == moments[:, None]) & happened).sum(axis=1)
    survival = np.concatenate([[1.0], np.cumprod(1 - events / at_risk)])
    pieces = np.diff(np.concatenate([[0.0], moments, [limit]])) * survival
    mean = float(pieces.sum())
    later = pieces[::-1].cumsum()[::-1][1:]  # area of the curve beyond each moment
    terms = np.divide(events, at_risk * (at_risk - events), out=np.zeros(len(moments)), where=at_risk > events)
    num = len(ends)
    low = high = None
    variance = float((later**2 * terms).sum())
    if num > 1 and variance > 0:
        span = float(special.stdtrit(num - 1, 0.5 + LEVEL / 2)) * np.sqrt(variance * num / (num - 1))
        low, high = (
            max(0.0, mean - float(span)),
            min(limit, mean + float(span)) if not happened.all() else mean + float(span),
        )
    half = np.flatnonzero(survival[1:] <= 0.5)
    median = float(moments[half[0]]) if len(half) else None
    return TimeToTarget(int(happened.sum()), num, limit, mean, low, high, median)
