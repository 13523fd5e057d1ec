"""Runs grouped over their seeds: what the report compares, named by what tells them apart from their baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pandas as pd

from job.manifest import Manifest
from job.report.frames import flatten_manifest
from job.report.wording import name_optimizer, show_attribute, show_value

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """One optimizer with its attributes, and the scores of its runs."""

    digest: str
    optimizer: str
    attributes: Attributes
    """All fields of the manifest but name, seed and data set; a schedule is one attribute."""
    scores: Mapping[int, float]
    """By seed; runs that diverged before their first evaluation have none."""
    runs: tuple[str, ...]
    """Of `Runs.runs.run`."""
    num_diverged: int
    label: str = ""
    """The optimizer's name with what differs from its baseline: `Adam lr 0.01`."""
    changed: Attributes = field(default_factory=dict)
    """The attributes that differ from the baseline."""

    @property
    def mean(self) -> float:
        """Mean score over the seeds; -1 without any, to sort last."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else -1.0


def group_runs(runs: pd.DataFrame) -> list[Configuration]:
    """The configurations among `runs`, best first, with labels against their optimizer's baseline."""
    columns = ("configuration", "optimizer", "run", "seed", "score", "status", "manifest")
    groups: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in zip(*(runs[column] for column in columns), strict=True):
        groups[row[0]].append(row)
    found = [_build(digest, rows) for digest, rows in groups.items()]
    by_optimizer: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in found:
        by_optimizer[configuration.optimizer].append(configuration)
    labelled = [each for family in by_optimizer.values() for each in _label(family)]
    return sorted(labelled, key=lambda each: (-each.mean, each.label))


def _build(digest: str, rows: Sequence[tuple[Any, ...]]) -> Configuration:
    scores: dict[int, list[float]] = defaultdict(list)
    for *_, seed, score, _status, _manifest in rows:
        if score == score:  # NaN is unequal to itself
            scores[int(seed)].append(float(score))
    return Configuration(
        digest=digest,
        optimizer=rows[0][1],
        attributes=read_attributes(rows[0][-1]),
        scores={seed: sum(values) / len(values) for seed, values in sorted(scores.items())},
        runs=tuple(row[2] for row in rows),
        num_diverged=sum(row[5] == "diverged" for row in rows),
    )


def read_attributes(manifest: str) -> dict[str, Any]:
    """The attributes of a manifest given as JSON."""
    flat = flatten_manifest(manifest)
    schedule = {key.partition(".")[2]: value for key, value in flat.items() if key.startswith("schedule.")}
    name = schedule.pop("name")
    details = [f"{key} {show_value(value)}" for key, value in schedule.items() if value]
    own = {key: value for key, value in flat.items() if not key.startswith(("schedule.", "dataset."))}
    return own | {"schedule": ", ".join([str(name), *details])}


@cache
def read_defaults(optimizer: str) -> Attributes:
    """What torch's defaults, and ours for the rest, give for `optimizer`."""
    manifest = Manifest.model_validate({"name": "default", "optimizer": {"name": optimizer}})
    return read_attributes(manifest.model_dump_json())


def varying_attributes(family: Iterable[Configuration]) -> list[str]:
    """The attributes with more than one value, in the manifest's order."""
    values: dict[str, set[Any]] = defaultdict(set)
    for each in family:
        for attribute, value in each.attributes.items():
            values[attribute].add(value)
    return [attribute for attribute, seen in values.items() if len(seen) > 1]


def find_baseline(family: Sequence[Configuration]) -> Configuration:
    """The configuration that most others differ from in exactly one attribute.

    Of several, as in a grid, that with the most scores, then with the most default values. One without
    any score is no baseline where there is another.
    """
    varying = varying_attributes(family)
    scored = [each for each in family if each.scores] or family
    neighbourhoods: Counter[tuple[str, tuple[Any, ...]]] = Counter(
        (attribute, _others(each, attribute, varying)) for each in family for attribute in varying
    )

    def rank(each: Configuration) -> tuple[int, int, int, str]:
        num_neighbours = sum(neighbourhoods[attribute, _others(each, attribute, varying)] - 1 for attribute in varying)
        defaults = read_defaults(each.optimizer)
        num_defaults = sum(each.attributes.get(attribute) == defaults.get(attribute) for attribute in varying)
        return num_neighbours, len(each.scores), num_defaults, each.digest

    return max(scored, key=rank)


def _others(configuration: Configuration, attribute: str, varying: Iterable[str]) -> tuple[Any, ...]:
    return tuple(configuration.attributes.get(other) for other in varying if other != attribute)


def _label(family: Sequence[Configuration]) -> list[Configuration]:
    baseline = find_baseline(family)
    varying = varying_attributes(family)
    labelled = []
    for each in family:
        changed = {
            attribute: each.attributes.get(attribute)
            for attribute in varying
            if each.attributes.get(attribute) != baseline.attributes.get(attribute)
        }
        details = [f"{show_attribute(attribute)} {show_value(value)}" for attribute, value in changed.items()]
        label = " ".join([name_optimizer(each.optimizer), ", ".join(details)]).strip()
        labelled.append(replace(each, label=label, changed=changed))
    return labelled


def best_of_each(configurations: Iterable[Configuration]) -> list[Configuration]:
    """The best configuration of every optimizer, best first; `configurations` are best first."""
    best: dict[str, Configuration] = {}
    for each in configurations:
        if each.scores:
            best.setdefault(each.optimizer, each)
    return list(best.values())
