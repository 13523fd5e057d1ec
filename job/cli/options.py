"""What commands share: options, reading a manifest or sweep, and saying which extra is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from job.errors import ManifestError, ObjectMissing, StorageError, UsageError

if TYPE_CHECKING:
    from job.manifest import Manifest, Sweep
    from job.plan import Submission

ManifestOption = Annotated[
    str, typer.Option("--manifest", "-m", envvar="JOB_MANIFEST", help="Path or s3:// URI of a manifest or a sweep.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the manifest, such as optimizer.lr=0.01."),
]
OutputOption = Annotated[
    str, typer.Option("--output", "-o", envvar="JOB_OUTPUT", help="Folder or s3:// URI for the artefacts.")
]
ExperimentOption = Annotated[
    str | None,
    typer.Option(
        envvar="JOB_EXPERIMENT", help="Groups runs that are compared; by default the sweep's name, or `default`."
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", envvar="JOB_DATA", help="Folder or s3:// URI of the data set; else cache, then download."),
]
CacheOption = Annotated[
    Path, typer.Option("--cache", envvar="JOB_CACHE", help="Folder for downloads and decoded images.")
]
DEFAULT_CACHE = Path("~/.cache/job")
DEFAULT_EXPERIMENT = "default"
EXTRAS = {
    "train": {"torch", "torchvision", "torchmetrics", "safetensors"},
    "kubernetes": {"kubernetes"},
}
"""Modules by the extra that brings them."""


def read_document(location: str, settings: list[str]) -> Manifest | Sweep | Submission:
    """The manifest, sweep or submission at a path or s3:// URI. Raises `ManifestError` also where there is none."""
    from job.plan import parse_document
    from job.storage import is_remote, read_uri

    try:
        content = read_uri(location)
    except ObjectMissing as error:
        raise ManifestError(f"{location}: no such manifest") from error
    except StorageError as error:
        if is_remote(location):
            raise
        raise ManifestError(f"{location}: not a readable file") from error
    return parse_document(content, source=location, settings=settings)


def read_sweep(location: str, settings: list[str]) -> Sweep:
    """The sweep at a path or s3:// URI; one manifest is a sweep of one. Raises `ManifestError`."""
    from job.manifest import Manifest, Sweep
    from job.manifest.sweep import Block
    from job.plan import as_sweep

    document = read_document(location, settings)
    if not isinstance(document, Manifest):
        return as_sweep(document)
    base = document.model_dump(mode="json", exclude={"seed"})
    return Sweep(name=document.name, seeds=[document.seed], blocks=[Block(base=base)])


def name_experiment(name: str | None, document: Manifest | Sweep | Submission) -> str:
    """`name`, if it can stand in a key, else the sweep's. Raises `UsageError`."""
    from job.manifest import Manifest
    from job.plan import as_sweep

    if name is not None:
        return check_experiment(name)
    return DEFAULT_EXPERIMENT if isinstance(document, Manifest) else as_sweep(document).name


def check_experiment(name: str) -> str:
    """`name`, if it can stand in a key. Raises `UsageError`."""
    from job.manifest.models import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--experiment is {name!r}; must be 1 to 40 lower-case letters, digits and dashes")
    return name


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra is missing instead of which module."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] not in EXTRAS[name]:
            raise
        missing = f"{error.name} is not installed; it belongs to the extra {name!r}"
        raise UsageError(f"{missing}: run `make install` in the project's folder, which brings all extras") from error
