"""Runs become configurations: grouped over their seeds, named by what tells them apart from their baseline, ranked."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from job.report.analysis.baselines import find_baseline, read_attributes, varying_attributes
from job.report.analysis.configurations import Attributes, Configuration, order_configuration, split_by_optimizer
from job.report.analysis.judgement import Fitted
from job.report.analysis.origins import Origin, list_origins
from job.report.analysis.statistics import adjust_for_seeds
from job.report.analysis.wording import name_optimizer, show_attribute, show_value


def group_runs(runs: pd.DataFrame) -> list[Configuration]:
    """The configurations among `runs`, with labels against their optimizer's baseline."""
    groups: dict[str, list[_Row]] = defaultdict(list)
    columns = ("optimizer", "run", "seed", "status", "score", "validation_top1", "num_classes", "manifest")
    fields = zip(*(runs[column] for column in columns), list_origins(runs), strict=True)
    for digest, row in zip(runs["configuration"], map(_Row._make, fields), strict=True):
        groups[digest].append(row)
    found = [_build(digest, rows) for digest, rows in groups.items()]
    by_optimizer = split_by_optimizer(found)
    usual = _usual_setting([find_baseline(family) for family in by_optimizer.values()])
    return [configuration for family in by_optimizer.values() for configuration in _label(family, usual)]


def rank_configurations(configurations: Sequence[Configuration], fitted: Fitted | None) -> list[Configuration]:
    """The configurations with their adjusted means, best first.

    The order is by accuracy over common seeds, on validation images where there are some, else on the test images. A
    seed that diverged counts as guessing.
    """
    choices = adjust_for_seeds([configuration.choice for configuration in configurations])
    ranked = []
    for configuration, choice in zip(configurations, choices, strict=True):
        estimate = fitted.estimate(configuration) if fitted else None
        adjusted = estimate.mean if estimate else configuration.mean_outcome
        score = choice if configuration.is_validated else adjusted
        ranked.append(replace(configuration, adjusted=adjusted, rank_score=score))
    return sorted(ranked, key=order_configuration)


class _Row(NamedTuple):
    """What the grouping needs to know of a run."""

    optimizer: str
    run: str
    seed: int
    status: str
    score: float
    validation: float
    num_classes: int
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
    guessed = {
        seed: 1 / own[0].num_classes for seed, own in by_seed.items() if any(row.status == "diverged" for row in own)
    }
    return Configuration(
        digest=digest,
        optimizer=rows[0].optimizer,
        attributes=read_attributes(rows[0].manifest),
        scores=scores,
        outcomes=guessed | scores,
        choice=guessed | (validated if is_validated else scores),
        is_validated=is_validated,
        runs=tuple(row.run for row in rows),
        finished=tuple(row.run for seed in scores for row in finished[seed]),
        num_diverged=sum(row.status == "diverged" for row in rows),
        seeds=tuple(by_seed),
        origins={seed: own[-1].origin for seed, own in by_seed.items()},
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _usual_setting(baselines: Sequence[Configuration]) -> Attributes:
    """For each attribute of the setting the value that most baselines have; of equals the one with the most seeds."""
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
