"""Sweeps: many configurations in one file, expanded into manifests."""

import copy
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from job.errors import ManifestError
from job.manifest.base import Since, StrictModel
from job.manifest.document import MAX_FAULTS, set_path
from job.manifest.models import Manifest, Name, Seed
from job.manifest.parsing import validate

MAX_RUNS = 10_000
"""Children of an AWS Batch array job, https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html."""
MAX_FAULTY_BYTES = 2 * 1024 * 1024
"""Of combinations that turned out wrong: after a second of them the others are not looked at."""


class Range(StrictModel):
    """What a field's values are drawn from in the design `random`: exactly one of these."""

    log_uniform: Annotated[tuple[float, float] | None, Since("0.2.0")] = None
    """The least and the largest value, above 0. Each power of ten is as likely as the next."""
    uniform: Annotated[tuple[float, float] | None, Since("0.2.0")] = None
    """The least and the largest value."""
    choice: Annotated[list[Any] | None, Since("0.2.0")] = None
    """Values that are equally likely, at least one. Whole numbers are drawn so too."""

    @model_validator(mode="after")
    def _is_one_range(self) -> Self:
        given = {kind: getattr(self, kind) for kind in type(self).model_fields if getattr(self, kind) is not None}
        if len(given) != 1:
            raise ValueError(f"must have one of {', '.join(type(self).model_fields)}; has {', '.join(given) or 'none'}")
        [(kind, values)] = given.items()
        if kind == "choice" and not values:
            raise ValueError("choice is []; must have at least 1 value")
        if kind != "choice" and not values[0] < values[1]:
            raise ValueError(f"{kind} is {list(values)}; must be the least value and a larger one")
        if kind == "log_uniform" and values[0] <= 0:
            raise ValueError(f"log_uniform is {list(values)}; must be > 0")
        return self


OWN_FIELDS = {
    "grid": ("vary",),
    "one_at_a_time": ("vary",),
    "random": ("ranges", "num_samples", "sampling_seed"),
    "listed": ("configurations",),
}
"""Which fields of a block its design reads, by design."""


class Block(StrictModel):
    """Configurations around one base."""

    base: dict[str, Any] = Field(default_factory=dict)
    """Fields of a manifest, over the sweep's defaults. Without a `name` the runs are named after the optimizer."""
    vary: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Values by the dotted path of the field that takes them, such as `optimizer.lr`."""
    design: Literal["grid", "one_at_a_time", "random", "listed"] = "grid"
    """`grid`: every combination of the values; `one_at_a_time`: the base, and from it one field changed at a time;
    `random`: values drawn from `ranges`; `listed`: what `configurations` says."""
    ranges: Annotated[dict[str, Range], Since("0.2.0")] = Field(default_factory=dict)
    """For `random`: what the values are drawn from, by the dotted path of the field that takes them."""
    num_samples: Annotated[int | None, Field(ge=1, le=MAX_RUNS), Since("0.2.0")] = None
    """For `random`: how many configurations are drawn. With more of them, those that were drawn before stay."""
    sampling_seed: Annotated[int, Field(ge=0, lt=2**63), Since("0.2.0")] = 0
    """For `random`: another seed draws other configurations."""
    configurations: Annotated[list[dict[str, Any]], Since("0.2.0")] = Field(default=[])
    """For `listed`: the values of each configuration, by dotted path, such as `{"optimizer.lr": 0.00123}`."""

    @model_validator(mode="after")
    def _has_the_fields_of_its_design(self) -> Self:
        own = OWN_FIELDS[self.design]
        strange = [
            f"{name} belongs to {' and '.join(repr(design) for design, names in OWN_FIELDS.items() if name in names)}"
            for name in dict.fromkeys(itertools.chain(*OWN_FIELDS.values()))
            if name not in own and getattr(self, name)  # all their defaults are empty, None or 0
        ]
        missing = [
            f"{name} is missing"
            for name in own
            if self.design in ("random", "listed") and name != "sampling_seed" and not getattr(self, name)
        ]
        if strange or missing:
            raise ValueError(f"design is {self.design!r}; {'; '.join(missing + strange)}")
        return self

    @property
    def paths(self) -> set[str]:
        """The dotted paths of all fields that the block changes."""
        return {*self.vary, *self.ranges, *itertools.chain(*self.configurations)}


class Sweep(StrictModel):
    """Configurations that are compared with each other, each with every seed."""

    name: Name
    """Names the experiment: lower-case letters, digits and dashes, at most 40."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Fields of a manifest that all blocks share."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default=[0])
    """Seeds are paired: for one seed every configuration gets the same first fc, order of images and augmentation."""
    blocks: Annotated[list[Block], Field(min_length=1)]
    """What is varied around which base."""

    @model_validator(mode="after")
    def _seeds_differ_and_stand_in_one_place(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} must differ")
        if "seed" in self.defaults or any("seed" in {*block.base, *block.paths} for block in self.blocks):
            raise ValueError("seed stands in defaults, base or vary; the runs' seeds are the list `seeds`")
        return self

    @model_validator(mode="after")
    def _number_of_runs_is_bounded(self) -> Self:
        num_runs = len(self.seeds) * sum(_count(block) for block in self.blocks)
        if num_runs > MAX_RUNS:
            shown = num_runs if num_runs < 10**9 else "billions of"  # Python writes no integer of 4300 digits
            raise ValueError(f"blocks and seeds give {shown} runs; must be at most {MAX_RUNS}")
        return self


