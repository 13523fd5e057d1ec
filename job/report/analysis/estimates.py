"""What the report says in numbers: an accuracy, and the difference of two, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from job.report.analysis.inference.comparisons import Answer


@dataclass(frozen=True)
class Estimate:
    """A configuration's accuracy over seeds, a failed one counted as guessing, with the interval for other seeds."""

    mean: float
    low: float | None = None
    high: float | None = None
    """None where nothing is known about the spread between seeds."""


@dataclass(frozen=True)
class Comparison:
    """Our accuracy minus theirs, over the same seeds."""

    difference: float
    low: float | None
    high: float | None
    p: float | None
    """Interval and p hold for the whole family at once; None where seeds tell nothing about this pair."""
    answer: Answer
    """What ours is: better, worse, equal within the margin, or unknown."""
    num: int
    """How many seeds both sides have."""
    on_new_images: tuple[float, float] | None = None
    """The interval for other seeds and other test images; None where it was not asked for or cannot be told."""
    unlike: tuple[str, ...] = ()
    """What else differs between the two sides, such as `torch 2.11.0 against 2.15.0`; then nothing is answered."""

    @property
    def decided(self) -> bool:
        """Whether one side is shown to be better."""
        return self.answer in ("better", "worse")
