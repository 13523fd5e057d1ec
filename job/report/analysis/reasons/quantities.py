"""What the diagnostics and curves say of a configuration, as one number per seed, and how two configurations differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from job.report.analysis.charts import LineChart, Picture
from job.report.analysis.configurations import Configuration
from job.report.analysis.measurements import Floats
from job.report.analysis.numbers import Numbers, list_ratio, list_values
from job.report.analysis.reasons.evidence import Contrast, Evidence, divide
from job.report.analysis.wording import part, percent, times

DISTANCE = "distance from the start relative to the first weights, in the last epoch,"
WEIGHT_NORM = "weight norm in the last epoch"
TRAIN_TOP1 = "training accuracy in the last epoch"
NOISE = "movement of the test accuracy between epochs"
LEAST_CHANGES = 3
"""Changes from epoch to epoch before their noise is told."""


@dataclass(frozen=True)
class Quantity:
    """One number per seed."""

    name: str
    called: str
    """Its name among the numbers of a reason."""
    measure: Callable[[Contrast, Configuration], Floats]
    """(num_seeds,); NaN where it was not measured."""
    least: float
    """The factor, or the difference, from which on two configurations differ in it; seeds differ by less."""
    is_ratio: bool
    phrase: str
    """What is told of our value against theirs, with their ratio and the word for its direction."""
    words: tuple[str, str]
    """Where ours is smaller, and where it is larger."""
    show: Callable[[float], str]
    curve: tuple[str, str]
    """The column whose curve shows it, and the axis label; of the first steps where it begins with `step`."""


@dataclass(frozen=True)
class Change:
    """How our configuration differs from theirs in a quantity, with one sign in every seed."""

    quantity: Quantity
    ours: float
    """Mean over the seeds."""
    theirs: float
    clarity: float
    """How many times the least factor or difference, in the seed where they differ least."""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs

    def list_numbers(self, ours: str, theirs: str) -> Numbers:
        """Both values and, where a ratio is told, how many times the larger one is the smaller; by the labels."""
        called = self.quantity.called
        numbers = list_values(called, {ours: self.ours, theirs: self.theirs})
        return numbers | (
            list_ratio(called, (ours, self.ours), (theirs, self.theirs)) if self.quantity.is_ratio else {}
        )

    def tell(self, versus: str) -> str:
        """`its first ten updates are 10 times smaller (0.5 % of the backbone's norm instead of 5 %)`."""
        is_larger = self.ours > self.theirs
        size = max(self.ratio, 1 / self.ratio) if self.quantity.is_ratio else abs(self.ours - self.theirs)
        return self.quantity.phrase.format(
            size=times(size) if size >= 2 else f"{size:.2f}", word=self.quantity.words[is_larger],
            ours=self.quantity.show(self.ours), theirs=self.quantity.show(self.theirs), versus=versus,
        )  # fmt: skip


def measure_jumps(curves: Floats) -> Floats:
    """(num_runs,) mean distance of the changes from epoch to epoch over the last half of the training from their own
    mean; NaN where there are too few."""
    changes = np.diff(curves, axis=1)[:, max(0, curves.shape[1] // 2 - 1) :]
    if changes.shape[1] < LEAST_CHANGES:
        return np.full(len(curves), np.nan)
    distances: Floats = np.abs(changes - changes.mean(axis=1, keepdims=True)).mean(axis=1)
    return distances


def measure_distance(contrast: Contrast, configuration: Configuration) -> Floats:
    """(num_seeds, num_epochs) the backbone's distance from its start, as a fraction of its norm there."""
    distance = contrast.epochs(configuration, "backbone_distance_from_start")
    start = contrast.steps(configuration, "weight_norm")[:, :1]
    return divide(distance, np.broadcast_to(start, distance.shape))


def _first_steps(contrast: Contrast, configuration: Configuration) -> Floats:
    """Mean update/weight over the first ten steps."""
    sizes: Floats = contrast.steps(configuration, "update_to_weight").mean(axis=1)
    return sizes


def _last(column: str) -> Callable[[Contrast, Configuration], Floats]:
    """The value of a column in the last epoch."""
    return lambda contrast, configuration: contrast.epochs(configuration, column)[:, -1]


def _gap(contrast: Contrast, configuration: Configuration) -> Floats:
    return _last("train_top1")(contrast, configuration) - _last("test_top1")(contrast, configuration)


def _points(difference: float) -> str:
    return f"{100 * difference:.1f}".replace("-", "−")


