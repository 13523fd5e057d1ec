"""How often a race ends with what its whole sweep would have said, and how much of the sweep it takes.

Two kinds of sweeps: those of `tests.simulation`, whose truth is known, and the recorded runs of docs/example-report
with more seeds, drawn with the accuracies and the noise that the engine finds in them.

`python -m tests.races --repeats 150` prints the tables of docs/measurements/2026-11-29-race.md.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from job.report.analysis.grouping import group_runs
from job.report.analysis.inference.model import fit, to_accuracy
from job.report.analysis.inference.noise import Floats
from job.report.analysis.inference.race import Race, find_within_reach, run_race
from job.report.analysis.inference.sweep import Sweep
from job.report.analysis.judgement import fit_configurations
from job.report.read.load import load_runs
from tests.simulation import DRAWS, NUM_IMAGES, UNEQUAL, Case, draw

RECORDS = Path(__file__).parents[1] / "docs/example-report/records.tar.gz"
LEVEL_ERROR = 0.05


@dataclass(frozen=True)
class Recorded:
    """An experiment of the recorded runs, as the engine sees it."""

    logits: Floats
    """(configurations,)"""
    deviations: Floats
    """(configurations,) between seeds, on the logit scale."""
    num_images: int


def read_recorded(experiment: str) -> Recorded:
    """Accuracies and noise of the recorded runs."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(RECORDS) as archive:
            archive.extractall(folder, filter="data")
        runs = load_runs(str(Path(folder) / "study"), experiment=experiment)
    fitted = fit_configurations(group_runs(runs.runs), runs)
    assert fitted is not None
    assert fitted.model.noise is not None
    deviations = np.sqrt(fitted.model.noise.variances)
    return Recorded(fitted.model.logits, deviations, int(runs.runs["num_test"].iloc[0]))


def draw_recorded(recorded: Recorded, num_seeds: int, repeats: int, *, seed: int = 0) -> Iterator[Sweep]:
    """Sweeps like the recorded one, with other seeds and more of them; accuracies are whole images."""
    rng = np.random.default_rng(seed)
    shape = len(recorded.logits), num_seeds
    for _ in range(repeats):
        logits = recorded.logits[:, None] + recorded.deviations[:, None] * rng.standard_normal(shape)
        yield Sweep(np.round(to_accuracy(logits) * recorded.num_images) / recorded.num_images, recorded.num_images)


def draw_case(case: Case, repeats: int, *, seed: int = 0) -> Iterator[Sweep]:
    """Sweeps of `tests.simulation`."""
    for accuracies, failed, _ in draw(case, repeats, seed):
        yield Sweep(accuracies, NUM_IMAGES, failed=failed)


def compare(sweep: Sweep, race: Race, *, draws: int = DRAWS) -> dict[str, float]:
    """What the whole sweep says at the same error, and whether the race says the same."""
    model = fit(sweep, num_draws=draws)
    whole = find_within_reach(model, error=LEVEL_ERROR)
    leader = int(np.nanargmax(model.accuracies))
    ours = int(np.argmax(np.where(race.running, race.looks[-1].estimates, -1.0)))
    return {
        "the sweep's best is within the race's reach": float(race.running[leader]),
        "the same best": float(ours == leader),
        "nothing lost that the sweep has within reach": float((whole <= race.running).all()),
        "the same within reach": float((whole == race.running).all()),
        "the sweep shows one alone": float(whole.sum() == 1),
        "so does the race": float(whole.sum() == 1 and race.running.sum() == 1 and ours == leader),
        "part of the image-epochs": float(race.asked.mean()),
    }


def measure(sweeps: Iterator[Sweep], *, best: Sequence[int], draws: int = DRAWS) -> dict[str, float]:
    """Means over races; `best` are the truly best configurations."""
    sums: defaultdict[str, float] = defaultdict(float)
    num = 0
    for sweep in sweeps:
        race = run_race(sweep, num_draws=draws)
        sums["a truly best one is within reach"] += float(race.running[list(best)].any())
        for key, value in compare(sweep, race, draws=draws).items():
            sums[key] += value
        num += 1
    return {key: value / num for key, value in sums.items()}


def list_cases() -> Iterator[tuple[str, Case]]:
    """Sweeps whose truth is known."""
    for unequal, noise in ((0.0, "equal"), (UNEQUAL, "unequal")):
        for num_seeds in (5, 10, 20):
            yield f"one of 17 is 2 points better, {noise} noise", Case((0.8,) * 16 + (0.82,), num_seeds, unequal)
    yield "12 configurations, a point between neighbours", Case(tuple(0.8 + 0.01 * place for place in range(12)), 10)
    yield "12 alike", Case((0.8,) * 12, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description="How often a race ends as its whole sweep would, by simulation.")
    parser.add_argument("--repeats", type=int, default=150)
    repeats = parser.parse_args().repeats
    shown = False

    def show(name: str, num_seeds: int, found: dict[str, float]) -> None:
        nonlocal shown
        if not shown:
            print("| sweep | seeds | " + " | ".join(found) + " |")
            print("|---" * (2 + len(found)) + "|")
            shown = True
        cells = " | ".join(f"{100 * value:.1f} %" for value in found.values())
        print(f"| {name} | {num_seeds} | {cells} |", flush=True)

    for experiment in ("attributes", "optimizers"):
        recorded = read_recorded(experiment)
        for num_seeds in (5, 10, 20):
            sweeps = draw_recorded(recorded, num_seeds, repeats, seed=num_seeds)
            name = f"recorded {experiment}, {len(recorded.logits)} configurations"
            show(name, num_seeds, measure(sweeps, best=[int(np.argmax(recorded.logits))]))
    for seed, (name, case) in enumerate(list_cases()):
        truth = np.array(case.accuracies)
        best = np.flatnonzero(truth == truth.max()).tolist()
        show(name, case.num_seeds, measure(draw_case(case, repeats, seed=seed), best=best))


if __name__ == "__main__":
    main()
