"""A reason for each pair that the verdict compares: the leader and every other optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Comparison
from job.report.analysis.numbers import Numbers, list_comparison, list_values, name_number
from job.report.analysis.reasons.endings import RISE, measure_rise
from job.report.analysis.reasons.evidence import APART, Contrast, Evidence, are_trained_alike
from job.report.analysis.reasons.interventions import (
    SAME_SIZE,
    Trial,
    are_same_size,
    find_trials,
    list_trials,
    settle,
    stand,
    tell_trials,
    with_lr,
)
from job.report.analysis.reasons.quantities import (
    FIRST_STEPS,
    LATE_STEPS,
    Change,
    Quantity,
    choose_told,
    draw_change,
    find_changes,
)
from job.report.analysis.reasons.reason import Intervention, Reason, Standing, choose_gist
from job.report.analysis.reasons.sizes import FIRST_UPDATE
from job.report.analysis.wording import join, name_optimizer, part, points, show_comparison, show_margin, show_size

MOST_CHANGES = 4
"""So many differences are told, the clearest ones."""


@dataclass(frozen=True)
class _Pair:
    """The leader beside one rival."""

    contrast: Contrast
    comparison: Comparison
    changes: list[Change]

    @property
    def leader(self) -> Configuration:
        return self.contrast.subject

    @property
    def rival(self) -> Configuration:
        return self.contrast.others[0]


def explain_pairs(evidence: Evidence) -> list[Reason]:
    """A reason for the leader of the verdict with every rival of another optimizer, in the verdict's order.

    Claim: in what the two differ. Contrast: each other, seed by seed, trained alike. Counter-evidence: a quantity
    counts only where it differs the same way in every seed. Two optimizers differ in much at once, so no cause is
    claimed but where the rival was run with steps of the leader's size.
    """
    verdict = evidence.verdict
    if verdict is None or verdict.leader is None:
        return []
    found = []
    for rival, comparison in verdict.rivals:
        alike = rival.optimizer != verdict.leader.optimizer and are_trained_alike(verdict.leader, rival)
        contrast = evidence.pair(verdict.leader, rival) if alike else None
        if contrast is not None:
            changes = find_changes(contrast, verdict.leader, rival)
            found.append(_explain(evidence, _Pair(contrast, comparison, changes)))
    return found


def _explain(evidence: Evidence, pair: _Pair) -> Reason:
    leader, rival = pair.leader, pair.rival
    trials, standing, intervention = _test(evidence, pair)
    told = choose_told(pair.changes, most=MOST_CHANGES)
    numbers = list_comparison(leader.label, rival.label, pair.comparison)
    numbers["num_seeds"] = len(pair.contrast.seeds)
    if pair.comparison.answer == "equal" and evidence.judgement:
        numbers["margin"] = evidence.judgement.margin
    for change in told:
        numbers |= change.list_numbers(leader.label, rival.label)
    numbers |= list_trials(trials, evidence, subject=rival)
    sentence = f"{_tell_accuracy(evidence, pair)}{_tell_same_start(pair, numbers)}"
    if told:
        listed = join([change.tell("against") for change in told])
        sentence += f" Measured for {leader.label} against {rival.label} {pair.contrast.everywhere}: {listed}."
    else:
        sentence += f" Nothing that was measured differs clearly between them {pair.contrast.everywhere}."
    sentence += _tell_unfinished(evidence, rival, numbers)
    sentence += tell_trials(trials, evidence, subject=rival)
    if told and not trials:
        sentence += " They differ in all of this at once, so none of it alone is shown to be the cause."
    picture = draw_change(
        f"reason-pair-{leader.optimizer}-{rival.optimizer}", f"{leader.label} and {rival.label}", evidence,
        told[0] if told else None, [leader, rival],
    )  # fmt: skip
    return Reason(
        is_overview=True,
        title=f"{leader.label} beside {rival.label}",
        gist=_tell_gist(pair),
        sentence=sentence,
        standing=standing,
        about=(leader.optimizer, rival.optimizer),
        intervention=intervention,
        numbers=numbers,
        picture=picture,
    )


def _tell_accuracy(evidence: Evidence, pair: _Pair) -> str:
    leader, rival, comparison = pair.leader.label, pair.rival.label, pair.comparison
    if comparison.answer == "better":
        return f"{leader} is better than {rival} by {show_size(comparison)} points."
    if comparison.answer == "worse":  # the leader was chosen on validation images
        return f"On the test images {rival} is better than {leader} by {show_size(comparison)} points."
    if comparison.answer == "equal" and evidence.judgement is not None:
        margin = show_margin(evidence.judgement.margin)
        return f"{leader} and {rival} are practically equal: {show_comparison(comparison)} points, within {margin}."
    return f"Whether {leader} is better than {rival} is not known: {show_comparison(comparison)} points."


def _tell_same_start(pair: _Pair, numbers: Numbers) -> str:
    """Said where it rules out the first step as a difference."""
    own, other = (
        pair.contrast.steps(configuration, "update_to_weight")[:, 0] for configuration in (pair.leader, pair.rival)
    )
    if not are_same_size(own, other):
        return ""
    ours, theirs = float(own.mean()), float(other.mean())
    numbers |= list_values(FIRST_UPDATE, {pair.leader.label: ours, pair.rival.label: theirs})
    return (
        f" Their very first updates are of one size ({part(ours)} and {part(theirs)} of the "
        "backbone's norm), so it is not these that set them apart."
    )


def _tell_unfinished(evidence: Evidence, rival: Configuration, numbers: Numbers) -> str:
    gain = measure_rise(evidence, rival)
    if gain is None:
        return ""
    numbers[name_number(RISE, rival.label)] = gain
    return f" {rival.label} was still learning at the end: {points(gain)} points over its last two epochs."


def _test(evidence: Evidence, pair: _Pair) -> tuple[list[Trial], Standing, Intervention | None]:
    """Whether the rival does better with steps of the leader's size; a question only where the leader is better."""
    if pair.comparison.answer != "better":
        return [], "measured", None
    for quantity, within in ((FIRST_STEPS, SAME_SIZE), (LATE_STEPS, APART)):
        own, other = (quantity.measure(pair.contrast, configuration) for configuration in (pair.leader, pair.rival))
        change = next((change for change in pair.changes if change.quantity is quantity), None)
        if change is None or are_same_size(own, other, within=APART):
            continue

        fits = partial(_has_steps_of, evidence, pair.leader, quantity, within)
        trials = find_trials(evidence, pair.rival, higher=True, fits=fits)
        expectation = f"this comes nearer in accuracy to {pair.leader.label}"
        proposed = with_lr(pair.rival, ratio=change.ratio, expectation=expectation)
        return trials, stand(trials), settle(trials, proposed)
    return [], "consistent", None


