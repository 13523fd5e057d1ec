"""Every sentence among the reasons of the shipped example says what the example's own curves say.

The sentences are the report's; what they claim is computed here from the JSON of the records, by code of its own. A
sentence is matched as a whole, so that no word of it goes unread, and is then spoilt word by word and number by number
to see that each of them is.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, mode
from typing import Any

import pytest

from job.report.analysis.estimates import Comparison
from job.report.analysis.inference.comparisons import MARGIN
from job.report.analysis.reasons import Reason
from job.report.analysis.study import Study, build_studies
from job.report.read.load import read_runs
from job.report.render.summary import summarise
from job.storage import FolderStore

EXAMPLE = Path(__file__).parents[2] / "docs/example-report"
NUMBER = r"[+−]?\d[\d,]*(?:\.\d+)?"
LABEL = r"[A-Z][A-Za-z]+(?: [a-z_]+ [\d.]+)?"
OPPOSITES = [
    ("smaller", "larger"), ("larger", "smaller"), ("higher", "lower"), ("lower", "higher"), ("fewer", "more"),
    ("less", "more"), ("more than", "less than"), ("worse", "better"), ("gains", "loses"), ("grew", "fell"),
    ("rose", "fell"), ("rises", "falls"), ("falls", "rises"), ("instead of", "and not"), ("up to", "down to"),
]  # fmt: skip

Curve = dict[int, list[float]]
"""By seed, over the epochs."""


@dataclass(frozen=True)
class Records:
    """The results of one experiment."""

    results: list[dict[str, Any]]
    comparisons: Mapping[str, Comparison]
    """Each configuration's with its baseline, by its label. test_inference.py holds the intervals to the truth."""

    def find(self, label: str) -> list[dict[str, Any]]:
        """The runs of the configuration that the report calls by this name."""
        name, _, changes = label.partition(" ")
        family = [each for each in self.results if each["manifest"]["optimizer"]["name"] == name.lower()]
        options = [each["manifest"]["optimizer"] for each in family]
        wanted: dict[str, Any] = {key: mode(str(each[key]) for each in options) for key in options[0]}
        for change in filter(None, changes.split(", ")):
            wanted[change.split()[0]] = str(float(change.split()[1]))
        found = [each for each in family if {k: str(v) for k, v in each["manifest"]["optimizer"].items()} == wanted]
        assert found, f"no runs of {label}"
        return found

    def curve(self, label: str, *path: str) -> Curve:
        """A quantity by epoch: `train`, `top1`, or the mean over every tenth step of one of the backbone's norms."""
        return {
            each["manifest"]["seed"]: [_read(epoch, path) for epoch in each["history"]] for each in self.find(label)
        }

    def steps(self, label: str, quantity: str) -> Curve:
        """The backbone's quantity at the first ten steps."""
        return {
            each["manifest"]["seed"]: each["history"][0]["diagnostics"]["backbone"][quantity][:10]
            for each in self.find(label)
        }

    def ends(self, label: str, *path: str) -> dict[int, float]:
        return {seed: values[-1] for seed, values in self.curve(label, *path).items()}


def _read(epoch: Mapping[str, Any], path: tuple[str, ...]) -> float:
    if len(path) == 2:
        return float(epoch[path[0]][path[1]])
    measured = epoch["diagnostics"]["backbone"][path[0]]
    return fmean(value for step, value in zip(epoch["diagnostics"]["steps"], measured, strict=True) if step % 10 == 0)


def first(curve: Curve) -> dict[int, float]:
    return {seed: values[0] for seed, values in curve.items()}


def means(curve: Curve) -> dict[int, float]:
    return {seed: fmean(values) for seed, values in curve.items()}


def average(values: Mapping[int, float]) -> float:
    return fmean(values.values())


def below(ours: Mapping[int, float], theirs: Mapping[int, float], factor: float = 1.0) -> bool:
    """Whether in every common seed ours times `factor` is less than theirs."""
    common = ours.keys() & theirs.keys()
    return bool(common) and all(factor * ours[seed] < theirs[seed] for seed in common)


