"""Sweeps whose truth is known, and how often the report's statistics are wrong about them.

Every run answers the same images: an item-response draw, right with probability expit(ability - difficulty). Images
come in CLASSES of one difficulty each, so that a class is one binomial. The ability of a run is its configuration's,
plus that of its seed, which all configurations share, plus its own. `noise` is the deviation of a configuration's
accuracy between seeds, without the shared part: images that turn by chance make 0.35 points of it.

`python -m tests.simulation --repeats 2000` prints the tables of docs/measurements/2026-11-25-statistics.md.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from job.report.analysis.inference.comparisons import MARGIN, Family, compare_all
from job.report.analysis.inference.model import fit
from job.report.analysis.inference.noise import Bools, Floats
from job.report.analysis.inference.optimizers import compare_optimizers
from job.report.analysis.inference.seeds_needed import count_seeds, find_seeds_needed
from job.report.analysis.inference.sweep import Sweep
from job.report.analysis.statistics import holm

NUM_IMAGES = 8000
CLASSES = 40
DIFFICULTIES = 2.0 * special.ndtri((np.arange(CLASSES) + 0.5) / CLASSES)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
SHARED = 0.03
"""Deviation of a seed's ability that all configurations share: 0.3 points."""
NOISE = 0.006
UNEQUAL = 0.6
"""Deviation of the noise's logarithm between configurations: of 17 the noisiest has eight times the noise of the
quietest, as far as the images' own noise lets it."""
DRAWS = 1000
"""Of the Monte Carlo in each analysis; the report takes ten times as many."""
ANSWERED = ("better", "worse")


@dataclass(frozen=True)
class Case:
    """What is simulated. The first configuration is one optimizer, and all others are the settings of another one."""

    accuracies: tuple[float, ...]
    num_seeds: int
    unequal: float = 0.0
    diverging: bool = False
    """Whether one more setting falls to chance level in some seeds, but not in all; it stands last."""
    noise: float = NOISE


def right(abilities: Floats) -> Floats:
    """Probability to have an image right, in each class: (..., CLASSES)."""
    return 1 / (1 + np.exp(DIFFICULTIES - np.asarray(abilities)[..., None]))


