"""Every sentence of the page that states something about the runs, with the numbers that it rests on.

The sentences are made elsewhere; here they are gathered in the order of the page, and each is given what it was made
from. So a reader, or a test, can compute every printed number again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from job.report.analysis.answer import ERROR_FRACTION, find_closest
from job.report.analysis.budget import list_tuned, tell_budget
from job.report.analysis.effects import LARGE_EFFECT, SENTENCES, judge_effect
from job.report.analysis.elsewhere import Elsewhere
from job.report.analysis.numbers import Numbers, list_estimate, list_setting, list_values, name_number
from job.report.analysis.reasons import compare_first_steps
from job.report.analysis.reference import SideBySide
from job.report.analysis.samples import Gallery
from job.report.analysis.sensitivity import Sensitivity, name_attribute
from job.report.analysis.sources import (
    count_for_notes,
    count_images,
    count_machines,
    count_origins,
    count_runs,
    count_seeds,
    list_accuracy,
    list_effects,
    list_needed,
    list_pair,
    list_rivals,
    list_settings,
    list_verdict,
)
from job.report.analysis.study import Study
from job.report.analysis.times import find_speeds
from job.report.analysis.wording import name_optimizer, show_margin, show_target


@dataclass(frozen=True)
class Sentence:
    """A sentence of the page."""

    place: str
    """Where on the page it stands, in words."""
    text: str
    numbers: Mapping[str, float]
    """By names that say what they are; accuracies and differences as fractions."""


def list_sentences(
    study: Study,
    *,
    gallery: Gallery | None = None,
    sides: SideBySide | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[Sentence]:
    """The sentences about `study` in the order of the page. What is not a number or not finite is left out.

    Not among them: tables, captions, explanations that are the same over all runs, and what a published study says.
    """
    found = [
        *_list_answer(study),
        *([Sentence("first screen, elsewhere", elsewhere.sentence, elsewhere.numbers)] if elsewhere else []),
        *_list_reasons(study),
        *_list_attributes(study),
        *_list_comparison(study),
        *([Sentence("hard images", gallery.sentence, count_images(gallery))] if gallery else []),
        *_list_budget(study),
        *(_list_reference(sides, study) if sides else []),
        *_list_method(study),
    ]
    return [
        Sentence(told.place, told.text, {name: value for name, value in told.numbers.items() if math.isfinite(value)})
        for told in found
        if told.text
    ]


def _list_answer(study: Study) -> Iterator[Sentence]:
    answer, leader, judgement = study.answer, study.verdict.leader, study.judgement
    if leader is None or judgement is None:
        yield Sentence("first screen, headline", answer.headline, {"num_diverged": count_runs(study, "diverged")})
        return
    closest = find_closest(study.verdict)
    compared = list_pair(leader, *closest) if closest else {}
    yield Sentence("first screen, headline", answer.headline, list_rivals(study))
    leading = list_estimate(leader.label, judgement.fitted.estimate(leader)) | count_seeds(leader)
    yield Sentence("first screen, by how much", answer.by_how_much, leading | compared)
    sure = compared | list_needed(judgement) | {"error": ERROR_FRACTION} | count_seeds(leader)
    yield Sentence("first screen, how sure", answer.how_sure, sure)
    yield Sentence("first screen, settings", answer.settings, list_settings(leader))
    for reason in answer.why:
        yield Sentence("first screen, why", reason.gist, reason.numbers)
    edges = {warning: numbers for own in study.sensitivities for warning, numbers in _list_edges(own)}
    for told in answer.unknown:
        yield Sentence("first screen, not known", told, edges.get(told) or list_rivals(study))


def _list_reasons(study: Study) -> Iterator[Sentence]:
    for reason in study.reasons:
        yield Sentence(f"why, {reason.title}", reason.sentence, reason.numbers)
    for step in compare_first_steps(study.evidence):
        yield Sentence(f"why, first step of {step.configuration.label}", step.takeaway, step.numbers)


def _list_attributes(study: Study) -> Iterator[Sentence]:
    if study.effects and study.judgement:
        margin = study.judgement.margin
        yield Sentence(
            "attributes, what is called equal and large",
            f"lies within {show_margin(margin)} of zero, and “large” that the difference is at least "
            f"{100 * LARGE_EFFECT:g} points.",
            {"margin": margin, "large": LARGE_EFFECT},
        )
    for sensitivity in study.sensitivities:
        for warning, numbers in _list_edges(sensitivity):
            yield Sentence(f"attributes, {name_attribute(sensitivity.attribute)}", warning, numbers)
    for effects in study.effects:
        place, baseline = f"attributes, {name_optimizer(effects.optimizer)}", effects.baseline
        numbers = count_seeds(baseline) | list_accuracy(baseline)
        yield Sentence(place, f"Baseline: {baseline.label}, {baseline.told_score}.", numbers)
        kinds = {judge_effect(effect) for effect in effects.effects}
        for kind, sentence in zip((kind for kind in SENTENCES if kind in kinds), effects.summary, strict=True):
            told = [effect for effect in effects.effects if judge_effect(effect) == kind]
            numbers = list_effects(told, effects)
            if kind == "equal" and study.judgement:
                numbers["margin"] = study.judgement.margin
            yield Sentence(place, sentence, numbers)


def _list_edges(sensitivity: Sensitivity) -> Iterator[tuple[str, Numbers]]:
    """The warnings that a best value is the last that was tried, each with the values that were tried."""
    warned = [own for own in sensitivity.optimizers if own.at_edge and not own.is_flat]
    for own, warning in zip(warned, sensitivity.warnings, strict=True):
        numbers: Numbers = {}
        for tried in own.tried:
            label = tried.configuration.label
            numbers |= list_setting(sensitivity.attribute, label, tried.value) | list_estimate(label, tried.estimate)
        yield warning, numbers


def _list_comparison(study: Study) -> Iterator[Sentence]:
    yield Sentence("all configurations", study.order, {})
    told = f"are counted up to the first epoch with at least {show_target(study.target)} test top-1"
    yield Sentence("all configurations, the target", told, {"target": study.target})
    slowest, fastest = find_speeds(study.runs.runs)
    speeds = {"images per second of the slowest run": slowest, "images per second of the fastest run": fastest}
    speeds |= {"fastest relative to slowest": fastest / slowest} if slowest > 0 else {}
    yield Sentence("cost", study.times_apart or "", speeds | count_machines(study))


def _list_budget(study: Study) -> Iterator[Sentence]:
    for line, sentence in zip(list_tuned(study.budget), tell_budget(study.budget), strict=True):
        name, default = name_optimizer(line.optimizer), line.default
        numbers = count_seeds(default) | list_accuracy(default)
        numbers |= {
            name_number("num_trials", name): line.num_trials,
            name_number("expected accuracy of the best of the trials", name): line.tuned_score,
            name_number("expected gain over the default", name): line.gain,
        }
        yield Sentence("what tuning buys", sentence, numbers)


def _list_reference(sides: SideBySide, study: Study) -> Iterator[Sentence]:
    runs = study.runs.runs
    there: Numbers = {}
    for field in ("train_images", "test_images", "epochs", "learning_rate"):
        there |= list_setting(f"{field}", "the published study", getattr(sides.setup, field))
    here: Numbers = {"num_train": int(runs["num_train"].iloc[0]), "num_test": int(runs["num_test"].iloc[0])}
    for pair in sides.pairs:
        if pair.closest:
            label, attributes = pair.closest.label, pair.closest.attributes
            here |= list_setting("epochs", label, attributes["epochs"])
            here |= list_setting("lr", label, attributes["optimizer.lr"])
            here |= list_values("num_seeds", {label: len(pair.closest.scores)})
    yield Sentence("published study, the order", sides.orders or "", {})
    for pair in sides.pairs:
        if pair.closest and pair.why_apart:
            yield Sentence(f"published study, {name_optimizer(pair.optimizer)}", pair.why_apart, there | here)
    for difference in sides.differences:
        yield Sentence("published study, differences", difference, there | here)


def _list_method(study: Study) -> Iterator[Sentence]:
    yield Sentence("how it was done, the verdict", study.verdict.sentence, list_verdict(study))
    notes = list_rivals(study) | count_for_notes(study) | count_origins(study)
    for note in study.verdict.notes:
        yield Sentence("how it was done, notes", note, notes)
    facts = {
        "num_runs": len(study.runs.runs),
        "num_configurations": len(study.configurations),
        "num_diverged": count_runs(study, "diverged"),
        **{column: int(study.runs.runs[column].iloc[0]) for column in ("num_train", "num_validation", "num_test")},
    }
    common, differing = Numbers(), Numbers()
    for attribute, value in study.configurations[0].attributes.items():
        if all(own.attributes.get(attribute) == value for own in study.configurations):
            common |= list_setting(attribute, "all", value)
        elif not attribute.startswith("optimizer."):
            for own in study.configurations:
                differing |= list_setting(attribute, own.label, own.attributes.get(attribute))
    settings = {"All alike:": common, "Not all alike": differing, "Trained on": count_machines(study)}
    for fact in study.facts:
        numbers = next((own for opening, own in settings.items() if fact.startswith(opening)), facts)
        yield Sentence("how it was done, facts", fact, numbers)
