"""From a study to the numbers that a sentence of the page rests on: what was compared, counted and set."""

from __future__ import annotations

from collections import Counter

from job.report.analysis.baselines import read_defaults
from job.report.analysis.configurations import Configuration
from job.report.analysis.effects import MOST_TOLD, Effect, OptimizerEffects
from job.report.analysis.estimates import Comparison
from job.report.analysis.inference.failures import estimate_success
from job.report.analysis.judgement import Judgement
from job.report.analysis.numbers import Numbers, list_comparison, list_estimate, list_setting, list_values, name_number
from job.report.analysis.origins import is_unknown, show_fact, varying_facts
from job.report.analysis.samples import Gallery
from job.report.analysis.study import Study
from job.report.analysis.wording import name_optimizer, show_attribute
from job.report.read.frames import FACTS


def count_runs(study: Study, status: str) -> int:
    """How many runs ended so."""
    return int((study.runs.runs["status"] == status).sum())


def list_settings(leader: Configuration, *, label: str | None = None) -> Numbers:
    """The leader's learning rate, epochs and batch size, and what else is no default; `label` stands for its own."""
    defaults, numbers = read_defaults(leader.optimizer), Numbers()
    for attribute, value in leader.attributes.items():
        if attribute in ("optimizer.lr", "epochs", "batch_size") or value != defaults.get(attribute):
            numbers |= list_setting(attribute, label or leader.label, value)
    return numbers


def list_rivals(study: Study) -> Numbers:
    """The leader beside all others of the field."""
    leader, numbers = study.verdict.leader, Numbers()
    if leader is None:
        return numbers
    for rival, comparison in study.verdict.rivals:
        numbers |= list_pair(leader, rival, comparison)
    for stranger in study.verdict.strangers:
        numbers |= list_different_settings(leader, stranger)
    return numbers


def list_pair(ours: Configuration, theirs: Configuration, comparison: Comparison) -> Numbers:
    """How the two compare, and the settings in which they differ beside the optimizer."""
    return list_comparison(ours.label, theirs.label, comparison) | list_different_settings(ours, theirs)


def list_different_settings(ours: Configuration, theirs: Configuration) -> Numbers:
    """Both values of what was chosen differently besides the optimizer."""
    numbers: Numbers = {}
    for attribute, value in ours.setting.items():
        if value != theirs.setting.get(attribute):
            numbers |= list_setting(attribute, ours.label, value)
            numbers |= list_setting(attribute, theirs.label, theirs.setting.get(attribute))
    return numbers


def list_needed(judgement: Judgement) -> Numbers:
    """How many seeds find a difference of the margin."""
    needed, numbers = judgement.seeds_needed, {"margin": judgement.margin}
    if needed is None:
        return numbers
    span = {"at least": needed.low, "likely": needed.likely, "at most": needed.high}
    return numbers | {f"num_seeds that find the margin, {word}": num for word, num in span.items()}


def count_seeds(configuration: Configuration) -> Numbers:
    """How many ran, and how many of them diverged."""
    num, label = len(configuration.seeds), configuration.label
    counts = list_values("num_seeds", {label: num})
    return counts | (
        list_values("num_diverged", {label: num - len(configuration.scores)}) if configuration.fate else {}
    )


def list_accuracy(configuration: Configuration) -> Numbers:
    """The adjusted mean alone, where any run ended."""
    adjusted = configuration.adjusted
    return {} if adjusted is None else list_values("accuracy", {configuration.label: adjusted})


def list_verdict(study: Study) -> Numbers:
    """What the verdict's sentence is made from."""
    judgement = study.judgement
    if judgement is None:
        return {"num_diverged": count_runs(study, "diverged")}
    numbers = list_rivals(study) | list_needed(judgement)
    for own in judgement.field.best:
        estimate = judgement.fitted.estimate(own) if own.outcomes else None
        numbers |= list_estimate(own.label, estimate) | count_seeds(own)
    return numbers


def count_for_notes(study: Study) -> Numbers:
    """What the notes below the verdict count, beside the comparisons."""
    if study.judgement is None:
        return {}
    field, counts = study.judgement.field, Counter(own.optimizer for own in study.judgement.field.pool)
    numbers = list_values("num_configurations", {name_optimizer(own): num for own, num in counts.items()})
    numbers |= {"num_configurations": len(study.configurations), "num_runs": len(study.runs.runs)}
    numbers["num_configurations that are compared"] = len(study.judgement.fitted.places)
    for left_out in field.left_out:
        numbers |= list_different_settings(left_out, field.best[0])
    for own in field.best:
        if own.fate:
            rate = estimate_success(len(own.scores), len(own.seeds))
            numbers |= count_seeds(own) | list_values("num_finished", {own.label: rate.succeeded})
            numbers |= list_values("lowest rate of success", {own.label: rate.low})
            numbers |= list_values("highest rate of success", {own.label: rate.high})
    return numbers


def count_images(gallery: Gallery) -> Numbers:
    """What the runs of one seed have right."""
    wrong = sum(group.num for group in gallery.groups if group.label is None)
    alone = dict.fromkeys(gallery.labels, 0) | {group.label: group.num for group in gallery.groups if group.label}
    return list_values("num_right alone", alone) | {
        "num_test": gallery.num_test,
        "num_right for all": gallery.num_right_for_all,
        "num_wrong for all": wrong,
        "num_right for some": gallery.num_test - gallery.num_right_for_all - wrong,
        "num_configurations": len(gallery.labels),
        "seed": gallery.seed,
    }


def list_effects(told: list[Effect], effects: OptimizerEffects) -> Numbers:
    """What a sentence about values of attributes is made from."""
    baseline, numbers = effects.baseline, Numbers()
    for effect in told:
        own = effect.configuration
        numbers |= list_setting(effect.attribute, own.label, effect.value)
        numbers |= list_setting(effect.attribute, baseline.label, baseline.attributes.get(effect.attribute))
        numbers |= list_comparison(own.label, baseline.label, effect.comparison)
        numbers |= count_seeds(own) if own.fate else {}
    for attribute, num in Counter(effect.attribute for effect in told).items():
        if num > MOST_TOLD:
            numbers[name_number("num_values beside those told", show_attribute(attribute))] = num - MOST_TOLD
    return numbers


def count_origins(study: Study) -> Numbers:
    """How many runs were made with what, of all that not all have in common; and how many did not record anything."""
    origins = [origin for own in study.configurations for origin in own.origins.values()]
    known = [origin for origin in origins if not is_unknown(origin)]
    numbers: Numbers = {"num_runs that recorded nothing": len(origins) - len(known)}
    for fact in varying_facts(origins):
        counts = Counter(show_fact(fact, origin.get(fact)) for origin in known)
        numbers |= {f"num_runs with {FACTS[fact]} {value}": num for value, num in counts.items()}
    return numbers


def count_machines(study: Study) -> Numbers:
    """How many runs each device trained in each precision, and with which numbers of threads."""
    runs = study.runs.runs
    recorded = runs[runs["device"].notna()]
    names = Counter(recorded["device"] + " in " + recorded["used_precision"])
    numbers: Numbers = {f"num_runs on {name}": num for name, num in names.items()}
    numbers["num_runs on an unrecorded device"] = len(runs) - len(recorded)
    threads = sorted(set(runs["num_threads"].dropna()))
    return numbers | {f"num_threads, value {place}": float(value) for place, value in enumerate(threads, start=1)}
