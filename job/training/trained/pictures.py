"""The classes of pictures that a person names: files, and folders of files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from job.cpus import available_cpus
from job.errors import DataError
from job.places import show_path
from job.training.engine.evaluation import BATCH_SIZE
from job.training.inputs.kinds import has_picture_name, looks_like_picture
from job.training.inputs.left_out import is_hidden, order
from job.training.trained.model import TrainedModel

NUM_TOLD = 5
"""So many classes are told of each picture, where there are as many."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of one picture."""

    path: Path
    classes: list[str]
    """The most likely ones, the most likely first."""
    probabilities: list[float]
    """Of `classes`: the softmax over all classes, so in general less than 1 in sum."""


@dataclass(frozen=True)
class Damaged:
    """A file that could not be decoded."""

    path: Path
    fault: str
    """Why, with the file's name."""


def find_pictures(places: Iterable[str | Path]) -> list[Path]:
    """The files that `places` name, and the pictures in those that are folders, at any depth, without hidden ones.

    In a folder a file counts as a picture by its name or, without a suffix, by its content. Raises `DataError` for a
    place that is not there, and for a folder without pictures.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(_walk(place), key=order)
            if not inside:
                raise DataError(f"{show_path(place)}: holds no pictures; name image files or a folder of them")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise DataError(f"{show_path(place)}: no such file or folder")
    return list(dict.fromkeys(found))


def predict(model: TrainedModel, paths: Sequence[Path]) -> Iterator[Prediction | Damaged]:
    """What `model` says of each file, in order. At most a batch of them is in memory."""
    with ThreadPoolExecutor(available_cpus()) as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            part = paths[start : start + BATCH_SIZE]
            with warnings.catch_warnings():  # Pillow warns about metadata, and about sizes, which `decode` checks
                warnings.simplefilter("ignore")
                decoded = list(pool.map(lambda path: _decode(model, path), part))
            images = [image for image in decoded if isinstance(image, torch.Tensor)]
            told = iter(_top(model, torch.stack(images)) if images else [])
            for path, image in zip(part, decoded, strict=True):
                yield image if isinstance(image, Damaged) else Prediction(path, *next(told))


def _walk(folder: Path) -> Iterator[Path]:
    for below, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(Path(below, name))]
        for path in (Path(below, name) for name in names):
            if not is_hidden(path) and path.is_file() and _is_picture(path):
                yield path


def _is_picture(path: Path) -> bool:
    try:
        return has_picture_name(path) or (not path.suffix and looks_like_picture(path))
    except OSError:
        return True  # it is named as one that cannot be read, and not passed over


def _decode(model: TrainedModel, path: Path) -> torch.Tensor | Damaged:
    try:
        return model.decode(path)
    except DataError as error:
        return Damaged(path, str(error))


@torch.inference_mode()
def _top(model: TrainedModel, images: torch.Tensor) -> list[tuple[list[str], list[float]]]:
    likely = model(images).softmax(1).topk(min(NUM_TOLD, len(model.classes)))
    return [
        ([model.classes[index] for index in indices], values)
        for indices, values in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]
