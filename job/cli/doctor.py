"""`job doctor`: what is missing, on one screen, before money is spent."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from job.cli.backend_options import takes_backend_options
from job.cli.options import OverridesOption, check_place, name_source, read_sweep
from job.cli.streams import outlive_reader

if TYPE_CHECKING:
    from job.submit.doctor import Finding
    from job.submit.options import Options

MARKS = {True: "ok", False: "FAULT", None: "?"}
NAME_WIDTH = 16


@takes_backend_options
def doctor(
    options: Options,
    manifest: Annotated[
        str | None,
        typer.Option(
            "--manifest",
            "-m",
            callback=check_place,
            help="Path or s3:// URI of a manifest or a sweep: its data sets and weights are looked for.",
        ),
    ] = None,
    overrides: OverridesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, for programs.")] = False,
) -> None:
    """Look whether containers of a sweep would start and reach what they need. Takes the options of `job submit`.

    A line for each check: ok, FAULT with what to do, or ? for what cannot be seen from here. Writes one object to the
    output and removes it. Exits with 0 if there is no fault, else with the exit code of the first one.
    """
    from job.logs import configure_logs
    from job.plan import build_plan
    from job.submit.doctor import examine, find_exit_code

    configure_logs()
    plan = build_plan(read_sweep(manifest, overrides or []), source=name_source(manifest)) if manifest else None
    outlive_reader()
    findings = []
    for finding in examine(options, plan=plan):
        findings.append(finding)
        if not as_json:
            _show(finding)
    code = find_exit_code(findings)
    if as_json:
        typer.echo(json.dumps({"to": options.to, "exit_code": code, "findings": [asdict(each) for each in findings]}))
    else:
        faults = sum(finding.ok is False for finding in findings)
        typer.echo("ready" if not faults else f"{faults} to mend")
    raise typer.Exit(code)


def _show(finding: Finding) -> None:
    typer.echo(f"{MARKS[finding.ok]:<6}{finding.name:<{NAME_WIDTH}} {finding.said}")
