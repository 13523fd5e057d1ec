"""`job validate`, `job schema` and `job plan`: what can be said about manifests without running them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from job.cli.options import ManifestOption, OverridesOption, check_place, name_source, read_document, read_sweep
from job.errors import ManifestError


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
            callback=check_place, help="JSON file of instances with prices and speeds, in place of the bundled one."
        ),
    ] = None,
    per_container: Annotated[int, typer.Option(min=1, help="Runs that one container does, one after another.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the resolved plan as JSON.")] = False,
) -> None:
    """Show the configurations of a sweep, with images, steps and estimated time and cost. Sends nothing."""
    from datetime import UTC, datetime

    from job.cli.tables import print_estimate, print_plan
    from job.plan import build_plan
    from job.submit.estimate import estimate, read_prices

    planned = build_plan(read_sweep(manifest, overrides or []), source=name_source(manifest))
    table = read_prices(prices)
    if as_json:
        typer.echo(planned.model_dump_json(indent=1))
        return
    expected = estimate(planned, table, instance=instance, per_container=per_container)
    print_plan(planned)
    print_estimate(expected, today=datetime.now(UTC).date())
