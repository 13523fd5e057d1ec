"""The leaderboard: every configuration with its means, its distance from the leader, and what a target cost it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.report.analysis.configurations import Configuration, compare_configurations, tell_setting
from job.report.analysis.origins import is_unknown, tell_origin, varying_facts
from job.report.analysis.statistics import Comparison, Estimate, bootstrap_mean, correct_comparisons, estimate_mean
from job.report.read.frames import Runs

DEFAULT_TARGET_FRACTION = 0.95
"""Without --target it is this part of the leader's mean score, in whole percent."""


@dataclass(frozen=True)
class Reach:
    """What a configuration's runs took to a target accuracy, over those that reached it."""

    num_reached: int
    num: int
    epochs: float | None
    seconds: float | None
    """Seconds of training, without evaluation."""
    seconds_interval: tuple[float, float] | None
    """By a bootstrap, because times are skewed."""
    cost_usd: float | None


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
    """Against the leader over common seeds, corrected over the leaderboard; None for the leader, and where a seed
    diverged or none is common."""
    reach: Reach
    made_with: str
    """What made its runs, as far as not all runs of the study have it in common."""


def choose_target(configurations: Sequence[Configuration]) -> float:
    """The default target: a fraction of the best one's mean, so that most of those worth comparing reach it."""
    best = configurations[0].mean if configurations else 0.0
    return math.floor(100 * DEFAULT_TARGET_FRACTION * max(best, 0.0)) / 100


def rank_configurations(
    configurations: Sequence[Configuration], runs: Runs, *, target: float, leader: Configuration | None
) -> list[Standing]:
    """The standings in the order of `configurations`, which are best first, beside `leader`.

    Numbers are means over the seeds that finished.
    """
    columns = [
        "score_top5", "score_loss", "train_top1", "validation_top1", "train_images_per_second", "utilisation_fraction",
        "energy_joules", "estimated_cost_usd",
    ]  # fmt: skip
    numbers = dict(zip(runs.runs["run"], runs.runs[columns].to_numpy(dtype=float), strict=True))
    reached = reach_target(runs, target).set_index("run")
    reach_rows = dict(zip(reached.index, reached.to_numpy(dtype=float), strict=True))
    behind = _compare_with(leader, configurations) if leader and leader.always_finished else {}
    origins = [origin for configuration in configurations for origin in configuration.origins.values()]
    facts, unknown = varying_facts(origins), sum(map(is_unknown, origins))
    standings = []
    for configuration in configurations:
        own = np.array([numbers[run] for run in configuration.finished]).reshape(-1, len(columns))
        top5, loss, train, validation, speed, utilisation, energy, cost = (
            _mean(own[:, column]) for column in range(len(columns))
        )
        score = estimate_mean(list(configuration.scores.values())) if configuration.scores else None
        reach = _summarise(np.array([reach_rows.get(run, np.full(3, np.nan)) for run in configuration.runs]))
        made_with = tell_origin(
            list(configuration.origins.values()), facts, anything_unknown=0 < unknown < len(origins)
        )
        standings.append(
            Standing(
                configuration, score, top5, loss, train, validation, speed, utilisation, energy, cost,
                behind.get(configuration.digest), reach, made_with,
            )
        )  # fmt: skip
    return standings


def _compare_with(leader: Configuration, configurations: Sequence[Configuration]) -> dict[str, Comparison]:
    """By digest; what differs from the leader besides the optimizer stands in `unlike`."""
    found: dict[str, Comparison] = {}
    for configuration in configurations:
        comparison = (
            compare_configurations(configuration, leader)
            if configuration is not leader and configuration.always_finished
            else None
        )
        if comparison is not None:
            found[configuration.digest] = replace(
                comparison, unlike=(*tell_setting(configuration, leader), *comparison.unlike)
            )
    return dict(zip(found, correct_comparisons(list(found.values())), strict=True))


def reach_target(runs: Runs, target: float) -> pd.DataFrame:
    """Per finished run that reached `target` test top-1: `epochs_to_target`, `seconds_to_target` of training and
    `usd_to_target`. A run that diverged later has reached nothing that one could keep.

    The dollars are the run's cost times the part of its epochs' seconds that went by until then.
    """
    epochs = runs.epochs[["run", "epoch", "test_top1", "train_seconds", "evaluate_seconds"]].copy()
    by_run = epochs.groupby("run", sort=False)
    epochs["seconds_to_target"] = by_run["train_seconds"].cumsum()
    both = epochs["train_seconds"] + epochs["evaluate_seconds"]
    total = both.groupby(epochs["run"]).transform("sum")
    epochs["part"] = both.groupby(epochs["run"]).cumsum() / total.where(total > 0)
    finished = runs.runs.loc[runs.runs["status"] == "completed", "run"]
    first = epochs[(epochs["test_top1"] >= target) & epochs["run"].isin(finished)].drop_duplicates("run")
    costs = runs.runs.set_index("run")["estimated_cost_usd"].astype(float)
    return pd.DataFrame(
        {
            "run": first["run"],
            "epochs_to_target": first["epoch"],
            "seconds_to_target": first["seconds_to_target"],
            "usd_to_target": first["part"] * first["run"].map(costs).astype(float),
        }
    )


def _summarise(rows: npt.NDArray[np.float64]) -> Reach:
    reached = rows[~np.isnan(rows[:, 0])]
    if not len(reached):
        return Reach(0, len(rows), None, None, None, None)
    epochs, seconds, cost = (_mean(reached[:, column]) for column in range(3))
    return Reach(len(reached), len(rows), epochs, seconds, bootstrap_mean(list(reached[:, 1])), cost)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