def says(text: str, value: float) -> None:
    """`text` is `value`, rounded to the digits that it shows."""
    digits = len(text.partition(".")[2])
    shown = float(text.replace(",", "").replace("−", "-"))
    assert abs(shown - value) <= 0.501 * 10**-digits, f"{text} for {value}"


def match(pattern: str, sentence: str) -> dict[str, str]:
    """The named parts of a sentence that is this pattern as a whole; a line break in it is a space."""
    filled = " ".join(pattern.split()).replace("<N>", NUMBER).replace("<L>", LABEL)
    found = re.fullmatch(filled, sentence)
    assert found, sentence
    return found.groupdict()


def items(text: str, pattern: str) -> list[dict[str, str]]:
    """The entries of `a, b and c`."""
    return [match(pattern, part) for part in re.split(r", (?=[A-Z])| and (?=[A-Z])", text)]


# What each sentence claims, by the name of its picture


def check_first_steps(records: Records, reason: Reason) -> None:
    told = match(
        r"""The first update of (?P<x><L>) changed the pretrained backbone by (?P<size><N>) % of its norm\. At the
        same lr of (?P<lr><N>) these changed it less: (?P<others>.+)\. Per weight \(root mean square\) it was
        (?P<rms><N>); lr/sqrt\(1 − alpha\) = (?P<predicted><N>) predicts this, because the running average of
        squared gradients starts at zero and RMSprop, unlike Adam, does not correct for that\. After the first
        epoch it gets (?P<top1><N>) % of the test images right, fewer than each of these in each of (?P<num>\d)
        seeds \((?P<scores>[^()]+)\)\. That fits pretrained features that were overwritten, but no measurement
        here looks at the features themselves\.""",
        reason.sentence,
    )
    assert reason.title == f"{told['x']} begins with a very large step"
    (options,) = {json.dumps(each["manifest"]["optimizer"]) for each in records.find(told["x"])}
    optimizer = json.loads(options)
    own = first(records.steps(told["x"], "update_to_weight"))
    says(told["size"], 100 * average(own))
    says(told["rms"], average(first(records.steps(told["x"], "update_rms"))))
    says(told["predicted"], optimizer["lr"] / (1 - optimizer["alpha"]) ** 0.5)
    assert told["x"].startswith("RMSprop")
    assert abs(float(told["rms"]) / float(told["predicted"]) - 1) < 0.25
    others = items(told["others"], r"(?P<y><L>) by (?P<size><N>) %(?: \((?P<times><N>) times less\))?")
    for other in others:
        theirs = first(records.steps(other["y"], "update_to_weight"))
        says(other["size"], 100 * average(theirs))
        assert below(theirs, own)
        assert {each["manifest"]["optimizer"]["lr"] for each in records.find(other["y"])} == {float(told["lr"])}
        if other["times"]:
            says(other["times"], average(own) / average(theirs))
    assert optimizer["lr"] == float(told["lr"])
    start = first(records.curve(told["x"], "test", "top1"))
    says(told["top1"], 100 * average(start))
    assert len(start) == int(told["num"])
    scores = items(told["scores"], r"(?P<y><L>) (?P<top1><N>) %")
    assert [each["y"] for each in scores] == [each["y"] for each in others]
    for score in scores:
        theirs = first(records.curve(score["y"], "test", "top1"))
        says(score["top1"], 100 * average(theirs))
        assert below(start, theirs)


def check_tiny_steps(records: Records, reason: Reason) -> None:
    told = match(
        r"""At lr (?P<lr><N>) Adadelta takes 1/(?P<part><N>) of the step that its formula gives \(lr 1, Zeiler
        2012\)\. The first ten updates of (?P<x>Adadelta.*) were on average (?P<size><N>) % of the backbone's
        norm, (?P<times><N>) times smaller than those of (?P<y><L>), the next smallest at the same lr
        \((?P<their><N>) %\)\.""",
        reason.sentence,
    )
    assert reason.title == f"Adadelta takes tiny steps at lr {told['lr']}"
    says(told["part"], 1 / float(told["lr"]))
    own, theirs = (means(records.steps(told[key], "update_to_weight")) for key in ("x", "y"))
    says(told["size"], 100 * average(own))
    says(told["their"], 100 * average(theirs))
    says(told["times"], average(theirs) / average(own))
    assert below(own, theirs, 10)
    for label in ("x", "y"):
        assert {each["manifest"]["optimizer"]["lr"] for each in records.find(told[label])} == {float(told["lr"])}
    for label in {"Adam", "Adagrad", "RMSprop"} - {told["y"]}:
        assert average(means(records.steps(label, "update_to_weight"))) >= average(theirs)


