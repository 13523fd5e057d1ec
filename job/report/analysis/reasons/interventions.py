"""What would test a reason, whether it was run, and what came of it by the judgement's own comparison.

A reason says: this configuration does badly because its steps are too large, or too small. The test gives the
configuration other steps, changes nothing else, and asks whether the accuracy moves as the reason says. Two changes of
a manifest do it: another lr, which scales all steps, and a warm-up, which makes the first ones alone smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from job.manifest import Manifest
from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Comparison
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import Numbers, list_comparison, list_setting, list_values
from job.report.analysis.reasons.evidence import Evidence, are_made_alike, divide
from job.report.analysis.reasons.reason import Intervention, Standing
from job.report.analysis.wording import name_optimizer, percent, show_comparison, show_margin, show_value
from job.runs import configuration_digest

Outcome = Literal["supported", "refuted", "open"]
NOT_THE_MANIFEST = frozenset({"name", "seed"})
SAME_SIZE = 1.25
"""Steps that differ by less count as equally large: those of two seeds differ by a few hundredths."""
WARMUP_EPOCHS = 1.0


@dataclass(frozen=True)
class Trial:
    """An intervention that was run, beside the configuration that it changes."""

    changed: Configuration
    comparison: Comparison
    """The changed configuration minus the one that it was made from."""
    outcome: Outcome
    """`refuted` also where the two are practically equal: the reason says that the accuracy moves."""
    what: str
    """The changed configuration in words."""
    remark: str
    """What else the change does, as a clause."""
    changes: Mapping[str, Any]
    """As those of an `Intervention`."""


def change_manifest(manifest: Manifest, intervention: Intervention) -> Manifest:
    """`manifest` with the intervention's changes. Raises `ValidationError` where they leave its ranges."""
    document = manifest.model_dump(mode="python")
    for path, value in intervention.changes.items():
        *parents, key = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[key] = value
    return Manifest.model_validate(document)


def find_run(evidence: Evidence, intervention: Intervention) -> Configuration | None:
    """The configuration that the intervention leads to, where it was run."""
    manifest = change_manifest(evidence.measured.manifest(intervention.configuration), intervention)
    digest = configuration_digest(manifest, ignore=NOT_THE_MANIFEST)
    return next((own for own in evidence.configurations if own.digest == digest), None)


def with_lr(subject: Configuration, *, ratio: float, expectation: str) -> Intervention:
    """`subject` with its lr times `ratio`, rounded to two digits."""
    lr = float(f"{subject.attributes['optimizer.lr'] * ratio:.2g}")
    label = f"{subject.label} with lr {show_value(lr)}"
    return Intervention(subject, {"optimizer.lr": lr}, label, expectation)


def with_warmup(subject: Configuration, *, expectation: str) -> Intervention | None:
    """`subject` with a warm-up of an epoch; None where its schedule begins with small steps already."""
    if subject.attributes["schedule"] not in ("none", "cosine") or subject.attributes["epochs"] <= WARMUP_EPOCHS:
        return None
    label = f"{subject.label} with one epoch of warm-up"
    return Intervention(subject, {"schedule.warmup_epochs": WARMUP_EPOCHS}, label, expectation)


def find_trials(
    evidence: Evidence, subject: Configuration, *, higher: bool, fits: Callable[[Configuration], bool]
) -> list[Trial]:
    """The runs that changed nothing of `subject` but its lr or its warm-up, so that their first steps are as `fits`
    asks; the accuracy should then be `higher`, or else lower.

    A warm-up comes first: it singles out the first steps.
    """
    found = []
    for changed in evidence.configurations:
        which = _differing(changed, subject)
        by_lr = which == {"optimizer.lr"}
        is_trial = by_lr or (which == {"schedule"} and "warmup" in str(changed.attributes["schedule"]))
        if not is_trial or evidence.pair(changed, subject) is None or not are_made_alike(changed, subject):
            continue
        comparison = evidence.compare(changed, subject)
        if comparison is not None and fits(changed):
            outcome = _judge(comparison, higher=higher)
            found.append((by_lr, Trial(changed, comparison, outcome, *_describe(evidence, changed, by_lr=by_lr))))
    order: dict[Outcome, int] = {"supported": 0, "refuted": 1, "open": 2}
    found.sort(key=lambda entry: (entry[0], order[entry[1].outcome]))
    return [trial for _, trial in found]


