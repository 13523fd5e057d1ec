"""Whether the containers of a back end can read a sweep's data and weights, and write its output.

`job submit` checks it before anything starts, because a container would find out minutes later, and at a price.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from job.errors import AccessDeniedError, StorageError, UsageError
from job.logs import get_logger
from job.manifest.models import NAMED_WEIGHTS, Folder, OfficialDataset
from job.places import CLAIM_SCHEME, is_remote
from job.plan import SweepPlan
from job.storage import Store, open_store
from job.storage.staged import advise_staging, is_staged, read_staged_images
from job.submit.registry import BACKENDS, Entry, Reach, find_backend, join_words

DOWNLOAD = "download"
"""The value of --data with which every container downloads the data set. A folder of that name is `./download`."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places that `job submit` was given, and the back end whose containers are to use them."""

    to: str
    output: str
    data: str | None = None

    @property
    def entry(self) -> Entry:
        return find_backend(self.to)

    def is_of_this_machine(self, path: str) -> bool:
        """Whether `path` is of this machine, and not of a container elsewhere: it is relative, or it exists here."""
        if self.output.startswith(CLAIM_SCHEME) and path.startswith("/output/"):  # the claim is mounted there
            return False
        return not path.startswith("/") or Path(path).exists()


def check_inputs(plan: SweepPlan, places: Places) -> None:
    """Raises `UsageError` with every reason why the containers could not read data or weights, or write the output."""
    faults = [*_find_data_faults(plan, places)]
    if places.entry.reach is not Reach.NONE and not is_remote(places.output):
        faults += _Path("--output", places.output, may_be_missing=True).find_faults(places.entry.reach)
    for weights in find_weights(plan):
        if not is_remote(weights):
            faults += _find_weights_faults(weights, places)
    if faults:
        raise UsageError("\n".join(faults))


def check_output(places: Places) -> None:
    """Raises `UsageError` for an output that the containers, or this machine, cannot write to."""
    if places.output.startswith(CLAIM_SCHEME) and not places.entry.takes_claims:
        takers = join_words([name for name, entry in BACKENDS.items() if entry.takes_claims])
        raise UsageError(f"--output {places.output}: a PersistentVolumeClaim is for --to {takers}")
    if places.entry.reach is Reach.NONE and not is_remote(places.output):
        raise UsageError(
            f"--output {places.output}: containers of --to {places.to} cannot reach a folder of this machine; "
            "give s3://…"
        )


def choose_data(plan: SweepPlan, places: Places, *, is_dry_run: bool = False) -> str | None:
    """What the containers are given as --data; None if each looks into its own cache and downloads what is missing.

    Containers that run elsewhere and are told nothing take the data sets from `data/` in the output's bucket, where
    `job stage` has put them. Raises `UsageError` if they are not there, because each container would download them
    anew, and the errors of the bucket. A dry run that cannot look there warns, and takes them for staged.
    """
    if places.data == DOWNLOAD:
        return None
    _check_own_images(plan, places, is_dry_run=is_dry_run)
    wanted: list[str] = sorted(
        {run.manifest.dataset.name for run in plan.runs if isinstance(run.manifest.dataset, OfficialDataset)}
    )
    if places.data is not None or places.entry.reach is not Reach.NONE or not wanted:
        return places.data
    if not is_remote(places.output) or places.output.startswith(CLAIM_SCHEME):
        raise UsageError(f"--data is not given: {_advise_staging('s3://BUCKET/data', wanted)}")
    staged = find_own_data(places.output)
    try:
        store = open_store(staged)
        missing = [dataset for dataset in wanted if not is_staged(store, dataset)]
    except (AccessDeniedError, StorageError) as error:
        if not is_dry_run:
            raise
        get_logger().warning("data_not_looked_for", reason=str(error), consequence=f"{staged} is taken for staged")
        return staged
    if missing:
        raise UsageError(f"--data is not given, and {staged} does not hold it: {_advise_staging(staged, missing)}")
    return staged


def find_missing_sizes(store: Store, plan: SweepPlan) -> list[int]:
    """The sizes of own images that runs of `plan` need and `store` does not hold."""
    sizes = {run.manifest.dataset.size for run in plan.runs if isinstance(run.manifest.dataset, Folder)}
    return sorted(size for size in sizes if read_staged_images(store, size) is None)


def _check_own_images(plan: SweepPlan, places: Places, *, is_dry_run: bool) -> None:
    """Raises `UsageError` where own images are to come from a bucket that does not hold them at the size wanted."""
    if places.data is None or not is_remote(places.data):
        return
    store = open_store(places.data)
    try:
        missing = find_missing_sizes(store, plan)
    except (AccessDeniedError, StorageError) as error:
        if not is_dry_run:
            raise
        get_logger().warning("data_not_looked_for", reason=str(error), consequence="the images are taken for staged")
        return
    if missing:
        commands = " and ".join(advise_staging(store, size) for size in missing)
        sizes = join_words([str(size) for size in missing])
        raise UsageError(f"--data {places.data}: holds no images of {sizes} pixels; put them there with {commands}")


