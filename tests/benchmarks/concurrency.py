"""Several configurations at once on one device: what it brings in images/s, and what it changes in the losses."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from job.cpus import available_cpus
from job.manifest import Manifest
from job.training.engine.batches import BatchSource
from job.training.engine.image_data import ImageData
from job.training.machine import choose_device
from job.training.settings import RunSettings
from tests.benchmarks.bench import LEARNING_RATE, Bench, make_resident
from tests.benchmarks.ladder import ProductTrainer
from tests.processes import CONTEXT

NUM_IMAGES_ON_CPU = 100
"""Of each configuration in a round."""
Losses = list[list[float]]
"""Of each configuration, of each step."""


class Work(Protocol):
    """All configurations, trained for a round each time it is called."""

    def __call__(self) -> tuple[Losses, float]:
        """The losses, and the CPU-seconds of other processes."""


@dataclass
class Way:
    """How configurations are trained, and what was measured of it."""

    name: str
    work: Work | None
    num_threads: int
    baseline: Way | None = None
    alone: Way | None = None
    """The same configurations one after another with as many threads as each has here."""
    skipped: str | None = None
    losses: Losses = field(default_factory=list)
    """Of the first round: from the first weights on."""
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def warm_up(self, bench: Bench) -> None:
        """The first rounds."""
        if self.work is None:
            return
        torch.set_num_threads(self.num_threads)
        try:
            self.losses, _ = self.work()
            for _ in range(bench.num_warm_ups - 1):
                self.work()
        except RuntimeError as error:
            self.work, self.skipped = None, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"

    def measure(self, bench: Bench) -> None:
        """One round."""
        if self.work is None:
            return
        torch.set_num_threads(self.num_threads)
        bench.device.synchronize()
        started, cpu_started = time.perf_counter(), time.process_time()
        _, others = self.work()
        bench.device.synchronize()
        self.seconds.append(time.perf_counter() - started)
        self.cpu_seconds.append(time.process_time() - cpu_started + others)


class Sequential:
    """The product as it is: one configuration after another in one process."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._num_steps = benches[0].num_steps
        self._trainers = [ProductTrainer(bench) for bench in benches]

    def __call__(self) -> tuple[Losses, float]:
        for trainer in self._trainers:
            trainer(self._num_steps)
        return [trainer.losses for trainer in self._trainers], 0.0


