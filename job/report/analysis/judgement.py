"""Every comparison of a study, each pair in one family, so that no two places of the report contradict each other.

There are two questions, and the answers to each are wrong in at most 5 % of studies:

- Which optimizer? The optimizers against each other, each by the best of its settings, or by the one that validation
  images chose.
- Which settings? Configurations of one optimizer against each other. Half of the error is for those with the baseline,
  which was there before any score was seen, and half for all others.

A configuration is within reach of the best unless its optimizer, or a setting of its optimizer, is shown to be better.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from job.report.analysis.baselines import find_baseline
from job.report.analysis.configurations import Configuration, split_by_optimizer, tell_setting, tell_unlike
from job.report.analysis.estimates import Comparison, Estimate
from job.report.analysis.field import Field
from job.report.analysis.inference.comparisons import MARGIN, Answer, Family, compare_all
from job.report.analysis.inference.failures import LEVEL
from job.report.analysis.inference.model import Model, choose_draws, fit
from job.report.analysis.inference.optimizers import compare_on_each
from job.report.analysis.inference.pairs import Images
from job.report.analysis.inference.seeds_needed import SeedsNeeded, find_seeds_needed
from job.report.analysis.inference.sweep import Sweep
from job.report.read.frames import Runs

MOST_COMPARED = 1000
"""So many configurations, the baselines and the best, are compared; the others keep their means."""
HALF = 1 - (1 - LEVEL) / 2


@dataclass(frozen=True)
class Fitted:
    """A study's configurations as the engine sees them."""

    model: Model
    places: Mapping[str, int]
    """Of each configuration's digest, its place in the model."""
    knows_images: bool
    """Whether it is known which images every run had right."""

    def estimate(self, configuration: Configuration) -> Estimate | None:
        """None for a configuration of which no run has ended."""
        if configuration.digest not in self.places:
            mean = configuration.mean_outcome
            return None if mean is None else Estimate(mean)
        place, bounds = self.places[configuration.digest], self._intervals
        mean = self.accuracies[place]
        return Estimate(mean) if bounds is None else Estimate(mean, float(bounds[0][place]), float(bounds[1][place]))

    @cached_property
    def accuracies(self) -> list[float]:
        """Those of the model, by its places, without the last digits that logarithms leave."""
        return [round(float(accuracy), 12) for accuracy in self.model.accuracies]

    @cached_property
    def _intervals(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        return self.model.find_intervals()


def fit_configurations(configurations: Sequence[Configuration], runs: Runs) -> Fitted | None:
    """The model of a study's configurations; None where no run has a score."""
    known = [configuration for configuration in configurations if configuration.outcomes]
    if not any(configuration.scores for configuration in known):
        return None
    if len(known) > MOST_COMPARED:
        kept = {
            own.digest
            for family in split_by_optimizer(known).values()
            for own in (find_baseline(family), *_find_best(family))
        }
        known.sort(key=lambda own: (own.digest not in kept, -(own.mean_outcome or 0.0)))
        known = known[:MOST_COMPARED]
    seeds = sorted({seed for configuration in known for seed in configuration.outcomes})
    accuracies = np.array([[own.outcomes.get(seed, np.nan) for seed in seeds] for own in known])
    failed = np.array([[seed in own.outcomes and seed not in own.scores for seed in seeds] for own in known])
    right = gather_images(known, seeds, runs)
    sweep = Sweep(accuracies, int(runs.runs["num_test"].iloc[0]), right, failed)
    places = {configuration.digest: place for place, configuration in enumerate(known)}
    return Fitted(fit(sweep, num_draws=choose_draws(len(known))), places, right is not None)


def _find_best(family: Sequence[Configuration]) -> tuple[Configuration, Configuration]:
    """By the test images, and by what they are chosen by."""
    return (
        max(family, key=lambda own: own.mean_outcome or 0.0),
        max(family, key=lambda own: sum(own.choice.values()) / max(len(own.choice), 1)),
    )


def gather_images(
    configurations: Sequence[Configuration], seeds: Sequence[int], runs: Runs
) -> npt.NDArray[np.bool_] | None:
    """(configurations, seeds, images) which images each run had right; None unless it is known of all that finished.

    Recorded are those of the last epoch. Where validation images chose another one, they are not the score's.
    """
    scored = runs.runs[runs.runs["score"].notna()]
    if not len(scored) or (scored["score_epoch"] != scored["num_epochs"]).any() or scored["test_sha256"].nunique() != 1:
        return None
    shape = (len(configurations), len(seeds), int(scored["num_test"].iloc[0]))
    found = np.zeros(shape, dtype=bool)
    for row, configuration in enumerate(configurations):
        for seed, run in zip(configuration.scores, configuration.finished, strict=False):
            images = runs.test_right.get(run)
            if len(configuration.finished) != len(configuration.scores) or images is None or len(images) != shape[2]:
                return None
            found[row, seeds.index(seed)] = images
    return found


@dataclass(frozen=True)
class Judgement:
    """What is known about the configurations of a study."""

    fitted: Fitted
    field: Field
    baselines: Mapping[str, Configuration]
    """By optimizer."""
    margin: float
    """Accuracies that differ by less are practically equal."""
    _optimizers: Family | None
    """Rows and columns are `field.best`; None with a single optimizer. The others are over the model's places."""
    _on_new_images: Family | None
    _with_baseline: Family
    _settings: Family
    seeds_needed: SeedsNeeded | None
    """To find a difference of the margin between what the verdict compares."""

    def compare(self, ours: Configuration, theirs: Configuration) -> Comparison | None:
        """Ours minus theirs; None where no chain of common seeds connects them.

        Configurations of two optimizers are compared where each is the best of its optimizer; otherwise the difference
        stands without an interval.
        """
        places = self.fitted.places
        if ours.digest not in places or theirs.digest not in places:
            return None
        parts, own, other = self.fitted.model.parts, places[ours.digest], places[theirs.digest]
        if parts[own] < 0 or parts[own] != parts[other]:
            return None
        num = len(ours.outcomes.keys() & theirs.outcomes.keys())
        family, a, b, unlike = self._find_family(ours, theirs)
        unlike = (*unlike, *tell_unlike(ours, theirs))
        difference = round(self.fitted.accuracies[own] - self.fitted.accuracies[other], 12)
        if family is None or not family.is_tested(a, b):
            return Comparison(difference, None, None, None, "unknown", num, unlike=unlike)
        found = family.compare(a, b)
        new = None
        if family is self._optimizers and self._on_new_images is not None:
            wider = self._on_new_images.compare(a, b)
            new = wider.low, wider.high
        answer: Answer = "unknown" if unlike else found.answer
        return Comparison(difference, found.low, found.high, found.p, answer, num, new, unlike)

    @cached_property
    def within_reach(self) -> list[Configuration]:
        """Those of the field's pool that nothing is shown to be better than, best first: neither another optimizer, nor
        another setting of their own."""
        beaten = {own.optimizer for own in self.field.best if self._is_beaten(own, self.field.best)}
        families = split_by_optimizer(own for own in self.field.pool if own.scores and own.digest in self.fitted.places)
        reachable = {
            configuration.digest
            for optimizer, family in families.items()
            if optimizer not in beaten
            for configuration in family
            if not self._is_beaten(configuration, family)
        }
        return [configuration for configuration in self.field.pool if configuration.digest in reachable]

    def _is_beaten(self, configuration: Configuration, rivals: Sequence[Configuration]) -> bool:
        """Rivals that are estimated to be worse, or whose interval reaches them, need no look."""
        own = configuration.adjusted or 0.0
        return any(
            comparison is not None and comparison.answer == "worse"
            for rival in rivals
            if (rival.adjusted or 0.0) > own and self._is_apart(configuration, rival)
            for comparison in [self.compare(configuration, rival)]
        )

    def _is_apart(self, ours: Configuration, theirs: Configuration) -> bool:
        """Whether ours minus theirs has an interval below 0."""
        if ours.digest not in self.fitted.places or theirs.digest not in self.fitted.places:
            return False
        family, a, b, _ = self._find_family(ours, theirs)
        return family is not None and family.reach(a, b) < 0

    def _find_family(
        self, ours: Configuration, theirs: Configuration
    ) -> tuple[Family | None, int, int, tuple[str, ...]]:
        """The family that has the pair, its places there, and which of their settings were not open to both."""
        if ours.optimizer != theirs.optimizer:
            best = [own.digest for own in self.field.best]
            if ours.digest not in best or theirs.digest not in best:
                return None, 0, 0, tuple(tell_setting(ours, theirs))
            unlike = () if self.field.is_fair else tuple(tell_setting(ours, theirs))
            return self._optimizers, best.index(ours.digest), best.index(theirs.digest), unlike
        own, other = (self.fitted.places[configuration.digest] for configuration in (ours, theirs))
        baseline = self.baselines[ours.optimizer].digest
        return self._with_baseline if baseline in (ours.digest, theirs.digest) else self._settings, own, other, ()


def judge(
    fitted: Fitted, field: Field, configurations: Sequence[Configuration], *, margin: float = MARGIN
) -> Judgement:
    """All comparisons among `configurations`, of which `field` is compared for the verdict."""
    model, places = fitted.model, fitted.places
    families = split_by_optimizer(configuration for configuration in configurations if configuration.digest in places)
    baselines = {optimizer: find_baseline(family) for optimizer, family in families.items()}
    with_baseline: list[tuple[int, int]] = []
    settings: list[tuple[int, int]] = []
    for optimizer, family in families.items():
        first = places[baselines[optimizer].digest]
        own = [places[configuration.digest] for configuration in family]
        with_baseline += [(first, place) for place in own if place != first]
        settings += [pair for pair in itertools.combinations(own, 2) if first not in pair]
    optimizers = new = None
    if len({own.optimizer for own in field.best}) > 1:
        groups = _group(field, places)
        kinds: list[Images] = ["these", "new"] if fitted.knows_images else ["these"]
        optimizers, new = (*compare_on_each(model, groups, kinds, margin=margin), None)[:2]
    level = HALF if settings else LEVEL
    to_baseline = compare_all(model, margin=margin, beforehand=with_baseline, level=level)
    among_settings = compare_all(model, margin=margin, beforehand=settings, level=level)
    needed = find_seeds_needed(model, optimizers or to_baseline)
    return Judgement(fitted, field, baselines, margin, optimizers, new, to_baseline, among_settings, needed)


def _group(field: Field, places: Mapping[str, int]) -> list[list[int]]:
    """For each of `field.best`, the configurations that it was chosen from by the scores that it is tested with."""
    return [
        [
            places[own.digest]
            for own in ([best] if best.is_validated else field.pool)
            if own.optimizer == best.optimizer and own.digest in places
        ]
        for best in field.best
    ]
