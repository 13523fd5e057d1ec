"""The options that say where and on what containers run, for every command that takes them.

Their values come from the command line, from variables and from a settings file, in this order; then
`job.submit.options.Options` checks them. Nothing of it is imported before a command is called.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from job.cli.options import check_place, check_place_or_claim, name_parameter
from job.errors import ManifestError, UsageError
from job.submit.registry import BACKENDS, Reach, describe_backends, describe_option, find_backend, join_words

if TYPE_CHECKING:
    from job.submit.options import Options

_CLAIM_TAKERS = ", ".join(name for name, entry in BACKENDS.items() if entry.takes_claims)
_ELSEWHERE = ", ".join(name for name, entry in BACKENDS.items() if entry.reach is Reach.NONE)
EVERYWHERE = ("to", "output", "data", "per_container", "auto_precision", "max_usd")
"""Options that `job submit` reads itself, whatever the back end."""


def check_backend(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    """Callback of --to: `value`, if there is such a back end. Raises `UsageError`."""
    try:
        if value is not None:
            find_backend(value)
    except UsageError as error:
        raise UsageError(f"{name_parameter(context, parameter)} {error}") from error
    return value


def _option(name: str, **settings: Any) -> Any:
    return typer.Option(help=describe_option(name), **settings)


def _options(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar=f"[{'|'.join(BACKENDS)}]", callback=check_backend, help=f"{describe_backends()}."),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(
            "--settings", metavar="FILE", envvar="JOB_SETTINGS", callback=check_place,
            help="YAML file of the options below, by their names with _ for -. What is given beside it counts first.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", envvar="JOB_OUTPUT", callback=check_place_or_claim,
            help=f"Folder or s3:// URI for the artefacts; {_CLAIM_TAKERS}: also pvc://CLAIM. "
            "By default the stack's bucket, or the folder runs.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", envvar="JOB_DATA", callback=check_place,
            help="Folder or s3:// URI of the data set; with `download` each container downloads it. By default "
            f"{_ELSEWHERE}: data/ in the output's bucket, where `job stage` puts it; others: the cache.",
        ),
    ] = None,
    per_container: Annotated[
        int | None, typer.Option(help="Runs that one container does, one after another; by default 1.")
    ] = None,
    auto_precision: Annotated[
        str | None,
        typer.Option(
            metavar="[bf16|fp16|fp32]",
            help="What `precision: auto` means in every run. By default it follows from the cards of the pool.",
        ),
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(help="Submit no more than this buys, by the estimate of `job plan`.")
    ] = None,
    image: Annotated[str | None, _option("image", envvar="JOB_IMAGE")] = None,
    gpus: Annotated[str | None, _option("gpus")] = None,
    jobs: Annotated[int | None, _option("jobs")] = None,
    cpus: Annotated[float | None, _option("cpus")] = None,
    memory: Annotated[str | None, _option("memory", metavar="SIZE")] = None,
    disk: Annotated[str | None, _option("disk", metavar="SIZE")] = None,
    timeout: Annotated[int | None, _option("timeout", metavar="SECONDS")] = None,
    attempts: Annotated[int | None, _option("attempts")] = None,
    env: Annotated[list[str] | None, _option("env", metavar="NAME[=VALUE]")] = None,
    env_from: Annotated[list[str] | None, _option("env_from", metavar="SECRET")] = None,
    stack: Annotated[str | None, _option("stack")] = None,
    queue: Annotated[str | None, _option("queue")] = None,
    job_role: Annotated[str | None, _option("job_role")] = None,
    region: Annotated[str | None, _option("region")] = None,
    namespace: Annotated[str | None, _option("namespace")] = None,
    context: Annotated[str | None, _option("context")] = None,
    service_account: Annotated[str | None, _option("service_account", metavar="NAME")] = None,
    image_pull_secret: Annotated[list[str] | None, _option("image_pull_secret", metavar="SECRET")] = None,
    node_selector: Annotated[list[str] | None, _option("node_selector", metavar="KEY=VALUE")] = None,
    toleration: Annotated[list[str] | None, _option("toleration", metavar="KEY[=VALUE][:EFFECT]")] = None,
    pod_patch: Annotated[str | None, _option("pod_patch", metavar="FILE", callback=check_place)] = None,
) -> None:  # fmt: skip
    """The options themselves. Each is a field of `Options`, but for the file that has more of them."""


OPTIONS = inspect.signature(_options, eval_str=True).parameters


def takes_backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(…, options=Options)` as a command of typer that has all of these options in place of `options`."""
    types = get_type_hints(command, localns={"Options": object}, include_extras=True)  # `Options` is not imported here
    own = [
        value.replace(annotation=types[name])
        for name, value in inspect.signature(command).parameters.items()
        if name != "options"
    ]
    caller = inspect.Parameter("caller", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [value.replace(kind=inspect.Parameter.KEYWORD_ONLY) for value in (*own, *OPTIONS.values())]

    @functools.wraps(command)
    def with_options(*, caller: typer.Context, **values: Any) -> None:
        given = {name: values.pop(name) for name in OPTIONS}
        command(**values, options=_read(caller, given))

    parameters.append(caller)
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {value.name: value.annotation for value in parameters}
    return with_options


def _read(caller: typer.Context, values: dict[str, Any]) -> Options:
    """All options as one. Raises `UsageError` for an option, `ManifestError` for a settings file."""
    from job.submit.options import Options, read_settings, read_yaml

    file = values.pop("settings")
    given = {name: value for name, value in values.items() if value not in (None, [])}
    if "pod_patch" in given:
        given["pod_patch"] = read_yaml(given["pod_patch"])
    options = read_settings(file) if file else Options()
    for name, value in given.items():
        options = options.add(_check_option(name, value))
    if not options.to:
        raise UsageError(f"--to is missing; must be {join_words(list(BACKENDS))}, here or in the file of --settings")
    taken = {*EVERYWHERE, *find_backend(options.to).options}
    for name in given:
        source = caller.get_parameter_source(name)
        if name not in taken and source is not None and source.name == "COMMANDLINE":
            takers = join_words([to for to, entry in BACKENDS.items() if name in entry.options])
            raise UsageError(f"--{name.replace('_', '-')}: means nothing to --to {options.to}; it is for {takers}")
    return options


def _check_option(name: str, value: Any) -> Options:
    """`Options` of this one alone. Raises `UsageError`."""
    from job.manifest import validate
    from job.submit.options import Options

    option = f"--{name.replace('_', '-')}"
    try:
        json.dumps(value, allow_nan=False)
        return validate({name: value}, Options, source=option)
    except ValueError as error:
        raise UsageError(f"{option} {value}: must be a finite number") from error
    except ManifestError as error:
        said = [fault.removeprefix(f"{option}: ").replace(name, option, 1) for fault in error.faults]
        raise UsageError("\n".join(said)) from error
