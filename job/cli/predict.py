"""`job predict`: what the network of a finished run says of pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.options import check_place
from job.home import prepare_matplotlib
from job.places import is_remote, parse_place, show_path
from job.versions import extra

if TYPE_CHECKING:
    from job.training.trained.model import TrainedModel
    from job.training.trained.pictures import Damaged, Prediction

RunArgument = Annotated[
    str,
    typer.Argument(
        callback=check_place,
        help="Folder or s3:// URI of a finished run: <output>/<experiment>/runs/<run id>.",
    ),
]


def predict(
    run: RunArgument,
    images: Annotated[list[str], typer.Argument(help="Image files, and folders of them at any depth.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say which classes a run's network sees in pictures: the five most likely, with their probabilities.

    Pictures are decoded, cut, resized and normalised as the run's own evaluation did it. Damaged files are named, and
    end the command with 66 once the others are told.
    """
    from job.errors import UsageError
    from job.logs import configure_logs

    configure_logs()
    prepare_matplotlib()
    places = [parse_place(place) for place in images]
    for place in places:
        if is_remote(place):
            raise UsageError(f"IMAGES {place}: must be files or folders of this machine; copy them here first")
    with extra("train"):
        from job.training.inputs.listing import refuse
        from job.training.trained.model import load_model
        from job.training.trained.pictures import Damaged, find_pictures
        from job.training.trained.pictures import predict as predict_pictures
    paths = find_pictures(places)
    model = load_model(run)
    said = predict_pictures(model, paths)
    damaged: list[Damaged] = []
    told: list[Prediction] = []
    width = max(len(show_path(path)) for path in paths)
    for one in said:
        if isinstance(one, Damaged):
            damaged.append(one)
        elif as_json:
            told.append(one)
        else:
            typer.echo(_line(one, width=width))
    if as_json:
        typer.echo(json.dumps(_document(model, told, damaged), indent=1))
    refuse([one.fault for one in damaged])


def _line(prediction: Prediction, *, width: int) -> str:
    """A line of the table. The path comes first and is whole, because people copy it."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    likely = "  ".join(f"{probability:6.1%} {name}" for name, probability in pairs)
    return f"{show_path(prediction.path):<{width}}  {likely}"


def _document(model: TrainedModel, told: list[Prediction], damaged: list[Damaged]) -> dict[str, object]:
    """What --json prints."""
    return {
        "run": model.place,
        "classes": list(model.classes),
        "images": [
            {
                "path": str(one.path),
                "top": [
                    {"class": name, "probability": probability}
                    for name, probability in zip(one.classes, one.probabilities, strict=True)
                ],
            }
            for one in told
        ],
        "damaged": [{"path": str(one.path), "fault": one.fault} for one in damaged],
    }
