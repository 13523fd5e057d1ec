"""`report.json`: the answers for programs. Its fields are documented in docs/report.md.

Accuracies and differences are fractions of one. A field may be added in any version; what a field means changes only
with `version`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict

from job.errors import IncompleteError, UsageError
from job.report.analysis.configurations import Configuration
from job.report.analysis.effects import OptimizerEffects, answer_attribute
from job.report.analysis.estimates import Comparison
from job.report.analysis.inference.failures import estimate_success
from job.report.analysis.study import Study

Answer = Literal["better", "equal", "unknown"]
Number = Annotated[float, AfterValidator(lambda value: round(value, 6))]
EXPECTATION = re.compile(r"\s*(?P<a>[^<>=]+?)\s*(?P<sign>>=|>)\s*(?P<b>[^<>=]+?)\s*")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pick(_Part):
    """A configuration."""

    label: str
    optimizer: str
    accuracy: Number | None
    low: Number | None
    high: Number | None
    run_ids: list[str]


class Pair(_Part):
    """`a` minus `b`; `a` is the one that is estimated to be at least as good."""

    a: str
    b: str
    difference: Number
    low: Number | None
    high: Number | None
    p: Number | None
    answer: Answer
    low_on_new_images: Number | None
    high_on_new_images: Number | None
    unlike: list[str]


class Value(_Part):
    """One value of an attribute, changed alone."""

    value: Any
    is_baseline: bool
    accuracy: Number | None
    difference: Number | None
    low: Number | None
    high: Number | None
    p: Number | None
    answer: Literal["better", "worse", "equal", "unknown"] | None


class AttributeSummary(_Part):
    """What one attribute of an optimizer does."""

    optimizer: str
    attribute: str
    importance: Number | None
    p: Number | None
    trend: Number | None
    trend_p: Number | None
    answer: Literal["matters", "equal", "unknown"]
    values: list[Value]


class Seeds(_Part):
    """Seeds of each configuration that find a difference of the margin, those that ran included."""

    low: int
    likely: int
    high: int


class Failing(_Part):
    """A configuration of which runs diverged."""

    label: str
    optimizer: str
    num_seeds: int
    num_diverged: int
    success_rate: Number
    low: Number
    high: Number


class Missing(_Part):
    """A run without a usable result."""

    run_id: str
    kind: str
    reason: str


class Experiment(_Part):
    """The answers over one experiment on one data set."""

    name: str
    decided: bool
    sentence: str
    recommended: Pick | None
    within_best: list[Pick]
    comparisons: list[Pair]
    attributes: list[AttributeSummary]
    seeds_needed: Seeds | None
    failures: list[Failing]
    missing: list[Missing]


class Summary(_Part):
    """The whole file."""

    version: Literal[1] = 1
    margin: Number
    experiments: list[Experiment]


def summarise(studies: Sequence[Study], holes: pd.DataFrame, *, margin: float) -> Summary:
    """The summary of a report."""
    return Summary(margin=margin, experiments=[_summarise(study, holes) for study in studies])


def check_expectation(expectation: str, summary: Summary) -> None:
    """Nothing where `a > b` (a is shown to be better) or `a >= b` (better or practically equal) holds in every
    experiment that compares the two; these are optimizers, or labels of configurations.

    Raises `UsageError` where it is no such sentence, and `IncompleteError` where it does not hold, or where no
    experiment compares the two.
    """
    a, sign, b = parse_expectation(expectation)
    seen = False
    for experiment in summary.experiments:
        for ours, theirs, pair in _both_ways(experiment.comparisons):
            if not (_is_called(a, ours) and _is_called(b, theirs)):
                continue
            seen = True
            is_ahead = ours == pair.a
            if not ((pair.answer == "better" and is_ahead) or (pair.answer == "equal" and sign == ">=")):
                found = {"better": f"{pair.a} is better", "equal": "practically equal", "unknown": "not yet known"}
                raise IncompleteError(f"{experiment.name}: not {expectation.strip()}: {found[pair.answer]}")
    if not seen:
        raise IncompleteError(f"no experiment compares {a} with {b}")


def parse_expectation(expectation: str) -> tuple[str, str, str]:
    """`a`, the sign and `b`. Raises `UsageError`."""
    match = EXPECTATION.fullmatch(expectation)
    if match is None:
        raise UsageError(f'--fail-unless {expectation!r}: write "adagrad > adam" or "adagrad >= adam"')
    return match["a"], match["sign"], match["b"]


def _both_ways(pairs: Iterable[Pair]) -> Iterator[tuple[str, str, Pair]]:
    for pair in pairs:
        yield pair.a, pair.b, pair
        yield pair.b, pair.a, pair


def _is_called(name: str, label: str) -> bool:
    """Whether `name` means the configuration with this label: by the label, or by its first word, the optimizer."""
    return name.lower() == label.lower() or name.lower() == label.split()[0].lower()


def _summarise(study: Study, holes: pd.DataFrame) -> Experiment:
    judgement, leader = study.judgement, study.verdict.leader
    own = holes[holes["experiment"].isin(set(study.runs.runs["experiment"]))]
    needed = judgement.seeds_needed if judgement else None
    return Experiment(
        name=study.title,
        decided=study.verdict.decided,
        sentence=study.verdict.sentence,
        recommended=_pick(leader, study) if leader else None,
        within_best=[_pick(configuration, study) for configuration in judgement.within_reach] if judgement else [],
        comparisons=list(_list_pairs(study)),
        attributes=[part for effects in study.effects for part in _list_attributes(effects, study)],
        seeds_needed=Seeds(low=needed.low, likely=needed.likely, high=needed.high) if needed else None,
        failures=[_tell_failures(configuration) for configuration in study.configurations if configuration.fate],
        missing=[
            Missing(run_id=str(hole.run_id), kind=str(hole.kind), reason=str(hole.reason))
            for hole in own[own["kind"] != "diverged"].itertuples()
        ],
    )


def _pick(configuration: Configuration, study: Study) -> Pick:
    estimate = study.judgement.fitted.estimate(configuration) if study.judgement else None
    return Pick(
        label=configuration.label,
        optimizer=configuration.optimizer,
        accuracy=estimate.mean if estimate else None,
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        run_ids=[run.rpartition("/")[2] for run in configuration.runs],
    )


def _list_pairs(study: Study) -> Iterator[Pair]:
    """Everybody in the verdict's field with each other, or with the leader alone where there is one optimizer."""
    if study.judgement is None:
        return
    best = study.judgement.field.best
    is_single = len({configuration.optimizer for configuration in best}) == 1
    for place, ours in enumerate(best):
        for theirs in best[place + 1 :]:
            comparison = study.judgement.compare(ours, theirs)
            if comparison is not None:
                yield _pair(ours, theirs, comparison)
        if is_single:
            break


