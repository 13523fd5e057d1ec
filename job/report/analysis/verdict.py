"""The answer in one sentence, as certain as the seeds allow and not more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from job.report.analysis.configurations import Configuration, compare_configurations, tell_setting
from job.report.analysis.field import Field
from job.report.analysis.origins import tell_mixture
from job.report.analysis.statistics import Comparison, Estimate, correct_comparisons, estimate_mean, further_seeds
from job.report.analysis.wording import (
    count,
    join,
    name_optimizer,
    points,
    show_comparison,
    show_estimate,
    show_p,
    show_seeds,
)


@dataclass(frozen=True)
class Verdict:
    """The sentence, what it rests on, and what it does not say."""

    sentence: str
    decided: bool
    """The leader always finished, and is better on the test images than every rival, with certainty."""
    leader: Configuration | None
    rivals: tuple[tuple[Configuration, Comparison], ...]
    """Those that always finished and share seeds with the leader, best first: leader minus rival, corrected as one
    family."""
    notes: tuple[str, ...] = ()


def judge_field(field: Field, configurations: Sequence[Configuration]) -> Verdict:
    """The verdict over `field`, which was chosen from `configurations`."""
    scored = [configuration for configuration in field.best if configuration.scores]
    if not scored:
        diverged = sum(configuration.num_diverged for configuration in configurations)
        lost = f": {f'all {diverged}' if diverged > 1 else 'the only one'} diverged" if diverged else ""
        return Verdict(f"No run has finished with a score here yet{lost}.", False, None, ())
    leader = scored[0]
    others = [configuration for configuration in field.best if configuration is not leader]
    notes = _tell_notes(field, configurations)
    reliable = [configuration for configuration in others if configuration.always_finished]
    if not leader.always_finished:
        return Verdict(_tell_no_finisher(field.best), False, leader, (), notes)
    if not reliable:
        return Verdict(_tell_alone(leader, others), False, leader, (), notes)
    pairs = [(rival, _compare(leader, rival, field)) for rival in reliable]
    known = [(rival, comparison) for rival, comparison in pairs if comparison is not None]
    corrected = correct_comparisons([comparison for _, comparison in known])
    rivals = tuple((rival, comparison) for (rival, _), comparison in zip(known, corrected, strict=True))
    strangers = [rival for rival, comparison in pairs if comparison is None]
    open_pairs = [
        (rival, comparison) for rival, comparison in rivals if not (comparison.decided and comparison.difference > 0)
    ]
    if not open_pairs and not strangers:
        return Verdict(_tell_winner(leader, rivals), True, leader, rivals, notes)
    ahead = [rival.label for rival, comparison in rivals if comparison.decided and comparison.difference > 0]
    sentence = _tell_undecided(leader, open_pairs, strangers)
    if ahead:
        sentence += f" {leader.label} is ahead of {join(ahead)}."
    return Verdict(sentence, False, leader, rivals, notes)


def _compare(leader: Configuration, rival: Configuration, field: Field) -> Comparison | None:
    comparison = compare_configurations(leader, rival)
    if comparison is None or field.is_fair:
        return comparison
    return replace(comparison, unlike=(*tell_setting(leader, rival), *comparison.unlike))


def _tell_winner(leader: Configuration, rivals: Sequence[tuple[Configuration, Comparison]]) -> str:
    closest, comparison = min(rivals, key=lambda pair: pair[1].difference)
    return (
        f"{leader.label} {show_estimate(_over_common(leader, closest))}, {points(comparison.difference)} points over "
        f"{closest.label}{_bracket(comparison)}, n = {_common(leader, closest, comparison)} ({_test(comparison)})."
    )


def _tell_undecided(
    leader: Configuration, pairs: Sequence[tuple[Configuration, Comparison]], strangers: Sequence[Configuration]
) -> str:
    if not pairs:
        names = join([configuration.label for configuration in strangers])
        return (
            f"Undecided: {leader.title} {show_estimate(_estimate(leader))} and {names} have no seed in common, so "
            "nothing compares them: run them with the same seeds."
        )
    rival, comparison = pairs[0]
    ours, theirs = (show_estimate(_over_common(*pair)) for pair in ((leader, rival), (rival, leader)))
    sentence = (
        f"Undecided: {leader.label} {ours} and {rival.label} {theirs} differ by "
        f"{_why_undecided(leader, comparison, _common(leader, rival, comparison))}."
    )
    if strangers:
        sentence += (
            f" {join([configuration.label for configuration in strangers])}: no seed in common with {leader.label}."
        )
    return sentence


def _why_undecided(leader: Configuration, comparison: Comparison, seeds: str) -> str:
    difference = f"{show_comparison(comparison)} points"
    if comparison.unlike:
        return f"{difference}, n = {seeds}, but not in the optimizer alone: {join(list(comparison.unlike))}"
    by = "score on validation images" if leader.is_validated else "mean adjusted for the seeds"
    lead = f": {leader.label} leads by its {by}, but not here" if comparison.difference < 0 else ""
    if comparison.num < 2:
        return (
            f"{difference}, n = {seeds}{lead}{'; ' if lead else ': '}with one seed nothing can be said about certainty"
        )
    if comparison.p is None:
        return f"{difference}, n = {seeds}, the same in each (no spread between seeds: interval not computable){lead}"
    text = f"{difference}, n = {seeds} ({_test(comparison)})"
    if lead:
        return f"{text}{lead}"
    more = further_seeds(comparison)
    if more is None:
        return f"{text}; not even 1000 seeds would tell, so small is it beside the spread between seeds"
    return f"{text}; about {count(more, 'more seed')} would tell, were the difference as large as it seems"


def _tell_alone(leader: Configuration, others: Sequence[Configuration]) -> str:
    score = f"{leader.label} {show_estimate(_estimate(leader))}, n = {count(len(leader.scores), 'seed')}"
    if not others:
        return f"{score}: there is nothing to compare it with yet."
    listed = join([f"{configuration.label}: {configuration.fate}" for configuration in others])
    return f"{score}, is the only one that finished with every seed ({listed})."


def _tell_no_finisher(field: Sequence[Configuration]) -> str:
    listed = join([f"{configuration.label}: {configuration.fate}" for configuration in field])
    return f"Undecided: none finished with every seed ({listed})."


def _estimate(configuration: Configuration) -> Estimate:
    return estimate_mean(list(configuration.scores.values()))


def _over_common(ours: Configuration, theirs: Configuration) -> Estimate:
    return estimate_mean([score for seed, score in ours.scores.items() if seed in theirs.scores])


def _common(ours: Configuration, theirs: Configuration, comparison: Comparison) -> str:
    """`5 common seeds`, and where one has more of them, that the numbers are over these alone."""
    text = count(comparison.num, "common seed")
    more = [
        f"{configuration.label} has {len(configuration.scores)}"
        for configuration in (ours, theirs)
        if len(configuration.scores) > comparison.num
    ]
    return f"{text} (all numbers are over these; {join(more)})" if more else text


def _test(comparison: Comparison) -> str:
    if comparison.num_comparisons < 2:
        return f"{show_p(comparison.p)}, paired t test"
    corrected = f"Holm-corrected over {comparison.num_comparisons} comparisons"
    return f"{show_p(comparison.adjusted_p)}, paired t test, {corrected}"


def _bracket(comparison: Comparison) -> str:
    return show_comparison(comparison).removeprefix(points(comparison.difference))


def _tell_notes(field: Field, configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """What the sentence rests on and leaves out, the gravest first."""
    mixture = tell_mixture([origin for configuration in configurations for origin in configuration.origins.values()])
    lost = [
        f"{configuration.label}: {configuration.fate}"
        for configuration in field.best
        if not configuration.always_finished
    ]
    notes = [mixture] if mixture else []
    notes += field.notes
    if lost:
        notes.append(
            f"Diverged: {join(lost)}. A configuration that diverged stands behind those that always finished, "
            "whatever its other seeds scored, and is no winner over them."
        )
    if max(len(configuration.scores) for configuration in field.best) == 1:
        notes.append("One run of one seed says nothing about how certain these numbers are: run it with more seeds.")
    if len(field.pool) > len(field.best):
        notes.append(_tell_selection(field))
    if len({frozenset(configuration.scores) for configuration in field.best if configuration.always_finished}) > 1:
        scored = [configuration for configuration in field.best if configuration.scores]
        listed = "; ".join(f"{configuration.label}: {show_seeds(configuration.scores)}" for configuration in scored[:6])
        notes.append(
            f"Not all have the same seeds ({listed}). Differences are over common seeds, and the order is by means "
            "adjusted for the seeds."
        )
    return tuple(notes)


def _tell_selection(field: Field) -> str:
    numbers = Counter(configuration.optimizer for configuration in field.pool)
    tried = join(
        [
            f"{numbers[configuration.optimizer]} of {name_optimizer(configuration.optimizer)}"
            for configuration in field.best
        ]
    )
    how = (
        "It was chosen by the very scores shown here, which flatters those with more configurations; the budget view "
        "accounts for it."
    )
    if any(configuration.is_validated for configuration in field.best):
        how = "It was chosen by its score on validation images, so the choice does not flatter the test scores."
    return f"Of every optimizer its best configuration is compared ({tried} tried). {how}"
