"""`job stage`: puts data and weights where containers fetch them quickly."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.options import DEFAULT_CACHE, CacheOption, DataOption, check_place
from job.cli.streams import outlive_reader
from job.home import prepare_matplotlib
from job.versions import extra

if TYPE_CHECKING:
    from job.storage import Store


class StagedDataset(StrEnum):
    """The data sets that `job stage` can stage, beside the weights."""

    STL10 = "stl10"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"
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
    cache: CacheOption = DEFAULT_CACHE,
    weights: Annotated[bool, typer.Option(help="Put the ImageNet weights there as well.")] = True,
    model: Annotated[Network, typer.Option(help="Network whose ImageNet weights are put there.")] = Network.RESNET18,
) -> None:
    """Put a data set and the ImageNet weights where containers fetch them quickly."""
    from job.logs import configure_logs
    from job.storage import open_store

    outlive_reader()
    configure_logs()
    store = open_store(destination)
    _check_writable(store)
    prepare_matplotlib()
    with extra("train"):
        from job.training.inputs.cache import expand_cache
        from job.training.inputs.datasets import STAGED

        folder = expand_cache(cache)
        places: list[str] = []
        if dataset is not StagedDataset.NONE:
            files = STAGED[dataset.value]
            places += files.stage(files.locate(data, cache=folder), store)
        if weights:
            from job.training.inputs.weights import imagenet_url, stage_imagenet

            places.append(stage_imagenet(store, imagenet_url(model.value), data=data, cache=folder))
    for staged in places:
        typer.echo(staged)


def _check_writable(store: Store) -> None:
    """Try a small write to `store`, because its errors must be known before gigabytes are downloaded.

    Raises these errors. Nothing stays behind, except an empty object if the role may write but not delete.
    """
    trial = ".job-stage-trial"
    store.write(trial, b"")
    store.delete([trial])
