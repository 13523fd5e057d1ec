"""What is left when a training is over: plots, weights, the result. The next run trains meanwhile: no device is needed.

plots of the record → everything but the result → result.json (last, only if absent)
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from job.errors import ObjectExists
from job.logs import get_logger
from job.plots import Sample
from job.runs import RunKeys, RunResult
from job.storage import Store
from job.training.control import Control
from job.training.inputs.finished import check_same_inputs
from job.training.record.attempt import Journal, recorded_failure
from job.training.record.result import complete_result, draw_plots
from job.training.record.writer import ArtefactWriter, history_lines, read_result


@dataclass(frozen=True)
class Completion:
    """Called, it stores what a finished training gave; holds nothing that lies on the device."""

    result: RunResult
    """As the training left it."""
    samples: list[Sample]
    weights: bytes
    """The network as safetensors."""
    store: Store
    keys: RunKeys
    writer: ArtefactWriter
    """With what is not stored yet of the training; closed at the end."""
    journal: Journal
    control: Control
    """After a signal it ends before the next artefact: another attempt completes from the last checkpoint."""
    started: float
    """`perf_counter` when the run began, its process's start-up included."""
    price_per_hour: float | None

    def __call__(self) -> RunResult:
        """The result that counts. Raises the `JobError` that says what to do, after leaving word of it."""
        with recorded_failure(self.journal, self.writer):
            self._publish()
            result = complete_result(
                self.result,
                upload_seconds=self.writer.waited_seconds,
                total_seconds=perf_counter() - self.started,
                price_per_hour=self.price_per_hour,
            )
            committed = self._commit(result)
        self.writer.close()
        return committed

    def _publish(self) -> None:
        """Everything but the result, so that a result never stands without them."""
        self.control.stop_if_signalled()
        plots = draw_plots(self.result, self.samples)
        artefacts = {self.keys.plot(name): content for name, content in plots.items()}
        artefacts |= {self.keys.model: self.weights, self.keys.history: history_lines(self.result.history)}
        for key, content in artefacts.items():
            self.control.stop_if_signalled()
            self.writer.write({key: content})
        self.writer.flush()
        self.control.stop_if_signalled()

    def _commit(self, result: RunResult) -> RunResult:
        """Store the result unless there is one; returns the one that counts."""
        get_logger().info(
            "run_finished", status=result.status, test_top1=result.final.top1 if result.final else None,
            total_seconds=round(result.timings.total, 2), result=self.store.locate(self.keys.result),
        )  # fmt: skip
        self.writer.write(self.journal.progress(result.status) | self.journal.log())
        self.writer.flush()
        try:
            self.store.create(self.keys.result, result.model_dump_json(indent=1).encode())
        except ObjectExists:
            found = read_result(self.store, self.keys)
            if found is None:
                raise
            if found.attempt_id != result.attempt_id:  # equal where only the acknowledgement of our own was lost
                if found.environment is not None and result.environment is not None:
                    place = self.store.locate(self.keys.result)
                    check_same_inputs(found.environment, result.environment, place=place)
                get_logger().info("run_completed_elsewhere", result=self.store.locate(self.keys.result))
            return found
        return result
