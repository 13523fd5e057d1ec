"""Test images that every optimizer gets wrong and those that one alone gets right: how many, and some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.report.analysis.study import Study
from job.report.analysis.wording import all_of, count, join
from job.report.read.answers import Answers
from job.runs import place_in_order

MOST_SHOWN = 8
"""Images of one kind that are shown."""


@dataclass(frozen=True)
class SampleImage:
    """One test image, and what the runs said of it."""

    image: npt.NDArray[np.uint8]
    """(3, height, width), RGB."""
    true_class: str
    predicted: dict[str, str]
    """The class that each configuration gave it, by the configuration's label, in the order of the page."""

    @property
    def caption(self) -> str:
        """`cat: Adam says dog, Adagrad cat`; one word where all say the same: `cat: all say dog`."""
        said = list(self.predicted.items())
        if len({name for _, name in said}) == 1 and len(said) > 1:
            return f"{self.true_class}: {all_of(len(said)).split()[0]} say {said[0][1]}"
        first, *others = [f"{label}{' says' if not place else ''} {name}" for place, (label, name) in enumerate(said)]
        return f"{self.true_class}: {', '.join([first, *others])}"


@dataclass(frozen=True)
class SampleGroup:
    """Test images of one kind."""

    title: str
    """`Wrong for all 4`, `Right for Adagrad alone`."""
    label: str | None
    """The configuration that alone gets them right; None for those that all get wrong."""
    num: int
    """How many there are among all test images, not only among those of which there is a picture."""
    images: list[SampleImage]
    """At most `MOST_SHOWN` of them."""


@dataclass(frozen=True)
class Gallery:
    """What the runs of one seed, one of each configuration shown, say of the same test images."""

    sentence: str
    groups: list[SampleGroup]
    """First those that all get wrong, then a group for each configuration. Those that are empty are left out."""
    num_test: int
    num_right_for_all: int
    labels: tuple[str, ...]
    """Of all the configurations."""
    seed: int

    @property
    def has_pictures(self) -> bool:
        """Whether there is any image to see: runs of before 29 November 2026 kept none."""
        return any(group.images for group in self.groups)


def choose_sample_runs(study: Study) -> dict[str, str]:
    """The run of each configuration shown that stands for it, by the configuration's label; in the order of the page.

    All are of one seed, the first that all have, and over the same test images. Configurations of which a seed diverged
    are left out, and so are those that did not record which images were right. Fewer than two are no comparison: empty.
    """
    table = study.runs.runs.set_index("run")
    own = {
        configuration.label: {
            int(table.at[run, "seed"]): run for run in reversed(configuration.finished) if run in study.runs.test_right
        }
        for configuration in study.shown
        if configuration.always_finished
    }
    own = {label: runs for label, runs in own.items() if runs}
    common = set.intersection(*map(set, own.values())) if own else set()
    for seed in sorted(common):
        chosen = {label: runs[seed] for label, runs in own.items()}
        if len(chosen) > 1 and table.loc[list(chosen.values()), "test_sha256"].nunique() == 1:
            return chosen
    return {}


def compare_images(answers: Mapping[str, Answers], *, seed: int) -> Gallery | None:
    """What runs of `seed`, by the label of their configuration, say of the same test images; None for fewer than two.

    Of each group those images are shown that come first in the order in which runs look for wrong ones
    (`job.runs.choose_wrong`), as far as a run kept a picture of them: nobody picked them.
    Raises `ValueError` where the runs are not over the same test images.
    """
    if len(answers) < 2:
        return None
    first = next(iter(answers.values()))
    if any((own.test_sha256, own.classes) != (first.test_sha256, first.classes) for own in answers.values()):
        raise ValueError("the runs were not tested on the same images of the same classes")
    right = np.array([own.predicted == own.labels for own in answers.values()])
    num_right = right.sum(axis=0)
    labels, many = list(answers), all_of(len(answers))
    wanted: list[tuple[str, str | None, npt.NDArray[np.bool_]]] = [(f"Wrong for {many}", None, num_right == 0)]
    wanted += [
        (f"Right for {label} alone", label, right[place] & (num_right == 1)) for place, label in enumerate(labels)
    ]
    groups = [
        SampleGroup(title, label, int(chosen.sum()), _list_images(np.flatnonzero(chosen), answers, first))
        for title, label, chosen in wanted
        if chosen.any()
    ]
    num_right_for_all = int((num_right == len(answers)).sum())
    sentence = _tell(groups, labels, num_test=len(num_right), num_right_for_all=num_right_for_all, seed=seed)
    return Gallery(sentence, groups, len(num_right), num_right_for_all, tuple(labels), seed)


def _list_images(indices: npt.NDArray[np.intp], answers: Mapping[str, Answers], first: Answers) -> list[SampleImage]:
    pictures = {index: picture for own in answers.values() for index, picture in own.pictures.items()}
    there = [int(index) for index in indices if index in pictures]
    there.sort(key=lambda index: place_in_order(index, test_sha256=first.test_sha256))
    return [
        SampleImage(
            image=pictures[index],
            true_class=first.classes[first.labels[index]],
            predicted={label: own.classes[own.predicted[index]] for label, own in answers.items()},
        )
        for index in there[:MOST_SHOWN]
    ]


def _tell(
    groups: Sequence[SampleGroup], labels: Sequence[str], *, num_test: int, num_right_for_all: int, seed: int
) -> str:
    many = all_of(len(labels))
    num_wrong = sum(group.num for group in groups if group.label is None)
    alone = {group.label: group.num for group in groups}
    told = join([f"{label} {alone.get(label, 0):,}" for label in labels])
    rest = num_test - num_right_for_all - num_wrong
    return (
        f"Of {num_test:,} test images {many} get {num_right_for_all:,} right and {num_wrong:,} wrong; about the other "
        f"{rest:,} they differ. Right for one alone: {told}. These are the runs of seed {seed} after their last epoch, "
        f"{count(len(labels), 'configuration')}, so another seed gives other images."
    )
