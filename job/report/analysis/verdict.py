"""The answer in one sentence, as certain as the seeds allow: better, practically equal, or not yet known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Comparison
from job.report.analysis.field import Field
from job.report.analysis.inference.failures import estimate_success
from job.report.analysis.judgement import Judgement
from job.report.analysis.origins import tell_mixture
from job.report.analysis.wording import (
    count,
    join,
    name_optimizer,
    percent,
    points,
    show_comparison,
    show_estimate,
    show_margin,
    show_p,
    show_seeds,
    show_size,
)


@dataclass(frozen=True)
class Verdict:
    """The sentence, what it rests on, and what it does not say."""

    sentence: str
    decided: bool
    """Of every rival it is known that the leader is better or that they are practically equal: more seeds would change
    nothing that matters."""
    leader: Configuration | None
    """The one to take."""
    rivals: tuple[tuple[Configuration, Comparison], ...]
    """The others of the field that share seeds with the leader, best first: leader minus rival."""
    notes: tuple[str, ...] = ()
    strangers: tuple[Configuration, ...] = ()
    """Those of the field that no chain of common seeds connects with the leader."""


def judge_field(field: Field, configurations: Sequence[Configuration], judgement: Judgement | None) -> Verdict:
    """The verdict over `field`, which was chosen from `configurations`; without a judgement no run has a score."""
    scored = [configuration for configuration in field.best if configuration.scores]
    if not scored or judgement is None:
        diverged = sum(configuration.num_diverged for configuration in configurations)
        lost = f": {f'all {diverged}' if diverged > 1 else 'the only one'} diverged" if diverged else ""
        return Verdict(f"No run has finished with a score here yet{lost}.", False, None, ())
    leader = scored[0]
    others = [configuration for configuration in field.best if configuration is not leader]
    notes = _tell_notes(field, configurations, judgement)
    if not others:
        return Verdict(_tell_alone(leader, judgement), False, leader, (), notes)
    pairs = [(rival, judgement.compare(leader, rival)) for rival in others]
    rivals = tuple((rival, comparison) for rival, comparison in pairs if comparison is not None)
    strangers = [rival for rival, comparison in pairs if comparison is None]
    beaten = [pair for pair in rivals if pair[1].answer == "better"]
    equal = [pair for pair in rivals if pair[1].answer == "equal"]
    unsettled = [pair for pair in rivals if pair[1].answer in ("unknown", "worse")]
    if unsettled:
        sentence = _tell_unknown(leader, unsettled, judgement)
        if strangers:
            names = join([configuration.label for configuration in strangers])
            sentence += f" {names}: no seed in common with {leader.label}."
    elif strangers:
        sentence = _tell_strangers(leader, strangers, judgement)
    elif equal:
        sentence = _tell_equal(leader, equal, judgement)
    else:
        sentence = _tell_winner(leader, beaten, judgement)
    if beaten and (unsettled or strangers or equal):
        sentence += f" {leader.label} is ahead of {join([rival.label for rival, _ in beaten])}."
    return Verdict(sentence, not (unsettled or strangers), leader, rivals, notes, tuple(strangers))


def _tell_winner(
    leader: Configuration, rivals: Sequence[tuple[Configuration, Comparison]], judgement: Judgement
) -> str:
    closest, comparison = min(rivals, key=lambda pair: pair[1].difference)
    return (
        f"{_score(leader, judgement)}, {points(comparison.difference)} points over "
        f"{closest.label}{_bracket(comparison)}, n = {_common(leader, closest, comparison)} ({show_p(comparison.p)})."
    )


def _tell_equal(leader: Configuration, rivals: Sequence[tuple[Configuration, Comparison]], judgement: Judgement) -> str:
    names = join([_score(configuration, judgement) for configuration in (leader, *(rival for rival, _ in rivals))])
    differences = join([show_comparison(comparison) for _, comparison in rivals])
    is_ahead = all(comparison.difference >= 0 for _, comparison in rivals)  # else validation images chose it
    return (
        f"{names} are practically equal: {leader.label} {'is ahead' if is_ahead else 'differs'} by {differences} "
        f"points, less than {show_margin(judgement.margin)} either way, n = {_common(leader, *rivals[0])}."
    )


def _tell_unknown(
    leader: Configuration, pairs: Sequence[tuple[Configuration, Comparison]], judgement: Judgement
) -> str:
    rival, comparison = next((pair for pair in pairs if pair[1].answer == "worse"), pairs[0])
    if comparison.answer == "worse":
        return (
            f"Validation and test images disagree: {leader.label} was chosen on the validation images, but on the test "
            f"images {_score(rival, judgement)} is better than {_score(leader, judgement)} by "
            f"{show_size(comparison)} points, n = {_common(leader, rival, comparison)} ({show_p(comparison.p)})."
        )
    return (
        f"Not yet known: {_score(leader, judgement)} and {_score(rival, judgement)} differ by "
        f"{_why_unknown(leader, rival, comparison, judgement)}."
    )


def _why_unknown(leader: Configuration, rival: Configuration, comparison: Comparison, judgement: Judgement) -> str:
    difference = f"{show_comparison(comparison)} points, n = {_common(leader, rival, comparison)}"
    if comparison.unlike:
        return f"{difference}, but not in the optimizer alone: {join(list(comparison.unlike))}"
    if comparison.difference < 0:
        difference += f": {leader.label} leads by its score on validation images, but not here"
    if comparison.low is None:
        mark = ";" if comparison.difference < 0 else ":"
        return f"{difference}{mark} with one seed nothing can be said about certainty"
    return f"{difference} ({show_p(comparison.p)}){_tell_seeds_needed(comparison, judgement)}"


def _tell_seeds_needed(comparison: Comparison, judgement: Judgement) -> str:
    needed = judgement.seeds_needed
    if needed is None or needed.likely <= comparison.num:
        return ""
    span = f"{needed.low} to {needed.high}" if needed.low < needed.high else f"{needed.high}"
    return f"; to find a difference of {show_margin(judgement.margin)} takes {span} seeds of each"


def _tell_strangers(leader: Configuration, strangers: Sequence[Configuration], judgement: Judgement) -> str:
    names = join([configuration.label for configuration in strangers])
    return (
        f"Not yet known: {_score(leader, judgement)} and {names} have no seed in common, so nothing compares them: run "
        "them with the same seeds."
    )


def _tell_alone(leader: Configuration, judgement: Judgement) -> str:
    seeds = count(len(leader.seeds), "seed")
    return f"{_score(leader, judgement)}, n = {seeds}: there is nothing to compare it with yet."


def _score(configuration: Configuration, judgement: Judgement) -> str:
    """`Adam 62.4 % [30.0, 89.1]`, and which of its seeds diverged."""
    told = f"{configuration.label} {show_estimate(judgement.fitted.estimate(configuration))}"
    return f"{told} ({configuration.fate})" if configuration.fate else told


def _common(ours: Configuration, theirs: Configuration, comparison: Comparison) -> str:
    """`5 common seeds`, and where one has more of them, how many."""
    text = count(comparison.num, "common seed")
    more = [
        f"{configuration.label} has {len(configuration.outcomes)}"
        for configuration in (ours, theirs)
        if len(configuration.outcomes) > comparison.num
    ]
    return f"{text} ({join(more)})" if more else text


def _bracket(comparison: Comparison) -> str:
    return show_comparison(comparison).removeprefix(points(comparison.difference))


def _tell_notes(field: Field, configurations: Sequence[Configuration], judgement: Judgement) -> tuple[str, ...]:
    """What the sentence rests on and leaves out, the gravest first."""
    mixture = tell_mixture([origin for configuration in configurations for origin in configuration.origins.values()])
    notes = [mixture] if mixture else []
    notes += field.notes
    notes += _tell_failures(field)
    if max(len(configuration.outcomes) for configuration in field.best) == 1:
        notes.append("One run of one seed says nothing about how certain these numbers are: run it with more seeds.")
    if len(field.pool) > len(field.best):
        notes.append(_tell_selection(field))
    if len(configurations) > len(judgement.fitted.places):
        notes.append(
            f"Of {len(configurations)} configurations the best {len(judgement.fitted.places)} are compared with each "
            "other; the others have only their means."
        )
    if len({frozenset(configuration.outcomes) for configuration in field.best}) > 1:
        listed = "; ".join(
            f"{configuration.label}: {show_seeds(configuration.outcomes)}" for configuration in field.best[:6]
        )
        notes.append(f"Not all have the same seeds ({listed}). Means and differences are adjusted for the seeds.")
    new = _tell_new_images(field, judgement)
    return (*notes, new) if new else tuple(notes)


def _tell_failures(field: Field) -> list[str]:
    """How often those of the field that diverged can be expected to finish."""
    told = []
    for configuration in field.best:
        if configuration.fate:
            rate = estimate_success(len(configuration.scores), len(configuration.seeds))
            told.append(
                f"{configuration.label} finished with {rate.succeeded} of {count(rate.num, 'seed')}, so with "
                f"{percent(rate.low, 0)} to {percent(rate.high, 0)} of all"
            )
    if not told:
        return []
    return [f"{'; '.join(told)}. A seed that diverged counts as guessing: that is what a user gets of it."]


def _tell_new_images(field: Field, judgement: Judgement) -> str | None:
    """The widest claim: would other images tell the same?"""
    if len(field.best) < 2 or judgement.fitted.knows_images is False:
        return None
    comparison = judgement.compare(field.best[0], field.best[1])
    if comparison is None or comparison.on_new_images is None:
        return None
    low, high = comparison.on_new_images
    told = f"[{points(low)}, {points(high)}]"
    return (
        f"Intervals are for other seeds and these test images. For other images of the same kind, "
        f"{field.best[0].label} minus {field.best[1].label} is {told} points."
    )


def _tell_selection(field: Field) -> str:
    numbers = Counter(configuration.optimizer for configuration in field.pool)
    tried = join(
        [
            f"{numbers[configuration.optimizer]} of {name_optimizer(configuration.optimizer)}"
            for configuration in field.best
        ]
    )
    how = "It was chosen by the very scores shown here; the intervals allow for that choice."
    if any(configuration.is_validated for configuration in field.best):
        how = "It was chosen by its score on validation images, so the choice does not flatter the test scores."
    return f"Of every optimizer its best configuration is compared ({tried} tried). {how}"