def _has_steps_of(
    evidence: Evidence, leader: Configuration, quantity: Quantity, within: float, changed: Configuration
) -> bool:
    """Whether `changed` has steps of the leader's size in every common seed."""
    contrast = evidence.pair(changed, leader)
    if contrast is None:
        return False
    own, other = (quantity.measure(contrast, configuration) for configuration in (changed, leader))
    return are_same_size(own, other, within=within)


def _tell_gist(pair: _Pair) -> str:
    names = [
        (pair.leader.label, pair.rival.label),
        (name_optimizer(pair.leader.optimizer), name_optimizer(pair.rival.optimizer)),
    ]
    difference = f"{100 * abs(pair.comparison.difference):.1f}"
    openings = {
        "better": "{} beats {} by " + f"{difference} points",
        "equal": "{} and {} are practically equal, " + f"{difference} points apart",
        "worse": "{} loses to {} by " + f"{difference} points on the test images",
    }
    opening = openings.get(pair.comparison.answer, "{} against {} is not decided, " + f"{difference} points apart")
    starts = [opening.format(*own) for own in names]
    told = choose_told(pair.changes, most=1)
    if not told:
        return choose_gist(*(f"{start}; nothing that was measured differs clearly." for start in starts), *starts)
    change = told[0]
    short = SHORT[change.quantity.name].format(word=change.quantity.words[change.ours > change.theirs])
    shown = f"{short} ({change.quantity.show(change.ours)} against {change.quantity.show(change.theirs)})"
    return choose_gist(*(f"{start}; {shown}." for start in starts), *(f"{start}." for start in starts))


SHORT = {
    "first_steps": "its first steps are {word}",
    "late_steps": "its last steps are {word}",
    "distance": "its weights end {word} their start",
    "weight_norm": "its weights end {word}",
    "gradient_norm": "its gradient ends {word}",
    "train_top1": "it fits {word} training images",
    "gap": "its gap from training to test is {word}",
    "noise": "it moves {word} between epochs, in points",
}
