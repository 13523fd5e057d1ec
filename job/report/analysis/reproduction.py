"""How to train an experiment again: the sweep that gives its very runs, and the commands, from the manifests alone."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from job.manifest import Manifest
from job.report.analysis.wording import join

OUTPUT = "study"
DIRTY = "-dirty"
"""Stands behind a commit that had changes which were not committed, and is no part of its name for git."""
DATA = "DATA"
"""Stands for a folder of images: where it lay is not recorded."""


@dataclass(frozen=True)
class Reproduction:
    """What makes the runs of an experiment again."""

    sweeps: dict[str, str]
    """Sweeps as JSON by the name of their file: one, or one for every set of seeds where configurations have others."""
    commands: list[str]
    """For a shell, in a checkout of the commit that is recorded, if one is."""
    remarks: list[str]


def build_reproduction(
    manifests: Sequence[Manifest], *, experiment: str, commit: str | None, reference: str | None = None
) -> Reproduction:
    """The sweeps and commands that train `manifests` again, the runs of one experiment.

    `reference` is the name or place of the published study that the report was told of.
    """
    seeds: dict[str, set[int]] = defaultdict(set)
    for manifest in manifests:
        seeds[_write(manifest)].add(manifest.seed)
    families: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
    for content, own in seeds.items():
        families[tuple(sorted(own))].append(json.loads(content))
    single = len(families) == 1
    sweeps = {
        f"{experiment}.json" if single else f"{experiment}-{number}.json": _build_sweep(documents, own, experiment)
        for number, (own, documents) in enumerate(families.items(), start=1)
    }
    is_folder = any(manifest.dataset.name == "folder" for manifest in manifests)
    data = f" --data {DATA}" if is_folder else ""
    commands = [f"git checkout {shlex.quote(commit.removesuffix(DIRTY))}"] if commit else []
    commands += [f"job submit --manifest {shlex.quote(name)} --to local --output {OUTPUT}{data}" for name in sweeps]
    told = f" --reference {shlex.quote(reference)}" if reference else ""
    commands.append(f"job report {OUTPUT} --experiment {shlex.quote(experiment)}{told}")
    return Reproduction(sweeps, commands, _list_remarks(manifests, list(sweeps), commit, is_folder=is_folder))


def _list_remarks(
    manifests: Sequence[Manifest], names: Sequence[str], commit: str | None, *, is_folder: bool
) -> list[str]:
    remarks = []
    if len(names) > 1:
        remarks.append(
            f"Not all configurations have the same seeds, so there is a sweep for each set: {join([*names])}."
        )
    if not commit:
        remarks.append("No one commit made all runs, or none is recorded: which code to check out is not known.")
    elif commit.endswith(DIRTY):
        remarks.append(
            "The runs were made by this commit with changes that were not committed; what they were is not recorded."
        )
    if is_folder:
        remarks.append(f"{DATA} is the folder with the images; a run records their digest, not where they lay.")
    if any(manifest.precision == "auto" for manifest in manifests):
        remarks.append(
            'precision is "auto", so another machine may choose another one; --set precision=… gives it the one above.'
        )
    return remarks


def write_document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as one would write it: without its seed and what stands at its default.

    The learning rate, the epochs and the batch size stand always.
    """
    short: dict[str, Any] = manifest.model_dump(mode="json", exclude={"seed"}, exclude_defaults=True)
    optimizer = {"name": manifest.optimizer.name, "lr": manifest.optimizer.lr}
    short["optimizer"] = optimizer | manifest.optimizer.model_dump(mode="json", exclude_defaults=True)
    for part in ("dataset", "model", "schedule"):  # their names tell which of pydantic's models reads them
        if part in short:
            short[part] = {"name": getattr(manifest, part).name} | short[part]
    return short | {"epochs": manifest.epochs, "batch_size": manifest.batch_size}


def _write(manifest: Manifest) -> str:
    content = write_document(manifest)
    if content["name"] == manifest.optimizer.name:  # what a sweep calls it anyway
        del content["name"]
    return json.dumps(content)


def _build_sweep(documents: Sequence[Mapping[str, Any]], seeds: Sequence[int], experiment: str) -> str:
    """A sweep with what all have in common among its defaults, and a block for each of the others' fields."""
    first = documents[0]
    common = {
        field: value
        for field, value in first.items()
        if field != "optimizer" and all(document.get(field) == value for document in documents)
    }
    blocks = [
        json.dumps({"base": {field: value for field, value in document.items() if field not in common}})
        for document in documents
    ]
    listed = ",\n    ".join(blocks)
    return (
        f'{{\n  "name": {json.dumps(experiment)},\n  "defaults": {json.dumps(common)},\n'
        f'  "seeds": {json.dumps(list(seeds))},\n  "blocks": [\n    {listed}\n  ]\n}}\n'
    )
