"""What is left when a training is over: plots, weights, the result. The next run may train meanwhile.

plots of the outcome → everything but the result → result.json (last, and only if there is none)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Literal

from job.errors import ObjectExists
from job.logs import get_logger
from job.runs import BestEpoch, EpochRecord, RunResult, Timings
from job.training.control import Control
from job.training.inputs.finished import check_same_inputs
from job.training.record.attempt import Attempt, history_lines
from job.training.record.machine_time import sum_cost
from job.training.record.outcome import Outcome, draw_plots


@dataclass(frozen=True)
class Spent:
    """What the attempt took before its training."""

    started: float
    """`perf_counter` when the run began; of the first run of a process, when the process did."""
    startup_seconds: float
    staging_seconds: float
    preflight_seconds: float


@dataclass(frozen=True)
class Completion:
    """Stores, when it is called, what a training left. Nothing in it lies on the device."""

    outcome: Outcome
    attempt: Attempt
    control: Control
    """After a signal nothing more is written: the next attempt completes the run from its last checkpoint."""
    spent: Spent

    def __call__(self) -> RunResult:
        """Store everything, the result last; returns the result that counts, which may be another attempt's.

        Where another attempt has stored its result meanwhile, the network and the predictions beside that stay its own.

        Raises the `JobError` that says what to do, after it was recorded.
        """
        with self.attempt:
            committed = self.attempt.folder.read_result()
            if committed is None:
                self._publish()
                committed = self._commit(self._build_result())
            else:
                self.attempt.end(self._status)
            if committed.attempt_id != self.attempt.id:  # it is ours where only the acknowledgement of it was lost
                self._give_way(committed)
        self.attempt.close()
        return committed

    @property
    def _status(self) -> Literal["completed", "diverged"]:
        return "diverged" if self.outcome.divergence else "completed"

    def _publish(self) -> None:
        """Store everything but the result, so that a result never stands without the rest."""
        keys = self.attempt.folder.keys
        self.control.check_signal()
        artefacts = {keys.plot(name): content for name, content in draw_plots(self.outcome).items()}
        artefacts |= {keys.model: self.outcome.weights, keys.history: history_lines(self.outcome.history)}
        if self.outcome.predictions:
            artefacts[keys.predictions] = self.outcome.predictions.npz()
        if self.outcome.samples_npz is not None:
            artefacts[keys.samples] = self.outcome.samples_npz
        for key, content in artefacts.items():
            self.control.check_signal()
            self.attempt.write({key: content})
        self.attempt.flush()
        self.control.check_signal()

    def _build_result(self) -> RunResult:
        """The content of result.json."""
        outcome, attempt = self.outcome, self.attempt
        attempt.machine_time.wait_for_price()
        timings = Timings(
            startup=self.spent.startup_seconds,
            staging=self.spent.staging_seconds,
            preflight=self.spent.preflight_seconds,
            train=outcome.train_seconds,
            evaluate=outcome.evaluate_seconds,
            upload=attempt.waited_seconds,
            total=perf_counter() - self.spent.started,
        )
        return RunResult(
            run_id=attempt.folder.keys.run_id,
            experiment=attempt.folder.keys.experiment,
            attempt_id=attempt.id,
            manifest=outcome.manifest,
            status=self._status,
            divergence=outcome.divergence,
            classes=list(outcome.classes),
            num_train=outcome.num_train,
            num_validation=outcome.num_validation,
            num_test=outcome.num_test,
            num_parameters=outcome.num_parameters,
            final=outcome.history[-1].test if outcome.history else None,
            best=choose_best(outcome.history),
            class_accuracy=outcome.class_accuracy,
            confusion=outcome.confusion,
            test_right=outcome.predictions.right() if outcome.predictions else None,
            history=outcome.history,
            timings=timings,
            train_images_per_second=outcome.train_images_per_second,
            peak_memory_bytes=outcome.peak_memory_bytes,
            efficiency=outcome.efficiency,
            environment=outcome.environment,
            attempts=attempt.number,
            attempt_records=attempt.records,
            lost_seconds=attempt.lost_seconds,
            estimated_cost_usd=sum_cost(attempt.records),
            finished_at=datetime.now(UTC),
        )

    def _commit(self, result: RunResult) -> RunResult:
        """Store the result unless there is one already; returns the one that counts."""
        folder = self.attempt.folder
        get_logger().info(
            "run_finished", status=result.status, test_top1=result.final.top1 if result.final else None,
            total_seconds=round(result.timings.total, 2), result=folder.locate_result(),
        )  # fmt: skip
        self.attempt.end(self._status)
        try:
            folder.store.create(folder.keys.result, result.model_dump_json(indent=1).encode())
        except ObjectExists:
            found = folder.read_result()
            if found is None:
                raise
            return found
        return result

    def _give_way(self, found: RunResult) -> None:
        """Say that another attempt's result counts. Raises `ConflictError` where it was trained on other inputs."""
        folder = self.attempt.folder
        place = folder.locate_result()
        if found.environment is not None:
            check_same_inputs(found.environment, self.outcome.environment, place=place)
        folder.store.write(folder.keys.history, history_lines(found.history))  # ours was written during the training
        get_logger().info("run_completed_elsewhere", result=place)


def choose_best(history: list[EpochRecord]) -> BestEpoch | None:
    """The epoch with the highest top-1 on the validation part, or on the test images where there is none.

    Of equal epochs the first counts.
    """
    if not history:
        return None
    held_out = history[0].validation is not None
    best = max(history, key=lambda record: (record.validation or record.test).top1)
    return BestEpoch(epoch=best.epoch, chosen_on="validation" if held_out else "test", test=best.test)
