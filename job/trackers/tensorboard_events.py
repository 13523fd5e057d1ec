"""Runs as TensorBoard's event files: scalars, the HPARAMS tab, images and a text, a folder for each run.

Needs the package `tensorboard` alone, neither TensorFlow nor torch.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from job.trackers.places import beside, local_folder
from job.trackers.recorded import RecordedRun
from job.trackers.stamps import Outcome, judge, read_stamp, write_stamp

DEFAULT = "tensorboard"


class TensorBoard:
    """A folder for --logdir, with `<experiment>/<run id>/` in it.

    TensorBoard has no object for weights: the run's text says where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.advice = f"tensorboard --logdir {folder}"

    def add(self, run: RecordedRun, *, with_model: bool) -> Outcome:  # noqa: ARG002
        target = self._folder / run.keys.experiment / run.keys.run_id
        outcome = judge(read_stamp(target), run, with_model=False)
        if outcome != "unchanged":
            with beside(target) as folder:
                writer = EventFileWriter(str(folder))
                for event in build_events(run):
                    writer.add_event(event)
                writer.close()
                write_stamp(folder, run, with_model=False)
        return outcome

    def close(self) -> None:
        """Every run is whole already."""


def open_tracker(place: str) -> TensorBoard:
    """Raises `UsageError` if `place` is no folder of this machine."""
    return TensorBoard(local_folder(place, tool="TensorBoard"))


def build_events(run: RecordedRun) -> list[Event]:
    """All that the event file of `run` holds, in the order of its times."""
    begin, end = run.started_at.timestamp(), run.result.finished_at.timestamp()
    parameters = {name: "none" if value is None else value for name, value in run.parameters.items()}
    metrics = [hparams.Metric(name) for name in run.final]
    events = [
        Event(
            wall_time=begin, summary=hparams.hparams_config_pb([hparams.HParam(name) for name in parameters], metrics)
        ),
        Event(wall_time=begin, summary=hparams.hparams_pb(parameters, trial_id=run.keys.run_id, start_time_secs=begin)),
        Event(wall_time=begin, summary=text_pb("run", _describe(run))),
    ]
    events += [
        Event(wall_time=epoch.at.timestamp(), step=epoch.epoch, summary=_scalars(epoch.values)) for epoch in run.epochs
    ]
    last = len(run.epochs)
    events.append(Event(wall_time=end, step=last, summary=_scalars(run.final)))
    for name, png in run.read_plots().items():
        width, height = struct.unpack(">II", png[16:24])  # PNG's first chunk, IHDR
        image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        events.append(
            Event(wall_time=end, step=last, summary=Summary(value=[Summary.Value(tag=f"plots/{name}", image=image)]))
        )
    return events


def _scalars(values: dict[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _describe(run: RecordedRun) -> str:
    """A table in Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in run.facts.items())])
