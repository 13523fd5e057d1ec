"""`job export`: finished runs for other programs. What is exported, and where to, follows from --to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from job.cli.options import check_experiment, check_place
from job.cli.streams import outlive_reader
from job.errors import UsageError
from job.home import prepare_matplotlib
from job.versions import extra


class Format(StrEnum):
    """What --to accepts."""

    ONNX = "onnx"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb-offline"
    CSV = "csv"


def export(
    place: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT|RUN",
            envvar="JOB_OUTPUT",
            callback=check_place,
            help="Trackers: an output, for all its finished runs, or one run. onnx: one run. A run is the folder or "
            "s3:// URI <output>/<experiment>/runs/<run id>; everything else is taken for an output.",
        ),
    ],
    to: Annotated[
        Format,
        typer.Option(
            help="onnx: the network as a file for other programs. The others: parameters, metrics by epoch, figures "
            "and model of finished runs, as the tool's own objects."
        ),
    ],
    into: Annotated[
        str | None,
        typer.Option(
            help="Where to write. onnx: a file; by default model.onnx in the run. tensorboard, wandb-offline: a "
            "folder; csv: a folder or s3:// URI; by default tensorboard, wandb or csv here. mlflow: a folder or the "
            "URI of a server; by default MLFLOW_TRACKING_URI, or mlruns."
        ),
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Only the runs of this experiment of an output.")] = None,
    models: Annotated[
        bool,
        typer.Option(help="Whether mlflow and wandb-offline get the weights too. The other trackers have none."),
    ] = True,
) -> None:
    """Give finished runs to other programs: a network as ONNX, or histories to a tracker.

    Repeat an export, and it changes nothing of what is there and adds the runs that finished meanwhile. A run whose
    result was made anew takes the place of the old one. Runs without a result are left for the next export.
    """
    from job.logs import configure_logs
    from job.runs import split_run

    outlive_reader()
    configure_logs()
    if experiment is not None:
        check_experiment(experiment)
    if into is not None and to is not Format.MLFLOW:  # which also takes the URI of a server
        check_into(into)
    if to is Format.ONNX:
        _export_onnx(place, into)
    else:
        found = split_run(place)
        if found is not None and experiment is not None:
            raise UsageError(f"--experiment: {place} names one run, which is of the experiment {found[1].experiment}")
        _export_runs(place, to, into, experiment=experiment, with_models=models)


def _export_onnx(place: str, into: str | None) -> None:
    from job.storage import open_store

    prepare_matplotlib()
    with extra("train"):
        from job.training.trained.model import TrainedModel
        from job.training.trained.onnx_file import OPSET, TOLERANCE, build_onnx
        from job.training.trained.run import open_run
    run = open_run(place)
    store, key = run.store, run.keys.onnx
    if into is not None:
        folder, _, key = check_into(into).rpartition("/")
        if not key:
            raise UsageError(f"--into {into}: names no file; must be one, such as model.onnx")
        store = open_store(folder or ("/" if into.startswith("/") else "."))
    model = TrainedModel(run)
    with extra("onnx"):
        built = build_onnx(model)
    store.write(key, built.content)
    typer.echo(store.locate(key))
    typer.echo(
        f"images (N, 3, {model.decoded_size}, {model.decoded_size}) uint8 RGB → logits (N, {len(model.classes)}); "
        f"opset {OPSET}, {len(built.content) / 1e6:.1f} MB"
    )
    typer.echo(
        f"onnxruntime's logits differ from the network's by {built.difference:.1e} at most, relative to the largest; "
        f"{TOLERANCE:.0e} is allowed"
    )


def check_into(into: str) -> str:
    """`into` as a place. Raises `UsageError`."""
    from job.places import parse_place

    try:
        return parse_place(into)
    except UsageError as error:
        raise UsageError(f"--into {error}") from error


def _export_runs(place: str, to: Format, into: str | None, *, experiment: str | None, with_models: bool) -> None:
    from job.runs import split_run
    from job.storage import open_store
    from job.trackers import find_runs, open_recorded, open_tracker, replay

    one = split_run(place)
    store = open_store(one[0] if one else place)
    found = find_runs(store, experiment=one[1].experiment if one else experiment)
    wanted, num_unfinished = found.finished, found.num_unfinished
    if one is not None:
        wanted, num_unfinished = [keys for keys in wanted if keys == one[1]], 0
        if not wanted:
            raise UsageError(f"{place}: no finished run is here (no result.json)")
    if into is not None and to is not Format.MLFLOW:
        into = check_into(into)
    tracker, where = open_tracker(to.value, into)

    done = replay(open_recorded(store, wanted), tracker, with_models=with_models)
    parts = [f"{done.num_new} runs written"]
    parts += [f"{done.num_replaced} written anew"] if done.num_replaced else []
    parts += [f"{done.num_unchanged} there already"] if done.num_unchanged else []
    parts += [f"{num_unfinished} without a result left for later"] if num_unfinished else []
    typer.echo(f"{where}: {', '.join(parts)}")
    typer.echo(f"see: {tracker.advice}")
