"""`job validate`, `job schema` and `job plan`: what can be said about manifests without running them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.options import ManifestOption, OverridesOption, check_place, name_source, read_document, read_sweep
from job.errors import ManifestError
from job.versions import importing

if TYPE_CHECKING:
    from job.submit.measured import Measurement


class Kind(StrEnum):
    """The documents that have a schema."""

    MANIFEST = "manifest"
    SWEEP = "sweep"
    SETTINGS = "settings"


def validate(
    manifests: Annotated[list[str], typer.Argument(help="Paths or s3:// URIs of manifests and sweeps, or -.")],
    overrides: OverridesOption = None,
) -> None:
    """Check manifests and sweeps without running them. Names every fault, and exits with 65 if there is one."""
    with importing():
        from job.manifest import Manifest
        from job.plan import as_sweep, build_plan
        from job.runs import run_id

    faults: list[str] = []
    for location in manifests:
        source = name_source(location)
        try:
            document = read_document(location, overrides or [])
            if isinstance(document, Manifest):
                what = f"run id {run_id(document)}"
            else:
                what = f"{len(build_plan(as_sweep(document), source=source).runs)} runs"
            typer.echo(f"{source}: valid, {what}")
        except ManifestError as error:
            faults += error.faults
    if faults:
        raise ManifestError(*faults)


def schema(
    kind: Annotated[Kind, typer.Argument(help="Whose schema to print.")] = Kind.MANIFEST,
) -> None:
    """Print the JSON Schema of a manifest, a sweep or a settings file of `job submit`, for editors."""
    import json

    from pydantic import BaseModel

    from job.manifest import Manifest, Sweep
    from job.submit.options import Options

    models: dict[Kind, type[BaseModel]] = {Kind.MANIFEST: Manifest, Kind.SWEEP: Sweep, Kind.SETTINGS: Options}
    typer.echo(json.dumps(models[kind].model_json_schema(), indent=2))


def plan(
    manifest: ManifestOption,
    overrides: OverridesOption = None,
    instance: Annotated[
        str, typer.Option(help="Instance type to estimate time and cost for: one of the table of --prices.")
    ] = "g5.xlarge",
    prices: Annotated[
        str | None,
        typer.Option(
            callback=check_place,
            help="`aws` asks AWS for today's prices; a path names a JSON file of instances with prices and speeds. "
            "By default a bundled one.",
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="AWS region for --prices aws; by default that of the environment or profile.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            callback=check_place,
            help="Folder or s3:// URI of finished runs. Where some fit, their speed counts and not the table's.",
        ),
    ] = None,
    per_container: Annotated[int, typer.Option(min=1, help="Runs that one container does, one after another.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved plan as JSON.")] = False,
) -> None:
    """Show the configurations of a sweep, with images, steps and estimated time and cost. Sends nothing."""
    from datetime import UTC, datetime

    with importing():
        from job.cli.tables import print_estimate, print_plan
        from job.plan import build_plan
        from job.submit.estimate import (
            PRICES_OF_AWS,
            estimate,
            find_instance,
            read_current_prices,
            read_prices,
            with_paid,
        )
        from job.submit.measured import find_prices, find_speeds

    planned = build_plan(read_sweep(manifest, overrides or []), source=name_source(manifest))
    table = read_current_prices([instance], region=region) if prices == PRICES_OF_AWS else read_prices(prices)
    if as_json:
        typer.echo(planned.model_dump_json(indent=1))
        return
    machine = find_instance(table, instance)
    seen = _read_measurements(output) if output else []
    paid = find_prices(seen, instance=instance) if prices is None else {}
    expected = estimate(
        planned,
        with_paid(table, instance, paid),
        instance=instance,
        per_container=per_container,
        measured=find_speeds(seen, instance=instance, gpu=machine.gpu),
    )
    print_plan(planned)
    print_estimate(expected, today=datetime.now(UTC).date(), output=output, paid=paid)


def _read_measurements(output: str) -> list[Measurement]:
    """What the finished runs of `output` took and paid; nothing where none has run there yet."""
    from job.storage import open_store
    from job.submit.measured import read_measurements

    return read_measurements(open_store(output))
