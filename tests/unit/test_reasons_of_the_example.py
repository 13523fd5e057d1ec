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
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, mode
from typing import Any

import pytest

from job.manifest import Manifest
from job.report.analysis.estimates import Comparison
from job.report.analysis.inference.comparisons import MARGIN
from job.report.analysis.reasons import Reason
from job.report.analysis.reasons.mechanisms import describe_mechanism
from job.report.analysis.study import Study, build_studies
from job.report.read.load import read_runs
from job.report.render.summary import summarise
from job.storage import FolderStore
from tests.unit.test_numbers_of_the_example import made_alike, wander

EXAMPLE = Path(__file__).parents[2] / "docs/example-report"
NUMBER = r"[+−]?\d[\d,]*(?:\.\d+)?"
LABEL = r"[A-Z][A-Za-z]+(?: (?:schedule none, )?[a-z_]+ \d+(?:\.\d+)?(?:e-\d+)?)?"
WARMUP = "schedule none, warmup_epochs 1"
"""The one schedule beside none in the example."""
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
    """Each configuration's with its baseline, by its label, and those of the verdict, as `Adam beside SGD`.
    test_inference.py holds the intervals to the truth."""

    def find(self, label: str) -> list[dict[str, Any]]:
        """The runs of the configuration that the report calls by this name."""
        name, _, changes = label.partition(" ")
        family = [each for each in self.results if each["manifest"]["optimizer"]["name"] == name.lower()]
        options = [_read_options(each["manifest"]) for each in family]
        wanted = {key: mode(own[key] for own in options) for key in options[0]}
        for change in filter(None, changes.split(", ")):
            key, value = change.split()
            wanted[key] = value if key == "schedule" else str(float(value))
        found = [each for each, own in zip(family, options, strict=True) if own == wanted]
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


def _read_options(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What a label may name: the optimizer's options, and the schedule."""
    schedule = manifest["schedule"]
    own = manifest["optimizer"] | {"schedule": schedule["name"], "warmup_epochs": schedule["warmup_epochs"]}
    return {key: str(value) for key, value in own.items()}


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
        (?P<rms><N>); its update rule predicts (?P<predicted><N>), about lr/sqrt\(1 − alpha\), because the running
        average of squared gradients starts at zero and RMSprop, unlike Adam, does not correct for that\. After the
        first epoch it gets (?P<top1><N>) % of the test images right, fewer than each of these in each of (?P<num>\d)
        seeds \((?P<scores>[^()]+)\)\. That is consistent with pretrained features that were overwritten, but no
        measurement here looks at the features themselves\.(?P<trial> Tested.+)?""",
        reason.sentence,
    )
    assert reason.title == f"{told['x']} begins with a very large step"
    check_trial(records, reason, told["trial"], subject=told["x"])
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
        \((?P<their><N>) %\)\.(?P<trial> Tested.+)?""",
        reason.sentence,
    )
    assert reason.title == f"Adadelta takes tiny steps at lr {told['lr']}"
    check_trial(records, reason, told["trial"], subject=told["x"])
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
    own, theirs = (measure_jumps(records, told[key]) for key in ("x", "y"))
    says(told["size"], 100 * average(own))
    says(told["their"], 100 * average(theirs))
    assert int(told["num"]) == len(own)
    assert told["times"] == "2"
    assert below(theirs, own, 2)


