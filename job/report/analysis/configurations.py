"""Runs grouped over their seeds: what the report compares, named by what tells them apart from their baseline."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from job.manifest import Manifest
from job.report.analysis.origins import Origin, find_differences, list_origins
from job.report.analysis.statistics import Comparison, adjust_for_seeds, compare
from job.report.analysis.wording import name_optimizer, percent, show_attribute, show_value
from job.report.read.frames import flatten_manifest

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
    choice: Mapping[int, float]
    """What configurations are chosen by: validation top-1 by seed where images were held out, else the scores."""
    is_validated: bool
    """Whether there are validation images."""
    runs: tuple[str, ...]
    """Of `Runs.runs.run`."""
    finished: tuple[str, ...]
    """Those of the seeds that have a score."""
    num_diverged: int
    """Runs."""
    seeds: tuple[int, ...]
    """All that were run to an end, those that diverged included."""
    origins: Mapping[int, Origin] = field(default_factory=dict)
    """What made the run of each seed."""
    label: str = ""
    """The optimizer's name with what differs from its baseline: `Adam lr 0.01`."""
    changed: Attributes = field(default_factory=dict)
    """The attributes that differ from the baseline."""
    rank_score: float | None = None
    """The mean of `choice`, adjusted to the same seeds for all configurations of the study."""
    adjusted: float | None = None
    """The mean of `scores`, adjusted likewise: what stands beside other configurations without a paired difference."""

    @property
    def mean(self) -> float:
        """Mean score over the seeds that finished; -1 without any, to sort last."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else -1.0

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
        """The adjusted mean score, and how many seeds have none: `88.6 % (1 of 3 seeds diverged)`."""
        if not self.scores:
            return self.fate
        return f"{percent(self.adjusted)} ({self.fate})" if self.fate else percent(self.adjusted)

    @property
    def setting(self) -> Attributes:
        """What was chosen besides the optimizer: epochs, batch size, schedule, augmentation, precision, …"""
        return {key: value for key, value in self.attributes.items() if not key.startswith("optimizer.")}


def group_runs(runs: pd.DataFrame) -> list[Configuration]:
    """The configurations among `runs`, best first, with labels against their optimizer's baseline.

    The order: those that diverged in the smaller part of their seeds first; of equals the one with the higher score
    over common seeds, on validation images where there are some, else on the test images.
    """
    groups: dict[str, list[_Row]] = defaultdict(list)
    columns = ("optimizer", "run", "seed", "status", "score", "validation_top1", "manifest")
    fields = zip(*(runs[column] for column in columns), list_origins(runs), strict=True)
    for digest, row in zip(runs["configuration"], map(_Row._make, fields), strict=True):
        groups[digest].append(row)
    found = [_build(digest, rows) for digest, rows in groups.items()]
    by_optimizer: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in found:
        by_optimizer[configuration.optimizer].append(configuration)
    usual = _usual_setting([find_baseline(family) for family in by_optimizer.values()])
    labelled = [configuration for family in by_optimizer.values() for configuration in _label(family, usual)]
    choices, scores = (
        adjust_for_seeds(values)
        for values in (
            [configuration.choice for configuration in labelled],
            [configuration.scores for configuration in labelled],
        )
    )
    ranked = [
        replace(configuration, rank_score=choice, adjusted=None if score is None else min(max(score, 0.0), 1.0))
        for configuration, choice, score in zip(labelled, choices, scores, strict=True)
    ]
    return sorted(ranked, key=order_configuration)


def have_same_seeds(configurations: Iterable[Configuration]) -> bool:
    """Whether all that have scores have them of the same seeds."""
    return len({frozenset(configuration.scores) for configuration in configurations if configuration.scores}) < 2


def order_configuration(configuration: Configuration) -> tuple[float, float, str]:
    """The key that sorts the best first: part of the seeds that diverged, score over common seeds, label."""
    diverged = 1 - len(configuration.scores) / len(configuration.seeds)
    return diverged, math.inf if configuration.rank_score is None else -configuration.rank_score, configuration.label


class _Row(NamedTuple):
    """What is needed of a run."""

    optimizer: str
    run: str
    seed: int
    status: str
    score: float
    validation: float
    manifest: str
    origin: Origin


def _build(digest: str, rows: Sequence[_Row]) -> Configuration:
    """Runs under two names are one configuration: their mean counts, and a seed diverged where one of them did."""
    by_seed: dict[int, list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        by_seed[int(row.seed)].append(row)
    finished = {seed: own for seed, own in by_seed.items() if all(row.status == "completed" for row in own)}
    scores = {seed: _mean([row.score for row in own]) for seed, own in finished.items()}
    scores = {seed: score for seed, score in scores.items() if not math.isnan(score)}
    validated = {seed: _mean([row.validation for row in finished[seed]]) for seed in scores}
    is_validated = bool(validated) and not any(map(math.isnan, validated.values()))
    return Configuration(
        digest=digest,
        optimizer=rows[0].optimizer,
        attributes=read_attributes(rows[0].manifest),
        scores=scores,
        choice=validated if is_validated else scores,
        is_validated=is_validated,
        runs=tuple(row.run for row in rows),
        finished=tuple(row.run for seed in scores for row in finished[seed]),
        num_diverged=sum(row.status == "diverged" for row in rows),
        seeds=tuple(by_seed),
        origins={seed: own[-1].origin for seed, own in by_seed.items()},
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def compare_configurations(ours: Configuration, theirs: Configuration) -> Comparison | None:
    """Test scores, ours minus theirs, over common seeds; None where none is common.

    What differs between the runs of a seed besides the configuration itself stands in `unlike`.
    """
    comparison = compare(ours.scores, theirs.scores)
    if comparison is None:
        return None
    common = ours.scores.keys() & theirs.scores.keys()
    pairs = [(ours.origins[seed], theirs.origins[seed]) for seed in sorted(common)]
    return replace(comparison, unlike=tuple(find_differences(pairs)))


def tell_setting(ours: Configuration, theirs: Configuration) -> list[str]:
    """What was chosen differently besides the optimizer, such as `epochs 20 against 2`."""
    return [
        f"{show_attribute(key)} {show_value(value)} against {show_value(theirs.setting.get(key))}"
        for key, value in ours.setting.items()
        if value != theirs.setting.get(key)
    ]


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
    for configuration in family:
        for attribute, value in configuration.attributes.items():
            values[attribute].add(value)
    return [attribute for attribute, seen in values.items() if len(seen) > 1]


def find_baseline(family: Sequence[Configuration]) -> Configuration:
    """The configuration that most others differ from in exactly one attribute.

    Of several, as in a grid, that with the most scores, then with the most default values. One without
    any score is no baseline where there is another.
    """
    varying = varying_attributes(family)
    scored = [configuration for configuration in family if configuration.scores] or family
    neighbourhoods: Counter[tuple[str, tuple[Any, ...]]] = Counter(
        (attribute, _others(configuration, attribute, varying)) for configuration in family for attribute in varying
    )

    def rank(configuration: Configuration) -> tuple[int, int, int, str]:
        num_neighbours = sum(
            neighbourhoods[attribute, _others(configuration, attribute, varying)] - 1 for attribute in varying
        )
        defaults = read_defaults(configuration.optimizer)
        num_defaults = sum(configuration.attributes.get(attribute) == defaults.get(attribute) for attribute in varying)
        return num_neighbours, len(configuration.scores), num_defaults, configuration.digest

    return max(scored, key=rank)


def _others(configuration: Configuration, attribute: str, varying: Iterable[str]) -> tuple[Any, ...]:
    return tuple(configuration.attributes.get(other) for other in varying if other != attribute)


def _usual_setting(baselines: Sequence[Configuration]) -> Attributes:
    """Per attribute of the setting the value that most optimizers' baselines have, of equals that with most seeds."""
    seeds: dict[str, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
    for configuration in baselines:
        for attribute, value in configuration.setting.items():
            seeds[attribute][value].append(len(configuration.seeds))
    return {
        attribute: max(found, key=lambda value: (len(found[value]), sum(found[value])))
        for attribute, found in seeds.items()
    }


def _label(family: Sequence[Configuration], usual: Attributes) -> list[Configuration]:
    """`family` with labels: what differs from its own baseline, and what of the setting is not the usual one."""
    baseline = find_baseline(family)
    varying = varying_attributes(family)
    labelled = []
    for configuration in family:
        changed = {
            attribute: configuration.attributes.get(attribute)
            for attribute in varying
            if configuration.attributes.get(attribute) != baseline.attributes.get(attribute)
        }
        unusual = {key: value for key, value in configuration.setting.items() if value != usual.get(key)}
        details = [f"{show_attribute(key)} {show_value(value)}" for key, value in (changed | unusual).items()]
        label = " ".join([name_optimizer(configuration.optimizer), ", ".join(details)]).strip()
        labelled.append(replace(configuration, label=label, changed=changed))
    return labelled


def best_of_each(configurations: Iterable[Configuration]) -> list[Configuration]:
    """The best configuration of every optimizer, best first; `configurations` are best first.

    An optimizer of which every run diverged is there with a configuration without scores.
    """
    best: dict[str, Configuration] = {}
    for configuration in configurations:
        best.setdefault(configuration.optimizer, configuration)
    return list(best.values())
