"""What another experiment of the same output reached on the same images, where that is more than the best of this one.

Each experiment is compared within itself alone, because its intervals hold for what was chosen in it. But who reads
here which optimizer won must not miss that another setting got further there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from job.report.analysis.answer import list_other_settings, tell_optimizer
from job.report.analysis.configurations import Configuration
from job.report.analysis.estimates import Estimate
from job.report.analysis.numbers import Numbers, list_estimate
from job.report.analysis.sources import list_settings
from job.report.analysis.study import Study
from job.report.analysis.wording import count, show_estimate


@dataclass(frozen=True)
class Elsewhere:
    """The best configuration of another experiment."""

    sentence: str
    numbers: Numbers
    """What the sentence rests on."""


@dataclass(frozen=True)
class _Winner:
    study: Study
    configuration: Configuration
    estimate: Estimate

    @property
    def num_epochs(self) -> int:
        return int(self.configuration.attributes["epochs"])

    @property
    def task(self) -> tuple[str, str]:
        """What two runs must share for their accuracies to be set beside each other: the images and the network."""
        rows = self.study.runs.runs
        return str(rows["task"].iloc[0]), str(self.configuration.attributes["model.name"])

    def may_have_images_of(self, other: _Winner) -> bool:
        """Whether the digests of the test images, or of the data where a side has none of those, do not speak against
        it. A manifest alone does not tell: the images in a folder may change."""
        for digest in ("test_sha256", "data_sha256"):
            ours, theirs = (winner.list_known(digest) for winner in (self, other))
            if ours and theirs:
                return not ours.isdisjoint(theirs)
        return True

    def list_known(self, column: str) -> set[str]:
        """What the runs of the configuration recorded in a column of `Runs.runs`."""
        rows = self.study.runs.runs
        return set(rows.loc[rows["run"].isin(self.configuration.runs), column].dropna())


def find_elsewhere(study: Study, studies: Iterable[Study]) -> Elsewhere | None:
    """The best of `studies` that is better than the leader of `study`, with the same network, the same images as far as
    is known, and at most as many epochs; None where there is none."""
    ours = _find_winner(study)
    if ours is None:
        return None
    better = [
        winner
        for winner in map(_find_winner, studies)
        if winner
        and winner.task == ours.task
        and winner.may_have_images_of(ours)
        and winner.num_epochs <= ours.num_epochs
        and winner.estimate.mean > ours.estimate.mean
    ]
    return _tell(max(better, key=lambda winner: winner.estimate.mean)) if better else None


def _find_winner(study: Study) -> _Winner | None:
    leader, judgement = study.verdict.leader, study.judgement
    estimate = judgement.fitted.estimate(leader) if leader and judgement else None
    return _Winner(study, leader, estimate) if leader and estimate else None


def _tell(winner: _Winner) -> Elsewhere:
    leader, title = winner.configuration, winner.study.title
    label = f"{leader.label} in {title}"
    others = "".join(f", {setting}" for setting in list_other_settings(leader))
    sentence = (
        f"In {title}, {tell_optimizer(leader)} gets {show_estimate(winner.estimate)} of the same test images right "
        f"after {count(winner.num_epochs, 'epoch')}{others}."
    )
    return Elsewhere(sentence, list_estimate(label, winner.estimate) | list_settings(leader, label=label))
