"""The first screen: who won, by how much, how sure that is, with which settings, why, and what is not known.

The verdict decides; here its answer is taken apart, so that each of these questions is answered in a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from job.manifest import Manifest
from job.report.analysis.baselines import read_defaults
from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Comparison, Estimate
from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.judgement import Judgement
from job.report.analysis.reasons import Reason
from job.report.analysis.reproduction import write_document
from job.report.analysis.verdict import Verdict
from job.report.analysis.wording import (
    count,
    join,
    name_optimizer,
    percent,
    show_attribute,
    show_estimate,
    show_margin,
    show_p,
    show_size,
    show_value,
)

MOST_REASONS = 3
MOST_UNKNOWN = 2
BUDGET = ("epochs", "batch_size", "model.weights")
"""Settings that are told in words, and the weights, which are a place on one's own machine."""
ERROR_FRACTION = round(1 - LEVEL, 12)
ERROR = f"Answers of this kind are wrong in at most {100 * ERROR_FRACTION:.0f} % of studies."


@dataclass(frozen=True)
class Answer:
    """The lines of the first screen."""

    headline: str
    """Who won: `Adagrad is best`, `Not yet known: Adagrad or Adam`."""
    score: str
    """The winner's accuracy."""
    by_how_much: str
    how_sure: str
    settings: str
    """What the winner was run with, as far as it is no default."""
    manifest: str | None
    """The manifest to copy, as JSON; None where no run has a score."""
    why: tuple[Reason, ...]
    """At most three, the best founded first."""
    unknown: tuple[str, ...]
    """What these runs do not say, and what would tell."""
    num_seeds: int
    """Seeds behind the comparison that decides; of the leader where there is none."""


def answer(
    verdict: Verdict,
    judgement: Judgement | None,
    reasons: Sequence[Reason],
    *,
    configurations: Sequence[Configuration],
    edges: Sequence[str] = (),
    manifest: str | None,
) -> Answer:
    """The answer of `verdict`; `edges` are warnings that a best value is the last that was tried, and `manifest` is the
    JSON of a run of the leader."""
    leader = verdict.leader
    if leader is None or judgement is None:
        return Answer(verdict.sentence, "", "", "", "", None, (), (), 0)
    closest = find_closest(verdict)
    estimate = judgement.fitted.estimate(leader)
    return Answer(
        headline=_tell_who(leader, verdict),
        score=percent(estimate.mean) if estimate else "",
        by_how_much=_tell_how_much(leader, closest, estimate),
        how_sure=_tell_how_sure(leader, closest, judgement, verdict.strangers),
        settings=_tell_settings(leader),
        manifest=None if manifest is None else shorten_manifest(manifest),
        why=_choose_reasons(reasons),
        unknown=tuple(_tell_unknown(leader, verdict, configurations, edges)[:MOST_UNKNOWN]),
        num_seeds=closest[1].num if closest else len(leader.outcomes),
    )


def shorten_manifest(manifest: str) -> str:
    """The resolved manifest, as JSON, as one would write it; it resolves to the same configuration."""
    short = write_document(Manifest.model_validate_json(manifest))
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in short.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def find_closest(verdict: Verdict) -> tuple[Configuration, Comparison] | None:
    """The rival that decides how sure the answer is: one that is better, else one of which nothing is known, else one
    that is practically equal, else the beaten one that came closest."""
    for answer in ("worse", "unknown", "equal", "better"):
        pairs = [pair for pair in verdict.rivals if pair[1].answer == answer]
        if pairs:
            return min(pairs, key=lambda pair: pair[1].difference)
    return None


def _tell_who(leader: Configuration, verdict: Verdict) -> str:
    answers = [comparison.answer for _, comparison in verdict.rivals]
    if "worse" in answers:
        return "Validation and test images disagree"
    if "unknown" in answers:
        return f"Not yet known: {leader.label} leads, but not for certain"
    if verdict.strangers:
        return f"Not yet known: {join([leader.label, *(own.label for own in verdict.strangers)], last='or')}"
    if not verdict.rivals:
        return f"{leader.label}, with nothing to compare it with yet"
    equal = [rival.label for rival, comparison in verdict.rivals if comparison.answer == "equal"]
    if equal:
        return f"{join([leader.label, *equal])} are practically equal"
    return f"{leader.label} is best"


def _tell_how_much(
    leader: Configuration, closest: tuple[Configuration, Comparison] | None, estimate: Estimate | None
) -> str:
    score = f"{show_estimate(estimate)} of the test images right"
    score += f" ({leader.fate})" if leader.fate else ""
    if closest is None:
        return f"{score}."
    rival, comparison = closest
    word = "more" if comparison.difference >= 0 else "fewer"
    return f"{score}, {show_size(comparison)} points {word} than {rival.label}."


