"""Reasons in runs that diverged: which, how often, and after how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from job.report.analysis.charts import BarChart, Picture, Point
from job.report.analysis.configurations import Configuration
from job.report.analysis.numbers import Numbers, list_values
from job.report.analysis.reasons.evidence import Evidence
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import join

MOST_TOLD = 5
MOST_DRAWN = 12


def explain_divergence(evidence: Evidence) -> Reason | None:
    """Claim: which configurations lost their loss, how often, and after how many whole epochs.

    Contrast: the runs of all other configurations, none of which diverged. Only the runs that diverged are measured:
    their configuration's survivors say nothing about them.
    """
    diverged = sorted(
        (configuration for configuration in evidence.configurations if configuration.num_diverged),
        key=lambda configuration: -configuration.num_diverged,
    )
    if not diverged:
        return None
    told = [_tell(evidence, configuration) for configuration in diverged[:MOST_TOLD]]
    total = sum(configuration.num_diverged for configuration in diverged)
    rest = len(diverged) - MOST_TOLD
    if rest > 0:
        told.append(f"runs of {rest} more configuration{'s' if rest > 1 else ''}")
    others = sum(len(configuration.runs) for configuration in evidence.configurations if not configuration.num_diverged)
    runs = f"{others} run{'s' if others > 1 else ''}"
    against = f" Of the {runs} of the other configurations none diverged." if others else ""
    sentence = f"The loss stopped being finite in {join(told)}.{against} Epoch and step of each stand among the holes."
    points = [
        Point(configuration.label, configuration.optimizer, configuration.num_diverged / len(configuration.runs))
        for configuration in diverged[:MOST_DRAWN]
    ]
    picture = Picture(
        "reason-divergence",
        "Part of the runs that diverged.",
        BarChart(
            points, title="Divergence", xlabel="part of the runs",
            ends=[f"{drawn.num_diverged} of {len(drawn.runs)}" for drawn in diverged[:MOST_DRAWN]],
        ),
    )  # fmt: skip
    first = diverged[0]
    return Reason(
        title="Divergence",
        gist=f"{total} run{'s' if total > 1 else ''} diverged, of {first.label} {first.num_diverged} of "
        f"{len(first.runs)}.",
        sentence=sentence,
        standing="measured",
        about=tuple(dict.fromkeys(configuration.optimizer for configuration in diverged)),
        numbers=_list_numbers(evidence, diverged) | {"num_diverged": total, "num_runs of the others": others},
        picture=picture,
    )


def _list_numbers(evidence: Evidence, diverged: Sequence[Configuration]) -> Numbers:
    told = diverged[:MOST_TOLD]
    numbers = list_values("num_diverged", {own.label: own.num_diverged for own in told})
    numbers |= list_values("num_runs", {own.label: len(own.runs) for own in told})
    numbers |= list_values("num_whole_epochs", {own.label: _count_epochs(evidence, own) for own in told})
    return numbers | {"num_configurations beside these": max(0, len(diverged) - MOST_TOLD)}


def _count_epochs(evidence: Evidence, configuration: Configuration) -> int:
    """The most whole epochs of a run that diverged."""
    tests = evidence.measured.epochs(configuration, "test_top1")
    lasted = np.isfinite(tests).sum(axis=1)  # a run that finished has them all, one that diverged at once has no row
    return int(max(lasted[lasted < configuration.attributes["epochs"]], default=0))


def _tell(evidence: Evidence, configuration: Configuration) -> str:
    longest = _count_epochs(evidence, configuration)
    when = f"after at most {longest} whole epoch{'s' if longest > 1 else ''}" if longest else "in the first epoch"
    num, num_lost = len(configuration.runs), configuration.num_diverged
    which = f"{num_lost} of {num} runs" if num > 1 else "the only run"
    return f"{which} of {configuration.label} ({when})"
