"""`job stage`: puts data and weights where containers fetch them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.options import DEFAULT_CACHE, CacheOption, DataOption, check_place
from job.cli.streams import outlive_reader
from job.errors import UsageError
from job.home import prepare_matplotlib
from job.places import is_remote
from job.versions import extra

if TYPE_CHECKING:
    from job.storage import Store


class StagedDataset(StrEnum):
    """The data sets that `job stage` can stage, beside the weights."""

    STL10 = "stl10"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
    FOLDER = "folder"
    NONE = "none"


class Network(StrEnum):
    """The networks whose ImageNet weights `job stage` can stage."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"


def stage(
    destination: Annotated[
        str, typer.Argument(callback=check_place, help="s3:// URI or folder that runs name as --data.")
    ],
    dataset: Annotated[
        StagedDataset, typer.Option(help="Data set to put there, or none; of stl10 only its labelled files.")
    ] = StagedDataset.STL10,
    data: DataOption = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16, max=512, help="Of your own images: width and height in pixels, as in the manifest; by default 96."
        ),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Of Parquet files: the column of encoded images, if their types do not tell.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Of Parquet files: the column of classes, if their types do not tell.")
    ] = None,
    cache: CacheOption = DEFAULT_CACHE,
    weights: Annotated[bool, typer.Option(help="Put the ImageNet weights there as well.")] = True,
    model: Annotated[Network, typer.Option(help="Network whose ImageNet weights are put there.")] = Network.RESNET18,
) -> None:
    """Put a data set and the ImageNet weights where containers fetch them quickly.

    With --dataset folder, --data names a folder of your images (train/<class>/ and test/<class>/), or Parquet or Arrow
    files as Hugging Face keeps them. They are decoded once, and become one object with their classes and digests.
    """
    from job.logs import configure_logs
    from job.storage import open_store

    outlive_reader()
    configure_logs()
    if dataset is not StagedDataset.FOLDER and (size or image_column or label_column):
        raise UsageError("--size, --image-column and --label-column are for --dataset folder")
    own = _find_own(data) if dataset is StagedDataset.FOLDER else None
    store = open_store(destination)
    _check_writable(store)
    prepare_matplotlib()
    with extra("train"):
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.datasets import STAGED

        folder = expand_cache(cache)
        if own is not None:
            from job.manifest.models import Folder

            columns = _Columns(image_column, label_column)
            typer.echo(_stage_own(own, store, size=size or Folder(name="folder").size, columns=columns, cache=folder))
            data = None  # the ImageNet weights do not lie among the images
        elif dataset is not StagedDataset.NONE:
            files = STAGED[dataset.value]
            for place in files.stage(files.locate(data, cache=folder), store):
                typer.echo(place)
        if weights:
            from job.training.inputs.weights import imagenet_url, stage_imagenet

            typer.echo(stage_imagenet(store, imagenet_url(model.value), data=data, cache=folder))


@dataclass(frozen=True)
class _Columns:
    """The columns of Parquet files that the command names."""

    image: str | None
    label: str | None


def _find_own(data: str | None) -> Path:
    """The file or folder of a person's own images. Raises `UsageError` if --data names none of this machine."""
    if data is None or is_remote(data):
        raise UsageError(
            f"--dataset folder: --data is {data or 'not given'}; must be a folder of images of this machine, or "
            "Parquet files"
        )
    path = Path(data)
    if not path.exists():
        raise UsageError(f"--data {data}: no such file or folder")
    return path


def _stage_own(root: Path, store: Store, *, size: int, columns: _Columns, cache: Path | None) -> str:
    """Decode the images at `root`, and put them into `store`; returns the URI. Standard error tells what they are."""
    from job.cpus import available_cpus
    from job.training.inputs.encoded import find_images, is_table
    from job.training.inputs.staged import store_images
    from job.training.inputs.survey import decode_all

    if is_table(root):
        with extra("report"):  # which has pyarrow; containers need none
            from job.training.inputs.parquet import read_tables
        source = read_tables(root, image_column=columns.image, label_column=columns.label)
    elif columns.image or columns.label:
        raise UsageError(f"--data {root}: holds no Parquet or Arrow files, so there are no columns to name")
    else:
        source = find_images(root)
    survey = decode_all(source, size=size, num_threads=available_cpus())
    place, contents = store_images(survey.data, store, size=size, cache=cache)
    for note in survey.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"{contents.num_train:,} training and {contents.num_test:,} test images of {len(contents.classes)} classes, "
        f"{size}x{size} pixels, {contents.size_bytes / 1e6:,.1f} MB; runs take them with "
        f"--data {store.uri} --set dataset.name=folder --set dataset.size={size}",
        err=True,
    )
    return place


def _check_writable(store: Store) -> None:
    """Try a small write to `store`, because its errors must be known before gigabytes are downloaded.

    Raises these errors. Nothing stays behind, except an empty object if the role may write but not delete.
    """
    trial = ".job-stage-trial"
    store.write(trial, b"")
    store.delete([trial])
