"""The product's techniques, switched on one after another, and at the end the product as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from job.runs import FIRST_STEPS
from job.training.engine.batches import BatchSource
from job.training.engine.device import Device
from job.training.engine.evaluation import BATCH_SIZE, Evaluator
from job.training.engine.folding import FoldedModel
from job.training.engine.optimizers import build_optimizer
from job.training.engine.state import TrainingState
from job.training.engine.step import TrainingStep
from tests.benchmarks.bench import LEARNING_RATE, Bench

Part = Literal["train", "evaluate"]
BOTH: tuple[Part, ...] = ("train", "evaluate")


@dataclass(frozen=True)
class Techniques:
    """What is switched on; the data always lie on the device as uint8."""

    tuned: bool = False
    channels_last: bool = False
    products: bool = False
    autocast: bool = False
    optimizer: bool = False
    no_item: bool = False
    folded: bool = False
    keeps_memory: bool = False
    graph: bool = False
    compiled: bool = False

    def device(self, device: Device) -> Device:
        """What is left of the product's choice."""
        return replace(device, precision=device.precision if self.autocast else "fp32", graphs=self.graph)


@dataclass(frozen=True)
class Rung:
    """One technique more than the rung before."""

    name: str
    adds: str | None
    parts: tuple[Part, ...]

    def reason_to_skip(self, device: Device, part: Part) -> str | None:
        """Why this device cannot do it."""
        match self.adds:
            case "tuned" if not device.is_cuda:
                return "a CPU has neither cuDNN nor TF32"
            case "products" if device.is_cuda or device.precision != "fp32":
                return "in fp32 on a CPU alone"
            case "autocast" if device.precision not in ("bf16", "fp16"):
                return "this CPU has no bf16 instructions; emulated, they are slower than fp32"
            case "keeps_memory" if device.is_cuda:
                return "torch keeps a GPU's memory by itself"
            case "graph" if not device.is_cuda:
                return "CUDA graphs need a GPU"
            case "graph" if part == "train" and device.precision == "fp16":
                return "GradScaler reads back"
        return None


LADDER = (
    Rung("resident uint8 data", None, BOTH),
    Rung("+ cuDNN benchmark, TF32", "tuned", BOTH),
    Rung("+ channels-last", "channels_last", BOTH),
    Rung("+ gradients of wide kernels as products", "products", ("train",)),
    Rung("+ autocast", "autocast", BOTH),
    Rung("+ fused or foreach optimizer", "optimizer", ("train",)),
    Rung("+ no .item() per step", "no_item", ("train",)),
    Rung("+ folded BatchNorm", "folded", ("evaluate",)),
    Rung("+ freed memory kept", "keeps_memory", BOTH),
    Rung("+ CUDA graph", "graph", BOTH),
)
COMPILED = Rung("torch.compile instead of the graph", "compiled", ("train",))


class LadderTrainer:
    """Trains with some techniques. Called with a number of steps; returns the loss of the first."""

    def __init__(self, bench: Bench, techniques: Techniques) -> None:
        self._techniques, self._batch_size = techniques, bench.manifest.batch_size
        self._device = device = techniques.device(bench.device)
        self._source = BatchSource(bench.parts.train, image_size=None)
        self._source.follow(bench.plan())
        model = bench.build_model(products=techniques.products)
        if techniques.channels_last:
            model.to(memory_format=torch.channels_last)
        parameters = list(model.parameters())
        self._optimizer = (
            build_optimizer(bench.manifest.optimizer, parameters, capturable=device.graphs)
            if techniques.optimizer
            else torch.optim.Adam(parameters, lr=LEARNING_RATE)
        )
        self._scaler = torch.amp.GradScaler(device.torch_device.type, enabled=device.precision == "fp16")
        self._network = model
        self._model = torch.compile(model) if techniques.compiled else model
        self._losses = torch.zeros(bench.num_steps, device=device.torch_device)
        self._num_correct = torch.zeros((), dtype=torch.int64, device=device.torch_device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device.torch_device)
        self._within_batch = torch.arange(self._batch_size, device=device.torch_device)
        self._take = device.graphed(self._take_step)

    def __call__(self, num_steps: int) -> float:
        self._network.train()
        self._step.zero_()
        for _ in range(num_steps):
            self._take()
        return self._losses[0].item()

    def _take_step(self) -> None:
        images, labels = self._source.batch(self._step * self._batch_size + self._within_batch)
        if not self._techniques.channels_last:
            images = images.contiguous()
        with self._device.autocast():
            logits = self._model(images)
        loss = functional.cross_entropy(logits.float(), labels)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if not self._techniques.no_item:
            loss.item()
        self._losses.index_copy_(0, self._step, loss.detach().view(1))
        self._num_correct += (logits.detach().argmax(1) == labels).sum()
        self._step += 1


class LadderEvaluator:
    """Evaluates the test images with some techniques; returns their mean loss."""

    def __init__(self, bench: Bench, techniques: Techniques) -> None:
        self._techniques, self._device = techniques, techniques.device(bench.device)
        self._source = BatchSource(bench.parts.test, image_size=None)
        self._model = bench.build_trained_model()
        if techniques.channels_last:
            self._model.to(memory_format=torch.channels_last)
        self._folded = FoldedModel(self._model) if techniques.folded else None
        self._all = self._device.graphed(self._logits, num_warm_ups=1)

    def __call__(self) -> float:
        return functional.cross_entropy(self._all(), self._source.part.labels).item()

    @torch.inference_mode()
    def _logits(self) -> Tensor:
        if self._folded is not None:
            self._folded.refresh()
        model = self._folded or self._model
        logits = []
        for images in self._source.evaluation(BATCH_SIZE):
            with self._device.autocast():
                logits.append(model(images if self._techniques.channels_last else images.contiguous()).float())
        return torch.cat(logits)


class ProductTrainer:
    """The product's own steps, its diagnostics among them."""

    def __init__(self, bench: Bench, *, source_type: type[BatchSource] = BatchSource) -> None:
        source = source_type(bench.parts.train, image_size=None)
        model = bench.build_model()
        self._state = TrainingState(
            bench.manifest, model, device=bench.device, num_steps=bench.num_steps, data_sha256=""
        )
        self._take_step = TrainingStep(self._state, source)

    @property
    def losses(self) -> list[float]:
        """Of each step of the last call."""
        losses: list[float] = self._state.losses.tolist()
        return losses

    def __call__(self, num_steps: int) -> float:
        self._state.clear_epoch()
        for _ in range(num_steps):
            self._take_step()
        loss: float = self._state.losses[0].item()
        self._state.epoch += FIRST_STEPS  # the first steps of all, each of them measured, are the warm-up's
        return loss


class ProductEvaluator:
    """The product's own evaluation, its scores among it."""

    def __init__(self, bench: Bench, *, source_type: type[BatchSource] = BatchSource) -> None:
        model = bench.build_trained_model().to(memory_format=torch.channels_last)
        self._evaluator = Evaluator(model, source_type(bench.parts.test, image_size=None), device=bench.device)

    def __call__(self) -> float:
        loss = self._evaluator().scores().loss
        assert loss is not None
        return loss
