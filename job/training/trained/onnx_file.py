"""The network of a run as an ONNX model, and the proof that it computes what the network computes.

One file holds all: it takes decoded pictures, (N, 3, H, W) uint8 in RGB, and gives (N, num_classes) float32 logits.
Resizing and normalisation lie within, so that no program that uses it can do them otherwise.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import torch

from job.errors import HostError
from job.training.trained.model import TrainedModel

OPSET = 18
"""The first version of ONNX's operators whose Resize knows antialiasing (https://onnx.ai/onnx/operators)."""
TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit of the images that are compared or to 1. float32 kernels
that add in another order differ by some 1e-6."""
NUM_COMPARED = (1, 7)
"""Sizes of the batches that are compared: more than one, because the model must not have remembered a size."""


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX model that was compared with its network."""

    content: bytes
    """The file."""
    difference: float
    """The largest difference of a logit that was seen, relative as `TOLERANCE`."""


def build_onnx(model: TrainedModel) -> OnnxModel:
    """`model` as an ONNX file, computed by onnxruntime and found equal. Raises `HostError` where it is not.

    Needs the extra `onnx`; raises `ModuleNotFoundError` without it.
    """
    import onnxruntime
    import onnxscript  # noqa: F401 - torch's exporter needs it, and would name it in an error of its own

    size = model.decoded_size
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        model, (example,), dynamo=True, opset_version=OPSET, input_names=["images"], output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
    )  # fmt: skip
    if program is None:
        raise HostError(f"{model.place}: torch's exporter gave no model")
    proto = program.model_proto
    for key, value in _describe(model).items():
        proto.metadata_props.add(key=key, value=value)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    differences = []
    for num_images in NUM_COMPARED:
        images = random.integers(0, 256, (num_images, 3, size, size), dtype=np.uint8)
        with torch.inference_mode():
            expected = model(torch.from_numpy(images)).numpy()
        (seen,) = session.run(None, {"images": images})
        differences.append(float(np.abs(seen - expected).max() / max(1.0, np.abs(expected).max())))
    difference = max(differences)
    if not difference <= TOLERANCE:
        raise HostError(
            f"{model.place}: onnxruntime computes logits that differ by {difference:.1e} from the network's; must be "
            f"at most {TOLERANCE:.0e}; nothing was written; try another version of onnxruntime or torch"
        )
    return OnnxModel(content, difference)


def _describe(model: TrainedModel) -> dict[str, str]:
    """What a program must know of the file, as ONNX's metadata."""
    manifest = model.manifest
    return {
        "classes": json.dumps(model.classes),
        "run_id": model.result.run_id,
        "experiment": model.result.experiment,
        "images": f"uint8 RGB, the centre square of the upright picture, {model.decoded_size} pixels wide and high",
        "image_size": str(model.input_size),
        "normalization": manifest.normalization,
    }
