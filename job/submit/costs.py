"""What the containers of a submission are estimated to cost, on the dearest and the slowest machine that they may get.

Speeds are those of `job plan`: of finished runs in the output where some fit, else the table's. A price on demand comes
from AWS, or from the table where AWS does not tell. `job.submit.budget` makes a limit of it.
"""

from __future__ import annotations

from job.errors import AccessDeniedError, StorageError, UsageError
from job.logs import get_logger
from job.manifest import Manifest
from job.submit.backend import Settings
from job.submit.budget import Costs
from job.submit.estimate import Instance, Prices, estimate_seconds, read_prices
from job.submit.measured import find_speeds, read_measurements
from job.submit.options import Options
from job.submit.pool import INSTANCE_TYPE_LABEL, read_pool
from job.submit.work import Work


def read_costs(work: Work, options: Options, settings: Settings) -> Costs:
    """The costs of every container of `work`, in its order.

    Raises `UsageError` where the machines, their speed or the size of a data set are not known, and the errors of AWS
    and of the output.
    """
    table = read_prices(None)
    machines = [_find_machine(table, name) for name in find_types(options, settings)]
    measurements = read_measurements(work.store) if work.store else []
    speeds = [find_speeds(measurements, instance=machine.name, gpu=machine.gpu) for machine in machines]
    manifests = {run.run_id: run.manifest for run in work.plan.runs}

    def seconds(manifest: Manifest) -> float:
        found = [estimate_seconds(manifest, *each) for each in zip(machines, speeds, strict=True)]
        known = [each for each in found if each is not None]
        if not known:
            raise UsageError(
                "--max-usd: only the containers see how many images a folder holds, so its price is unknown"
            )
        return max(known)

    containers = work.submission.containers
    return Costs(
        container_seconds=[sum(seconds(manifests[run_id]) for run_id in container) for container in containers],
        startup_seconds=table.startup_seconds,
        usd_per_hour=max(_find_price(machine, region=options.region) for machine in machines),
    )


def find_types(options: Options, settings: Settings) -> list[str]:
    """The instance types that a container may get. Raises `UsageError` where they are not known, or cost nothing."""
    if options.to == "batch":
        queue, region = getattr(settings, "queue", ""), getattr(settings, "region", None)
        types = read_pool(queue, region=region).instance_types
        if not types:
            raise UsageError(f"--max-usd: queue {queue} names no instance types, so its price is not known")
        return types
    if options.to == "kubernetes":
        name = options.node_selector.get(INSTANCE_TYPE_LABEL)
        if name is None:
            raise UsageError(
                "--max-usd: which machines the pods get is not known; name their type, such as --node-selector "
                f"{INSTANCE_TYPE_LABEL}=g5.xlarge"
            )
        return [name]
    raise UsageError(f"--max-usd: the machines of --to {options.to} have no price that is known")


def _find_machine(table: Prices, name: str) -> Instance:
    for machine in table.instances:
        if machine.name == name:
            return machine
    known = ", ".join(machine.name for machine in table.instances if machine.gpu)
    raise UsageError(f"--max-usd: how fast {name} is, is not known; the machines of the pool must be among {known}")


def _find_price(machine: Instance, *, region: str | None) -> float:
    """USD an hour on demand: what AWS says now, else what the table says."""
    from job.storage.aws import build_quick_client
    from job.storage.prices import PRICE_LIST_REGION, read_on_demand_price

    try:
        region = region or str(build_quick_client("ec2").meta.region_name)
        price_list = build_quick_client("pricing", region=PRICE_LIST_REGION)
        price = read_on_demand_price(price_list, machine.name, region=region)
    except (AccessDeniedError, StorageError, UsageError) as error:
        get_logger().warning("price_of_table", instance=machine.name, reason=str(error))
        return machine.on_demand_usd_per_hour
    return machine.on_demand_usd_per_hour if price is None else price
