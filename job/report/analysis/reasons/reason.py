"""What a rule returns (`Reason`): a sentence with its numbers, how well it is founded, and what would test it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from job.report.analysis.charts import Picture
from job.report.analysis.configurations import Configuration

Standing = Literal["measured", "consistent", "tested"]
STANDINGS: Mapping[Standing, str] = {
    "measured": "measured",
    "consistent": "consistent with",
    "tested": "tested by intervention",
}
"""How a standing is shown. Measured: the sentence claims no cause beyond what the records hold. Consistent: the cause
that it names fits all records, and no run singled it out. Tested: runs changed the cause that it names, and the
accuracy moved as it says, by the judgement's comparison."""


@dataclass(frozen=True)
class Intervention:
    """A change of a configuration that would test a reason."""

    configuration: Configuration
    """The one that is changed."""
    changes: Mapping[str, Any]
    """New values by the dotted path of the manifest's field, such as `schedule.warmup_epochs`."""
    label: str
    """The changed configuration in words: `RMSprop with one epoch of warm-up`."""
    expectation: str
    """What the reason expects of it, as a clause: `this gets more of the test images right`."""


LONGEST_GIST = 140


def choose_gist(*candidates: str) -> str:
    """The first that is short enough for a gist; else the last, cut."""
    short = [candidate for candidate in candidates if len(candidate) <= LONGEST_GIST]
    return short[0] if short else f"{candidates[-1][: LONGEST_GIST - 1]}…"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """An explanation of what the scores show."""

    title: str
    gist: str
    """One sentence of at most 140 characters, for where there is no room for `sentence`."""
    sentence: str
    standing: Standing
    about: tuple[str, ...]
    """The optimizers that it concerns, by the names that manifests give them."""
    attribute: str | None = None
    """The attribute that it explains, such as `optimizer.lr`; None where it explains something else."""
    intervention: Intervention | None = None
    """What would test it; None where nothing is claimed that a change of the manifest could test."""
    numbers: Mapping[str, float]
    """What the sentence rests on, by name; fractions and ratios as they were measured."""
    picture: Picture
    is_overview: bool = False
    """Whether it lists what differs between two sides at once, and singles nothing out."""

    @property
    def shown_standing(self) -> str:
        """`measured`, `consistent with` or `tested by intervention`."""
        return STANDINGS[self.standing]
