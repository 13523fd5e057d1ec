"""The answer in one sentence, as certain as the seeds allow and not more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from job.report.configurations import Configuration, best_of_each
from job.report.statistics import Comparison, compare, correct_comparisons, estimate_mean, further_seeds
from job.report.wording import join, name_optimizer, percent, points, show_comparison, show_estimate, show_p


@dataclass(frozen=True)
class Verdict:
    """The sentence, what it rests on, and what it does not say."""

    sentence: str
    decided: bool
    leader: Configuration | None
    rivals: tuple[tuple[Configuration, Comparison], ...]
    """Against the leader, leader minus rival, best first; corrected as one family."""
    notes: tuple[str, ...] = ()


def judge(configurations: Sequence[Configuration]) -> Verdict:
    """Compare the best configuration of every optimizer, or all configurations of a single one; best first."""
    scored = [each for each in configurations if each.scores]
    if not scored:
        return Verdict("No run has finished with a score here yet.", False, None, ())
    best = best_of_each(scored)
    field = best if len(best) > 1 else scored
    leader, others = field[0], field[1:]
    score = show_estimate(estimate_mean(list(leader.scores.values())))
    if not others:
        num = len(leader.scores)
        return Verdict(
            f"{leader.label} {score}, n = {num} seed{'s' if num > 1 else ''}: there is nothing to compare it with yet.",
            False, leader, (), (_one_seed(),) if num == 1 else (),
        )  # fmt: skip
    comparisons = correct_comparisons([compare(leader.scores, other.scores) for other in others])
    rivals = tuple(zip(others, comparisons, strict=True))
    notes = _selection_notes(configurations, field)
    runner_up, closest = rivals[0]
    if closest.decided:
        sentence = (
            f"{leader.label} {score}, {points(closest.difference)} points over {runner_up.label}"
            f"{_bracket(closest)}, n = {closest.num} {closest.kind} seeds ({_test(closest)})."
        )
        return Verdict(sentence, True, leader, rivals, notes)
    their = show_estimate(estimate_mean(list(runner_up.scores.values())))
    sentence = f"Undecided: {leader.label} {score} and {runner_up.label} {their} differ by {_why_undecided(closest)}."
    behind = [rival.label for rival, comparison in rivals if comparison.decided and comparison.difference > 0]
    if behind:
        sentence += f" {leader.label} is ahead of {join(behind)}."
    if closest.p is None and closest.num < 2:
        notes = (_one_seed(), *notes)
    return Verdict(sentence, False, leader, rivals, notes)


def _why_undecided(comparison: Comparison) -> str:
    difference = f"{show_comparison(comparison)} points"
    seeds = f"n = {comparison.num} {comparison.kind} seeds"
    if comparison.num < 2:
        return f"{difference}, but with one seed nothing can be said about certainty"
    if comparison.p is None:
        return f"{difference} in every seed alike, so there is no spread to judge it by ({seeds})"
    text = f"{difference}, {seeds} ({_test(comparison)})"
    if comparison.kind == "unpaired":
        return f"{text}; they share too few seeds for a paired test"
    more = further_seeds(comparison)
    if more is None:
        return f"{text}; not even 1000 seeds would tell, so the difference hardly matters"
    return (
        f"{text}; about {more} more seed{'s' if more > 1 else ''} would tell, were the difference as large as it seems"
    )


def _test(comparison: Comparison) -> str:
    name = "paired t test" if comparison.kind == "paired" else "Welch's t test"
    if comparison.num_comparisons < 2:
        return f"{show_p(comparison.p)}, {name}"
    return f"{show_p(comparison.adjusted_p)}, {name}, Holm-corrected over {comparison.num_comparisons} comparisons"


def _bracket(comparison: Comparison) -> str:
    return show_comparison(comparison).removeprefix(points(comparison.difference))


def _one_seed() -> str:
    return "One run of one seed says nothing about how certain these numbers are: run the same with more seeds."


def _selection_notes(configurations: Sequence[Configuration], field: Sequence[Configuration]) -> tuple[str, ...]:
    notes = []
    if len(configurations) > len(field):
        chosen = [
            f"{sum(each.optimizer == one.optimizer for each in configurations)} of {name_optimizer(one.optimizer)}"
            for one in field
        ]
        notes.append(
            f"Of every optimizer its best configuration is compared ({join(chosen)} tried). It was chosen by the very "
            "scores shown here, which flatters those with more configurations; the budget view accounts for it."
        )
    num_seeds = {len(each.scores) for each in field}
    if len(num_seeds) > 1:
        notes.append(f"Not all have as many seeds: from {min(num_seeds)} to {max(num_seeds)}.")
    diverged = sum(each.num_diverged for each in field)
    if diverged:
        notes.append(f"{diverged} of their runs diverged; those without any evaluated epoch have no score.")
    return tuple(notes)


def summarise(verdict: Verdict) -> list[str]:
    """A line per rival: its score and its distance from the leader."""
    return [
        f"{rival.label}: {percent(rival.mean)}, {show_comparison(comparison)} points behind, "
        f"{show_p(comparison.adjusted_p)}, n = {comparison.num}"
        for rival, comparison in verdict.rivals
    ]
