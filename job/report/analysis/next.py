"""What to run next: the sweep that would settle what a study leaves open, each part of it with its reason.

Open is which of two is better (more seeds), what lies beyond the best value that was tried (a wider range), and whether
a reason is the cause (an intervention). A sweep has one list of seeds for all of its configurations, so all parts get
the seeds that the most uncertain one needs. All manifests are those of the study's own runs, changed in one place, so
they keep its setting, and the runs that exist keep their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from job.manifest import Manifest, Sweep, later_defaults
from job.report.analysis.configurations import Configuration, best_of_each
from job.report.analysis.estimates import Comparison
from job.report.analysis.judgement import Judgement
from job.report.analysis.reasons.interventions import NOT_THE_MANIFEST, change_manifest, find_run
from job.report.analysis.reasons.reason import Intervention, Reason
from job.report.analysis.study import Study
from job.report.analysis.wording import join, name_optimizer, show_attribute, show_comparison, show_value
from job.runs import configuration_digest

Kind = Literal["more seeds", "wider range", "intervention"]
FEWEST_SEEDS = 3
"""The fewest that tell the noise between seeds."""
MOST_TIMES = 3
"""At most so many times the seeds that ran are asked for at once: with those the noise is known better."""
FACTORS = (3.0, 10.0)
"""How far beyond the edge the next values lie."""
DECAY_RATES = ("alpha", "rho", "momentum", "dampening")
"""Attributes from 0 to 1 whose distance from 1 is what counts: an average over 1 / (1 − rate) steps."""


@dataclass(frozen=True)
class Part:
    """One thing that is open, and the configurations that would settle it."""

    kind: Kind
    what: str
    """The configurations, in words."""
    why: str
    """A sentence."""
    manifests: tuple[Manifest, ...]
    """Seeds in them do not count."""
    num_seeds: int
    """How many seeds each of them should have."""


@dataclass(frozen=True)
class Proposal:
    """The next sweep of an experiment."""

    sweep: Sweep
    parts: tuple[Part, ...]

    def as_json(self) -> dict[str, Any]:
        """The sweep as a document; what stands at a default of a sweep is left out."""
        return self.sweep.model_dump(mode="json", exclude_defaults=True)


def propose_next(studies: Sequence[Study]) -> Proposal | None:
    """The sweep for the `studies` of one experiment, a study per data set; None where nothing is open."""
    parts = tuple(part for study in studies for part in _find_parts(study))
    if not parts:
        return None
    seeds = sorted({seed for study in studies for own in study.configurations for seed in own.seeds})
    wanted = max(len(seeds), *(part.num_seeds for part in parts))
    fresh = (seed for seed in range(wanted + len(seeds)) if seed not in seeds)
    seeds += [next(fresh) for _ in range(wanted - len(seeds))]
    experiment = str(studies[0].runs.runs["experiment"].iloc[0])
    return Proposal(_build_sweep(experiment, seeds, parts), parts)


def _find_parts(study: Study) -> Iterator[Part]:
    if study.judgement is not None:
        yield from _ask_for_seeds(study, study.judgement)
        yield from _widen_ranges(study, study.judgement)
        yield from _test_reasons(study, study.judgement)


def _ask_for_seeds(study: Study, judgement: Judgement) -> Iterator[Part]:
    """For the pairs of the verdict and the values of attributes of which it is not known which is better."""
    leader = study.verdict.leader
    pairs = [(leader, rival) for rival in judgement.field.best if leader is not None and rival.digest != leader.digest]
    for optimizer in study.effects:
        pairs += [(effect.configuration, optimizer.baseline) for effect in optimizer.effects]
    asked: set[frozenset[str]] = set()
    for ours, theirs in pairs:
        both = frozenset(own.digest for own in (ours, theirs) if own is not None)
        if both in asked:
            continue
        asked.add(both)
        comparison = judgement.compare(ours, theirs) if ours is not None else None
        if ours is None or not ours.outcomes or not theirs.outcomes or not _is_open(comparison, judgement):
            continue
        num, told = _count_seeds(comparison, judgement)
        seen = f"{show_comparison(comparison)} points" if comparison else "they have no seed in common"
        why = f"Whether {ours.label} or {theirs.label} is better is not known: {seen}. {told}"
        yield Part("more seeds", f"{ours.label} and {theirs.label}", why, _manifests(study, ours, theirs), num)


def _is_open(comparison: Comparison | None, judgement: Judgement) -> bool:
    """Not for what was made differently, which no seed mends, nor for what seems to be less than the margin."""
    if comparison is None:
        return True
    return comparison.answer == "unknown" and not comparison.unlike and abs(comparison.difference) >= judgement.margin


def _count_seeds(comparison: Comparison | None, judgement: Judgement) -> tuple[int, str]:
    """How many seeds, and why so many."""
    num = comparison.num if comparison else 0
    if num < 2:
        return FEWEST_SEEDS, f"{FEWEST_SEEDS} common seeds tell how much seeds differ."
    needed, most = judgement.seeds_needed, MOST_TIMES * num
    if needed is None:
        return 2 * num, f"How much seeds differ is not known well enough to say how many it takes: {2 * num} for now."
    wanted = max(needed.likely, num + 1)
    if wanted <= most:
        return wanted, f"A difference as large as the margin takes about {wanted} seeds."
    return most, f"A difference as large as the margin takes about {wanted} seeds: {most} for now."


def _widen_ranges(study: Study, judgement: Judgement) -> Iterator[Part]:
    """Where the best value of an optimizer's attribute is the smallest or the largest that was tried."""
    for best in best_of_each(study.configurations):
        for attribute in best.attributes:
            line = _line_through(best, attribute, study.configurations)
            if len(line) < 2 or not best.scores or best not in (line[0], line[-1]):
                continue
            is_largest = best is line[-1]
            neighbour = line[-2] if is_largest else line[1]
            comparison = judgement.compare(best, neighbour)
            if comparison is None or comparison.answer == "equal" or comparison.difference < judgement.margin:
                continue
            values = _beyond(attribute, best.attributes[attribute], upwards=is_largest)
            manifests = _vary(study, best, attribute, values)
            if manifests:
                name = show_attribute(attribute)
                shown = join([show_value(_read(manifest, attribute)) for manifest in manifests])
                edge = "largest" if is_largest else "smallest"
                why = (
                    f"The best {name} of {name_optimizer(best.optimizer)} is the {edge} that was tried, "
                    f"{show_value(best.attributes[attribute])}: {show_comparison(comparison)} points to "
                    f"{show_value(neighbour.attributes[attribute])}."
                )
                what = f"{name_optimizer(best.optimizer)} {name} {shown}"
                yield Part("wider range", what, why, (*_manifests(study, best), *manifests), len(best.seeds))