def find_own_data(output: str) -> str:
    """Where the data sets of an output's bucket lie, by this project's custom: s3://BUCKET/data."""
    return f"s3://{output.removeprefix('s3://').partition('/')[0]}/data"


def _advise_staging(place: str, datasets: list[str]) -> str:
    """What to do so that not every container downloads `datasets`."""
    commands = join_words([f"`job stage {place} --dataset {dataset}`" for dataset in datasets]).replace(" or ", " and ")
    return (
        f"every container would download {join_words(datasets).replace(' or ', ' and ')}; run {commands} once, name "
        f"another place with --data, or have it downloaded each time with --data {DOWNLOAD}"
    )


def find_weights(plan: SweepPlan) -> list[str]:
    """The places of pretrained weights that runs of `plan` name."""
    return sorted({run.manifest.model.weights for run in plan.runs} - set(NAMED_WEIGHTS))


def _find_weights_faults(weights: str, places: Places) -> Iterator[str]:
    reach = places.entry.reach
    match reach:
        case Reach.ALL:
            yield from _Path("model.weights", weights, is_file=True).find_faults(reach)
        case Reach.MOUNTED if weights.startswith("/"):
            yield from _Path("model.weights", weights, is_file=True, may_be_missing=True).find_faults(reach)
        case Reach.MOUNTED:
            absolute = _expand(weights).absolute()
            yield f"model.weights {weights}: containers have a working folder of their own; write {absolute}"
        case Reach.NONE:
            if places.is_of_this_machine(weights):
                yield (
                    f"model.weights {weights}: containers of --to {places.to} cannot read a file of this machine; "
                    "copy it to S3 and write s3://BUCKET/KEY, or copy it into the image and write its absolute path "
                    "there"
                )
        case _:
            assert_never(reach)


def _find_data_faults(plan: SweepPlan, places: Places) -> Iterator[str]:
    data, reach = None if places.data == DOWNLOAD else places.data, places.entry.reach
    folders = [run.run_id for run in plan.runs if isinstance(run.manifest.dataset, Folder)]
    if folders and data is None:
        yield f"dataset.name is folder in {folders[0]}, but --data is not given: {_advise_folder(places)}"
    elif data is None or is_remote(data):
        return
    elif reach is not Reach.NONE:
        is_of_image = reach is Reach.MOUNTED and data.startswith("/")
        yield from _Path("--data", data, may_be_missing=is_of_image).find_faults(reach)
    elif places.is_of_this_machine(data):
        staged = "put the data set in S3 with `job stage s3://BUCKET/data` and name that"
        advice = _advise_folder(places) if folders else staged
        yield f"--data {data}: containers of --to {places.to} cannot read a folder of this machine; {advice}"


def _advise_folder(places: Places) -> str:
    """How a folder of images can be put where containers read it."""
    if places.entry.reach is not Reach.NONE:
        return "give --data a folder of this machine"
    remedy = (
        "put the images in S3 with `job stage s3://BUCKET/data --dataset folder --data FOLDER` and name that, or copy "
        "the folder into the image and name its absolute path there with --data"
    )
    if places.entry.takes_claims:
        remedy += ", or onto the claim of --output pvc://CLAIM and write --data /output/FOLDER"
    return remedy


@dataclass(frozen=True)
class _Path:
    """A path of this machine, and the option or field that names it."""

    name: str
    place: str
    is_file: bool = False
    may_be_missing: bool = False
    """True if a path that is missing here lies in the image, or is created."""

    def find_faults(self, reach: Reach) -> Iterator[str]:
        """Why a process, or a container into which the path is mounted, cannot use it."""
        path, kind = _expand(self.place), "file" if self.is_file else "folder"
        if not path.exists() and not self.may_be_missing:
            yield f"{self.name} {self.place}: no such {kind}"
        elif path.exists() and path.is_dir() == self.is_file:
            yield f"{self.name} {self.place}: must be a {kind}, is a {'folder' if self.is_file else 'file'}"
        elif reach is Reach.MOUNTED and self._is_mounted(path) and ":" in f"{path.resolve()}{self.place}":
            yield (
                f"{self.name} {self.place}: docker cannot mount {path.resolve()}, for its name holds a colon; rename it"
            )

    def _is_mounted(self, path: Path) -> bool:
        return path.exists() or self.name == "--output"


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path would raise RuntimeError without a home folder
