"""Random blocks of a sweep become lists of configurations, on the machine that plans, validates or submits.

The values come from a scrambled Sobol sequence (Sobol 1967; Owen 1998, J. Complexity 14), which covers the ranges more
evenly than independent draws. It is scipy's, which the container's image lacks and whose sequences may change between
versions. So nothing that is stored or sent has a random block: plan and submissions have what was drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from job.manifest import Sweep
from job.manifest.sweep import Block, Range
from job.versions import extra

DIGITS = 4
"""Significant digits of a drawn number, so that manifests stay readable."""


def draw_samples(sweep: Sweep) -> Sweep:
    """`sweep` with every `random` block replaced by a `listed` one. Raises `UsageError` where scipy is missing."""
    if all(block.design != "random" for block in sweep.blocks):
        return sweep
    return sweep.model_copy(update={"blocks": [_draw(block) for block in sweep.blocks]})


def _draw(block: Block) -> Block:
    if block.design != "random" or block.num_samples is None:
        return block
    points = _spread(len(block.ranges), block.num_samples, seed=block.sampling_seed)
    configurations = [_place(point, block.ranges) for point in points]
    return Block(base=block.base, design="listed", configurations=configurations)


def _spread(num_fields: int, num_samples: int, *, seed: int) -> list[list[float]]:
    """Points in the unit cube. The first ones are the same, however many there are."""
    with extra("report"):
        import numpy as np
        from scipy.stats import qmc
    # A generator means the same for `seed` and for the `rng` that newer scipy calls it; a number does not.
    sequence = qmc.Sobol(num_fields, scramble=True, seed=np.random.default_rng(seed))
    points: list[list[float]] = sequence.random_base2((num_samples - 1).bit_length()).tolist()
    return points[:num_samples]


def _place(point: list[float], ranges: Mapping[str, Range]) -> dict[str, Any]:
    return {path: _scale(part, within) for part, (path, within) in zip(point, ranges.items(), strict=True)}


def _scale(part: float, within: Range) -> Any:
    """The value at `part`, from 0 up to but not including 1, of the range."""
    ends = within.uniform or within.log_uniform
    if ends is None:
        values = within.choice or []
        return values[int(part * len(values))]
    low, high = ends
    if within.uniform:
        value = low + part * (high - low)
    else:
        value = math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)