def check_shrinking_steps(records: Records, reason: Reason) -> None:
    told = match(
        r"""For the same norm of the gradient the mean update of (?P<x>Adagrad.*) was (?P<times><N>) times smaller
        in epoch (?P<last>\d+) than in epoch 1 \((?P<soon><N>) times already in epoch 2\), while lr stayed at
        (?P<lr><N>); at the same lr: (?P<others>.+)\. It shrank more than each of these in each of (?P<num>\d)
        seeds, as Adagrad's formula says: it divides by the root of the sum of all squared gradients so far,
        which only grows\.""",
        reason.sentence,
    )
    assert reason.title == "Adagrad lowers its own step"

    def falls(label: str, last: int = -1) -> dict[int, float]:
        updates, gradients = (records.curve(label, quantity) for quantity in ("update_norm", "gradient_norm"))
        ratio = {seed: [u / g for u, g in zip(updates[seed], gradients[seed], strict=True)] for seed in updates}
        return {seed: values[0] / values[last] for seed, values in ratio.items()}

    own = falls(told["x"])
    says(told["times"], average(own))
    says(told["soon"], average(falls(told["x"], 1)))
    assert min(own.values()) > 1
    assert len(own) == int(told["num"])
    assert {len(each["history"]) for each in records.find(told["x"])} == {int(told["last"])}
    rates = {rate for each in records.find(told["x"]) for rate in (epoch["learning_rate"] for epoch in each["history"])}
    assert rates == {float(told["lr"])}
    for other in items(told["others"], r"(?P<y><L>) (?P<times><N>) times (?P<word>smaller|larger)"):
        theirs = falls(other["y"])
        says(other["times"], average(theirs) if other["word"] == "smaller" else 1 / average(theirs))
        assert (average(theirs) > 1) == (other["word"] == "smaller")
        assert below(theirs, own)


def check_gap(records: Records, reason: Reason) -> None:
    told = match(
        r"""(?P<x><L>) and (?P<y><L>) both fit the training images \((?P<fit><N>) % and (?P<their_fit><N>) % right
        in the last epoch\), but of the test images (?P<x2><L>) gets (?P<score><N>) % right and (?P<y2><L>)
        (?P<their_score><N>) %\. The difference is (?P<test><N>) points on the test images and (?P<train><N>) on
        the training images: in each of (?P<num>\d) seeds most of it is one of generalisation, not of fit\.""",
        reason.sentence,
    )
    assert (told["x"], told["y"]) == (told["x2"], told["y2"])
    fit, their_fit = (records.ends(told[key], "train", "top1") for key in ("x", "y"))
    score, their_score = (records.ends(told[key], "test", "top1") for key in ("x", "y"))
    for key, value in (("fit", fit), ("their_fit", their_fit), ("score", score), ("their_score", their_score)):
        says(told[key], 100 * average(value))
    says(told["test"], 100 * (average(their_score) - average(score)))
    says(told["train"], 100 * (average(their_fit) - average(fit)))
    assert len(fit) == int(told["num"])
    for seed in fit:
        assert min(fit[seed], their_fit[seed]) >= 0.9
        assert abs(their_fit[seed] - fit[seed]) < (their_score[seed] - score[seed]) / 2


