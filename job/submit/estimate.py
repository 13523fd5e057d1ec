"""What a sweep will take: images, steps, hours and dollars.

Speeds come from finished runs where some fit (`job.submit.measured`), else from a small table of instances
(`data/prices.json`), which says for each speed whether it was measured, or estimated from what the card can compute.
Prices come from that table, from another one (`job plan --prices FILE`), or from AWS (`job plan --prices aws`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Annotated, Literal, assert_never

from pydantic import AfterValidator, Field

from job.errors import ObjectMissing, UsageError
from job.manifest import Manifest, parse_json_object, validate
from job.manifest.base import StrictModel
from job.manifest.models import RELATIVE_FLOP, Folder, OfficialDataset, Synthetic
from job.plan import SweepPlan
from job.storage import read_uri
from job.submit.measured import Speeds, Workload, workload_of

RUN_OVERHEAD_SECONDS = 15
"""What one run takes besides training and evaluation, where it was not measured: imports, staging, plots and the last
uploads."""
PRICES_OF_AWS = "aws"
"""The value of --prices that asks AWS. A file of that name is written `./aws`."""
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
    """A typical price, because spot prices move."""
    train_images_per_second: Positive
    """For images of 96x96 pixels."""
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
    """What one run does in all of its epochs together."""

    num_train_images: int
    num_evaluated_images: int
    num_steps: int
    relative_image_cost: float
    """The cost of an image, as a multiple of that of a 96x96 image in ResNet18, for which the table has the speeds."""


@dataclass(frozen=True)
class Estimate:
    """What a plan takes on one instance type. Hours are the sum over all machines."""

    instance: Instance
    prices: Prices
    num_runs: int
    num_containers: int
    num_train_images: int
    num_evaluated_images: int
    num_steps: int
    num_measured: int
    """Runs of the plan whose time follows from results; that of the others follows from the table."""
    num_results: int
    """Results that it follows from."""
    hours: float
    on_demand_usd: float
    spot_usd: float


def read_prices(location: str | None) -> Prices:
    """The table at a path or `s3://` URI; the bundled one if `location` is None.

    Raises `UsageError` where there is none, `ManifestError` where it is not valid.
    """
    source = location or "prices.json"
    try:
        content = (files("job.submit") / "data/prices.json").read_bytes() if location is None else read_uri(location)
    except ObjectMissing as error:
        raise UsageError(f"--prices {source}: no such file") from error
    return validate(parse_json_object(content, source=source), Prices, source=source)


def read_current_prices(names: Iterable[str], *, region: str | None) -> Prices:
    """The bundled table's instances `names`, with what AWS asks for them now in `region`, by default boto3's.

    Raises `UsageError` for a type that is not in the table, or not offered in the region, and the errors of AWS.
    """
    from job.storage.aws import build_quick_client
    from job.storage.prices import PRICE_LIST_REGION, read_on_demand_price, read_spot_price

    table = read_prices(None)
    machines_client = build_quick_client("ec2", region=region)
    price_list, region = build_quick_client("pricing", region=PRICE_LIST_REGION), str(machines_client.meta.region_name)
    machines = []
    for machine in [find_instance(table, name) for name in names]:
        if machine.gpu is None:  # no machine of AWS
            machines.append(machine)
            continue
        on_demand = read_on_demand_price(price_list, machine.name, region=region)
        if on_demand is None:
            raise UsageError(f"{machine.name} has no price in {region}: it is not offered there; take another type")
        spot = read_spot_price(machines_client, machine.name)
        prices = {"on_demand_usd_per_hour": on_demand, "spot_usd_per_hour": on_demand if spot is None else spot}
        machines.append(machine.model_copy(update=prices))
    return table.model_copy(update={"region": region, "as_of": f"{datetime.now(UTC):%Y-%m}", "instances": machines})


def with_paid(prices: Prices, name: str, paid: Mapping[str, float]) -> Prices:
    """The table with what was paid for an hour of the instance `name`, by market, in place of its own prices."""
    fields = {"spot": "spot_usd_per_hour", "on-demand": "on_demand_usd_per_hour"}
    changes = {fields[market]: usd for market, usd in paid.items() if market in fields}
    machines = [each.model_copy(update=changes) if each.name == name else each for each in prices.instances]
    return prices.model_copy(update={"instances": machines})


def find_instance(prices: Prices, name: str) -> Instance:
    """The machine `name` of the table. Raises `UsageError` if it has none."""
    for machine in prices.instances:
        if machine.name == name:
            return machine
    known = ", ".join(machine.name for machine in prices.instances)
    raise UsageError(f"--instance {name} is not in the table of prices; there are: {known}")


def measure_work(manifest: Manifest) -> Work | None:
    """Images and steps of one run; None for a folder, because the number of its images is known only by reading it."""
    dataset = manifest.dataset
    match dataset:
        case OfficialDataset() | Synthetic():
            num_train, num_test, size = dataset.num_train, dataset.num_test, dataset.size
        case Folder():
            return None
        case _:
            assert_never(dataset)
    num_held_out = round(num_train * dataset.validation_fraction)
    num_train -= num_held_out
    num_steps = math.ceil(num_train / manifest.batch_size)
    if num_train % manifest.batch_size == 1 and num_steps > 1:  # a last batch of one image is joined to the one before
        num_steps -= 1
    return Work(
        num_train_images=num_train * manifest.epochs,
        num_evaluated_images=(num_test + num_held_out) * manifest.epochs,
        num_steps=num_steps * manifest.epochs,
        relative_image_cost=((manifest.image_size or size) / 96) ** 2 * RELATIVE_FLOP[manifest.model.name],
    )


def estimate_seconds(
    manifest: Manifest, machine: Instance, measured: Mapping[Workload, Speeds] | None = None
) -> float | None:
    """What one run takes on `machine` in a container that runs; None where the size of its data set is not known."""
    work = measure_work(manifest)
    if work is None:
        return None
    speeds, cost = (measured or {}).get(workload_of(manifest)), 1.0
    if speeds is None:
        table = (machine.train_images_per_second, machine.evaluate_images_per_second)
        speeds, cost = Speeds(*table, RUN_OVERHEAD_SECONDS, num_results=0), work.relative_image_cost
    train = work.num_train_images / speeds.train_images_per_second
    evaluate = work.num_evaluated_images / speeds.evaluate_images_per_second
    return (train + evaluate) * cost + speeds.overhead_seconds


def estimate(
    plan: SweepPlan,
    prices: Prices,
    *,
    instance: str,
    per_container: int,
    measured: Mapping[Workload, Speeds] | None = None,
) -> Estimate | None:
    """What `plan` takes on the type `instance`; None where the size of a data set is not known.

    `measured` are the speeds of that type in finished runs. Raises `UsageError` for a type that is not in `prices`.
    """
    machine, measured = find_instance(prices, instance), measured or {}
    works = [work for run in plan.runs if (work := measure_work(run.manifest))]
    if len(works) < len(plan.runs):
        return None
    workloads = [workload_of(run.manifest) for run in plan.runs]
    num_containers = math.ceil(len(works) / per_container)
    seconds = num_containers * prices.startup_seconds
    seconds += sum(estimate_seconds(run.manifest, machine, measured) or 0.0 for run in plan.runs)
    return Estimate(
        instance=machine,
        prices=prices,
        num_runs=len(works),
        num_containers=num_containers,
        num_train_images=sum(work.num_train_images for work in works),
        num_evaluated_images=sum(work.num_evaluated_images for work in works),
        num_steps=sum(work.num_steps for work in works),
        num_measured=sum(workload in measured for workload in workloads),
        num_results=sum(measured[workload].num_results for workload in set(workloads) & measured.keys()),
        hours=seconds / 3600,
        on_demand_usd=seconds / 3600 * machine.on_demand_usd_per_hour,
        spot_usd=seconds / 3600 * machine.spot_usd_per_hour,
    )
