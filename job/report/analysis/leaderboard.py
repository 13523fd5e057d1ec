"""The leaderboard: every configuration with its means, its distance from the leader, and what a target cost it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Comparison, Estimate
from job.report.analysis.inference.time_to_target import TimeToTarget, estimate_time
from job.report.analysis.judgement import Judgement
from job.report.analysis.origins import is_unknown, tell_origin, varying_facts
from job.report.read.frames import Runs

UNITS = ("epochs", "seconds", "usd")
DEFAULT_TARGET_FRACTION = 0.95
"""Without --target it is this part of the leader's mean score, in whole percent."""


@dataclass(frozen=True)
class Reach:
    """What a configuration's runs took to a target accuracy.

    Where some run of the study never reached it, all are watched up to one horizon, which a run that has not reached
    the target by then counts with: the restricted mean, the least that the mean can be.
    """

    num_reached: int
    num: int
    epochs: TimeToTarget | None
    seconds: TimeToTarget | None
    """Seconds of training, without evaluation."""
    cost_usd: TimeToTarget | None


@dataclass(frozen=True)
class Standing:
    """A line of the leaderboard."""

    configuration: Configuration
    score: Estimate | None
    top5: float | None
    loss: float | None
    train_top1: float | None
    """Of the same epoch as the score; so are top-5 and the loss."""
    validation: float | None
    """Mean validation top-1 of that epoch, which the order goes by where there is one."""
    images_per_second: float | None
    utilisation_fraction: float | None
    """The part of the device's peak arithmetic that training used."""
    energy_joules: float | None
    """Of a whole run; so is the cost."""
    cost_usd: float | None
    behind: Comparison | None
    """Against the leader; None for the leader, and where no chain of common seeds connects them."""
    within_reach: bool
    """Whether nothing is shown to be better."""
    reach: Reach
    made_with: str
    """What made its runs, as far as not all runs of the study have it in common."""


def choose_target(configurations: Sequence[Configuration]) -> float:
    """The default target: a fraction of the best one's mean, so that most of those worth comparing reach it."""
    best = configurations[0].mean if configurations else 0.0
    return math.floor(100 * DEFAULT_TARGET_FRACTION * max(best, 0.0)) / 100


def build_standings(
    configurations: Sequence[Configuration], runs: Runs, judgement: Judgement | None, *, target: float,
    leader: Configuration | None,
) -> list[Standing]:  # fmt: skip
    """The standings in the order of `configurations`, which are best first, beside `leader`.

    Top-5, losses, speeds and the like are means over the seeds that finished.
    """
    columns = [
        "score_top5", "score_loss", "train_top1", "validation_top1", "train_images_per_second", "utilisation_fraction",
        "energy_joules", "estimated_cost_usd",
    ]  # fmt: skip
    numbers = dict(zip(runs.runs["run"], runs.runs[columns].to_numpy(dtype=float), strict=True))
    watched = watch_target(runs, target)
    times = dict(zip(watched.index, watched.to_numpy(dtype=float), strict=True))
    horizons = [_find_horizon(watched[unit], watched["reached"]) for unit in UNITS]
    origins = [origin for configuration in configurations for origin in configuration.origins.values()]
    facts, unknown = varying_facts(origins), sum(map(is_unknown, origins))
    reachable = {configuration.digest for configuration in judgement.within_reach} if judgement else set()
    standings = []
    for configuration in configurations:
        own = np.array([numbers[run] for run in configuration.finished]).reshape(-1, len(columns))
        top5, loss, train, validation, speed, utilisation, energy, cost = (
            _mean(own[:, column]) for column in range(len(columns))
        )
        made_with = tell_origin(
            list(configuration.origins.values()), facts, anything_unknown=0 < unknown < len(origins)
        )
        is_rival = leader is not None and configuration is not leader
        standings.append(
            Standing(
                configuration, judgement.fitted.estimate(configuration) if judgement else None, top5, loss, train,
                validation, speed, utilisation, energy, cost,
                judgement.compare(configuration, leader) if judgement and leader and is_rival else None,
                configuration.digest in reachable, _summarise([times[run] for run in configuration.runs], horizons),
                made_with,
            )
        )  # fmt: skip
    return standings


def watch_target(runs: Runs, target: float) -> pd.DataFrame:
    """Per run, by its name: `reached`, and the `epochs`, `seconds` of training and `usd` until it reached `target` test
    top-1, or until its end where it did not.

    A run that diverged has reached nothing that one could keep, and no end: infinity. The dollars are the run's cost
    times the part of its epochs' seconds that went by until then.
    """
    epochs = runs.epochs[["run", "epoch", "test_top1", "train_seconds", "evaluate_seconds"]].copy()
    by_run = epochs.groupby("run", sort=False)
    epochs["seconds"] = by_run["train_seconds"].cumsum()
    both = epochs["train_seconds"] + epochs["evaluate_seconds"]
    total = both.groupby(epochs["run"]).transform("sum")
    epochs["part"] = both.groupby(epochs["run"]).cumsum() / total.where(total > 0)
    epochs = epochs.rename(columns={"epoch": "epochs"})[["run", "epochs", "seconds", "part", "test_top1"]]
    first = epochs[epochs["test_top1"] >= target].drop_duplicates("run").set_index("run")
    last = epochs.drop_duplicates("run", keep="last").set_index("run")
    table = runs.runs.set_index("run")[["status", "estimated_cost_usd"]]
    reached = table.index.isin(first.index) & (table["status"] == "completed").to_numpy()
    ends = last.reindex(table.index)
    ends.loc[reached] = first.reindex(table.index[reached])
    ends["usd"] = ends["part"] * table["estimated_cost_usd"].astype(float)
    ends = ends[list(UNITS)].astype(float)
    ends.loc[(table["status"] != "completed").to_numpy()] = np.inf
    return ends.assign(reached=reached)


def _find_horizon(times: pd.Series[float], reached: pd.Series[bool]) -> float:
    """How long every run was watched at least: infinity where all reached the target, NaN where no run has an end."""
    if reached.all():
        return math.inf
    ends = times[~reached]
    ends = ends[np.isfinite(ends)]  # a run that diverged has none
    return float(ends.min() if len(ends) else times[reached].max())


def _summarise(watched: Sequence[npt.NDArray[np.float64]], horizons: Sequence[float]) -> Reach:
    """`watched` are some of the rows of `watch_target`, `horizons` those of its units."""
    *times, reached = np.array(watched).T
    epochs, seconds, usd = (_estimate(own, reached > 0, horizon) for own, horizon in zip(times, horizons, strict=True))
    return Reach(int(reached.sum()), len(watched), epochs, seconds, usd)


def _estimate(times: npt.NDArray[np.float64], reached: npt.NDArray[np.bool_], horizon: float) -> TimeToTarget | None:
    """None where a time is unknown, and where no run of the study has an end."""
    if np.isnan(times).any() or math.isnan(horizon):
        return None
    limit = None if math.isinf(horizon) else horizon
    return estimate_time(list(np.minimum(times, horizon)), list(reached), horizon=limit)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
