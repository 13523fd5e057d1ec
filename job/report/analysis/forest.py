"""The figure beside the answer: configurations by rank, with intervals, seeds and what is within reach."""

from __future__ import annotations

from collections.abc import Sequence

from job.report.analysis.charts import ForestChart, ForestRow, Picture
from job.report.analysis.leaderboard import Standing

MOST_ROWS = 14
"""So many fit beside the answer at 1280 x 800."""


def build_forest(standings: Sequence[Standing]) -> list[Picture]:
    """The figure over `standings`, best first; empty where none has a score.

    Where there are more than MOST_ROWS, those within reach come first, then the best of every optimizer, then others by
    rank.
    """
    scored = [standing for standing in standings if standing.score is not None]
    if not scored:
        return []
    chosen = _choose(scored)
    rows = [
        ForestRow(
            standing.configuration.title, standing.configuration.optimizer, standing.score.mean, standing.score.low,
            standing.score.high, dict(standing.configuration.outcomes), standing.within_reach,
        )
        for standing in chosen
        if standing.score is not None
    ]  # fmt: skip
    caption = "Test top-1 by configuration, the best on top. Small dots are seeds, the large mark is their mean"
    caption += ", lines are 95 % intervals for other seeds" if any(row.low is not None for row in rows) else ""
    caption += "; shaded: within reach of the best, nothing is shown to be better."
    if len(chosen) < len(scored):
        caption += f" {len(chosen)} of {len(scored)} configurations; the table below has all."
    return [Picture("ranking", caption, ForestChart(rows, "test top-1"))]


def _choose(scored: Sequence[Standing]) -> list[Standing]:
    """At most MOST_ROWS of them, in their order."""
    first: dict[str, str] = {}
    for standing in scored:
        first.setdefault(standing.configuration.optimizer, standing.configuration.digest)
    leading = set(first.values())
    wanted = sorted(
        range(len(scored)),
        key=lambda place: (
            scored[place].configuration.digest not in leading, not scored[place].within_reach, place
        ),
    )[:MOST_ROWS]  # fmt: skip
    return [scored[place] for place in sorted(wanted)]
