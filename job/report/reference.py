"""A published study beside ours: its numbers, its curves, and what its set-up has different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from job.errors import DataError, ObjectMissing, UsageError
from job.report.configurations import Configuration, find_baseline
from job.report.study import Study
from job.report.wording import join, name_optimizer
from job.storage import read_uri

BUNDLED = ("lab-report",)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


class ReferenceEpoch(_Part):
    """One published epoch; accuracies are fractions of one."""

    epoch: int
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    test_loss_sum: float | None = None
    """Over the test images."""


class ReferenceRun(_Part):
    """One published optimizer."""

    top1: float
    top5: float | None = None
    class_accuracy: list[float] = []
    epochs: list[ReferenceEpoch] = []


class Setup(_Part):
    """How the published study was done, as far as it says."""

    model: str | None = None
    dataset: str | None = None
    train_images: int | None = None
    test_images: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    loss: str | None = None
    notes: list[str] = []


class Reference(_Part):
    """A published study."""

    source: str
    setup: Setup = Setup()
    optimizers: dict[str, ReferenceRun] = Field(min_length=1)


@dataclass(frozen=True)
class Pair:
    """One optimizer, there and here."""

    optimizer: str
    published: ReferenceRun
    ours: Configuration | None
    """The configuration of ours that is closest to the published set-up."""
    top1: float | None
    top5: float | None
    train_top1: float | None


@dataclass(frozen=True)
class SideBySide:
    """The published study beside one of ours."""

    source: str
    pairs: list[Pair]
    differences: list[str]
    orders: str | None
    """A sentence on the order of the optimizers, there and here."""
    notes: list[str]


def read_reference(location: str) -> Reference:
    """The study in a file, under an `s3://` URI, or bundled under this name.

    Raises `UsageError` where there is none, `DataError` for what is none.
    """
    if location in BUNDLED:
        content = resources.files("job.report").joinpath("data", f"{location}.json").read_bytes()
    else:
        try:
            content = read_uri(location)
        except ObjectMissing as error:
            raise UsageError(f"--reference {location}: no such file; bundled: {', '.join(BUNDLED)}") from error
    try:
        return Reference.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(f"{location}: is no published study: {where}: {fault['msg']}") from error


def compare_with(reference: Reference, study: Study) -> SideBySide:
    """The published optimizers, best first, with the closest configurations of `study`."""
    published = sorted(reference.optimizers.items(), key=lambda item: -item[1].top1)
    standings = {each.configuration.digest: each for each in study.standings}
    pairs = []
    for optimizer, run in published:
        family = [each for each in study.configurations if each.optimizer == optimizer and each.scores]
        ours = _closest(family, reference.setup) if family else None
        standing = standings[ours.digest] if ours else None
        pairs.append(
            Pair(
                optimizer, run, ours,
                top1=ours.mean if ours else None,
                top5=standing.top5 if standing else None,
                train_top1=standing.train_top1 if standing else None,
            )
        )  # fmt: skip
    return SideBySide(
        reference.source, pairs, _differences(reference.setup, study, pairs), _orders(pairs), reference.setup.notes
    )


def _closest(family: Sequence[Configuration], setup: Setup) -> Configuration:
    same_lr = [each for each in family if each.attributes["optimizer.lr"] == setup.learning_rate]
    same_epochs = [each for each in same_lr or family if each.attributes["epochs"] == setup.epochs]
    return find_baseline(same_epochs or same_lr or family)


def _differences(setup: Setup, study: Study, pairs: Sequence[Pair]) -> list[str]:
    """What the file's own fields say that is otherwise here."""
    runs = study.runs.runs
    ours = [pair.ours for pair in pairs if pair.ours]
    here: dict[str, set[object]] = {
        "dataset": set(runs["dataset.name"]),
        "train_images": set(runs["num_train"]),
        "test_images": set(runs["num_test"]),
        "epochs": {each.attributes["epochs"] for each in ours},
        "learning_rate": {each.attributes["optimizer.lr"] for each in ours},
    }
    found = []
    for field, values in here.items():
        there = getattr(setup, field)
        if there is not None and values and values != {there}:
            shown = join(
                [f"{value:g}" if isinstance(value, float) else str(value) for value in sorted(values, key=str)]
            )
            found.append(f"{field.replace('_', ' ')}: {there} there, {shown} here")
    weights = {str(each.attributes["model.weights"]) for each in ours}
    if setup.model and "imagenet" in setup.model.lower() and weights - {"imagenet"}:
        found.append(f"model: {setup.model} there, weights from {join(sorted(weights))} here")
    num_seeds = max((len(each.scores) for each in ours), default=0)
    if num_seeds > 1:
        found.append(f"seeds: the published numbers are taken as one run each, ours are means over up to {num_seeds}")
    return found


def _orders(pairs: Sequence[Pair]) -> str | None:
    both = [pair for pair in pairs if pair.top1 is not None]
    if len(both) < 2:
        return None
    there = [name_optimizer(pair.optimizer) for pair in both]
    here = [name_optimizer(pair.optimizer) for pair in sorted(both, key=lambda pair: -(pair.top1 or 0))]
    if there == here:
        return f"The order is the published one: {', '.join(here)}."
    return f"Published order: {', '.join(there)}. Here: {', '.join(here)}."
