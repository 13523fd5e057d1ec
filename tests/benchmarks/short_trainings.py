"""Short trainings side by side: every optimizer eager and by CUDA graphs, and every precision beside fp32."""

from __future__ import annotations

import argparse
import gc
import warnings
from dataclasses import dataclass
from typing import Any

from job.errors import ManifestError
from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.training.engine.batches import BatchSource, batch_bounds, split_data
from job.training.engine.image_data import ImageData
from job.training.engine.loop import Sources
from job.training.engine.model import build_model
from job.training.engine.optimizers import can_be_captured, find_class
from job.training.engine.state import TrainingState
from job.training.inputs.datasets.synthetic import load_synthetic
from tests.benchmarks.card import PRECISIONS, need_precision, open_device
from tests.benchmarks.concurrency import largest_difference
from tests.benchmarks.findings import FAILED, NOT_TRIED, Document, Findings, NotTried
from tests.epochs import whole_epochs

MAX_IMAGES, NUM_EPOCHS = 1000, 3
"""All graphs are captured in the first epoch, when these are twenty steps; the last one is all replay."""
LEARNING_RATE = 1e-4
MODES: dict[str, dict[str, Any]] = {
    "fp32, deterministic": {"precision": "fp32", "deterministic": True},
    "as a run does it": {"precision": "auto"},
}
GRAPHS_TOLERANCE, PRECISION_TOLERANCE = 0.01, 0.05
"""Within which the losses of deterministic trainings must agree, as in tests/gpu; relative."""
NO_GRAPH = "no CUDA graph"
"""How the warning begins that something could not be captured."""


@dataclass(frozen=True)
class Task:
    """What all trainings of a section are given."""

    options: argparse.Namespace
    data: ImageData

    def manifest(self, **fields: Any) -> Manifest:
        """Of a training with these fields."""
        return Manifest.model_validate(
            {
                "name": "short",
                "epochs": NUM_EPOCHS,
                "batch_size": self.options.batch_size,
                "schedule": {"name": "onecycle"},
                "dataset": {"name": "synthetic", "size": self.options.image_size},
                "model": {"weights": "none"},
            }
            | fields
        )

    def train(self, *, graphs: bool = False, **fields: Any) -> Document:
        """Mean loss and seconds of every epoch; `fields` are the manifest's."""
        manifest = self.manifest(**fields)
        gc.collect()  # a step and its graph hold each other, and the memory of the training before
        device = open_device(
            self.options, precision=manifest.precision, deterministic=manifest.deterministic, graphs=graphs,
            image_size=self.options.image_size,
        )  # fmt: skip
        parts = split_data(self.data, validation_fraction=0, seed=0, device=device.torch_device)
        state = TrainingState(
            manifest, build_model(manifest.model, None, num_classes=10, seed=0), device=device, data_sha256="",
            num_steps=len(batch_bounds(len(parts.train), manifest.batch_size)),
        )  # fmt: skip
        train = BatchSource(parts.train, image_size=None, augmentation="crop_flip")
        sources = Sources(train, None, BatchSource(parts.test, image_size=None))
        device.reset_peak_memory()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            epochs = [epoch.record for epoch in whole_epochs(state, sources)]
        return {
            "precision": device.precision,
            "losses": [epoch.train.loss for epoch in epochs],
            "test_losses": [epoch.test.loss for epoch in epochs],
            "train_seconds": [epoch.train_seconds for epoch in epochs],
            "evaluate_seconds": [epoch.evaluate_seconds for epoch in epochs],
            "peak_memory_bytes": device.peak_memory_bytes(),
            "warnings": sorted({str(warning.message) for warning in caught}),
        }


def build_task(options: argparse.Namespace) -> Task:
    """Generated images, the same for every training."""
    num_train = min(MAX_IMAGES, options.num_images)
    return Task(
        options, load_synthetic(size=options.image_size, num_train=num_train, num_test=max(10, num_train // 10))
    )


def compare(found: Document, expected: Document) -> Document:
    """How far the losses are apart, relative, and how often as quick the last epoch's training is."""
    difference = largest_difference([found["losses"]], [expected["losses"]])
    return {
        "equal": difference == 0,
        "difference": difference,
        "speedup": expected["train_seconds"][-1] / found["train_seconds"][-1],
    }


def measure_optimizers(options: argparse.Namespace, findings: Findings) -> None:
    """Every optimizer eager and by graphs: losses, how far apart they are, seconds."""
    task, has_graphs = build_task(options), options.device == "cuda"
    for name in options.optimizers:
        for mode, fields in MODES.items():
            with findings.row(f"{name}, {mode}") as row:
                _need_library(name)
                fields = fields | {"optimizer": {"name": name, "lr": LEARNING_RATE}}
                row["is_capturable"] = can_be_captured(task.manifest(**fields).optimizer)
                row |= {"eager": task.train(**fields), "graphs": None}
                if not has_graphs:
                    row |= {"status": NOT_TRIED, "reason": "CUDA graphs need a GPU; this was eager alone"}
                    continue
                row["graphs"] = task.train(graphs=True, **fields)
                row |= compare(row["graphs"], row["eager"])
                _judge_graphs(row, must_agree=fields.get("deterministic", False))


def _judge_graphs(row: Document, *, must_agree: bool) -> None:
    refused = [said for said in row["graphs"]["warnings"] if said.startswith(NO_GRAPH)]
    if refused:
        row |= {"status": FAILED, "reason": refused[0]}
    elif must_agree and not row["difference"] <= GRAPHS_TOLERANCE:
        row |= {"status": FAILED, "reason": f"losses are {row['difference']:.2g} apart; at most {GRAPHS_TOLERANCE}"}


def _need_library(name: str) -> None:
    try:
        find_class(OPTIMIZERS[name])
    except ManifestError as error:
        raise NotTried(str(error)) from error


def measure_precisions(options: argparse.Namespace, findings: Findings) -> None:
    """Every precision that the device has beside fp32, eager and by graphs: losses, how far apart they are, seconds."""
    task = build_task(options)
    fields = {"optimizer": {"name": "sgd", "lr": 0.001}}
    expected: Document = {}
    for graphs in (False, True) if options.device == "cuda" else (False,):
        for precision in sorted(PRECISIONS, key=lambda name: name != "fp32"):
            with findings.row(f"{precision}, {'graphs' if graphs else 'eager'}") as row:
                need_precision(open_device(options, precision=precision), precision)
                row["training"] = task.train(graphs=graphs, precision=precision, **fields)
                expected = expected or row["training"]
                row |= compare(row["training"], expected)
                if not row["difference"] <= PRECISION_TOLERANCE:
                    reason = f"losses are {row['difference']:.2g} from fp32's; at most {PRECISION_TOLERANCE}"
                    row |= {"status": FAILED, "reason": reason}
