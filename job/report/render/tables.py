"""The numbers behind the page, for people with their own tools: CSV and Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import pyarrow  # noqa: F401 - pandas imports it late: a missing one would end the report after everything was drawn

from job.report.analysis.leaderboard import watch_target
from job.report.analysis.study import Study
from job.report.read.frames import Runs

EPOCH_COLUMNS = (
    "experiment", "run_id", "name", "optimizer", "seed", "epoch", "learning_rate",
    "train_loss", "train_top1", "test_loss", "test_top1", "test_top5", "train_seconds", "evaluate_seconds",
)  # fmt: skip


def build_results(runs: Runs, studies: Sequence[Study]) -> pd.DataFrame:
    """`Runs.runs`, best first, with the epochs and seconds that each run took to reach its study's target."""
    table = runs.runs.drop(columns=["manifest"])
    if studies:
        watched = [watch_target(study.runs, study.target).assign(target=study.target) for study in studies]
        reached = pd.concat(watched).query("reached").drop(columns="reached")
        renamed = {unit: f"{unit}_to_target" for unit in ("epochs", "seconds", "usd")}
        table = table.merge(reached.rename(columns=renamed).reset_index(), on="run", how="left")
    return table.sort_values(["score", "run"], ascending=[False, True], na_position="last", ignore_index=True)


def build_leaderboard(studies: Sequence[Study]) -> pd.DataFrame:
    """A row per configuration, in the order of the leaderboards; `num_seeds` counts those with a score.

    What a target took is the mean over its runs; where a run of the study never reached it, that of the part before
    `..._horizon`.
    """
    rows: list[dict[str, Any]] = []
    for study in studies:
        for place, line in enumerate(study.standings, 1):
            score, behind, reach = line.score, line.behind, line.reach
            rows.append(
                {
                    "study": study.title,
                    "place": place,
                    "configuration": line.configuration.digest,
                    "optimizer": line.configuration.optimizer,
                    "label": line.configuration.label,
                    "num_seeds": len(line.configuration.scores),
                    "num_seeds_diverged": len(line.configuration.seeds) - len(line.configuration.scores),
                    "num_diverged": line.configuration.num_diverged,
                    "validation_top1": line.validation,
                    "score": score.mean if score else None,
                    "score_low": score.low if score else None,
                    "score_high": score.high if score else None,
                    "difference_to_leader": behind.difference if behind else None,
                    "num_common_seeds": behind.num if behind else None,
                    "difference_low": behind.low if behind else None,
                    "difference_high": behind.high if behind else None,
                    "p": behind.p if behind else None,
                    "answer": behind.answer if behind else None,
                    "within_reach": line.within_reach,
                    "unlike_leader": "; ".join(behind.unlike) if behind else None,
                    "made_with": line.made_with or None,
                    "top5": line.top5,
                    "test_loss": line.loss,
                    "train_top1": line.train_top1,
                    "target": study.target,
                    "num_reached_target": reach.num_reached,
                    "epochs_to_target": reach.epochs.mean if reach.epochs else None,
                    "epochs_horizon": reach.epochs.horizon if reach.epochs else None,
                    "seconds_to_target": reach.seconds.mean if reach.seconds else None,
                    "seconds_horizon": reach.seconds.horizon if reach.seconds else None,
                    "usd_to_target": reach.cost_usd.mean if reach.cost_usd else None,
                    "images_per_second": line.images_per_second,
                    "utilisation_fraction": line.utilisation_fraction,
                    "joules_per_run": line.energy_joules,
                    "usd_per_run": line.cost_usd,
                    "times_comparable": study.times_apart is None,
                }
            )
    return pd.DataFrame(rows)


def build_epochs(runs: Runs) -> pd.DataFrame:
    """A row for every epoch of every run; losses in nats, accuracies as fractions of one."""
    names = runs.runs[["run", "experiment", "run_id", "name", "optimizer", "seed"]]
    table = runs.epochs.merge(names, on="run", how="inner")[list(EPOCH_COLUMNS)]
    return table.round({"train_seconds": 3, "evaluate_seconds": 3})


def render_csv(table: pd.DataFrame) -> bytes:
    """CSV in UTF-8 with a line of column names."""
    buffer = io.BytesIO()  # a text would be there twice, and the epochs of 10,000 runs take 12 MB
    table.to_csv(buffer, index=False, lineterminator="\n", errors="replace")
    return buffer.getvalue()


def render_parquet(table: pd.DataFrame) -> bytes:
    """Parquet; attributes that are lists stay lists.

    A column of Parquet has one type. An attribute that is a list for one optimizer and a number for another, such as
    `eps`, is written as JSON text.
    """
    mixed = [name for name in table.columns if table[name].dtype == object and _is_mixed(table[name].dropna())]
    buffer = io.BytesIO()
    table.assign(**{name: table[name].map(json.dumps, na_action="ignore") for name in mixed}).to_parquet(
        buffer, engine="pyarrow", index=False
    )
    return buffer.getvalue()


def _is_mixed(values: Iterable[Any]) -> bool:
    """Whether `values` are lists and others."""
    return len({isinstance(value, tuple) for value in values}) == 2