def _pair(ours: Configuration, theirs: Configuration, comparison: Comparison) -> Pair:
    low, high, new = comparison.low, comparison.high, comparison.on_new_images
    if comparison.difference < 0:
        ours, theirs = theirs, ours
        low, high = (None if bound is None else -bound for bound in (high, low))
        new = (-new[1], -new[0]) if new else None
    return Pair(
        a=ours.label,
        b=theirs.label,
        difference=abs(comparison.difference),
        low=low,
        high=high,
        p=comparison.p,
        answer="better" if comparison.decided else "equal" if comparison.answer == "equal" else "unknown",
        low_on_new_images=new[0] if new else None,
        high_on_new_images=new[1] if new else None,
        unlike=list(comparison.unlike),
    )


def _list_attributes(effects: OptimizerEffects, study: Study) -> Iterator[AttributeSummary]:
    fitted = study.judgement.fitted if study.judgement else None
    for importance in effects.importances:
        baseline = effects.baseline.attributes.get(importance.name)
        values: list[tuple[Any, Configuration, Comparison | None]] = [(baseline, effects.baseline, None)]
        values += [
            (effect.value, effect.configuration, effect.comparison)
            for effect in effects.effects
            if effect.attribute == importance.name
        ]
        yield AttributeSummary(
            optimizer=effects.optimizer,
            attribute=importance.name,
            importance=_number(importance.importance),
            p=importance.p,
            trend=_number(importance.trend),
            trend_p=importance.trend_p,
            answer=answer_attribute(effects, importance),
            values=[
                Value(
                    value=value,
                    is_baseline=comparison is None and configuration is effects.baseline,
                    accuracy=estimate.mean
                    if (estimate := fitted.estimate(configuration) if fitted else None)
                    else None,
                    difference=comparison.difference if comparison else None,
                    low=comparison.low if comparison else None,
                    high=comparison.high if comparison else None,
                    p=comparison.p if comparison else None,
                    answer=comparison.answer if comparison else None,
                )
                for value, configuration, comparison in values
            ],
        )


def _tell_failures(configuration: Configuration) -> Failing:
    rate = estimate_success(len(configuration.scores), len(configuration.seeds))
    return Failing(
        label=configuration.label,
        optimizer=configuration.optimizer,
        num_seeds=rate.num,
        num_diverged=rate.num - rate.succeeded,
        success_rate=rate.rate,
        low=rate.low,
        high=rate.high,
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
