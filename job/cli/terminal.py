"""What a person at a terminal sees of a run: a progress bar while it trains, a short table when it is done."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from job.runs import RunResult

if TYPE_CHECKING:
    from job.training.engine.state import TrainingState


class TrainingBar(AbstractContextManager["TrainingBar"]):
    """A progress bar on standard error; without a terminal it shows nothing."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("staging", total=None, numbers="")
        self._marked: tuple[int, float] | None = None
        """The number of training steps that were done when this process began to train, and the time of that."""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, state: TrainingState) -> None:
        """Count the training steps that are done."""
        if self._progress.disable:
            return
        self._marked = self._marked or (state.global_step, perf_counter())
        numbers = []
        if state.step and not state.device.is_cuda:  # reading the loss would make a GPU wait
            numbers.append(f"loss {float(state.losses[state.step - 1]):.3f}")
        if state.history:
            numbers.append(f"test top-1 {state.history[-1].test.top1:.1%}")
        marked, since = self._marked
        if state.global_step > marked:
            num_images = (state.global_step - marked) * state.manifest.batch_size
            numbers.append(f"{num_images / (perf_counter() - since):.0f} images/s")
        self._progress.update(
            self._task,
            total=state.manifest.epochs * state.num_steps,
            completed=state.global_step,
            description=f"epoch {state.epoch + 1}/{state.manifest.epochs}",
            numbers="  ".join(numbers),
        )


def print_summary(result: RunResult, *, place: str, was_complete: bool) -> None:
    """Print the result in a few lines for a person, if standard output is a terminal."""
    if not sys.stdout.isatty():
        return
    rows = [("run", result.run_id), ("status", f"{result.status} (done before)" if was_complete else result.status)]
    if result.divergence:
        rows.append(("diverged", f"epoch {result.divergence.epoch}, step {result.divergence.step}"))
    if result.final and result.best:
        rows += [
            ("test top-1", f"{result.final.top1:.2%}"),
            ("test top-5", f"{result.final.top5:.2%}" if result.final.top5 is not None else "-"),
            ("test loss", f"{result.final.loss:.4f}" if result.final.loss is not None else "not finite"),
            ("best epoch", f"{result.best.epoch}: {result.best.test.top1:.2%} (chosen on {result.best.chosen_on})"),
        ]
    timings = result.timings
    rows.append(("time", f"{timings.total:.1f} s (training {timings.train:.1f}, evaluation {timings.evaluate:.1f})"))
    if result.train_images_per_second:
        rows.append(("speed", f"{result.train_images_per_second:.0f} training images/s"))
    rows.append(("artefacts", place))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:  # plain lines: the terminal wraps them, but what people copy from them is whole
        typer.echo(f"{name:<{width}}  {value}")
