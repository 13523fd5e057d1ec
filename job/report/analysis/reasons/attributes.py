"""A reason for every attribute that was varied: what it does in the rule, what it changed, what the accuracy did."""

from __future__ import annotations

from job.report.analysis.configurations import Configuration
from job.report.analysis.numbers import Numbers, list_comparison, list_setting, list_values, name_number
from job.report.analysis.reasons.attribute_case import Case, choose_case
from job.report.analysis.reasons.evidence import Evidence
from job.report.analysis.reasons.interventions import (
    Trial,
    are_same_size,
    find_trials,
    list_trials,
    settle,
    stand,
    tell_trials,
    with_lr,
    with_warmup,
)
from job.report.analysis.reasons.mechanisms import describe_mechanism
from job.report.analysis.reasons.quantities import FIRST_STEPS, Change, draw_change
from job.report.analysis.reasons.reason import Intervention, Reason, Standing, choose_gist
from job.report.analysis.reasons.sizes import FIRST_GRADIENT, FIRST_RMS, PREDICTED_RMS, measure_first_step
from job.report.analysis.wording import (
    join,
    name_optimizer,
    points,
    show_comparison,
    show_margin,
    show_size,
    show_value,
    times,
)

NO_CHANGE = 0.01
"""A hundredth: two first steps whose predictions differ by less are called the same."""


def explain_attributes(evidence: Evidence) -> list[Reason]:
    """A reason per optimizer and attribute of which a value was compared with the baseline, all else equal.

    Claim: what the value changed in the steps, weights or curves, and what the accuracy did. Contrast: the baseline,
    seed by seed. Counter-evidence: a quantity counts only where it changes the same way in every seed; whether the
    accuracy changed is the judgement's to say; that steps of another size are why is tested, where runs allow it.
    """
    found = []
    for optimizer in evidence.effects:
        for attribute in dict.fromkeys(effect.attribute for effect in optimizer.effects):
            case = choose_case(evidence, optimizer, attribute)
            if case is not None:
                found.append(_explain(evidence, case))
    return found


def _explain(evidence: Evidence, case: Case) -> Reason:
    optimizer, comparison = evidence.measured.manifest(case.subject).optimizer, case.comparison
    shown = name_optimizer(optimizer.name)
    mechanism = describe_mechanism(optimizer, case.effect.attribute)
    trials, standing, intervention = _test(evidence, case)
    numbers = list_comparison(case.subject.label, case.baseline.label, comparison)
    numbers["num_seeds"] = len(case.contrast.seeds)
    numbers[name_number("num_values beside the baseline's", f"{shown} {case.name}")] = case.num_values
    for own in (case.subject, case.baseline):
        numbers |= list_setting(case.effect.attribute, own.label, own.attributes.get(case.effect.attribute))
    if comparison.answer == "equal" and evidence.judgement:
        numbers["margin"] = evidence.judgement.margin
    sentence = f"In {shown}, {mechanism}."
    sentence += _tell_prediction(evidence, case, numbers)
    sentence += _tell_changes(case, numbers)
    sentence += _tell_accuracy(evidence, case) + _tell_claim(case)
    sentence += tell_trials(trials, evidence, subject=_find_tested(case))
    numbers |= list_trials(trials, evidence, subject=_find_tested(case))
    if case.num_values > 1:
        sentence += f" Of {case.num_values} other values that were run this one changed the accuracy most."
    slug = f"{optimizer.name}-{case.name}".replace("_", "-").replace(".", "-")
    picture = draw_change(
        f"reason-attribute-{slug}", f"What {case.name} does in {shown}", evidence,
        case.told[0] if case.told else None, [case.baseline, case.subject],
    )  # fmt: skip
    return Reason(
        title=f"What {case.name} does in {shown}",
        gist=_tell_gist(evidence, case, shown),
        sentence=sentence,
        standing=standing,
        about=(optimizer.name,),
        attribute=case.effect.attribute,
        intervention=intervention,
        numbers=numbers,
        picture=picture,
    )


def _tell_prediction(evidence: Evidence, case: Case, numbers: Numbers) -> str:
    """What the formula says of the first step, where it can: per weight, beside what was measured."""
    now, was = (measure_first_step(evidence, own) for own in (case.subject, case.baseline))
    if now is None or was is None or not now.predicted or not was.predicted:
        return ""
    if abs(now.predicted / was.predicted - 1) > NO_CHANGE:
        ours, theirs = case.subject.label, case.baseline.label
        numbers |= list_values(PREDICTED_RMS, {ours: now.predicted, theirs: was.predicted})
        numbers |= list_values(FIRST_RMS, {ours: now.measured, theirs: was.measured})
        return (
            f" By its formula the first step per weight is {now.predicted:.3g} instead of {was.predicted:.3g}; "
            f"measured were {now.measured:.3g} and {was.measured:.3g}."
        )
    eps = max((own for own in (now.eps, was.eps) if own), default=0.0)
    if case.name != "eps" or not eps:
        return ""
    numbers[name_number(FIRST_GRADIENT, case.subject.label)] = now.gradient_rms
    numbers[f"{name_number(FIRST_GRADIENT, case.subject.label)} relative to eps"] = now.gradient_rms / eps
    return (
        f" The root mean square of the first gradients is {now.gradient_rms:.3g}, {times(now.gradient_rms / eps)} "
        "times eps, so the first step stays the same."
    )


