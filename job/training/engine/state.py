"""Everything that changes while training, and its way into a checkpoint and back."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from job.errors import ConflictError, DataError, JobError
from job.manifest import Manifest
from job.runs import EpochRecord, configuration_digest
from job.training.engine.device import Device
from job.training.engine.diagnostics import StepMeter
from job.training.engine.optimizers import build_optimizer, learning_rate_factor, restore_optimizer

NOT_THE_FILE_S_FAULT = (JobError, MemoryError, torch.OutOfMemoryError)
"""What may come up while a checkpoint is read: a signal, or a machine too small."""
TIMES = ("train_seconds", "evaluate_seconds")
COUNTERS = ("epoch", "step", "measured_steps", *TIMES)


class Pause:
    """Yielded between two steps, where the state is whole: here it can be saved, and the training may end."""


class TrainingState:
    """Network, optimizer and schedule, and how far they have come: `epoch` whole epochs and `step` steps."""

    def __init__(
        self, manifest: Manifest, model: nn.Module, *, device: Device, num_steps: int, data_sha256: str
    ) -> None:
        """`num_steps` are those of one epoch; `data_sha256` is the digest of the data that are trained on."""
        self.manifest = manifest
        self.data_sha256 = data_sha256
        self.num_steps = num_steps
        self.device = device
        self.model = model.to(device.torch_device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(
            manifest.optimizer,
            [weight for weight in self.model.parameters() if weight.requires_grad],
            capturable=device.graphs,
        )
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=device.precision == "fp16")
        self.meter = StepMeter(self.model)
        self.history: list[EpochRecord] = []
        self.epoch = 0
        self.losses = torch.zeros(num_steps, device=device.torch_device)
        """(num_steps,) float32, of this epoch. As the next two in the same memory for the whole run."""
        self.num_correct = torch.zeros((), dtype=torch.int64, device=device.torch_device)
        self.device_step = torch.zeros(1, dtype=torch.int64, device=device.torch_device)
        """`step`, for what runs on the device."""
        self._open: tuple[str, float] | None = None
        """The time that is being counted, and since when."""
        self.clear_epoch()

    def finish_epoch(self, record: EpochRecord) -> None:
        """Keep the record of the present epoch, and go on to the next one."""
        self.history.append(record)
        self.epoch += 1
        self.clear_epoch()

    def clear_epoch(self) -> None:
        """Forget what was gathered over the present epoch."""
        self.step = 0
        for tensor in (self.losses, self.num_correct, self.device_step):
            tensor.zero_()
        self.measured_steps: list[int] = []
        self.norms: list[Tensor] = []
        self.train_seconds = 0.0
        self.evaluate_seconds = 0.0

    @property
    def global_step(self) -> int:
        """Steps since the start of training."""
        return self.epoch * self.num_steps + self.step

    def learning_rate(self, step: int) -> float:
        """Of the step with this number since the start of training."""
        manifest = self.manifest
        factor = learning_rate_factor(
            manifest.schedule, step=step, num_epochs=manifest.epochs, num_steps=self.num_steps
        )
        return manifest.optimizer.lr * factor

    @contextmanager
    def timed(self, name: Literal["train_seconds", "evaluate_seconds"]) -> Iterator[None]:
        """Add the time of this block to `train_seconds` or `evaluate_seconds`, however it ends."""
        self._open = name, perf_counter()
        try:
            yield
        finally:
            self.device.synchronize()
            setattr(self, name, getattr(self, name) + self._open_seconds(name))
            self._open = None

    def _open_seconds(self, name: str) -> float:
        """Of the part under way, where it counts for `name`."""
        return perf_counter() - self._open[1] if self._open is not None and self._open[0] == name else 0.0

    @property
    def trained_seconds(self) -> float:
        """Training and evaluation that led here, over all attempts."""
        return self.total_seconds("train_seconds") + self.total_seconds("evaluate_seconds")

    def total_seconds(self, name: Literal["train_seconds", "evaluate_seconds"]) -> float:
        """Over all epochs, and the part of one that is under way."""
        whole: float = sum(getattr(record, name) for record in self.history)
        return whole + float(getattr(self, name)) + self._open_seconds(name)

    def serialise(self) -> bytes:
        """The content of a checkpoint. Between two steps of an epoch its time includes the part under way."""
        self.device.synchronize()
        content: dict[str, Any] = {
            "precision": self.device.precision,
            "configuration": configuration_digest(self.manifest),
            "data_sha256": self.data_sha256,
            "history": [record.model_dump(mode="json") for record in self.history],
            "losses": self.losses,
            "num_correct": self.num_correct,
            "norms": self.norms,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device.torch_device) if self.device.is_cuda else None,
        }
        content |= {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scaler")}
        content |= {name: getattr(self, name) for name in COUNTERS}
        content |= {name: content[name] + self._open_seconds(name) for name in TIMES}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    def restore(self, checkpoint: bytes, *, source: str) -> None:
        """Continue from what `serialise` gave; nothing in it is executed.

        Raises `DataError` when it cannot be read, and is then as it was; `ConflictError` when it belongs to something
        else.
        """
        content = _load_content(checkpoint, map_location=self.device.torch_device, source=source)
        expected = {"configuration": configuration_digest(self.manifest), "data_sha256": self.data_sha256}
        for key, value in expected.items():
            if content.get(key) != value:
                raise ConflictError(
                    f"{source}: belongs to another {key.removesuffix('_sha256')} ({content.get(key)}, here {value}); "
                    "name another --output or --experiment"
                )
        trained_in = _find_precision(content)
        if trained_in != self.device.precision and (trained_in is not None or self.scaler.is_enabled()):
            raise DataError(
                f"{source}: was trained in {trained_in or 'another precision'}, not {self.device.precision}"
            )
        start = copy.deepcopy([part.state_dict() for part in (self.model, self.optimizer, self.scaler)])
        try:
            self._take(content)
        except NOT_THE_FILE_S_FAULT:
            raise
        except Exception as error:  # another version's, or made by hand
            self._load(*start)
            self.history, self.epoch = [], 0
            self.clear_epoch()
            raise DataError(f"{source}: not a checkpoint of this version: {error!r:.200}") from error

    def _load(self, model: dict[str, Any], optimizer: dict[str, Any], scaler: dict[str, Any]) -> None:
        self.model.load_state_dict(model)
        restore_optimizer(self.optimizer, optimizer)
        self.scaler.load_state_dict(scaler)

    def _take(self, content: dict[str, Any]) -> None:
        """Become what `content` says; the random numbers last."""
        self._load(content["model"], content["optimizer"], content["scaler"])
        for name in COUNTERS:
            setattr(self, name, content[name])
        self.history = [EpochRecord.model_validate(record) for record in content["history"]]
        self.losses.copy_(content["losses"])
        self.num_correct.copy_(content["num_correct"])
        self.device_step.fill_(self.step)
        self.norms = content["norms"]
        torch.set_rng_state(content["rng"].cpu())
        if content["cuda_rng"] is not None and self.device.is_cuda:
            torch.cuda.set_rng_state(content["cuda_rng"].cpu(), self.device.torch_device)


def read_precision(checkpoint: bytes, *, source: str) -> str | None:
    """In which precision a checkpoint was trained, as far as it says. Raises `DataError` when it cannot be read."""
    return _find_precision(_load_content(checkpoint, map_location=torch.device("cpu"), source=source))


def _find_precision(content: dict[str, Any]) -> str | None:
    """Checkpoints from before 2026-11-29 do not say it, but only fp16 has a scaler with a state."""
    return content.get("precision") or ("fp16" if content.get("scaler") else None)


def _load_content(checkpoint: bytes, *, map_location: torch.device, source: str) -> dict[str, Any]:
    """What `serialise` stored; nothing in it is executed. Raises `DataError` when it cannot be read."""
    try:
        content = torch.load(io.BytesIO(checkpoint), map_location=map_location, weights_only=True)
    except NOT_THE_FILE_S_FAULT:
        raise
    except Exception as error:  # a damaged file makes the unpickler raise nearly anything
        raise DataError(f"{source}: not a checkpoint: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise DataError(f"{source}: not a checkpoint: {type(content).__name__}")
    return content
