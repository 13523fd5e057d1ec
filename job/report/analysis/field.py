"""Who is compared with whom: of every optimizer its best configuration, under settings that were open to all of them.

Twenty epochs against two would tell of the epochs. A setting is everything that was chosen besides the optimizer and
its attributes: epochs, batch size, schedule, augmentation, precision and so on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from job.report.analysis.configurations import Attributes, Configuration, best_of_each, tell_setting
from job.report.analysis.wording import join, name_optimizer

Setting = frozenset[tuple[str, object]]


@dataclass(frozen=True)
class Field:
    """Which configurations are compared."""

    best: list[Configuration]
    """The best of every optimizer, best first; of a single optimizer all its configurations."""
    pool: list[Configuration]
    """The configurations that `best` was chosen from."""
    left_out: list[Configuration]
    """The best of the optimizers that were run under other settings only."""
    is_fair: bool
    """Whether every optimizer was run under the same settings, so that each had the same choice."""
    notes: tuple[str, ...]
    """What is not compared, and which settings differ between those that are."""


def choose_field(configurations: Sequence[Configuration]) -> Field:
    """The field among `configurations`, which are best first.

    The settings are all those under which the same optimizers were run as under the most shared one, of equals that
    with the best configuration. Where no two optimizers share one, the best of each are compared, unfairly.
    """
    best = best_of_each(configurations)
    if len(best) < 2:
        return Field(list(configurations), list(configurations), [], True, ())
    optimizers: dict[Setting, set[str]] = defaultdict(set)
    for configuration in configurations:
        optimizers[_key(configuration.setting)].add(configuration.optimizer)
    members = max(optimizers.values(), key=len)  # the first of equals, as the best configuration comes first
    if len(members) < 2:
        return Field(best, list(configurations), [], False, ())
    settings = {setting for setting, own in optimizers.items() if own >= members}
    pool = [
        configuration
        for configuration in configurations
        if configuration.optimizer in members and _key(configuration.setting) in settings
    ]
    chosen = best_of_each(pool)
    left_out = [configuration for configuration in best if configuration.optimizer not in members]
    return Field(chosen, pool, left_out, True, (*_tell_left_out(left_out, chosen[0]), *_tell_choice(chosen)))


def _tell_left_out(left_out: Sequence[Configuration], leader: Configuration) -> list[str]:
    return [
        f"{name_optimizer(configuration.optimizer)} is not compared: it was run under other settings only "
        f"({join(tell_setting(configuration, leader))})."
        for configuration in left_out
    ]


def _tell_choice(chosen: Sequence[Configuration]) -> list[str]:
    leader = chosen[0]
    told = [(configuration, tell_setting(leader, configuration)) for configuration in chosen[1:]]
    told = [(configuration, differences) for configuration, differences in told if differences]
    if not told:
        return []
    listed = "; ".join(
        f"{leader.label} and {configuration.label} in {join(differences)}" for configuration, differences in told
    )
    return [f"Every optimizer was run under the same settings and is at the best of them; they differ: {listed}."]


def _key(setting: Attributes) -> Setting:
    return frozenset(setting.items())