def moments(ability: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Mean accuracy, and its deviation between seeds, of runs whose ability varies by `deviation`."""
    chance = right(np.asarray(ability)[..., None] + np.asarray(deviation)[..., None] * NODES)
    means = chance.mean(axis=-1)
    mean = means @ WEIGHTS
    churn = (chance * (1 - chance)).mean(axis=-1) @ WEIGHTS / NUM_IMAGES
    return mean, np.sqrt(((means - mean[..., None]) ** 2) @ WEIGHTS + churn)


@functools.cache
def table(accuracy: float) -> tuple[Floats, Floats, Floats]:
    """For deviations of ability on a grid: the noise that they give, and the ability with this mean accuracy."""
    deviations = np.linspace(0.0, 1.5, 301)
    ability = np.zeros_like(deviations)
    for _ in range(12):
        mean = moments(ability, deviations)[0]
        ability = ability + (accuracy - mean) / ((moments(ability + 1e-3, deviations)[0] - mean) / 1e-3)
    return moments(ability, deviations)[1], ability, deviations


def solve(accuracies: Sequence[float], noise: Floats) -> Floats:
    """Abilities and their deviations that give these accuracies with this noise, or the least that there can be."""
    abilities = np.empty((2, *noise.shape))
    for place, accuracy in enumerate(accuracies):
        seen, ability, deviations = table(accuracy)
        abilities[0, ..., place] = np.interp(noise[..., place], seen, ability)
        abilities[1, ..., place] = np.interp(noise[..., place], seen, deviations)
    return abilities


def simulate(case: Case, repeats: int, rng: np.random.Generator) -> tuple[Floats, Bools, Floats]:
    """Accuracies (repeats, configurations, seeds), which runs failed, and each configuration's true noise."""
    shape = (repeats, len(case.accuracies))
    noise = np.maximum(case.noise * np.exp(case.unequal * rng.standard_normal(shape)), table(case.accuracies[0])[0][0])
    ability, deviation = solve(case.accuracies, noise)
    own = deviation[..., None] * rng.standard_normal((*shape, case.num_seeds))
    shared = SHARED * rng.standard_normal((repeats, 1, case.num_seeds))
    accuracies = np.zeros((*shape, case.num_seeds))
    for difficulty in DIFFICULTIES:
        chance = 1 / (1 + np.exp(difficulty - (ability[..., None] + own + shared)))
        accuracies += rng.binomial(NUM_IMAGES // CLASSES, chance) / NUM_IMAGES
    failed = np.zeros(accuracies.shape, dtype=bool)
    if case.diverging:
        astray = rng.permuted(
            np.arange(case.num_seeds) < rng.integers(1, case.num_seeds, size=(repeats, 1)), axis=1
        )[:, None, :]  # fmt: skip
        accuracies = np.concatenate([accuracies, accuracies[:, :1]], axis=1)
        failed = np.concatenate([failed, astray], axis=1)
        accuracies = count_as_chance(accuracies, failed, num_classes=10)
    return accuracies, failed, noise


def decide_as_before(accuracies: Floats, failed: Bools) -> tuple[bool, bool]:
    """What the report made of a sweep before it had this engine, by paired t tests after Holm: whether the optimizers
    are decided, and whether the last configuration differs from the first among all that are compared with it."""
    scores = accuracies[~failed.any(axis=1)]
    best = scores[1:][np.argmax(scores[1:].mean(axis=1))]
    family = holm([paired_p(row, scores[0]) for row in scores[1:]])
    return paired_p(best, scores[0]) < 0.05, family[-1] < 0.05


def paired_p(ours: Floats, theirs: Floats) -> float:
    """Of the paired t test; 1 where the difference is the same in every seed, which it decided nothing from."""
    differences = ours - theirs
    deviation = float(differences.std(ddof=1))
    if deviation < 1e-12:
        return 1.0
    t = float(differences.mean()) / (deviation / math.sqrt(len(differences)))
    return float(2 * special.stdtr(len(differences) - 1, -abs(t)))


def measure(
    case: Case, repeats: int, *, seed: int = 0, draws: int = DRAWS, errors_alone: bool = False
) -> dict[str, float]:
    """Parts of the sweeps in which something happened; see the keys.

    `errors_alone` leaves out what is found against the baseline, and who is within reach: a third of the time.
    """
    truth = np.array(case.accuracies)
    num = len(truth)
    gaps = truth[:, None] - truth[None, :]
    pairs = ~np.eye(num, dtype=bool)
    baseline = [(0, other) for other in range(1, num + case.diverging)]
    counts: defaultdict[str, float] = defaultdict(float)
    for accuracies, failed, _ in draw(case, repeats, seed):
        model = fit(Sweep(accuracies, NUM_IMAGES, failed=failed), num_draws=draws)
        family = compare_all(model)
        before = decide_as_before(accuracies, failed)
        low, high = family.low[:num, :num], family.high[:num, :num]
        settled = (low > -MARGIN) & (high < MARGIN) & pairs
        groups = compare_optimizers(model, [range(1, num + case.diverging), [0]])
        verdict = groups.compare(0, 1).answer
        counts["optimizers decided, before"] += before[0]
        counts["optimizers decided"] += verdict in ANSWERED
        counts["the optimizers' interval held"] += bool(
            groups.low[0, 1] <= truth[1:].max() - truth[0] <= groups.high[0, 1]
        )
        counts["any wrong answer"] += bool(
            (((low > 0) & ~settled & (gaps <= 1e-9)) | (settled & (np.abs(gaps) >= MARGIN - 1e-9))).any()
        )
        counts["all intervals held"] += bool(((low <= gaps + 1e-9) & (high >= gaps - 1e-9)).all())
        counts["a pair's interval held"] += bool(low[0, 1] <= gaps[0, 1] + 1e-9 and high[0, 1] >= gaps[0, 1] - 1e-9)
        counts["last found, before"] += before[1]
        counts["last found"] += family.compare(num - 1, 0).answer in ANSWERED
        counts["last equal to the first"] += family.compare(num - 1, 0).answer == "equal"
        if errors_alone:
            continue
        with_baseline = compare_all(model, beforehand=baseline)
        counts["last found, against the baseline"] += with_baseline.compare(num - 1, 0).answer in ANSWERED
        counts["intervals with the baseline held"] += bool(
            (
                (with_baseline.low[0, 1:num] <= gaps[0, 1:] + 1e-9)
                & (with_baseline.high[0, 1:num] >= gaps[0, 1:] - 1e-9)
            ).all()
        )
        counts["best within reach"] += bool(set(np.flatnonzero(truth == truth.max())) & find_within_reach(family))
    return {key: value / repeats for key, value in counts.items()}


def measure_seeds_needed(case: Case, repeats: int, *, seed: int = 0) -> tuple[float, float]:
    """The part of the sweeps in which a number was named, and the part of these in which the likely one is within a
    factor of two of the number for the true noise."""
    named = near = 0
    for accuracies, failed, noise in draw(case, repeats, seed):
        model = fit(Sweep(accuracies, NUM_IMAGES, failed=failed), num_draws=DRAWS)
        family = compare_all(model)
        needed = find_seeds_needed(model, family, accuracy=case.accuracies[0])
        if needed is None:
            continue
        slope = case.accuracies[0] * (1 - case.accuracies[0])
        variance = float(np.median(noise / slope) ** 2)
        truth = count_seeds(variance, MARGIN / slope, family.pair_level, len(case.accuracies) - 1)
        assert truth is not None
        named += 1
        near += truth / 2 <= needed.likely <= truth * 2
    return named / repeats, near / max(named, 1)


def measure_new_images(
    repeats: int, *, seed: int = 0, num: int = 4, num_seeds: int = 3, num_images: int = 1000
) -> tuple[Floats, Floats]:
    """Parts of the sweeps in which all intervals for new images held, with and without knowing which images were right;
    and the mean width of both."""
    rng = np.random.default_rng(seed)
    held, widths = np.zeros(2), np.zeros(2)
    for _ in range(repeats):
        # Each configuration has images of its own taste, so that another test set would order them otherwise.
        difficulty = 2.0 * rng.standard_normal(num_images) + 0.7 * rng.standard_normal((num, num_images))
        ability = 2.0 + 0.05 * rng.standard_normal((num, num_seeds))
        seen = rng.random((num, num_seeds, num_images)) < 1 / (1 + np.exp(difficulty[:, None, :] - ability[..., None]))
        for place, known in enumerate((seen, None)):
            model = fit(Sweep(seen.mean(axis=-1), num_images, known), num_draws=DRAWS)
            family = compare_all(model, images="new")
            held[place] += (family.low <= 0).all() and (family.high >= 0).all()
            widths[place] += family.high[0, 1] - family.low[0, 1]
    return held / repeats, widths / repeats


def count_as_chance(accuracies: Floats, failed: Bools, *, num_classes: int) -> Floats:
    """The accuracies with those of failed runs at chance level, 1 / classes, as the report counts them."""
    return np.where(failed, 1 / num_classes, accuracies)


def find_within_reach(family: Family) -> set[int]:
    """The configurations that none is better than; one without runs is not among them."""
    places = range(len(family.low))
    known = np.isfinite(family.difference) & ~np.eye(len(places), dtype=bool)
    return {
        place
        for place in places
        if (known[:, place].any() or len(places) == 1)
        and not any(family.compare(rival, place).answer == "better" for rival in places if rival != place)
    }


def draw(case: Case, repeats: int, seed: int) -> Iterator[tuple[Floats, Bools, Floats]]:
    """One sweep after the other, drawn in blocks."""
    rng = np.random.default_rng(seed)
    for start in range(0, repeats, 200):
        yield from zip(*simulate(case, min(200, repeats - start), rng), strict=True)


def null_cases() -> list[Case]:
    """Sweeps without any difference."""
    return [
        Case((0.8,) * (settings + 1), num_seeds, unequal, diverging)
        for diverging in (False, True)
        for unequal in (0.0, UNEQUAL)
        for num_seeds in (2, 3, 5, 10)
        for settings in (1, 10, 50)
    ]


def power_cases() -> list[Case]:
    """Seventeen configurations of which one is two points better or worse than all others."""
    return [
        Case((0.8,) * 16 + (0.8 + gap,), num_seeds, unequal)
        for unequal in (0.0, UNEQUAL) for num_seeds in (3, 5) for gap in (0.02, -0.02)
    ]  # fmt: skip


def optimizer_cases() -> list[Case]:
    """One optimizer with a single setting against one of whose settings one is two points better."""
    return [
        Case((0.8,) * settings + (0.82,), num_seeds, unequal)
        for unequal in (0.0, UNEQUAL) for num_seeds in (3, 5) for settings in (1, 10, 50)
    ]  # fmt: skip


def equal_cases() -> list[Case]:
    """Configurations that differ by just the margin, with so little noise that much is called equal."""
    return [
        Case((0.8,) * (num - 1) + (0.8 + MARGIN,), num_seeds, unequal, noise=0.004)
        for unequal in (0.0, UNEQUAL) for num, num_seeds in ((2, 10), (5, 10), (17, 10))
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="How often the report's statistics are wrong, by simulation.")
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    started = time.monotonic()

    def show(*cells: object) -> None:
        print(
            "| " + " | ".join(f"{100 * cell:.1f} %" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
            flush=True,
        )

    def describe(case: Case) -> tuple[int, str, str]:
        return case.num_seeds, "unequal" if case.unequal else "equal", "yes" if case.diverging else "no"

    def fewer(case: Case) -> int:
        return repeats if len(case.accuracies) < 50 else max(repeats // 4, 50)

    columns = [
        "optimizers decided, before", "optimizers decided", "the optimizers' interval held", "any wrong answer",
        "all intervals held",
    ]  # fmt: skip
    show("settings", "seeds", "noise", "one diverges", *columns)
    show(*["---"] * (4 + len(columns)))
    for seed, case in enumerate(null_cases()):
        found = measure(case, fewer(case), seed=seed)
        show(len(case.accuracies) - 1, *describe(case), *(found[column] for column in columns))
    columns = ["optimizers decided, before", "optimizers decided", "the optimizers' interval held"]
    print()
    show("settings, one 2 points better", "seeds", "noise", *columns)
    show(*["---"] * (3 + len(columns)))
    for seed, case in enumerate(optimizer_cases(), 100):
        found = measure(case, fewer(case), seed=seed)
        show(len(case.accuracies) - 1, *describe(case)[:2], *(found[column] for column in columns))
    columns = [
        "last found, before", "last found", "last found, against the baseline", "intervals with the baseline held",
        "best within reach",
    ]  # fmt: skip
    print()
    show("one of 17 differs by", "seeds", "noise", *columns)
    show(*["---"] * (3 + len(columns)))
    for seed, case in enumerate(power_cases(), 200):
        found = measure(case, repeats, seed=seed)
        gap = f"{100 * (case.accuracies[-1] - 0.8):+.0f} points"
        show(gap, *describe(case)[:2], *(found[column] for column in columns))
    print()
    show("configurations", "seeds", "noise", "equal although a margin apart", "any wrong answer")
    show(*["---"] * 5)
    for seed, case in enumerate(equal_cases(), 300):
        found = measure(case, repeats, seed=seed)
        show(len(case.accuracies), *describe(case)[:2], found["last equal to the first"], found["any wrong answer"])
    print()
    show("configurations", "seeds", "noise", "a number of seeds is named", "within a factor of 2, where named")
    show(*["---"] * 5)
    for num, num_seeds, unequal in (
        (2, 3, 0.0),
        (4, 3, 0.0),
        (5, 5, 0.0),
        (17, 3, 0.0),
        (17, 5, 0.0),
        (17, 3, UNEQUAL),
        (17, 5, UNEQUAL),
    ):
        case = Case((0.8,) * num, num_seeds, unequal)
        show(num, *describe(case)[:2], *map(float, measure_seeds_needed(case, repeats)))
    print()
    held, widths = measure_new_images(repeats)
    show("known which images were right", "all intervals for new images held", "mean width, points")
    show(*["---"] * 3)
    show("yes", float(held[0]), f"{100 * widths[0]:.1f}")
    show("no", float(held[1]), f"{100 * widths[1]:.1f}")
    print(f"\n{repeats} repeats (a quarter of them with 50 settings) in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
