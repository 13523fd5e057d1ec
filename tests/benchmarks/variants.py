"""The rows of the table: what is measured for each, and the measuring in interleaved rounds."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch

from job.allocator import MMAP_THRESHOLD, TRIM_THRESHOLD, keep_freed_memory
from job.training.engine.device import Device
from tests.benchmarks.bench import Bench
from tests.benchmarks.floor import Launches, MatrixProduct
from tests.benchmarks.ladder import (
    COMPILED,
    LADDER,
    LadderEvaluator,
    LadderTrainer,
    Part,
    ProductEvaluator,
    ProductTrainer,
    Rung,
    Techniques,
)
from tests.benchmarks.scripts import Script, ScriptEvaluator, ScriptTrainer
from tests.benchmarks.tables import GRAPHED, PRODUCT

Work = Callable[..., float]
"""Trains, called with a number of steps; else evaluates all images or takes a probe. Returns the loss to compare."""


@dataclass
class Variant:
    """One cell of the table: a row's training or evaluation, or a probe of the hardware."""

    row: str
    part: Part | Literal["floor"]
    build: Callable[[Bench], Work]
    tuned: bool = True
    """With the flags that the product sets, or with torch's defaults."""
    lower_precision: bool = True
    """In the arithmetic that the device chooses, or in fp32."""
    keeps_memory: bool = True
    """With the allocator as the product sets it on a CPU, or as it comes."""
    may_fail: bool = False
    skipped: str | None = None
    loss: float | None = None
    """Of the first step, or of the first evaluation."""
    first_call_seconds: float | None = None
    """Of the wall; what is compiled is so in it."""
    seconds: list[float] = field(default_factory=list)
    """One number a round."""
    _work: Work | None = None

    def warm_up(self, bench: Bench) -> None:
        """Build it, and call it until it has what it needs."""
        started = time.perf_counter()
        self._set_flags()
        try:
            self._work = self.build(bench)
            self.loss = self._call(bench.num_warm_up_steps)
            self.first_call_seconds = time.perf_counter() - started
            for _ in range(bench.num_warm_ups - 1):
                self._call(bench.num_warm_up_steps)
        except RuntimeError as error:
            if not self.may_fail:
                raise
            self._work, self.skipped = None, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"

    def measure(self, bench: Bench) -> None:
        """One round."""
        if self._work is not None:
            self._set_flags()
            started = bench.clock()
            self._call(bench.num_steps)
            self.seconds.append(bench.clock() - started)

    def _call(self, num_steps: int) -> float:
        assert self._work is not None
        return self._work(num_steps) if self.part == "train" else self._work()

    def _set_flags(self) -> None:
        torch.backends.cudnn.benchmark = self.tuned
        torch.backends.cuda.matmul.allow_tf32 = self.tuned
        set_allocator(keeps_memory=self.keeps_memory)


def set_allocator(*, keeps_memory: bool) -> None:
    """As the product has it, or as glibc's own thresholds are once they have grown with the blocks that were freed."""
    if keep_freed_memory() and not keeps_memory:
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, 32 * 1024**2)
        library.mallopt(TRIM_THRESHOLD, 64 * 1024**2)
        library.malloc_trim(0)


def list_variants(device: Device, *, compiled: bool) -> list[Variant]:
    """All of them, in the order of the table."""
    naive, recipe = Script(), Script(recipe=True)
    as_it_is: dict[str, Any] = {"tuned": False, "lower_precision": False, "keeps_memory": False}
    variants = [
        Variant("(a) naive, evaluated at batch 1", "train", partial(ScriptTrainer, script=naive), **as_it_is),
        Variant(
            "(a) naive, evaluated at batch 1",
            "evaluate",
            partial(ScriptEvaluator, script=naive, batch_size=1),
            **as_it_is,
        ),
        Variant(
            "(a) naive, evaluated at batch 256",
            "evaluate",
            partial(ScriptEvaluator, script=naive, batch_size=256),
            **as_it_is,
        ),
        Variant("(b) torchvision's recipe", "train", partial(ScriptTrainer, script=recipe), keeps_memory=False),
        Variant(
            "(b) torchvision's recipe",
            "evaluate",
            partial(ScriptEvaluator, script=recipe, batch_size=256),
            keeps_memory=False,
        ),
    ]
    techniques = {"train": Techniques(), "evaluate": Techniques()}
    for rung in LADDER:
        for part in rung.parts:
            skipped = rung.reason_to_skip(device, part)
            if rung.adds is not None and skipped is None:
                techniques[part] = replace(techniques[part], **{rung.adds: True})
            variants.append(_climb(rung, part, techniques[part], skipped))
    without_graph = replace(techniques["train"], graph=False, compiled=True)
    compilation = _climb(COMPILED, "train", without_graph, None if compiled else "--no-compile")
    variants.append(replace(compilation, may_fail=True))
    return [
        *variants,
        *(_list_graphed() if device.is_cuda else []),
        Variant(PRODUCT, "train", ProductTrainer),
        Variant(PRODUCT, "evaluate", ProductEvaluator),
    ]


def _list_graphed() -> list[Variant]:
    """The product with `--graphs`, which needs a GPU."""
    return [
        Variant(GRAPHED, "train", lambda bench: ProductTrainer(bench.with_graphs())),
        Variant(GRAPHED, "evaluate", lambda bench: ProductEvaluator(bench.with_graphs())),
    ]


def _climb(rung: Rung, part: Part, techniques: Techniques, skipped: str | None) -> Variant:
    work = LadderTrainer if part == "train" else LadderEvaluator
    return Variant(
        f"(c) {rung.name}",
        part,
        partial(work, techniques=techniques),
        tuned=techniques.tuned,
        lower_precision=techniques.autocast,
        keeps_memory=techniques.keeps_memory,
        skipped=skipped,
    )


def list_probes(device: Device) -> list[Variant]:
    """What the floor is made of."""
    probes = [Variant("matrix product", "floor", lambda bench: MatrixProduct(bench.device))]
    if device.is_cuda:
        probes.append(Variant("launches", "floor", lambda bench: Launches(bench.device)))
    return probes


def measure(variants: list[Variant], bench: Bench, *, num_repeats: int) -> Iterator[str]:
    """Rounds of one measurement each; says what is being done."""
    able = [variant for variant in variants if variant.skipped is None]
    for variant in able:
        yield f"warm-up: {variant.row}, {variant.part}"
        variant.warm_up(bench)
    for number in range(num_repeats):
        for variant in able:
            yield f"round {number + 1} of {num_repeats}: {variant.row}, {variant.part}"
            variant.measure(bench)
