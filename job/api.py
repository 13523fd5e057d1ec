"""What `import job` offers in Python: the commands as functions, which return what the commands print.

    job.plan      a sweep as planned                          job.load_runs   the results as pandas tables
    job.submit    a sweep, sent out or carried out here       job.load_model  the network of a finished run

Defaults and errors (`job.errors.JobError`) are those of the commands. Variables such as JOB_OUTPUT are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.cli.options import as_one_sweep, read_sweep
from job.cli.submit import Asked, Sent, send
from job.errors import ManifestError, UsageError
from job.manifest import Manifest, Sweep, later_defaults, validate
from job.plan import SweepPlan, build_plan, parse_document
from job.sampling import draw_samples
from job.submit.options import Options
from job.submit.registry import find_backend
from job.versions import extra

if TYPE_CHECKING:
    from job.report import Runs
    from job.training.trained.model import TrainedModel

Document = str | Path | Mapping[str, Any] | Manifest | Sweep
"""A manifest or a sweep: the path or s3:// URI of its file, its content, or the object."""
__all__ = ["Sent", "load_model", "load_runs", "plan", "submit"]


def plan(manifest: Document, *, overrides: Iterable[str] = ()) -> SweepPlan:
    """The runs that `manifest` expands to, as `job plan --json` prints them. `overrides` are those of --set.

    Raises `ManifestError` with every fault.
    """
    sweep, source = _read(manifest, overrides)
    return build_plan(sweep, source=source)


def submit(
    manifest: Document,
    *,
    to: str,
    output: str | Path | None = None,
    overrides: Iterable[str] = (),
    experiment: str | None = None,
    dry_run: bool = False,
    stale: bool = False,
    **options: Any,
) -> Sent:
    """Run what is left to do of a sweep on the back end `to`, as `job submit` does. Local runs end before it returns.

    `options` are the other options of `job submit` with _ for -, as a settings file writes them: `jobs=2`,
    `env={"A": "b"}`. A container that failed raises nothing: `Sent.ended` has its exit code.
    """
    try:
        find_backend(to)
    except UsageError as error:
        raise UsageError(f"to={error}") from error
    given = {"to": to, "output": None if output is None else str(output)} | options
    sweep, source = _read(manifest, overrides)
    try:
        chosen = validate(given, Options, source="submit")
    except ManifestError as error:
        raise UsageError(str(error)) from error
    asked = Asked(experiment=experiment, is_dry_run=dry_run, stale=stale)
    return send(sweep, chosen, asked, source=source)


def load_runs(output: str | Path, *, experiment: str | None = None) -> Runs:
    """The runs of an output as pandas tables: what `job report` is written from. Needs the extra `report`."""
    with extra("report"):
        from job.report import load_runs as load
    return load(str(output), experiment=experiment)


def load_model(run: str | Path) -> TrainedModel:
    """The network of the finished run at `<output>/<experiment>/runs/<run id>`, a folder or s3:// URI.

    It is a `torch.nn.Module` in evaluation mode on the CPU, see `TrainedModel`. Needs the extra `train`. Raises
    `UsageError` where no finished run is, `DataError` where its weights cannot be used.
    """
    with extra("train"):
        from job.training.trained.model import load_model as load
    return load(str(run))


def _read(manifest: Document, overrides: Iterable[str]) -> tuple[Sweep, str]:
    """`manifest` as a sweep, and its name for messages."""
    if isinstance(manifest, str | Path):
        return read_sweep(str(manifest), list(overrides)), str(manifest)
    content: Any = manifest
    if isinstance(manifest, Manifest | Sweep):
        content = manifest.model_dump(mode="json", exclude=later_defaults(manifest))
    try:
        text = json.dumps(content)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"manifest: must hold what JSON can hold: {error}") from error
    sweep = as_one_sweep(parse_document(text.encode(), source="manifest", overrides=overrides))
    return draw_samples(sweep), "manifest"
