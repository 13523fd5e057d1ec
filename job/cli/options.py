"""What commands share: options, the checks of their values, and reading a manifest, a sweep or an output."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from job.errors import ManifestError, ObjectMissing, StorageError, UnusablePlace, UsageError
from job.places import CLAIM_SCHEME, is_remote, parse_place

if TYPE_CHECKING:
    from job.manifest import Manifest, Sweep
    from job.plan import Submission
    from job.storage import Store


def check_place(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Callback of every option and argument that takes a place. Returns `value`, with the home folder put in for `~`.

    Raises `UsageError`, which names the option, or the variable that the value comes from.
    """
    if value is None:
        return None
    try:
        return parse_place(value)
    except UsageError as error:
        raise UsageError(f"{name_parameter(context, parameter)} {error}") from error


def name_parameter(context: typer.Context, parameter: typer.CallbackParam) -> str:
    """The name under which a person wrote down the value of `parameter`: an option, an argument or a variable."""
    source = context.get_parameter_source(parameter.name or "")
    if source is not None and source.name == "ENVIRONMENT":
        return str(parameter.envvar)
    name = parameter.opts[0]
    return name if name.startswith("-") else name.upper()


def check_place_or_claim(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """As `check_place`, but pvc://CLAIM/FOLDER is accepted too."""
    if value is None or not value.startswith(CLAIM_SCHEME):
        return check_place(context, parameter, value)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", value.removeprefix(CLAIM_SCHEME).partition("/")[0]):
        raise UsageError(f"--output {value}: names no PersistentVolumeClaim; must be pvc://CLAIM or pvc://CLAIM/FOLDER")
    return value


def check_number(context: typer.Context, parameter: typer.CallbackParam, value: float | None) -> float | None:
    """Callback of options that take an amount. Returns `value`. Raises `UsageError` if it is not finite."""
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{name_parameter(context, parameter)} {value:g}: must be a finite number")
    return value


def check_time_budget(context: typer.Context, parameter: typer.CallbackParam, value: float | None) -> float | None:
    """Callback of --time-budget. Returns `value`. Raises `UsageError` if it is not more than 0 seconds."""
    if value is not None and not value > 0:
        raise UsageError(
            f"{name_parameter(context, parameter)} {value:g}: must be more than 0 seconds; "
            "leave the option out if you want no budget"
        )
    return check_number(context, parameter, value)


def check_cache(context: typer.Context, parameter: typer.CallbackParam, value: str) -> Path:
    """Callback of --cache. Returns its folder. Raises `UsageError` if it is not one of this machine."""
    if value == str(DEFAULT_CACHE):  # the home folder in it is looked up only when a cache is needed
        return DEFAULT_CACHE
    folder = check_place(context, parameter, value) or ""
    if is_remote(folder):
        raise UsageError(f"{name_parameter(context, parameter)} {folder}: must be a folder of this machine")
    return Path(folder)


DEFAULT_CACHE = Path("~/.cache/job")
DEFAULT_EXPERIMENT = "default"
STANDARD_INPUT = "-"
ManifestOption = Annotated[
    str,
    typer.Option(
        "--manifest",
        "-m",
        envvar="JOB_MANIFEST",
        callback=check_place,
        help="Path or s3:// URI of a manifest or a sweep. With - it is read from standard input.",
    ),
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one field of the manifest, such as optimizer.lr=0.01."),
]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output", "-o", envvar="JOB_OUTPUT", callback=check_place, help="Folder or s3:// URI for the artefacts."
    ),
]
ExperimentOption = Annotated[
    str | None,
    typer.Option(
        envvar="JOB_EXPERIMENT",
        help="Name of the group of runs that are compared. By default the sweep's name; of a single manifest `job run` "
        "takes `default`, and `job submit` the manifest's name.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        envvar="JOB_DATA",
        callback=check_place,
        help="Folder or s3:// URI of the data set. By default the cache; what is missing there is downloaded.",
    ),
]
CacheOption = Annotated[
    Path,
    typer.Option(
        "--cache",
        envvar="JOB_CACHE",
        parser=str,  # a Path would turn the two slashes of s3:// into one
        callback=check_cache,
        metavar="FOLDER",
        help="Folder for downloads and decoded images.",
    ),
]


def read_document(location: str, overrides: list[str]) -> Manifest | Sweep | Submission:
    """The manifest, sweep or submission at a path or s3:// URI, or on standard input. Random blocks are drawn.

    Raises `ManifestError`, also if there is none; `UsageError` if a random block cannot be drawn here.
    """
    from job.manifest import Sweep
    from job.plan import parse_document
    from job.sampling import draw_samples
    from job.storage import read_uri

    try:
        content = _read_standard_input() if location == STANDARD_INPUT else read_uri(location)
    except ObjectMissing as error:
        raise ManifestError(f"{location}: no such manifest") from error
    except (StorageError, UnusablePlace) as error:
        if is_remote(location):
            raise
        raise ManifestError(f"{location}: not a readable file") from error
    document = parse_document(content, source=name_source(location), overrides=overrides)
    return draw_samples(document) if isinstance(document, Sweep) else document


def name_source(location: str) -> str:
    """What messages call the place that a manifest was read from."""
    return "standard input" if location == STANDARD_INPUT else location


def _read_standard_input() -> bytes:
    """Standard input, up to the size at which a manifest is refused anyway. Raises `ManifestError` if it is closed."""
    from job.manifest.document import MAX_BYTES

    if sys.stdin is None:
        raise ManifestError(f"{name_source(STANDARD_INPUT)}: is closed; pipe a manifest into it")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def read_sweep(location: str, overrides: list[str]) -> Sweep:
    """The sweep at `location`. A single manifest is a sweep of one configuration. Raises `ManifestError`."""
    return as_one_sweep(read_document(location, overrides))


def as_one_sweep(document: Manifest | Sweep | Submission) -> Sweep:
    """`document` as a sweep; a single manifest is one of one configuration."""
    from job.manifest import Manifest, Sweep, later_defaults
    from job.manifest.sweep import Block
    from job.plan import as_sweep

    if not isinstance(document, Manifest):
        return as_sweep(document)
    base = document.model_dump(mode="json", exclude=later_defaults(document) | {"seed": True})
    return Sweep(name=document.name, seeds=[document.seed], blocks=[Block(base=base)])


def name_experiment(name: str | None, document: Manifest | Sweep | Submission) -> str:
    """`name`; if it is None, the name of the sweep, or `default`. Raises `UsageError` if no key can hold it."""
    from job.manifest import Manifest
    from job.plan import as_sweep

    if name is not None:
        return check_experiment(name)
    return DEFAULT_EXPERIMENT if isinstance(document, Manifest) else as_sweep(document).name


def check_experiment(name: str) -> str:
    """`name`, if a key can hold it. Raises `UsageError`."""
    from job.manifest.models import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"--experiment is {name!r}; must be 1 to 40 lower-case letters, digits and dashes")
    return name


def open_output(location: str) -> Store:
    """The store at an output that runs have written to. Raises `UsageError` if nothing is there."""
    from job.storage import open_store

    store = open_store(location)
    if not store.list_folders():
        raise UsageError(
            f"{store.uri}: nothing is here; name the folder or s3:// URI that was the --output of `job run` or "
            "`job submit`: it holds <experiment>/runs/<run id>/"
        )
    return store
