"""What a sweep will take: images, steps, hours and dollars, from a small table of instances (`data/prices.json`).

Its speeds say whether they were measured or are guesses from the card's arithmetic; a table of your own replaces it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Annotated, Literal, assert_never

from pydantic import AfterValidator, Field

from job.errors import ObjectMissing, UsageError
from job.manifest import Manifest, parse_json_object, validate
from job.manifest.base import StrictModel
from job.manifest.models import Folder, OfficialDataset, Synthetic
from job.plan import SweepPlan
from job.storage import read_uri

RUN_OVERHEAD_SECONDS = 15
"""Imports, staging, plots and the last uploads of one run, beside training and evaluation."""
Positive = Annotated[float, Field(gt=0)]


def _check_month(text: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise ValueError(f"{text!r} is no month; must be year and month, such as 2025-11")
    return text


class Instance(StrictModel):
    """One machine type with one GPU, or none."""

    name: str
    gpu: str | None
    on_demand_usd_per_hour: Annotated[float, Field(ge=0)]
    spot_usd_per_hour: Annotated[float, Field(ge=0)]
    """A typical one: spot prices move."""
    train_images_per_second: Positive
    """At 96x96."""
    evaluate_images_per_second: Positive
    speed: Literal["measured", "estimated"]


class Prices(StrictModel):
    """The table of instances."""

    region: str
    as_of: Annotated[str, AfterValidator(_check_month)]
    """Year and month of the prices, such as 2025-11."""
    startup_seconds: Annotated[float, Field(ge=0)]
    """From the request of an instance to the container's first instruction: boot and image pull."""
    instances: list[Instance]

    def age_in_months(self, *, today: date) -> int:
        """Whole calendar months since `as_of`: prices change, and a table does not."""
        year, month = map(int, self.as_of.split("-"))
        return (today.year - year) * 12 + today.month - month


@dataclass(frozen=True)
class Work:
    """What one run does, all epochs together."""

    num_train_images: int
    num_evaluated_images: int
    num_steps: int
    relative_image_area: float
    """Against 96x96, which the table's speeds are of."""


@dataclass(frozen=True)
class Estimate:
    """What a plan takes on one instance type. Hours are machine time, whatever runs side by side."""

    instance: Instance
    prices: Prices
    num_runs: int
    num_containers: int
    num_train_images: int
    num_evaluated_images: int
    num_steps: int
    hours: float
    on_demand_usd: float
    spot_usd: float


def read_prices(location: str | None) -> Prices:
    """The bundled table, or the one at a path or `s3://` URI.

    Raises `UsageError` where there is none, `ManifestError` for one that is wrong.
    """
    source = location or "prices.json"
    try:
        content = (files("job.submit") / "data/prices.json").read_bytes() if location is None else read_uri(location)
    except ObjectMissing as error:
        raise UsageError(f"--prices {source}: no such file") from error
    return validate(parse_json_object(content, source=source), Prices, source=source)


def measure_work(manifest: Manifest) -> Work | None:
    """Images and steps of one run; None for a folder, whose size is known only where it lies."""
    match manifest.dataset:
        case OfficialDataset() | Synthetic() as dataset:
            num_train, num_test, size = dataset.num_train, dataset.num_test, dataset.size
        case Folder():
            return None
        case dataset:
            assert_never(dataset)
    num_held_out = round(num_train * manifest.dataset.validation_fraction)
    num_train -= num_held_out
    num_steps = math.ceil(num_train / manifest.batch_size)
    if num_train % manifest.batch_size == 1 and num_steps > 1:  # a single image joins the batch before
        num_steps -= 1
    return Work(
        num_train_images=num_train * manifest.epochs,
        num_evaluated_images=(num_test + num_held_out) * manifest.epochs,
        num_steps=num_steps * manifest.epochs,
        relative_image_area=((manifest.image_size or size) / 96) ** 2,
    )


def estimate(plan: SweepPlan, prices: Prices, *, instance: str, per_container: int) -> Estimate | None:
    """What `plan` takes on `instance`; None where the size of a data set is not known here. Raises `UsageError`."""
    machine = next((one for one in prices.instances if one.name == instance), None)
    if machine is None:
        known = ", ".join(one.name for one in prices.instances)
        raise UsageError(f"--instance {instance} is not in the table of prices; there are: {known}")
    work = [measure_work(run.manifest) for run in plan.runs]
    known_work = [one for one in work if one]
    if len(known_work) < len(work):
        return None
    num_containers = math.ceil(len(work) / per_container)
    seconds = num_containers * prices.startup_seconds + len(work) * RUN_OVERHEAD_SECONDS
    for one in known_work:
        train = one.num_train_images / machine.train_images_per_second
        evaluate = one.num_evaluated_images / machine.evaluate_images_per_second
        seconds += (train + evaluate) * one.relative_image_area
    return Estimate(
        instance=machine,
        prices=prices,
        num_runs=len(work),
        num_containers=num_containers,
        num_train_images=sum(one.num_train_images for one in known_work),
        num_evaluated_images=sum(one.num_evaluated_images for one in known_work),
        num_steps=sum(one.num_steps for one in known_work),
        hours=seconds / 3600,
        on_demand_usd=seconds / 3600 * machine.on_demand_usd_per_hour,
        spot_usd=seconds / 3600 * machine.spot_usd_per_hour,
    )