def _tell_changes(case: Case, numbers: Numbers) -> str:
    if not case.changes:
        return f" With {case.setting} nothing that was measured differs clearly {case.contrast.everywhere}."
    told = case.told
    for change in told:
        numbers |= change.list_numbers(case.subject.label, case.baseline.label)
    listed = join([change.tell("instead of") for change in told])
    return f" With {case.setting} {listed}, {case.contrast.everywhere}."


def _tell_accuracy(evidence: Evidence, case: Case) -> str:
    comparison = case.comparison
    word = "higher" if case.is_better else "lower"
    if comparison.unlike:
        told = f"differs by {show_comparison(comparison)} points, but not by {case.name} alone"
        return f" Its accuracy {told}: {join(list(comparison.unlike))}."
    if comparison.answer == "equal" and evidence.judgement is not None:
        margin = show_margin(evidence.judgement.margin)
        return f" Its accuracy stays practically the same: {show_comparison(comparison)} points, within {margin}."
    doubt = "" if comparison.decided else (
        ", which one seed cannot make certain" if comparison.low is None else ", which these seeds do not make certain"
    )  # fmt: skip
    return f" Its accuracy is {word} by {show_size(comparison)} points{doubt}."


def _tell_claim(case: Case) -> str:
    """Which size of the steps the accuracy speaks against, where both changed."""
    first = case.first_steps
    if first is None or not case.comparison.decided:
        return ""
    is_larger = first.ratio > 1
    which = case.setting.split(" instead of ")[0 if not case.is_better else 1]
    name = f"{case.name} {which}" if case.is_better else which
    word = "large" if is_larger != case.is_better else "small"
    if case.name == "lr":
        return (
            f" lr changes the size of the steps and nothing else, so this is an intervention by itself: at {name} the "
            f"steps are too {word}."
        )
    return f" This is consistent with steps that are too {word} at {name}; {case.name} may also act in other ways."


def _find_tested(case: Case) -> Configuration:
    """The configuration that trials change: for lr that with the larger steps, else the baseline."""
    first = case.first_steps
    return case.subject if case.name == "lr" and first is not None and first.ratio > 1 else case.baseline


def _test(evidence: Evidence, case: Case) -> tuple[list[Trial], Standing, Intervention | None]:
    """What other runs say of the claim that the size of the steps is why, and what would test it.

    A change of lr changes the size of the steps and nothing else, so it is an intervention by itself; a warm-up then
    asks whether the first steps suffice to explain it.
    """
    first = case.first_steps
    if first is None or not case.comparison.decided or case.baseline.optimizer == "rprop":
        return [], "measured", None
    if case.name == "lr":
        return _test_lr(evidence, case, first)
    sizes = FIRST_STEPS.measure

    def fits(changed: Configuration) -> bool:
        contrast = evidence.pair(changed, case.subject)
        if changed.digest == case.subject.digest:  # a warm-up does not test itself
            return False
        return contrast is not None and are_same_size(sizes(contrast, changed), sizes(contrast, case.subject))

    trials = find_trials(evidence, case.baseline, higher=case.is_better, fits=fits)
    word = "higher" if case.is_better else "lower"
    expectation = f"the accuracy is as much {word} as with {case.name} {show_value(case.effect.value)}"
    proposed = with_lr(case.baseline, ratio=first.ratio, expectation=expectation)
    return trials, stand(trials), settle(trials, proposed)


def _test_lr(evidence: Evidence, case: Case, first: Change) -> tuple[list[Trial], Standing, Intervention | None]:
    large, small = (case.subject, case.baseline) if first.ratio > 1 else (case.baseline, case.subject)
    if (large is case.subject) == case.is_better:
        return [], "tested", None  # larger steps are better: no warm-up helps
    sizes = FIRST_STEPS.measure

    def fits(changed: Configuration) -> bool:
        contrast = evidence.pair(changed, large)
        is_warm = changed.attributes["optimizer.lr"] == large.attributes["optimizer.lr"]
        return contrast is not None and is_warm and bool((sizes(contrast, changed) < sizes(contrast, large)).all())

    trials = find_trials(evidence, large, higher=True, fits=fits)
    expectation = f"this comes near to {small.label}, if the first steps alone are why"
    return trials, "tested", with_warmup(large, expectation=expectation)


def _tell_gist(evidence: Evidence, case: Case, shown: str) -> str:
    comparison = case.comparison
    margin = show_margin(evidence.judgement.margin) if evidence.judgement else ""
    start = f"{shown} {case.setting}: "
    first = case.first_steps
    if first is not None:
        size = max(first.ratio, 1 / first.ratio)
        start += f"first steps {times(size)} times {'larger' if first.ratio > 1 else 'smaller'}, "
    told = f"accuracy {show_comparison(comparison)} points"
    if comparison.answer == "equal":
        told = f"accuracy {points(comparison.difference)} points, within {margin}"
    elif not comparison.decided:
        told += ", not certain"
    return choose_gist(f"{start}{told}.", f"{shown} {case.setting}: {told}.", f"{shown} {case.name}: {told}.")