def _tell_how_sure(
    leader: Configuration,
    closest: tuple[Configuration, Comparison] | None,
    judgement: Judgement,
    strangers: Sequence[Configuration],
) -> str:
    if strangers and (closest is None or closest[1].answer in ("better", "equal")):
        others = join([own.label for own in strangers])
        return f"{others}: no seed in common with {leader.label}, so nothing compares them."
    if closest is None:
        return f"{count(len(leader.seeds), 'seed')} of one configuration: nothing is compared."
    rival, comparison = closest
    seeds = count(comparison.num, "common seed")
    if comparison.unlike:
        return f"{seeds}, but the two differ in more than the optimizer: {join(list(comparison.unlike))}."
    if comparison.low is None:
        return f"{seeds}: nothing can be said about certainty. Run more seeds."
    if comparison.answer == "unknown":
        needed = judgement.seeds_needed
        told = f"{seeds} ({show_p(comparison.p)}) do not tell {leader.label} from {rival.label}"
        if needed and needed.likely > comparison.num:
            told += f"; a difference of {show_margin(judgement.margin)} takes about {needed.likely} seeds of each"
        return f"{told}."
    if comparison.answer == "equal":
        return f"{seeds}; the difference is smaller than {show_margin(judgement.margin)} either way. {ERROR}"
    return f"{seeds}, {show_p(comparison.p)}. {ERROR}"


def tell_optimizer(leader: Configuration) -> str:
    """Its name, its learning rate, and what else differs from torch's defaults."""
    defaults = read_defaults(leader.optimizer)
    own = [
        f"{show_attribute(key)} {show_value(value)}"
        for key, value in leader.attributes.items()
        if key.startswith("optimizer.") and (key == "optimizer.lr" or value != defaults.get(key))
    ]
    return f"{name_optimizer(leader.optimizer)} with {', '.join(own)}"


def list_other_settings(leader: Configuration) -> list[str]:
    """What else is no default, beside the optimizer and the budget: a schedule, an augmentation, frozen layers."""
    defaults = read_defaults(leader.optimizer)
    return [
        f"{show_attribute(key)} {show_value(value)}"
        for key, value in leader.setting.items()
        if key not in BUDGET and value != defaults.get(key)
    ]


def _tell_settings(leader: Configuration) -> str:
    """The optimizer, and the budget."""
    budget = [count(leader.attributes["epochs"], "epoch"), f"batches of {leader.attributes['batch_size']}"]
    return f"{tell_optimizer(leader)}; {', '.join(budget + list_other_settings(leader))}."


def _choose_reasons(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Three that speak of different optimizers, the tested ones first; overviews only where there is no other."""
    told = sorted(reasons, key=lambda reason: (reason.is_overview, reason.standing != "tested"))
    chosen: list[Reason] = []
    for is_new in (True, False):
        for reason in told:
            known = {optimizer for other in chosen for optimizer in other.about}
            if len(chosen) < MOST_REASONS and reason not in chosen and (not is_new or set(reason.about) - known):
                chosen.append(reason)
    return tuple(chosen)


def _tell_unknown(
    leader: Configuration, verdict: Verdict, configurations: Sequence[Configuration], edges: Sequence[str]
) -> list[str]:
    """What is not known, the gravest first."""
    told = []
    unknown = [(rival, comparison) for rival, comparison in verdict.rivals if comparison.answer == "unknown"]
    kinds = (
        ([rival for rival, comparison in unknown if not comparison.unlike], "More seeds would tell."),
        ([rival for rival, comparison in unknown if comparison.unlike], "Runs that differ in nothing else would tell."),
        (verdict.strangers, "They have no seed in common; the same seeds would tell."),
    )
    for rivals, what in kinds:
        if rivals:
            others = join([rival.label for rival in rivals], last="or")
            told.append(f"Whether {leader.label} is better than {others}. {what}")
    told += edges
    told += _tell_untried(configurations)
    closest = find_closest(verdict)
    if closest and closest[1].answer == "better":
        told += _tell_new_images(closest[1])
    return [*told, "Whether it holds for other data sets and networks: only this one was trained."]


def _tell_new_images(comparison: Comparison) -> list[str]:
    """Whether other images of the same kind would tell the same."""
    new = comparison.on_new_images
    if new is None:
        return ["Whether it holds for other images: the runs do not say which images they had right."]
    if new[0] > 0:
        return []
    span = f"{100 * new[0]:.1f} to {100 * new[1]:.1f}".replace("-", "−")
    return [
        f"Whether it holds for other images: the difference may lie from {span} points. More test images would tell."
    ]


def _tell_untried(configurations: Sequence[Configuration]) -> list[str]:
    """Optimizers of which a single learning rate was run: another one may change their place."""
    rates: dict[str, set[Any]] = {}
    for configuration in configurations:
        rates.setdefault(configuration.optimizer, set()).add(configuration.attributes["optimizer.lr"])
    single = [name_optimizer(optimizer) for optimizer, tried in rates.items() if len(tried) == 1]
    if not single:
        return []
    whom = join(single) if len(single) < len(rates) or len(rates) == 1 else "every optimizer"
    return [f"What other learning rates give: {whom} ran at a single one. A sweep would tell."]
