"""A sweep as planned and as sent out: which runs it has, which container does which, and where that is written.

sweep.json                          all runs of the experiment, for status and report
submissions/<id>.json               what one submission's containers read: the sweep, and the run ids by container
submissions/<id>.job.json           under which names the back end knows that submission
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from job.errors import ManifestError
from job.manifest import Manifest, Since, Sweep, apply_settings, expand, later_defaults, parse_json_object, validate
from job.runs import SCHEMA_VERSION, Record, run_id

SWEEP_FIELDS = frozenset({"name", "seeds"})
"""What `--set` changes of a sweep itself; every other field it sets in each of its configurations."""


class PlannedRun(Record):
    """One run of a sweep."""

    run_id: str
    manifest: Manifest
    varied: dict[str, Any]
    """What sets it apart within its block, by dotted path."""


class SweepPlan(Record):
    """sweep.json: all runs that an experiment is to have."""

    schema_version: int = SCHEMA_VERSION
    name: str
    runs: list[PlannedRun]


class Submission(Record):
    """What containers are told: they expand the sweep themselves, so that this stays small.

    Their image may be older than this program. So what is written leaves out fields that they may not know, as long as
    these stand at their default (`later_defaults`).
    """

    schema_version: int = SCHEMA_VERSION
    sweep: Sweep
    containers: list[list[str]]
    """The run ids of each container, by completion index."""
    replaces: Annotated[str | None, Since("0.2.0")] = None
    """Where results are made again: when the newest of the old ones was finished. A back end that knows a submission
    of the same runs by its content would otherwise take this one for it."""

    @property
    def id(self) -> str:
        """Ten hexadecimal digits over the content: the same submission has the same name."""
        return hashlib.sha256(self._dump().encode()).hexdigest()[:10]

    def as_json(self) -> str:
        """The content of the file that containers read."""
        return self._dump(indent=1)

    def _dump(self, *, indent: int | None = None) -> str:
        return self.model_dump_json(indent=indent, exclude=later_defaults(self))


class SubmittedJob(Record):
    """What a back end needs to find a submission again."""

    schema_version: int = SCHEMA_VERSION
    backend: Literal["batch", "kubernetes"]
    job: str
    """Batch: the job id; Kubernetes: the Job's name."""
    region: str | None = None
    namespace: str | None = None
    context: str | None = None
    """Of the kubeconfig."""


def plan_key(experiment: str) -> str:
    """The key of an experiment's plan."""
    return f"{experiment}/sweep.json"


def submission_key(experiment: str, submission_id: str) -> str:
    """The key of what a submission's containers read."""
    return f"{submissions_prefix(experiment)}{submission_id}.json"


def job_key(experiment: str, submission_id: str) -> str:
    """The key of the name under which a back end knows a submission."""
    return f"{submissions_prefix(experiment)}{submission_id}.job.json"


def submissions_prefix(experiment: str) -> str:
    """The prefix of all submissions of an experiment."""
    return f"{experiment}/submissions/"


def parse_document(content: bytes, *, source: str, settings: Iterable[str] = ()) -> Manifest | Sweep | Submission:
    """A manifest, a sweep or a submission, told apart by what only each of them has.

    Raises `ManifestError` with every fault.
    """
    document = parse_json_object(content, source=source)
    if "containers" in document:
        if any(True for _ in settings):
            raise ManifestError(f"{source}: is a submission; --set belongs to the command that submits")
        return validate(document, Submission, source=source)
    if "blocks" not in document:
        return validate(apply_settings(document, settings), Manifest, source=source)
    own = [setting for setting in settings if setting.partition("=")[0] in SWEEP_FIELDS]
    sweep = validate(apply_settings(document, own), Sweep, source=source)
    common = [setting for setting in settings if setting not in own]
    if not common:
        return sweep
    blocks = [block.model_copy(update={"base": apply_settings(block.base, common)}) for block in sweep.blocks]
    return sweep.model_copy(update={"blocks": blocks})


def as_sweep(document: Sweep | Submission) -> Sweep:
    """The sweep, or the one that a submission is of."""
    return document.sweep if isinstance(document, Submission) else document


def build_plan(sweep: Sweep, *, source: str) -> SweepPlan:
    """All runs of `sweep`. Raises `ManifestError` with every fault of every configuration."""
    configurations = expand(sweep, source=source)
    return SweepPlan(
        name=sweep.name,
        runs=[
            PlannedRun(run_id=run_id(one.manifest), manifest=one.manifest, varied=one.varied) for one in configurations
        ],
    )


def build_submission(
    sweep: Sweep, runs: list[PlannedRun], *, per_container: int, replaces: str | None = None
) -> Submission:
    """`runs` of `sweep`, `per_container` to a container, in the plan's order."""
    ids = [run.run_id for run in runs]
    groups = [ids[first : first + per_container] for first in range(0, len(ids), per_container)]
    return Submission(sweep=sweep, containers=groups, replaces=replaces)


def select_manifests(
    document: Sweep | Submission, plan: SweepPlan, *, index: int | None, source: str
) -> list[Manifest]:
    """What one process is to run: the container `index` of a submission, the run `index` of a sweep, or all.

    Raises `ManifestError` when there is no such index, or the sweep expands here to other runs than at submission.
    """
    planned = {run.run_id: run.manifest for run in plan.runs}
    groups = document.containers if isinstance(document, Submission) else [[run] for run in planned]
    if index is not None and index >= len(groups):
        raise ManifestError(f"{source}: index {index} is beyond its {len(groups)} parts, counted from 0")
    wanted = groups[index] if index is not None else [run for group in groups for run in group]
    unknown = [run for run in wanted if run not in planned]
    if unknown:
        raise ManifestError(f"{source}: {unknown[0]} is not a run of its sweep; submit again with this version")
    return [planned[run] for run in wanted]