def check_unfinished(records: Records, reason: Reason) -> None:
    told = match(
        r"""In each of the last two epochs the test accuracy still rose in every run: that of (?P<x><L>)
        by (?P<gain><N>) points over both \((?P<fit><N>) % of the training images right\); these did not rise steadily:
        (?P<others>.+) points\. The order is that after (?P<epochs>\d+) epochs; more of them might change it\.""",
        reason.sentence,
    )
    assert reason.title == "Accuracy was still rising at the end"
    curves = records.curve(told["x"], "test", "top1")
    assert all(values[-3] < values[-2] < values[-1] for values in curves.values())
    says(told["gain"], 100 * fmean(values[-1] - values[-3] for values in curves.values()))
    says(told["fit"], 100 * average(records.ends(told["x"], "train", "top1")))
    assert {len(values) for values in curves.values()} == {int(told["epochs"])}
    for other in items(told["others"], r"(?P<y><L>) (?P<gain><N>)"):
        theirs = records.curve(other["y"], "test", "top1")
        says(other["gain"], 100 * fmean(values[-1] - values[-3] for values in theirs.values()))
        assert not all(values[-3] < values[-2] < values[-1] for values in theirs.values())


def check_epoch_noise(records: Records, reason: Reason) -> None:
    told = match(
        r"""In the last half of the training the test accuracy of (?P<x><L>) moved by (?P<size><N>) points from one
        epoch to the next \(mean distance from its trend\), that of (?P<y><L>) by (?P<their><N>); in each of
        (?P<num>\d) seeds it was at least (?P<times><N>) times as much\. The score of (?P<x2><L>) depends on the
        epoch in which one stops\.""",
        reason.sentence,
    )
    assert told["x"] == told["x2"]

    def jumps(label: str) -> dict[int, float]:
        found = {}
        for seed, values in records.curve(label, "test", "top1").items():
            changes = [after - before for before, after in itertools.pairwise(values[len(values) // 2 - 1 :])]
            found[seed] = fmean(abs(change - fmean(changes)) for change in changes)
        return found

    own, theirs = jumps(told["x"]), jumps(told["y"])
    says(told["size"], 100 * average(own))
    says(told["their"], 100 * average(theirs))
    assert int(told["num"]) == len(own)
    assert told["times"] == "2"
    assert below(theirs, own, 2)


def check_weight_norm(records: Records, reason: Reason) -> None:
    told = match(
        r"""The norm of the backbone's weights grew from (?P<start><N>) before the first step to (?P<end><N>) in
        epoch (?P<last>\d+) under (?P<x><L>) \((?P<growth><N>) %\), more than under the others at the same lr in
        each of (?P<num>\d) seeds \((?P<others>[^()]+)\)\. Relative to weights that much larger, an update of the same
        norm is (?P<times><N>) times smaller; as measured, its mean update was (?P<second><N>) % of the norm in
        epoch 2 and (?P<final><N>) % in epoch (?P<last2>\d+)\.""",
        reason.sentence,
    )
    assert reason.title == f"{told['x']} makes the weights larger"

    def growths(label: str) -> dict[int, float]:
        start, end = first(records.steps(label, "weight_norm")), records.ends(label, "weight_norm")
        return {seed: end[seed] / start[seed] for seed in start}

    own = growths(told["x"])
    says(told["start"], average(first(records.steps(told["x"], "weight_norm"))))
    says(told["end"], average(records.ends(told["x"], "weight_norm")))
    says(told["growth"], 100 * (average(own) - 1))
    says(told["times"], average(own))
    assert len(own) == int(told["num"])
    ratios = records.curve(told["x"], "update_to_weight").values()
    assert {len(values) for values in ratios} == {int(told["last"])} == {int(told["last2"])}
    says(told["second"], 100 * fmean(values[1] for values in ratios))
    says(told["final"], 100 * fmean(values[-1] for values in ratios))
    for other in items(told["others"], r"(?P<y><L>) (?P<growth><N>) %"):
        theirs = growths(other["y"])
        says(other["growth"], 100 * (average(theirs) - 1))
        assert below(theirs, own)
        lrs = {each["manifest"]["optimizer"]["lr"] for label in (told["x"], other["y"]) for each in records.find(label)}
        assert len(lrs) == 1


def check_weight_decay(records: Records, reason: Reason) -> None:
    told = match(
        r"""With weight decay (?P<value><N>) instead of (?P<was><N>) the backbone's norm in the last epoch is
        (?P<norm><N>) instead of (?P<base><N>) under (?P<x><L>) \((?P<change><N>) %, of this sign in each of
        (?P<num>\d) seeds\)\. The accuracy differs by (?P<effect><N>) \[(?P<low><N>), (?P<high><N>)\]
        points(?P<doubt>, which these seeds do not make certain)?\.""",
        reason.sentence,
    )
    changed = f"{told['x']} weight_decay {told['value']}"
    norms, base = records.ends(changed, "weight_norm"), records.ends(told["x"], "weight_norm")
    says(told["norm"], average(norms))
    says(told["base"], average(base))
    says(told["change"], 100 * (average(norms) / average(base) - 1))
    says(told["was"], records.find(told["x"])[0]["manifest"]["optimizer"]["weight_decay"])
    assert below(norms, base)
    assert len(norms) == int(told["num"])
    assert reason.title == "Weight decay holds the weights down"
    _check_effect(records, told, changed)


def check_attribute(records: Records, reason: Reason) -> None:
    told = match(
        r"""With (?P<name>[a-z_]+) (?P<value><N>) instead of (?P<was><N>) the first ten updates of (?P<x><L>) are
        (?P<times><N>) times (?P<size>smaller|larger) \(on average (?P<after><N>) % of the backbone's norm
        instead of (?P<before><N>) %\), and its accuracy is (?P<word>higher|lower) by (?P<effect><N>)
        \[(?P<low><N>), (?P<high><N>)\] points, in each of (?P<num>\d) seeds(?P<doubt>, which these seeds do not
        make certain)?\. Of the (?P<of>\d+) changes of a single attribute that make these updates at least twice
        as large or small and change the accuracy with one sign, this one changes it most\.""",
        reason.sentence,
    )
    assert reason.title == f"{told['name']} changed the first steps and the accuracy"
    changed = f"{told['x']} {told['name']} {told['value']}"
    after, before = (means(records.steps(label, "update_to_weight")) for label in (changed, told["x"]))
    says(told["after"], 100 * average(after))
    says(told["before"], 100 * average(before))
    says(told["was"], records.find(told["x"])[0]["manifest"]["optimizer"][told["name"]])
    ratio = average(after) / average(before)
    says(told["times"], max(ratio, 1 / ratio))
    assert (ratio < 1) == (told["size"] == "smaller")
    score, base = (records.ends(label, "test", "top1") for label in (changed, told["x"]))
    assert below(base, score) if told["word"] == "higher" else below(score, base)
    assert len(score) == int(told["num"])
    _check_effect(records, told, changed)
    assert len(_single_changes(records)) == int(told["of"])
    assert max(_single_changes(records)) == pytest.approx(abs(average(score) - average(base)))


def _single_changes(records: Records) -> list[float]:
    """The effects of the changes that the sentence counts."""
    found = []
    for name, options in _variants(records):
        base, changed = records.find(name), records.find(options)
        sizes, was = (means(records.steps(label, "update_to_weight")) for label in (options, name))
        differences = [
            ours["history"][-1]["test"]["top1"] - theirs["history"][-1]["test"]["top1"]
            for ours, theirs in itertools.product(changed, base)
            if ours["manifest"]["seed"] == theirs["manifest"]["seed"]
        ]
        twofold = below(sizes, was, 2) or below(was, sizes, 2)
        if twofold and (min(differences) > 0 or max(differences) < 0) and abs(fmean(differences)) >= 0.01:
            found.append(abs(fmean(differences)))
    return found


def _variants(records: Records) -> list[tuple[str, str]]:
    """(label of the baseline, label of the configuration) for every configuration beside the baselines."""
    names = {"adam": "Adam", "adagrad": "Adagrad", "adadelta": "Adadelta", "rmsprop": "RMSprop"}
    found = set()
    for result in records.results:
        optimizer = result["manifest"]["optimizer"]
        name = names[optimizer["name"]]
        base = records.find(name)[0]["manifest"]["optimizer"]
        changes = [f"{key} {value:g}" for key, value in optimizer.items() if value != base[key]]
        found |= {(name, f"{name} {', '.join(changes)}")} if changes else set()
    return sorted(found)


def _check_effect(records: Records, told: Mapping[str, str], changed: str) -> None:
    """The mean difference of accuracy over the seeds, and its interval."""
    score, base = (records.ends(label, "test", "top1") for label in (changed, told["x"]))
    says(told["effect"], fmean(100 * (score[seed] - base[seed]) for seed in score))
    low, high = records.comparisons[changed].low, records.comparisons[changed].high
    assert low is not None
    assert high is not None
    says(told["low"], 100 * low)
    says(told["high"], 100 * high)
    if low < 0 < high:
        assert told["doubt"]


def check_step_and_accuracy(records: Records, reason: Reason) -> None:
    told = match(
        r"""Compared are pairs of configurations of one optimizer whose first ten updates differ at least twofold
        and whose accuracies differ with the same sign in every seed \((?P<num>\d+) pairs\)\. (?P<orders>.+\.)
        The attributes that made the updates larger or smaller may also act in other ways\.""",
        reason.sentence,
    )
    total = 0
    for order in re.split(r"(?<=\.) (?=[A-Z])", told["orders"]):
        name = order.split()[0]
        labels = {name} | {variant for base, variant in _variants(records) if base == name}
        pairs = _pairs(records, labels)
        total += len(pairs)
        sizes = {label: average(means(records.steps(label, "update_to_weight"))) for label in labels}
        scores = {label: average(records.ends(label, "test", "top1")) for label in labels}
        if " is " in order:
            claim = match(
                r"""(?P<x><L>) is (?P<word>worse|better) with larger updates in all of its (?P<num>\d+) pairs \(from
                (?P<a><N>) % at (?P<b><N>) % to (?P<c><N>) % at (?P<d><N>) % of the backbone's norm\)\.""",
                order,
            )
            assert {higher for _, _, higher in pairs} == {claim["word"] == "better"}
            assert len(pairs) == int(claim["num"])
            ends = sorted(
                {label for small, large, _ in pairs for label in (small, large)}, key=lambda label: sizes[label]
            )
            for label, score, size in ((ends[0], "a", "b"), (ends[-1], "c", "d")):
                says(claim[score], 100 * scores[label])
                says(claim[size], 100 * sizes[label])
        else:
            claim = match(
                r"""(?P<x>[A-Za-z]+) gains with larger updates up to (?P<best><L>) \((?P<score><N>) % at
                (?P<size><N>) % of the backbone's norm\) and loses beyond it\.""",
                order,
            )
            best = claim["best"]
            assert best in scores
            says(claim["score"], 100 * scores[best])
            says(claim["size"], 100 * sizes[best])
            rising = [higher for _, large, higher in pairs if sizes[large] <= sizes[best]]
            falling = [higher for small, _, higher in pairs if sizes[small] >= sizes[best]]
            assert rising
            assert all(rising)
            assert falling
            assert not any(falling)
    assert total == int(told["num"])


def _pairs(records: Records, labels: set[str]) -> list[tuple[str, str, bool]]:
    """(smaller steps, larger steps, whether the larger come with the higher accuracy)."""
    found = []
    for small, large in itertools.permutations(sorted(labels), 2):
        sizes, larger = (means(records.steps(label, "update_to_weight")) for label in (small, large))
        scores, other = (records.ends(label, "test", "top1") for label in (small, large))
        notable = abs(average(scores) - average(other)) >= 0.01
        if notable and below(sizes, larger, 2) and (below(scores, other) or below(other, scores)):
            found.append((small, large, below(scores, other)))
    return found


CHECKS: Mapping[str, Callable[[Records, Reason], None]] = {
    "first-steps": check_first_steps,
    "tiny-steps": check_tiny_steps,
    "shrinking-steps": check_shrinking_steps,
    "gap": check_gap,
    "unfinished": check_unfinished,
    "epoch-noise": check_epoch_noise,
    "weight-norm": check_weight_norm,
    "weight-decay": check_weight_decay,
    "attribute": check_attribute,
    "step-and-accuracy": check_step_and_accuracy,
}
EXPERIMENTS = ("attributes", "optimizers")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    with tarfile.open(EXAMPLE / "records.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "study"


@pytest.fixture(scope="module")
def studies(example: Path) -> dict[str, Study]:
    """The report, by experiment."""
    return {study.title: study for study in build_studies(read_runs(FolderStore(example)))}


@pytest.fixture(scope="module")
def told(studies: dict[str, Study]) -> dict[str, list[Reason]]:
    """Its reasons."""
    return {title: study.reasons for title, study in studies.items()}


def read_records(example: Path, study: Study) -> Records:
    paths = sorted(example.glob(f"{study.title}/runs/*/result.json"))
    effects = [effect for effects in study.effects for effect in effects.effects]
    comparisons = {effect.configuration.label: effect.comparison for effect in effects if effect.comparison}
    return Records([json.loads(path.read_bytes()) for path in paths], comparisons)


def name_of(reason: Reason) -> str:
    return reason.picture.name.removeprefix("reason-")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_sentence_agrees_with_its_curves(
    experiment: str, example: Path, studies: dict[str, Study], told: dict[str, list[Reason]]
) -> None:
    records = read_records(example, studies[experiment])
    assert told.keys() == set(EXPERIMENTS)
    assert len(told[experiment]) >= 5
    for reason in told[experiment]:
        CHECKS[name_of(reason)](records, reason)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_number_and_direction_is_read(
    experiment: str, example: Path, studies: dict[str, Study], told: dict[str, list[Reason]]
) -> None:
    """Changed one at a time, each makes its sentence false, and the check says so."""
    records = read_records(example, studies[experiment])
    num_spoilt = 0
    for reason in told[experiment]:
        for sentence in spoil(reason.sentence):
            spoilt = Reason(reason.title, sentence, reason.numbers, reason.picture)
            with pytest.raises(AssertionError):
                CHECKS[name_of(reason)](records, spoilt)
            num_spoilt += 1
    assert num_spoilt > 50


def spoil(sentence: str) -> list[str]:
    spoilt = []
    for number in re.finditer(NUMBER, sentence):
        digits = number.group().replace(",", "").lstrip("+−")
        other = f"{float(digits) * 1.5 + 1:.{len(digits.partition('.')[2])}f}"
        spoilt.append(sentence[: number.start()] + other + sentence[number.end() :])
    for word, opposite in OPPOSITES:
        places = re.finditer(rf"\b{word}\b", sentence)
        spoilt += [sentence[: found.start()] + opposite + sentence[found.end() :] for found in places]
    return spoilt


def test_shipped_page_tells_these_sentences_and_no_others(told: dict[str, list[Reason]]) -> None:
    page = html.unescape((EXAMPLE / "index.html").read_text())
    for reason in itertools.chain(*told.values()):
        assert reason.title in page
        assert reason.sentence in page
    assert page.count('<div class="reason">') == sum(map(len, told.values()))


def test_shipped_summary_is_what_the_report_says(studies: dict[str, Study]) -> None:
    """But for what rounding of another CPU may change in a Monte Carlo."""
    holes = next(iter(studies.values())).runs.holes
    told = summarise(list(studies.values()), holes, margin=MARGIN).model_dump(mode="json")
    assert_alike(told, json.loads((EXAMPLE / "report.json").read_bytes()), path="report.json")


def assert_alike(ours: Any, theirs: Any, *, path: str) -> None:
    assert type(ours) is type(theirs) or {type(ours), type(theirs)} == {int, float}, path
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), path
        for key, value in ours.items():
            if key != "sentence":
                assert_alike(value, theirs[key], path=f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        for index, (value, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_alike(value, other, path=f"{path}[{index}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=0.003), path
    elif "seeds_needed" in path and ours is not None:
        assert ours == pytest.approx(theirs, rel=0.05), path
    else:
        assert ours == theirs, path
