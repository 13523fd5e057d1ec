"""The set-up of an experiment, for those who judge it: what its runs recorded and, where they differ, each value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from job.manifest import Manifest
from job.report.analysis.baselines import find_baseline, read_defaults, varying_attributes
from job.report.analysis.configurations import Configuration, split_by_optimizer
from job.report.analysis.origins import show_fact
from job.report.analysis.reproduction import Reproduction, build_reproduction
from job.report.analysis.study import Study
from job.report.analysis.wording import count, join, name_optimizer, show_attribute, show_seeds, show_value

MOST_VALUES = 4
"""Values of one fact that are told; of more the number is told."""
UNKNOWN = "not recorded"
NORMALIZATION = {
    "imagenet": "pixels / 255, then ImageNet's mean off and divided by its standard deviation, channel by channel",
    "none": "pixels / 255, so between 0 and 1",
}
AUGMENTATION = {
    "none": "none",
    "flip": "mirrored with probability 1/2",
    "crop_flip": "mirrored with probability 1/2, and a random crop after padding by an eighth",
}


@dataclass(frozen=True)
class SetupLine:
    """One fact of the set-up."""

    name: str
    value: str


@dataclass(frozen=True)
class Setup:
    """How the runs of a study were made, and how to make them again."""

    lines: list[SetupLine]
    reproduction: Reproduction


def describe_setup(study: Study, *, reference: str | None = None) -> Setup:
    """The set-up of `study`, from what its runs recorded.

    `reference` is the name or place of the published study that the report was told of, for the command.
    """
    runs = study.runs.runs
    manifests = [Manifest.model_validate_json(content) for content in runs["manifest"]]
    lines = [
        *_describe_network(runs, manifests),
        *_describe_data(study, manifests),
        *_describe_training(study, manifests),
        *_describe_origin(runs),
    ]
    commits = {commit for commit in runs["git_sha"] if isinstance(commit, str)}
    (commit,) = commits if len(commits) == 1 and runs["git_sha"].notna().all() else (None,)
    reproduction = build_reproduction(
        manifests, experiment=str(runs["experiment"].iloc[0]), commit=commit, reference=reference
    )
    return Setup([line for line in lines if line.value], reproduction)


def _describe_network(runs: pd.DataFrame, manifests: Sequence[Manifest]) -> list[SetupLine]:
    networks = [
        f"{manifest.model.name}, fc replaced by {num_classes} outputs, {num_parameters:,} parameters"
        for manifest, num_classes, num_parameters in zip(
            manifests, runs["num_classes"], runs["num_parameters"], strict=True
        )
    ]
    weights = [
        f"{manifest.model.weights}{f' (SHA-256 {digest[:10]}…)' if isinstance(digest, str) else ''}"
        for manifest, digest in zip(manifests, runs["weights_sha256"], strict=True)
    ]
    trained = [_describe_trained(manifest) for manifest in manifests]
    return [
        SetupLine("Network", _tell(networks)),
        SetupLine("First weights", _tell(weights)),
        SetupLine("Trained", _tell(trained)),
    ]


def _describe_trained(manifest: Manifest) -> str:
    model = manifest.model
    statistics = model.batch_norm or ("running" if model.freeze_backbone else "batch")
    what = "fc alone" if model.freeze_backbone else "all weights"
    return f"{what}, BatchNorm with the {'statistics of the batch' if statistics == 'batch' else 'running statistics'}"


def _describe_data(study: Study, manifests: Sequence[Manifest]) -> list[SetupLine]:
    runs = study.runs.runs
    sizes = [
        f"{manifest.image_size or manifest.dataset.size}x{manifest.image_size or manifest.dataset.size} pixels, RGB"
        + (f", resized from {manifest.dataset.size}x{manifest.dataset.size}" if manifest.image_size else "")
        for manifest in manifests
    ]
    digests = [f"SHA-256 {digest[:10]}…" if isinstance(digest, str) else "" for digest in runs["data_sha256"]]
    counts = [
        f"{name}: {train:,} training, {f'{held_out:,} validation, ' if held_out else ''}{test:,} test images"
        f"{f' ({digest})' if digest else ''}"
        for name, train, held_out, test, digest in zip(
            runs["dataset.name"], runs["num_train"], runs["num_validation"], runs["num_test"], digests, strict=True
        )
    ]
    names = list(dict.fromkeys(study.runs.classes["class"]))
    classes = f"{len(names)}: {join(names)}" if 0 < len(names) <= 20 else f"{len(names)}" if names else ""
    return [
        SetupLine("Data set", _tell(counts)),
        SetupLine("Classes", classes),
        SetupLine("Input", _tell(sizes)),
        SetupLine("Normalisation", _tell(NORMALIZATION[manifest.normalization] for manifest in manifests)),
        SetupLine("Augmentation", _tell(AUGMENTATION[manifest.augmentation] for manifest in manifests)),
    ]


def _describe_training(study: Study, manifests: Sequence[Manifest]) -> list[SetupLine]:
    runs = study.runs.runs
    losses = [
        "mean cross entropy" + (f", label smoothing {manifest.label_smoothing:g}" if manifest.label_smoothing else "")
        for manifest in manifests
    ]
    by_optimizer = split_by_optimizer(study.configurations)
    schedules = [str(attributes["schedule"]) for attributes in (own.attributes for own in study.configurations)]
    return [
        SetupLine("Loss", _tell(losses)),
        *(
            SetupLine(name_optimizer(optimizer), _describe_optimizer(optimizer, family))
            for optimizer, family in by_optimizer.items()
        ),
        SetupLine("Learning rate schedule", _tell(schedules, noun="configuration")),
        SetupLine("Batch size", _tell(manifest.batch_size for manifest in manifests)),
        SetupLine("Epochs", _tell(manifest.epochs for manifest in manifests)),
        SetupLine("Seeds", show_seeds({int(seed) for seed in runs["seed"]})),
    ]


def _describe_optimizer(optimizer: str, family: Sequence[Configuration]) -> str:
    """`lr 0.001 (torch: 0.01), eps 1e-10; also run with lr 0.01 and 0.1`."""
    baseline, defaults, varied = find_baseline(family), read_defaults(optimizer), varying_attributes(family)
    told, others = [], []
    for attribute, value in baseline.attributes.items():
        if not attribute.startswith("optimizer."):
            continue
        default = defaults.get(attribute)
        mark = f" (torch: {show_value(default)})" if value != default else ""
        told.append(f"{show_attribute(attribute)} {show_value(value)}{mark}")
        values = dict.fromkeys(own.attributes.get(attribute) for own in family)
        if attribute in varied:
            listed = [show_value(other) for other in values if other != value]
            shown = join(listed) if len(listed) <= MOST_VALUES else count(len(listed), "other value")
            others.append(f"{show_attribute(attribute)} {shown}")
    return f"{', '.join(told)}{f'; also run with {join(others)}' if others else ''}"


def _describe_origin(runs: pd.DataFrame) -> list[SetupLine]:
    finished = sorted(runs["finished_at"])
    days = list(dict.fromkeys(f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (finished[0], finished[-1])))
    versions = [
        ", ".join(
            f"{name} {value}"
            for name, value in zip(("job", "Python", "torch", "torchvision"), row, strict=True)
            if isinstance(value, str)
        )
        for row in zip(*(runs[name] for name in ("package_version", "python", "torch", "torchvision")), strict=True)
    ]
    devices = [_describe_device(*row) for row in zip(runs["device"], runs["num_threads"], strict=True)]
    return [
        SetupLine("Device", _tell(devices)),
        SetupLine("Precision", _tell(_known(runs["used_precision"]))),
        SetupLine("Versions", _tell(text or UNKNOWN for text in versions)),
        SetupLine("Code", _tell(_known(runs["git_sha"], as_fact="git_sha"))),
        SetupLine("Finished", " to ".join(days)),
    ]


def _describe_device(device: object, num_threads: float) -> str:
    if not isinstance(device, str):
        return UNKNOWN
    return f"CPU, {count(int(num_threads), 'thread')}" if device == "cpu" and num_threads == num_threads else device


def _known(values: Iterable[object], *, as_fact: str = "") -> list[str]:
    return [
        (f"commit {show_fact(as_fact, value)}" if as_fact else value) if isinstance(value, str) else UNKNOWN
        for value in values
    ]


def _tell(values: Iterable[Hashable], *, noun: str = "run") -> str:
    """The value, or each with how many runs have it, the most frequent first."""
    counts: Counter[Any] = Counter(values)
    if len(counts) == 1:
        return str(next(iter(counts)))
    told = [f"{value} ({count(number, noun)})" for value, number in counts.most_common(MOST_VALUES)]
    return join([*told, *([f"{len(counts) - MOST_VALUES} others"] if len(counts) > MOST_VALUES else [])])