def measure_jumps(records: Records, label: str) -> dict[int, float]:
    """Mean distance of the changes from epoch to epoch over the last half from their mean."""
    found = {}
    for seed, values in records.curve(label, "test", "top1").items():
        changes = [after - before for before, after in itertools.pairwise(values[len(values) // 2 - 1 :])]
        found[seed] = fmean(abs(change - fmean(changes)) for change in changes)
    return found


def check_weight_norm(records: Records, reason: Reason) -> None:
    told = match(
        r"""The norm of the backbone's weights grew from (?P<start><N>) before the first step to (?P<end><N>) in
        epoch (?P<last>\d+) under (?P<x><L>) \((?P<growth><N>) %\), more than under the others at the same lr in
        each of (?P<num>\d) seeds \((?P<others>[^()]+)\)\. Against such weights an update of the same norm is
        (?P<times><N>) times smaller; as measured, its mean update was (?P<second><N>) % of the norm in
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


SHARED = r"(?P<ours><N>)(?: %)?(?: points)?(?: of the backbone's norm)? (?:instead of|against) (?P<theirs><N>)(?: %)?"
PHRASES = {
    "first": rf"its first ten updates are (?P<size><N>) times (?P<word>smaller|larger) \({SHARED}\)",
    "late": rf"its updates in the last epoch are (?P<size><N>) times (?P<word>smaller|larger) \({SHARED}\)",
    "distance": r"its weights end (?P<size><N>) times (?P<word>nearer to|farther from) their start "
    r"\((?P<ours><N>) % of their initial norm away (?:instead of|against) (?P<theirs><N>) %\)",
    "norm": rf"the norm of its weights ends (?P<word>smaller|larger) \({SHARED}\)",
    "gradient": rf"the norm of its gradient in the last epoch is (?P<size><N>) times (?P<word>smaller|larger) "
    rf"\({SHARED}\)",
    "fit": rf"it gets (?P<word>fewer|more) training images right in the last epoch \({SHARED}\)",
    "gap": rf"its gap between training and test images is (?P<word>smaller|larger) \({SHARED}\)",
    "noise": rf"its test accuracy moves (?P<word>less|more) from epoch to epoch in the last half \({SHARED}\)",
}
"""How our value beside theirs is told, by quantity."""


def measure(records: Records, label: str, quantity: str) -> dict[int, float]:
    """The quantity by seed, as it is shown: parts in percent, accuracies in points."""
    match quantity:
        case "first":
            found = means(records.steps(label, "update_to_weight"))
        case "late":
            found = records.ends(label, "update_to_weight")
        case "distance":
            found = {result["manifest"]["seed"]: wander(result) for result in records.find(label)}
        case "norm" | "gradient":
            return records.ends(label, {"norm": "weight_norm", "gradient": "gradient_norm"}[quantity])
        case "fit":
            found = records.ends(label, "train", "top1")
        case "gap":
            fit, score = (records.ends(label, part, "top1") for part in ("train", "test"))
            found = {seed: fit[seed] - score[seed] for seed in fit}
        case _:
            found = measure_jumps(records, label)
    return {seed: 100 * value for seed, value in found.items()}


def check_changes(records: Records, text: str, *, ours: str, theirs: str) -> None:
    """Every change in `text` holds in every seed, with the means and their ratio."""
    for told in re.split(r"(?:, | and )(?=its |it gets |the norm of )", text):
        names = [name for name, phrase in PHRASES.items() if re.fullmatch(phrase.replace("<N>", NUMBER), told)]
        assert len(names) == 1, told
        quantity = names[0]
        found = match(PHRASES[quantity], told)
        own, other = (measure(records, label, quantity) for label in (ours, theirs))
        says(found["ours"], average(own))
        says(found["theirs"], average(other))
        assert below(own, other) if found["word"] in ("smaller", "fewer", "less", "nearer to") else below(other, own)
        if "size" in found:
            ratio = average(own) / average(other)
            says(found["size"], max(ratio, 1 / ratio))


def check_trial(records: Records, reason: Reason, text: str | None, *, subject: str) -> None:
    """What came of an intervention; a reason is called tested where there is one and not otherwise."""
    if text is None:
        assert reason.standing != "tested" or reason.attribute == "optimizer.lr"
        return
    told = match(
        r""" (?P<opening>Tested by intervention|An intervention was run and decides nothing): with
        (?:lr (?P<lr><N>(?:e-\d+)?), which scales all of its steps|a (?P<warmup>warm-up) of 1 epoch, after which lr is
        the same), (?P<x>[A-Za-z]+) gets (?P<score><N>) % of the test images right instead of (?P<was><N>) %:
        (?P<effect><N>) \[(?P<low><N>), (?P<high><N>)\] points(?P<doubt>, which these seeds do not make certain)?\.""",
        text.strip(),
    )
    is_certain = told["doubt"] is None
    assert is_certain == told["opening"].startswith("Tested")
    assert (reason.shown_standing == "tested by intervention") == (is_certain or reason.attribute == "optimizer.lr")
    assert told["x"] == subject
    changed = f"{subject} {WARMUP}" if told["warmup"] else f"{subject} lr {told['lr']}"
    score, was = (records.ends(label, "test", "top1") for label in (changed, subject))
    says(told["score"], 100 * average(score))
    says(told["was"], 100 * average(was))
    assert below(was, score)
    _check_effect(records, told | {"x": subject}, changed)


def check_attribute(records: Records, reason: Reason) -> None:
    told = match(
        r"""In (?P<x>[A-Za-z]+), (?P<mechanism>[^.]+)\.(?: By its formula the first step per weight is
        (?P<predicted><P>) instead of (?P<base><P>); measured were (?P<rms><P>) and (?P<base_rms><P>)\.)? With
        (?P<name>[a-z_]+) (?P<value><P>|none, warmup_epochs 1) instead of (?P<was><P>|none) (?P<changes>.+\)), in each
        of (?P<num>\d) seeds\. Its accuracy is (?P<word>higher|lower) by (?P<effect><N>) \[(?P<low><N>),
        (?P<high><N>)\] points(?P<doubt>, which these seeds do not make certain)?\.(?: (?P<claim>lr changes the size of
        the steps and nothing else, so this is an intervention by itself: at|This is consistent with steps that are too
        (?P<early>large|small) at) (?P<at>[a-z_]+) (?P<at_value><P>)(?: the steps are too (?P<late>large|small)|;
        (?P<also>[a-z_]+) may also act in other ways)\.)?(?P<trial> (?:Tested|An intervention).+? points[^.]*\.)?(?: Of
        (?P<of>\d+) other values that were run this one changed the accuracy most\.)?""".replace(
            "<P>", r"\d[\d.]*(?:e-\d+)?"
        ),
        reason.sentence,
    )
    name = told["name"]
    attribute = name if name == "schedule" else f"optimizer.{name}"
    assert (reason.title, reason.attribute) == (f"What {name} does in {told['x']}", attribute)
    changed = f"{told['x']} {name} {told['value']}"
    now, was = (records.find(label)[0]["manifest"]["optimizer"] for label in (changed, told["x"]))
    if name == "schedule":
        assert now == was
    else:
        assert (float(told["value"]), float(told["was"])) == (now[name], was[name])
    optimizer = Manifest.model_validate_json(json.dumps({"name": "x", "optimizer": now})).optimizer
    assert told["mechanism"] == describe_mechanism(optimizer, attribute)
    check_changes(records, told["changes"], ours=changed, theirs=told["x"])
    assert {len(records.find(label)) for label in (changed, told["x"])} == {int(told["num"])}
    effect = average(records.ends(changed, "test", "top1")) - average(records.ends(told["x"], "test", "top1"))
    assert (effect > 0) == (told["word"] == "higher")
    _check_effect(records, told, changed)
    if told["predicted"]:
        for label, predicted, measured in ((changed, "predicted", "rms"), (told["x"], "base", "base_rms")):
            assert float(told[predicted]) == pytest.approx(_predict(records, label), rel=0.006)
            assert float(told[measured]) == pytest.approx(average(first(records.steps(label, "update_rms"))), rel=0.006)
    rivals = [
        abs(average(records.ends(other, "test", "top1")) - average(records.ends(base, "test", "top1")))
        for base, other in _variants(records)
        if base == told["x"] and other.split()[1] == name
    ]
    assert max(rivals) == pytest.approx(abs(effect))
    assert len(rivals) == int(told["of"] or 1)
    check_trial(records, reason, told["trial"], subject=told["x"])
    if told["claim"]:
        sizes, base_sizes = (means(records.steps(label, "update_to_weight")) for label in (changed, told["x"]))
        assert below(base_sizes, sizes, 2) or below(sizes, base_sizes, 2)
        blamed = was if effect > 0 else now
        assert (told["at"], float(told["at_value"])) == (name, blamed[name])
        is_large = below(base_sizes, sizes) == (blamed is now)
        assert (told["late"] or told["early"]) == ("large" if is_large else "small")
        assert (told["late"] is not None) == (name == "lr")
        assert told["also"] == (None if name == "lr" else name)
        assert not told["doubt"]


def _predict(records: Records, label: str) -> float:
    """The first step, from the attributes and the first gradients: a mean over the seeds."""
    found = []
    for result in records.find(label):
        own, group = result["manifest"]["optimizer"], result["history"][0]["diagnostics"]["backbone"]
        g = group["gradient_norm"][0] / group["num_weights"] ** 0.5
        divisor = {
            "adam": lambda o, g: g + o["eps"],
            "adagrad": lambda o, g: (o["initial_accumulator_value"] + g * g) ** 0.5 + o["eps"],
            "adadelta": lambda o, g: ((1 - o["rho"]) * g * g + o["eps"]) ** 0.5 / o["eps"] ** 0.5,
            "rmsprop": lambda o, g: ((1 - o["alpha"]) * g * g) ** 0.5 + o["eps"],
        }[own["name"]](own, g)
        manifest = result["manifest"]
        warmup_steps = manifest["schedule"]["warmup_epochs"] * result["num_train"] / manifest["batch_size"]
        found.append(own["lr"] / max(1, warmup_steps) * g / divisor)
    return fmean(found)


def check_pair(records: Records, reason: Reason) -> None:
    told = match(
        r"""(?:(?P<x><L>) is better than (?P<y><L>) by|Whether (?P<x2><L>) is better than (?P<y2><L>) is not known:)
        (?P<effect><N>) \[(?P<low><N>), (?P<high><N>)\] points\.(?: Their very first updates are of one size
        \((?P<first><N>) % and (?P<their_first><N>) % of the backbone's norm\), so it is not these that set them
        apart\.)?(?: Measured for (?P<x3><L>) against (?P<y3><L>) in each of (?P<num>\d) seeds: (?P<changes>[^:]+?\))\.|
        Nothing that was measured differs clearly between them in each of (?P<num2>\d) seeds\.)(?: (?P<still><L>) was
        still learning at the end: (?P<gain><N>) points over its last two epochs\.)?(?P<all> They differ in all of this
        at once, so none of it alone is shown to be the cause\.)?""",
        reason.sentence,
    )
    ours, theirs = told["x"] or told["x2"], told["y"] or told["y2"]
    assert reason.title == f"{ours} beside {theirs}"
    comparison = records.comparisons[reason.title]
    assert (comparison.answer == "better") == (told["x"] is not None)
    assert comparison.low is not None
    assert comparison.high is not None
    for shown, value in ((told["effect"], comparison.difference), (told["low"], comparison.low)):
        says(shown, 100 * value)
    says(told["high"], 100 * comparison.high)
    assert len(records.find(ours)) == int(told["num"] or told["num2"])
    own, other = (average(first(records.steps(label, "update_to_weight"))) for label in (ours, theirs))
    assert (told["first"] is not None) == (0.8 < own / other < 1.25)
    if told["first"]:
        says(told["first"], 100 * own)
        says(told["their_first"], 100 * other)
    if told["changes"]:
        assert (told["x3"], told["y3"]) == (ours, theirs)
        check_changes(records, told["changes"], ours=ours, theirs=theirs)
    assert (told["all"] is None) == (told["changes"] is None)
    if told["still"]:
        assert told["still"] == theirs
        curves = records.curve(theirs, "test", "top1").values()
        assert all(values[-3] < values[-2] < values[-1] for values in curves)
        says(told["gain"], 100 * fmean(values[-1] - values[-3] for values in curves))


def _variants(records: Records) -> list[tuple[str, str]]:
    """(label of the baseline, label of the configuration) for every configuration beside the baselines."""
    names = {"adam": "Adam", "adagrad": "Adagrad", "adadelta": "Adadelta", "rmsprop": "RMSprop"}
    found = set()
    for result in records.results:
        optimizer = result["manifest"]["optimizer"]
        name = names[optimizer["name"]]
        base = records.find(name)[0]["manifest"]["optimizer"]
        changes = [f"{key} {value:g}" for key, value in optimizer.items() if value != base[key]]
        changes += [WARMUP] if result["manifest"]["schedule"]["warmup_epochs"] else []
        found |= {(name, f"{name} {', '.join(changes)}")} if changes else set()
    return sorted(found)


def _check_effect(records: Records, told: Mapping[str, str], changed: str) -> None:
    """The mean difference of accuracy over the seeds, and its interval."""
    score, base = (records.ends(label, "test", "top1") for label in (changed, told["x"]))
    effect = fmean(100 * (score[seed] - base[seed]) for seed in score)
    low, high = records.comparisons[changed].low, records.comparisons[changed].high
    assert low is not None
    assert high is not None
    if told.get("word") == "lower":  # told as a size
        effect, low, high = -effect, -high, -low
    says(told["effect"], effect)
    says(told["low"], 100 * low)
    says(told["high"], 100 * high)
    if low < 0 < high:
        assert told["doubt"]


def check_step_and_accuracy(records: Records, reason: Reason) -> None:
    told = match(
        r"""Two configurations of one optimizer are a pair here if the first ten updates of one are at least twice as
        large, and its accuracy is higher in every seed, or lower in every seed \((?P<num>\d+) pairs\)\.
        (?P<orders>.+\.) The attributes that made the updates larger or smaller may also act in other ways\.""",
        reason.sentence,
    )
    total = 0
    for order in re.split(r"(?<=\.) (?=[A-Z])", told["orders"]):
        name = order.split()[0]
        labels = {name} | {variant for base, variant in _variants(records) if base == name and WARMUP not in variant}
        pairs = _pairs(records, labels)
        total += len(pairs)
        sizes = {label: average(means(records.steps(label, "update_to_weight"))) for label in labels}
        scores = {label: average(records.ends(label, "test", "top1")) for label in labels}
        if " shows no order" in order:
            claim = match(
                r"""(?P<x>[A-Za-z]+) shows no order: with larger updates it is worse in (?P<worse>\d+) pairs and better
                in (?P<better>\d+)\.""",
                order,
            )
            num_better = sum(higher for _, _, higher in pairs)
            assert (int(claim["worse"]), int(claim["better"])) == (len(pairs) - num_better, num_better)
        elif " is " in order:
            claim = match(
                r"""(?P<x><L>) is (?P<word>worse|better) with larger updates in all of its (?P<num>\d+) pairs \(from
                (?P<a><N>) % at (?P<b><N>) % to (?P<c><N>) % at (?P<d><N>) % of the backbone's norm\)\.""",
                order,
            )
            assert {higher for _, _, higher in pairs} == {claim["word"] == "better"}
            assert len(pairs) == int(claim["num"])
            smallest, largest, _ = max(pairs, key=lambda pair: sizes[pair[1]] / sizes[pair[0]])
            for label, score, size in ((smallest, "a", "b"), (largest, "c", "d")):
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
        is_told = notable and made_alike(records.find(small), records.find(large))
        if is_told and below(sizes, larger, 2) and (below(scores, other) or below(other, scores)):
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
    "attribute": check_attribute,
    "pair": check_pair,
    "step-and-accuracy": check_step_and_accuracy,
}
EXPERIMENTS = ("attributes", "optimizers", "tuned")


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
    leader = study.verdict.leader
    assert leader is not None
    comparisons |= {f"{leader.label} beside {rival.label}": comparison for rival, comparison in study.verdict.rivals}
    return Records([json.loads(path.read_bytes()) for path in paths], comparisons)


def find_check(reason: Reason) -> Callable[[Records, Reason], None]:
    name = reason.picture.name.removeprefix("reason-")
    return CHECKS.get(name) or CHECKS[name.partition("-")[0]]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_sentence_agrees_with_its_curves(
    experiment: str, example: Path, studies: dict[str, Study], told: dict[str, list[Reason]]
) -> None:
    records = read_records(example, studies[experiment])
    assert told.keys() == set(EXPERIMENTS)
    assert len(told[experiment]) >= 5
    for reason in told[experiment]:
        find_check(reason)(records, reason)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_number_and_direction_is_read(
    experiment: str, example: Path, studies: dict[str, Study], told: dict[str, list[Reason]]
) -> None:
    """Changed one at a time, each makes its sentence false, and the check says so."""
    records = read_records(example, studies[experiment])
    num_spoilt = 0
    for reason in told[experiment]:
        for sentence in spoil(reason.sentence):
            spoilt = replace(reason, sentence=sentence)
            with pytest.raises(AssertionError):
                find_check(reason)(records, spoilt)
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
    page = html.unescape((EXAMPLE / "index.html").read_text()).replace("\u00a0", " ")
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