FIRST_STEPS = Quantity(
    "first_steps", "first ten updates relative to the weights", _first_steps, 1.25, True,
    "its first ten updates are {size} times {word} ({ours} of the backbone's norm {versus} {theirs})",
    ("smaller", "larger"), part, ("step update_to_weight", "update / weight"),
)  # fmt: skip
LATE_STEPS = Quantity(
    "late_steps", "updates relative to the weights in the last epoch", _last("backbone_update_to_weight"), 1.25, True,
    "its updates in the last epoch are {size} times {word} ({ours} of the backbone's norm {versus} {theirs})",
    ("smaller", "larger"), part, ("backbone_update_to_weight", "update / weight"),
)  # fmt: skip
QUANTITIES: Sequence[Quantity] = (
    FIRST_STEPS,
    LATE_STEPS,
    Quantity(
        "distance", DISTANCE, lambda contrast, configuration: measure_distance(contrast, configuration)[:, -1], 1.15,
        True,
        "its weights end {size} times {word} their start ({ours} of their initial norm away {versus} {theirs})",
        ("nearer to", "farther from"), part, ("backbone_distance_from_start", "distance from the start"),
    ),
    Quantity(
        "weight_norm", WEIGHT_NORM, _last("backbone_weight_norm"), 1.02, True,
        "the norm of its weights ends {word} ({ours} {versus} {theirs})",
        ("smaller", "larger"), lambda value: f"{value:.1f}", ("backbone_weight_norm", "norm of the weights"),
    ),
    Quantity(
        "gradient_norm", "gradient norm in the last epoch", _last("backbone_gradient_norm"), 1.5, True,
        "the norm of its gradient in the last epoch is {size} times {word} ({ours} {versus} {theirs})",
        ("smaller", "larger"), lambda value: f"{value:.3g}", ("backbone_gradient_norm", "norm of the gradient"),
    ),
    Quantity(
        "train_top1", TRAIN_TOP1, _last("train_top1"), 0.05, False,
        "it gets {word} training images right in the last epoch ({ours} {versus} {theirs})",
        ("fewer", "more"), percent, ("train_top1", "training top-1"),
    ),
    Quantity(
        "gap", "gap between training and test accuracy", _gap, 0.03, False,
        "its gap between training and test images is {word} ({ours} points {versus} {theirs})",
        ("smaller", "larger"), _points, ("test_top1", "test top-1"),
    ),
    Quantity(
        "noise", NOISE, lambda contrast, configuration: measure_jumps(contrast.epochs(configuration, "test_top1")),
        0.01, False,
        "its test accuracy moves {word} from epoch to epoch in the last half ({ours} points {versus} {theirs})",
        ("less", "more"), _points, ("test_top1", "test top-1"),
    ),
)  # fmt: skip


def find_changes(contrast: Contrast, ours: Configuration, theirs: Configuration) -> list[Change]:
    """The quantities in which ours differs from theirs in every seed, the clearest first."""
    changes = [_compare(quantity, contrast, ours, theirs) for quantity in QUANTITIES]
    return sorted((change for change in changes if change is not None), key=lambda change: -change.clarity)


def choose_told(changes: Sequence[Change], *, most: int) -> list[Change]:
    """The clearest `most`, and the first steps in any case; in the order of QUANTITIES, causes before outcomes."""
    chosen = list(changes[:most])
    first = [change for change in changes if change.quantity is FIRST_STEPS and change not in chosen]
    chosen = [*first, *chosen[: most - len(first)]]
    return sorted(chosen, key=lambda change: [own.name for own in QUANTITIES].index(change.quantity.name))


def _compare(quantity: Quantity, contrast: Contrast, ours: Configuration, theirs: Configuration) -> Change | None:
    own, other = (quantity.measure(contrast, configuration) for configuration in (ours, theirs))
    if quantity.is_ratio:
        ratios = divide(own, other)
        differences = np.log(ratios, out=np.full_like(ratios, np.nan), where=ratios > 0) / math.log(quantity.least)
    else:
        differences = (own - other) / quantity.least
    if not (np.all(differences >= 1) or np.all(differences <= -1)):
        return None
    return Change(quantity, float(own.mean()), float(other.mean()), float(np.abs(differences).min()))


def draw_change(
    name: str, title: str, evidence: Evidence, change: Change | None, configurations: Sequence[Configuration]
) -> Picture:
    """The curves of the quantity that changed most clearly; those of the test accuracy where none did."""
    column, label = change.quantity.curve if change else ("test_top1", "test top-1")
    is_ratio = change is not None and change.quantity.is_ratio and column != "backbone_weight_norm"
    kind, _, quantity = column.rpartition(" ")
    lines = evidence.step_lines(quantity, configurations) if kind else evidence.epoch_lines(quantity, configurations)
    caption = CAPTIONS.get(column, f"{label[:1].upper()}{label[1:]}, by epoch")
    picture = LineChart(
        lines, title=title, xlabel="step" if kind else "epoch", ylabel=label, accuracy=column.endswith("top1"),
        logarithmic=is_ratio,
    )  # fmt: skip
    return Picture(name, f"{caption}{' (logarithmic)' if is_ratio else ''}.", picture)


CAPTIONS = {
    "step update_to_weight": "Size of the first ten updates, as a fraction of the backbone's norm",
    "backbone_update_to_weight": "Mean update of each epoch, as a fraction of the backbone's norm",
    "backbone_distance_from_start": "Norm of the backbone's weights minus those before the training, after each epoch",
    "backbone_weight_norm": "Norm of the backbone's weights, mean of each epoch",
    "backbone_gradient_norm": "Norm of the backbone's gradient, mean of each epoch",
    "train_top1": "Training accuracy of each epoch",
    "test_top1": "Test accuracy after each epoch",
}
