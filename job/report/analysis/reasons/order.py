"""A reason in the size of the first steps and the accuracy, looked at within each optimizer and never across them."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.report.analysis.charts import Dot, DotChart, Picture
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.numbers import Numbers, list_values, name_number
from job.report.analysis.reasons.evidence import APART, Evidence, are_made_alike, is_whole
from job.report.analysis.reasons.quantities import FIRST_STEPS
from job.report.analysis.reasons.reason import Reason
from job.report.analysis.wording import name_optimizer, part, percent

NOTABLE_EFFECT = 0.01
"""A point of accuracy: ten images of a thousand."""
LEAST_PAIRS = 3
"""Comparisons within an optimizer before its order is told."""
MOST_MEMBERS = 100
"""Configurations of an optimizer whose pairs are looked at: those with the fewest changes against its baseline."""


@dataclass(frozen=True)
class _Order:
    """How accuracy goes with the size of the first steps within one optimizer."""

    family: Sequence[Configuration]
    """Smallest steps first."""
    sizes: dict[str, float]
    """By digest."""
    lower: list[tuple[Configuration, Configuration]]
    """Pairs (smaller, larger steps) in which the larger steps come with the lower accuracy in every seed."""
    higher: list[tuple[Configuration, Configuration]]

    @property
    def best(self) -> Configuration:
        return max(self.family, key=_adjusted)

    @property
    def widest(self) -> tuple[Configuration, Configuration]:
        """The pair whose steps differ by the largest factor."""
        pairs = (*self.lower, *self.higher)
        return max(pairs, key=lambda pair: self.sizes[pair[1].digest] / self.sizes[pair[0].digest])

    @property
    def peaked(self) -> bool:
        """Whether accuracy rises up to the best configuration and falls beyond it, in every pair on either side."""
        top = self.sizes[self.best.digest]
        below = [pair for pair in self.lower if self.sizes[pair[1].digest] <= top]
        above = [pair for pair in self.higher if self.sizes[pair[0].digest] >= top]
        rises = any(self.sizes[larger.digest] <= top for _, larger in self.higher)
        falls = any(self.sizes[smaller.digest] >= top for smaller, _ in self.lower)
        return rises and falls and not below and not above


def explain_by_first_step(evidence: Evidence) -> Reason | None:
    """Claim: within an optimizer, accuracy goes with the size of the first steps in one direction, or up to a size.

    Contrast: pairs of configurations of one optimizer, trained alike, whose steps differ twofold, seed by seed; never
    across optimizers. Counter-evidence: a pair that goes the other way: then the optimizer is told as without order.
    No p is given, because pairs share configurations.
    """
    orders = [order for family in _families(evidence) if (order := _order(evidence, family)) is not None]
    told = [_tell_order(order) for order in orders]
    if not any(not order.lower or not order.higher or order.peaked for order in orders):
        return None
    num = sum(len(order.lower) + len(order.higher) for order in orders)
    sentence = (
        f"Two configurations of one optimizer are a pair here if the first ten updates of one are at least twice as "
        f"large, and its accuracy is higher in every seed, or lower in every seed ({num} pairs). {' '.join(told)} The "
        "attributes that made the updates larger or smaller may also act in other ways."
    )
    members = [(order, member) for order in orders for member in order.family]
    picture = Picture(
        "reason-step-and-accuracy",
        "A dot per configuration: mean of its first ten updates over the backbone's norm, and its accuracy"
        f"{'' if have_same_seeds(member for _, member in members) else ', adjusted for the seeds'}.",
        DotChart(
            [
                Dot(name_optimizer(member.optimizer), member.optimizer, order.sizes[member.digest], _adjusted(member))
                for order, member in members
            ],
            title="First updates and accuracy", xlabel="update / weight (logarithmic)", ylabel="test top-1",
            logarithmic=True,
        ),
    )  # fmt: skip
    numbers: Numbers = {"num_pairs": num}
    for order in orders:
        numbers |= _list_numbers(order)
    clear = next(order for order in orders if not order.lower or not order.higher or order.peaked)
    return Reason(
        is_overview=True,
        title="The size of the first steps and the accuracy, within each optimizer",
        gist=_tell_gist(clear),
        sentence=sentence,
        standing="consistent",
        about=tuple(dict.fromkeys(order.best.optimizer for order in orders)),
        numbers=numbers,
        picture=picture,
    )


def _list_numbers(order: _Order) -> Numbers:
    """How many pairs there are either way, and of the configurations that are told size and accuracy."""
    name = name_optimizer(order.best.optimizer)
    numbers: Numbers = {
        name_number("num_pairs", name): len(order.lower) + len(order.higher),
        name_number("num_pairs with less accuracy", name): len(order.lower),
        name_number("num_pairs with more accuracy", name): len(order.higher),
    }
    told = {order.best.label: order.best} if order.peaked else {own.label: own for own in order.widest}
    means = [order.best.mean] if order.peaked else _means(*order.widest)
    numbers |= list_values("accuracy", dict(zip(told, means, strict=True)))
    return numbers | list_values(FIRST_STEPS.called, {label: order.sizes[own.digest] for label, own in told.items()})


def _tell_gist(order: _Order) -> str:
    name, best = name_optimizer(order.best.optimizer), part(order.sizes[order.best.digest])
    if order.peaked:
        return (
            f"{name} is best with first updates of {best} of the weights' norm, and worse with smaller or larger ones."
        )
    num = len(order.lower) + len(order.higher)
    return (
        f"{name} is {'worse' if order.lower else 'better'} the larger its first updates are, in all of its {num} pairs."
    )


def _tell_order(order: _Order) -> str:
    name, num = name_optimizer(order.best.optimizer), len(order.lower) + len(order.higher)
    best = f"{percent(order.best.mean)} at {part(order.sizes[order.best.digest])} of the backbone's norm"
    if order.peaked:
        return f"{name} gains with larger updates up to {order.best.label} ({best}) and loses beyond it."
    if order.lower and order.higher:
        worse, better = len(order.lower), len(order.higher)
        return f"{name} shows no order: with larger updates it is worse in {worse} pairs and better in {better}."
    word = "worse" if order.lower else "better"
    smaller, larger = order.widest
    before, after = _means(smaller, larger)
    ends = (
        f"from {percent(before)} at {part(order.sizes[smaller.digest])} to {percent(after)} at "
        f"{part(order.sizes[larger.digest])} of the backbone's norm"
    )
    return f"{name} is {word} with larger updates in all of its {num} pairs ({ends})."


def _adjusted(configuration: Configuration) -> float:
    """Its accuracy beside that of others that may have other seeds."""
    return configuration.mean if configuration.adjusted is None else configuration.adjusted


def _means(ours: Configuration, theirs: Configuration) -> tuple[float, float]:
    """The mean score of both configurations over the seeds that both have."""
    seeds = ours.scores.keys() & theirs.scores.keys()
    our_mean, their_mean = (math.fsum(own.scores[seed] for seed in seeds) / len(seeds) for own in (ours, theirs))
    return our_mean, their_mean


def _families(evidence: Evidence) -> list[list[Configuration]]:
    """Whole configurations with scores by optimizer and everything around it."""
    families: dict[tuple[object, ...], list[Configuration]] = defaultdict(list)
    for configuration in evidence.configurations:
        if configuration.scores and is_whole(configuration):
            around = sorted(
                (key, repr(value))
                for key, value in configuration.attributes.items()
                if not key.startswith("optimizer.")
            )
            families[configuration.optimizer, *around].append(configuration)
    return list(families.values())


def _order(evidence: Evidence, family: Sequence[Configuration]) -> _Order | None:
    lower: list[tuple[Configuration, Configuration]] = []
    higher: list[tuple[Configuration, Configuration]] = []
    nearest = sorted(family, key=lambda configuration: len(configuration.changed))[:MOST_MEMBERS]
    by_seed = {configuration.digest: _sizes_by_seed(evidence, configuration) for configuration in nearest}
    for first, second in itertools.combinations(nearest, 2):
        first_sizes, second_sizes = by_seed[first.digest], by_seed[second.digest]
        seeds = first_sizes.keys() & second_sizes.keys()
        sign = find_sign([first.scores[seed] - second.scores[seed] for seed in seeds])
        larger = bool(seeds) and all(first_sizes[seed] >= APART * second_sizes[seed] for seed in seeds)
        smaller = bool(seeds) and all(second_sizes[seed] >= APART * first_sizes[seed] for seed in seeds)
        if sign and (larger or smaller) and are_made_alike(first, second):
            (higher if (sign > 0) == larger else lower).append((second, first) if larger else (first, second))
    if len(lower) + len(higher) < LEAST_PAIRS:
        return None
    members = {configuration.digest: configuration for pair in (*lower, *higher) for configuration in pair}
    sizes = {digest: sum(by_seed[digest].values()) / len(by_seed[digest]) for digest in members}
    return _Order(sorted(members.values(), key=lambda configuration: sizes[configuration.digest]), sizes, lower, higher)


def _sizes_by_seed(evidence: Evidence, configuration: Configuration) -> dict[int, float]:
    """Mean update/weight over the first ten steps, of the seeds with a score."""
    seeds = [seed for seed in evidence.measured.seeds(configuration) if seed in configuration.scores]
    steps = evidence.measured.steps(configuration, "update_to_weight", seeds=seeds)
    sizes = steps.mean(axis=1) if steps.size else np.full(len(seeds), np.nan)
    return {seed: float(size) for seed, size in zip(seeds, sizes, strict=True) if np.isfinite(size)}


def find_sign(differences: Sequence[float]) -> int:
    """1 or -1 where all differences of accuracy have that sign and their mean is notable, else 0."""
    if not differences or abs(sum(differences) / len(differences)) < NOTABLE_EFFECT:
        return 0
    return 1 if min(differences) > 0 else -1 if max(differences) < 0 else 0