class Streams:
    """A thread and a CUDA stream for each configuration, in one process."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._num_steps = benches[0].num_steps
        self._trainers = [ProductTrainer(bench) for bench in benches]
        self._streams = [torch.cuda.Stream() for _ in benches]
        self._captured = False
        torch.cuda.synchronize()

    def __call__(self) -> tuple[Losses, float]:
        numbers = range(len(self._trainers))
        with ThreadPoolExecutor(len(numbers) if self._captured else 1) as pool:  # a capture bears no other beside it
            list(pool.map(self._train, numbers))
        self._captured = True
        return [trainer.losses for trainer in self._trainers], 0.0

    def _train(self, number: int) -> None:
        with torch.cuda.stream(self._streams[number]):
            self._trainers[number](self._num_steps)


class Processes:
    """A process for each configuration, waiting at a barrier between the rounds. Closed by its end."""

    def __init__(self, benches: Sequence[Bench], *, num_threads: int) -> None:
        self._barrier = CONTEXT.Barrier(len(benches) + 1, timeout=60)
        self._connections: list[Connection] = []
        self._processes = []
        for bench in benches:
            mine, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(
                target=_serve,
                args=(theirs, self._barrier, bench.data, bench.manifest, bench.device.torch_device.type, num_threads),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._connections.append(mine)
            self._processes.append(process)
        for connection in self._connections:
            connection.recv()  # built

    def __call__(self) -> tuple[Losses, float]:
        for connection in self._connections:
            connection.send(True)
        self._barrier.wait()
        answers = [connection.recv() for connection in self._connections]
        return [losses for losses, _ in answers], sum(seconds for _, seconds in answers)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.send(False)
        for process in self._processes:
            process.join()


def _serve(
    connection: Connection, barrier: Barrier, data: ImageData, manifest: Manifest, device_name: str, num_threads: int
) -> None:
    device = choose_device(
        RunSettings(device=device_name, num_threads=num_threads),
        precision="auto",
        image_size=data.train_images.shape[-1],
    )
    train = Sequential([make_resident(Path(), data, manifest, device)])
    connection.send("built")
    with suppress(EOFError):  # the benchmark was stopped
        while connection.recv():
            barrier.wait()
            started = time.process_time()
            (losses,), _ = train()
            connection.send((losses, time.process_time() - started))


class SequentialByHand:
    """One model after another with SGD by hand: what `Batched` is compared with."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._benches = benches
        self._source = BatchSource(benches[0].parts.train, image_size=None)
        models = [bench.build_model(products=False) for bench in benches]  # `vmap` takes torch's own layers too
        self._models = [model.to(memory_format=torch.channels_last).train() for model in models]

    def __call__(self) -> tuple[Losses, float]:
        self._source.follow(self._benches[0].plan())
        pairs = zip(self._models, self._benches, strict=True)
        return [self._train(model, rate=bench.manifest.optimizer.lr) for model, bench in pairs], 0.0

    def _train(self, model: nn.Module, *, rate: float) -> list[float]:
        bench = self._benches[0]
        parameters = list(model.parameters())
        losses = []
        for positions in _positions(bench):
            images, labels = self._source.batch(positions)
            with bench.device.autocast():
                logits = model(images)
            losses.append(functional.cross_entropy(logits.float(), labels))
            gradients = torch.autograd.grad(losses[-1], parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(rate * gradient)
        return torch.stack(losses).tolist()


class Batched:
    """All models as one, their weights stacked: `torch.func`'s ensembling."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._bench = benches[0]
        self._source = BatchSource(self._bench.parts.train, image_size=None)
        models = [bench.build_model(products=False).train() for bench in benches]
        self._rates = torch.tensor(
            [bench.manifest.optimizer.lr for bench in benches], device=benches[0].device.torch_device
        )
        self._parameters, self._buffers = stack_module_state(models)
        self._shape = copy.deepcopy(models[0]).to("meta")
        self._losses = vmap(self._loss, in_dims=(0, 0, None, None))

    def __call__(self) -> tuple[Losses, float]:
        self._source.follow(self._bench.plan())
        return torch.stack([self._step(positions) for positions in _positions(self._bench)]).T.tolist(), 0.0

    def _step(self, positions: Tensor) -> Tensor:
        losses = self._losses(self._parameters, self._buffers, *self._source.batch(positions))
        gradients = torch.autograd.grad(losses.sum(), list(self._parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
                parameter.sub_(self._rates.view(-1, *[1] * (gradient.dim() - 1)) * gradient)
        return losses.detach()

    def _loss(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor
    ) -> Tensor:
        with self._bench.device.autocast():
            logits = functional_call(self._shape, (parameters, buffers), (images,))
        return functional.cross_entropy(logits.float(), labels)


def _positions(bench: Bench) -> tuple[Tensor, ...]:
    """In the order, of each batch."""
    return torch.arange(bench.num_images, device=bench.device.torch_device).split(bench.manifest.batch_size)


def measure_concurrency(bench: Bench, *, counts: Sequence[int], num_repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each way of training each number of configurations; they differ in the learning rate."""
    if not bench.device.is_cuda:
        batch_size = bench.manifest.batch_size
        bench = bench.shortened(min(bench.num_images, max(1, NUM_IMAGES_ON_CPU // batch_size) * batch_size))
    num_threads = torch.get_num_threads()
    try:
        for count in counts:
            yield from _measure(_vary(bench, count), num_repeats=num_repeats)
    finally:
        torch.set_num_threads(num_threads)


def _vary(bench: Bench, count: int) -> list[Bench]:
    optimizer = bench.manifest.optimizer
    return [
        replace(
            bench,
            manifest=bench.manifest.model_copy(
                update={"optimizer": optimizer.model_copy(update={"lr": LEARNING_RATE / 2**number})}
            ),
        )
        for number in range(count)
    ]


def _measure(benches: list[Bench], *, num_repeats: int) -> Iterator[dict[str, Any]]:
    bench, count, num_cores = benches[0], len(benches), available_cpus()
    share = max(1, num_cores // count)
    with ExitStack() as stack:
        first = Way("one after another", Sequential(benches), num_cores)
        alone = first if share == num_cores else Way("one after another", Sequential(benches), share, baseline=first)
        processes = stack.enter_context(Processes(benches, num_threads=share))
        by_hand = Way("one after another, SGD by hand", SequentialByHand(benches), num_cores)
        ways = [
            first,
            *([alone] if alone is not first else []),
            Way("a process each", processes, share, baseline=first, alone=alone),
            Way("a thread and a stream each", Streams(benches), num_cores, baseline=first, alone=first)
            if bench.device.is_cuda
            else Way("a thread and a stream each", None, num_cores, skipped="streams need a GPU"),
            by_hand,
            Way("stacked by torch.func, SGD by hand", Batched(benches), num_cores, baseline=by_hand, alone=by_hand),
        ]
        for way in ways:
            way.warm_up(bench)
        for _ in range(num_repeats):
            for way in ways:
                way.measure(bench)
    num_images = count * bench.num_steps * bench.manifest.batch_size
    for way in ways:
        yield {"num_configurations": count, "num_images": num_images} | _describe(way, num_images)


def _describe(way: Way, num_images: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": way.name, "num_threads": way.num_threads}
    if way.skipped is not None:
        return row | {"skipped": way.skipped}
    rates = [num_images / seconds for seconds in way.seconds]
    baseline = way.baseline or way
    return row | {
        "seconds": way.seconds,
        "cpu_seconds": way.cpu_seconds,
        "images_per_second": median(rates),
        "min": min(rates),
        "max": max(rates),
        "images_per_cpu_second": num_images / median(way.cpu_seconds),
        "ratio": median(before / after for before, after in zip(baseline.seconds, way.seconds, strict=True)),
        "cpu_ratio": median(baseline.cpu_seconds) / median(way.cpu_seconds),
        "difference": largest_difference(way.losses, baseline.losses),
        "difference_alone": largest_difference(way.losses, (way.alone or way).losses),
    }


def largest_difference(losses: Losses, expected: Losses) -> float:
    """Relative; 0 where they are equal to the bit."""
    pairs = zip(chain.from_iterable(losses), chain.from_iterable(expected), strict=True)
    return max(abs(one - other) / abs(other) for one, other in pairs)