def _line_through(best: Configuration, attribute: str, configurations: Iterable[Configuration]) -> list[Configuration]:
    """The configurations that differ from `best` in nothing but a number of its optimizer, smallest value first."""
    if not attribute.startswith("optimizer.") or not isinstance(best.attributes[attribute], float):
        return []
    around = {key: value for key, value in best.attributes.items() if key != attribute}
    line = [
        own
        for own in configurations
        if own.scores and {key: value for key, value in own.attributes.items() if key != attribute} == around
    ]
    return sorted(line, key=lambda own: float(own.attributes[attribute]))


def _beyond(attribute: str, value: float, *, upwards: bool) -> list[float]:
    """The next values beyond the edge; nothing lies below 0."""
    if show_attribute(attribute) in DECAY_RATES:
        values = [1 - (1 - value) / factor if upwards else 1 - (1 - value) * factor for factor in FACTORS]
    else:
        values = [float(f"{value * factor if upwards else value / factor:.2g}") for factor in FACTORS]
    return [round(own, 12) for own in values if own >= 0 and value > 0]


def _vary(study: Study, best: Configuration, attribute: str, values: Sequence[float]) -> tuple[Manifest, ...]:
    """The manifest of `best` with each of the values that is in range and has not been run."""
    found = []
    for value in values:
        change = Intervention(best, {attribute: value}, "", "")
        try:
            manifest = change_manifest(study.measured.manifest(best), change)
        except ValidationError:
            continue
        if find_run(study.evidence, change) is None:
            found.append(manifest)
    return tuple(found)


def _read(manifest: Manifest, attribute: str) -> Any:
    return getattr(manifest.optimizer, show_attribute(attribute))


def _test_reasons(study: Study, judgement: Judgement) -> Iterator[Part]:
    """For every reason that is consistent with the records and was not tested, or tested without an answer."""
    wanted: dict[str, tuple[Intervention, Manifest, list[Reason]]] = {}
    for reason in study.reasons:
        if reason.intervention is not None and reason.standing != "tested":
            change = reason.intervention
            try:
                manifest = change_manifest(study.measured.manifest(change.configuration), change)
            except ValidationError:  # an lr out of range
                continue
            digest = configuration_digest(manifest, ignore=NOT_THE_MANIFEST)
            wanted.setdefault(digest, (change, manifest, []))[2].append(reason)
    for change, manifest, reasons in wanted.values():
        titles, is_one = join([f"“{reason.title}”" for reason in reasons]), len(reasons) == 1
        done = find_run(study.evidence, change)
        manifests = (*_manifests(study, change.configuration), manifest)
        if done is None:
            why = f"{titles} {'is' if is_one else 'are'} not tested. If it is the cause, {change.expectation}."
            yield Part("intervention", change.label, why, manifests, len(change.configuration.seeds))
            continue
        num, told = _count_seeds(judgement.compare(done, change.configuration), judgement)
        why = f"The test of {titles} is not decided. If it is the cause, {change.expectation}. {told}"
        yield Part("more seeds", change.label, why, manifests, num)


def _manifests(study: Study, *configurations: Configuration) -> tuple[Manifest, ...]:
    return tuple(study.measured.manifest(configuration) for configuration in configurations)


def _build_sweep(experiment: str, seeds: list[int], parts: Iterable[Part]) -> Sweep:
    """Every configuration once, as a block of its own; what all have in common stands in the defaults."""
    unique = {
        configuration_digest(manifest, ignore=NOT_THE_MANIFEST): manifest
        for part in parts
        for manifest in reversed(part.manifests)
    }
    documents = [_dump(manifest) for manifest in unique.values()]
    first = documents[0]
    common = {
        key: value
        for key, value in first.items()
        if key not in ("name", "optimizer") and all(document.get(key) == value for document in documents)
    }
    blocks = [_build_block(document, common) for document in documents]
    return Sweep.model_validate({"name": experiment, "defaults": common, "seeds": seeds, "blocks": blocks})


def _dump(manifest: Manifest) -> dict[str, Any]:
    """Without its seed, and without a name that it would get anyway."""
    document = manifest.model_dump(mode="json", exclude=later_defaults(manifest) | {"seed": True})
    if document["name"] == manifest.optimizer.name:
        del document["name"]
    return document


def _build_block(document: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """What sets the configuration apart beside its optimizer stands in `vary`, because `job plan` shows that."""
    base = {key: document[key] for key in ("name", "optimizer") if key in document}
    return {
        "base": base,
        "vary": {key: [value] for key, value in document.items() if key not in base.keys() | common.keys()},
    }