@dataclass(frozen=True)
class Configuration:
    """One run of a sweep."""

    manifest: Manifest
    varied: dict[str, Any]
    """What its block changed, by dotted path; empty for the base of `one_at_a_time`."""


def expand(sweep: Sweep, *, source: str) -> list[Configuration]:
    """All configurations, seed by seed, so that a sweep stopped half-way has compared everything with some seeds.

    What resolves to the same configuration is listed once, whatever it is called. Blocks of the design `random` must
    have been drawn before (`job.sampling`).
    Raises `ManifestError` with the faults of the combinations, each once, but not with more than can be read.
    """
    size, num_faulty = len(sweep.model_dump_json()), 0
    faults: dict[str, None] = {}  # in order, each once
    first_seed: dict[Manifest, dict[str, Any]] = {}
    names: dict[Manifest, str] = {}
    for number, block in enumerate(sweep.blocks):
        place = f"{source}: blocks[{number}]"
        for varied in _combinations(block):
            try:
                manifest = validate(_build_document(sweep, block, varied, place=place), Manifest, source=place)
            except ManifestError as error:
                faults |= dict.fromkeys(error.faults)
                num_faulty += 1
                if len(faults) > MAX_FAULTS or num_faulty * size > MAX_FAULTY_BYTES:
                    raise ManifestError(*faults, f"{source}: further combinations were not looked at") from error
                continue
            nameless = manifest.model_copy(update={"name": ""})
            first_seed.setdefault(nameless, varied)
            names.setdefault(nameless, manifest.name)
    if faults:
        raise ManifestError(*faults)
    return [
        Configuration(nameless.model_copy(update={"name": names[nameless], "seed": seed}), varied)
        for seed in sweep.seeds
        for nameless, varied in first_seed.items()
    ]


def _count(block: Block) -> int:
    lengths = [len(values) for values in block.vary.values()]
    match block.design:
        case "grid":
            return math.prod(lengths)
        case "one_at_a_time":
            return 1 + sum(lengths)
        case "random":
            return block.num_samples or 0
        case "listed":
            return len(block.configurations)


def _combinations(block: Block) -> Iterator[dict[str, Any]]:
    match block.design:
        case "grid":
            for combination in itertools.product(*block.vary.values()):
                yield dict(zip(block.vary, combination, strict=True))
        case "one_at_a_time":
            yield {}
            for path, values in block.vary.items():
                for value in values:
                    yield {path: value}
        case "listed":
            yield from block.configurations
        case "random":
            raise ValueError("a random block is expanded before it was drawn")


def _build_document(sweep: Sweep, block: Block, varied: dict[str, Any], *, place: str) -> dict[str, Any]:
    document = _merge(sweep.defaults, block.base)
    for path, value in sorted(varied.items(), key=lambda item: item[0].count(".")):  # a field after its object
        try:
            set_path(document, path, copy.deepcopy(value))
        except ValueError as error:
            field = "vary" if path in block.vary else "configurations"
            raise ManifestError(f"{place}.{field}: {path}: {error}") from error
    document["seed"] = sweep.seeds[0]
    optimizer = document.get("optimizer")
    if "name" not in document and isinstance(optimizer, dict) and "name" in optimizer:
        document["name"] = optimizer["name"]
    return document


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of `under` with the fields of `over`, object by object."""
    merged: dict[str, Any] = json.loads(json.dumps(under))
    for key, value in over.items():
        present = merged.get(key)
        both = isinstance(present, dict) and isinstance(value, dict)
        merged[key] = _merge(present, value) if both else json.loads(json.dumps(value))  # type: ignore[arg-type]
    return merged
