"""What the report compares: an optimizer with its attributes and the scores of its runs, one by seed."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from job.report.analysis.origins import Origin, find_differences
from job.report.analysis.wording import percent, show_attribute, show_value

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """One optimizer with its attributes, and the scores of its runs."""

    digest: str
    optimizer: str
    attributes: Attributes
    """All fields of the manifest but name, seed and data set; a schedule is one attribute."""
    scores: Mapping[int, float]
    """Test top-1 by seed; a seed that diverged has none."""
    outcomes: Mapping[int, float]
    """What a user gets of each seed: the score, and that of guessing, 1 / classes, where the seed diverged."""
    choice: Mapping[int, float]
    """What configurations are chosen by: validation top-1 by seed where images were held out, else the score; and that
    of guessing where the seed diverged."""
    is_validated: bool
    """Whether there are validation images."""
    runs: tuple[str, ...]
    """Their names in the column `run` of `Runs.runs`."""
    finished: tuple[str, ...]
    """Those of `runs` whose seed has a score."""
    num_diverged: int
    """How many of `runs` diverged."""
    seeds: tuple[int, ...]
    """All seeds whose runs ended, whether they finished or diverged."""
    origins: Mapping[int, Origin] = field(default_factory=dict)
    """What made the run of each seed."""
    label: str = ""
    """The optimizer's name with what differs from its baseline: `Adam lr 0.01`."""
    changed: Attributes = field(default_factory=dict)
    """The attributes that differ from the baseline."""
    rank_score: float | None = None
    """The mean of `choice`, adjusted to the same seeds for all configurations of the study."""
    adjusted: float | None = None
    """The mean of `outcomes`, adjusted in the same way: what is shown as the configuration's accuracy."""

    @property
    def mean(self) -> float:
        """Mean score over the seeds that finished; -1 without any, to sort last."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else -1.0

    @property
    def mean_outcome(self) -> float | None:
        """Plain mean of `outcomes`; None where no seed has ended."""
        return sum(self.outcomes.values()) / len(self.outcomes) if self.outcomes else None

    @property
    def always_finished(self) -> bool:
        """Whether no seed diverged."""
        return len(self.scores) == len(self.seeds)

    @property
    def fate(self) -> str:
        """`2 of 3 seeds diverged`, or nothing where all finished; one seed alone is `its only seed`."""
        if self.always_finished:
            return ""
        if len(self.seeds) == 1:
            return "its only seed diverged"
        return f"{len(self.seeds) - len(self.scores)} of {len(self.seeds)} seeds diverged"

    @property
    def title(self) -> str:
        """The label, with the seeds that diverged."""
        return f"{self.label} ({self.fate})" if self.fate else self.label

    @property
    def told_score(self) -> str:
        """The adjusted mean, and how many seeds diverged and count as guessing: `62.4 % (1 of 3 seeds diverged)`."""
        if not self.scores:
            return self.fate
        return f"{percent(self.adjusted)} ({self.fate})" if self.fate else percent(self.adjusted)

    @property
    def setting(self) -> Attributes:
        """What was chosen besides the optimizer: epochs, batch size, schedule, augmentation, precision, …"""
        return {key: value for key, value in self.attributes.items() if not key.startswith("optimizer.")}


def tell_unlike(ours: Configuration, theirs: Configuration) -> list[str]:
    """What differs between their runs besides the configuration itself, seed by seed where they have seeds in common,
    such as `torch 2.11.0 against 2.15.0`."""
    common = sorted(ours.origins.keys() & theirs.origins.keys())
    pairs = [(ours.origins[seed], theirs.origins[seed]) for seed in common]
    return find_differences(pairs or itertools.product(ours.origins.values(), theirs.origins.values()))


def have_same_seeds(configurations: Iterable[Configuration]) -> bool:
    """Whether all configurations that have scores have them for the same seeds."""
    return len({frozenset(configuration.scores) for configuration in configurations if configuration.scores}) < 2


def order_configuration(configuration: Configuration) -> tuple[bool, float, str]:
    """The key that sorts the best first, and those of which every run diverged last."""
    score = configuration.rank_score
    return not configuration.scores, math.inf if score is None else -score, configuration.label


def split_by_optimizer(configurations: Iterable[Configuration]) -> dict[str, list[Configuration]]:
    """The configurations of every optimizer, in their order."""
    families: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        families[configuration.optimizer].append(configuration)
    return families


def best_of_each(configurations: Iterable[Configuration]) -> list[Configuration]:
    """The best configuration of every optimizer, best first; `configurations` are best first.

    An optimizer of which every run diverged is there with a configuration without scores.
    """
    best: dict[str, Configuration] = {}
    for configuration in configurations:
        best.setdefault(configuration.optimizer, configuration)
    return list(best.values())


def tell_setting(ours: Configuration, theirs: Configuration) -> list[str]:
    """What was chosen differently besides the optimizer, such as `epochs 20 against 2`."""
    return [
        f"{show_attribute(key)} {show_value(value)} against {show_value(theirs.setting.get(key))}"
        for key, value in ours.setting.items()
        if value != theirs.setting.get(key)
    ]
