"""The numbers behind the page, for people with their own tools."""

from __future__ import annotations

import csv
import io

from job.runs import RunResult

EPOCH_COLUMNS = (
    "experiment", "run_id", "name", "optimizer", "seed", "epoch", "learning_rate",
    "train_loss", "train_top1", "test_loss", "test_top1", "test_top5", "train_seconds", "evaluate_seconds",
)  # fmt: skip


def render_epochs(results: list[RunResult]) -> bytes:
    """CSV with a line for every epoch of every run; losses in nats, accuracies as fractions of one."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(EPOCH_COLUMNS)
    for result in results:
        manifest = result.manifest
        run = (result.experiment, result.run_id, manifest.name, manifest.optimizer.name, manifest.seed)
        for record in result.history:
            train, test = record.train, record.test
            scores = (train.loss, train.top1, test.loss, test.top1, test.top5)
            times = (round(record.train_seconds, 3), round(record.evaluate_seconds, 3))
            writer.writerow((*run, record.epoch, record.learning_rate, *scores, *times))
    return buffer.getvalue().encode()