def _differing(ours: Configuration, theirs: Configuration) -> set[str]:
    keys = ours.attributes.keys() | theirs.attributes.keys()
    return {key for key in keys if ours.attributes.get(key) != theirs.attributes.get(key)}


def _describe(evidence: Evidence, changed: Configuration, *, by_lr: bool) -> tuple[str, str, dict[str, Any]]:
    """The change in words, what else it does, and as changes of the manifest."""
    if by_lr:
        lr = changed.attributes["optimizer.lr"]
        return f"lr {show_value(lr)}", "which scales all of its steps", {"optimizer.lr": lr}
    schedule: Any = evidence.measured.manifest(changed).schedule
    if schedule.name == "onecycle":
        return "the schedule onecycle", "which begins with small steps", {"schedule": schedule.model_dump()}
    epochs = f"{show_value(schedule.warmup_epochs)} epoch{'' if schedule.warmup_epochs == 1 else 's'}"
    return f"a warm-up of {epochs}", "after which lr is the same", {"schedule.warmup_epochs": schedule.warmup_epochs}


def settle(trials: list[Trial], proposed: Intervention | None) -> Intervention | None:
    """What is still to be tested: nothing once a trial spoke against the reason; that which decided nothing again, with
    more seeds; else what is `proposed`."""
    if proposed is None or any(trial.outcome == "refuted" for trial in trials):
        return None
    if not trials or any(trial.outcome == "supported" for trial in trials):
        return proposed
    return replace(proposed, changes=trials[0].changes, label=f"{proposed.configuration.label} with {trials[0].what}")


def _judge(comparison: Comparison, *, higher: bool) -> Outcome:
    if comparison.answer == "unknown":
        return "open"
    return "supported" if comparison.answer == ("better" if higher else "worse") else "refuted"


def stand(trials: list[Trial]) -> Standing:
    """`tested` where a trial came out as the reason says and none otherwise."""
    outcomes = {trial.outcome for trial in trials}
    return "tested" if "supported" in outcomes and "refuted" not in outcomes else "consistent"


def tell_trials(trials: list[Trial], evidence: Evidence, *, subject: Configuration) -> str:
    """What came of them, a sentence each: of those that agree with the reason the first, and all that do not."""
    margin = show_margin(evidence.judgement.margin) if evidence.judgement else ""
    return "".join(
        f" {OPENINGS[trial.outcome]}: with {trial.what}, {trial.remark}, {name_optimizer(subject.optimizer)} gets "
        f"{percent(trial.changed.adjusted)} of the test images right instead of {percent(subject.adjusted)}: "
        f"{show_comparison(trial.comparison)} points"
        f"{ENDINGS[trial.comparison.answer].format(margin=margin)}."
        for trial in _choose_told(trials)
    )


def list_trials(trials: list[Trial], evidence: Evidence, *, subject: Configuration) -> Numbers:
    """The numbers of what `tell_trials` tells."""
    numbers: Numbers = {}
    for trial in _choose_told(trials):
        adjusted = {own.label: own.adjusted for own in (trial.changed, subject) if own.adjusted is not None}
        numbers |= list_values("accuracy", adjusted)
        numbers |= list_comparison(trial.changed.label, subject.label, trial.comparison)
        for path, value in trial.changes.items():
            numbers |= list_setting(path.removeprefix("schedule."), trial.changed.label, value)
        if trial.comparison.answer == "equal" and evidence.judgement:
            numbers["margin"] = evidence.judgement.margin
    return numbers


def _choose_told(trials: list[Trial]) -> list[Trial]:
    supported = [trial for trial in trials if trial.outcome == "supported"][:1]
    refuted = [trial for trial in trials if trial.outcome == "refuted"]
    undecided = [] if supported or refuted else [trial for trial in trials if trial.outcome == "open"][:1]
    return [*supported, *refuted, *undecided]


OPENINGS: dict[Outcome, str] = {
    "supported": "Tested by intervention",
    "refuted": "An intervention speaks against it",
    "open": "An intervention was run and decides nothing",
}
ENDINGS = {
    "better": "",
    "worse": "",
    "equal": ", practically the same (less than {margin} either way)",
    "unknown": ", which these seeds do not make certain",
}


def are_same_size(ours: Floats, theirs: Floats, *, within: float = SAME_SIZE) -> bool:
    """Whether the sizes are alike, up to the factor `within`, in every seed."""
    ratios = divide(ours, theirs)
    return bool(len(ratios) and np.all((ratios < within) & (ratios > 1 / within)))
