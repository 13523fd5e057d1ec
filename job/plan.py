"""A sweep as planned and as sent out: which runs it has, which container does which, and where that is written.

sweep.json                          all runs of the experiment, for status and report
submissions/<id>.json               what the containers of one submission read: the sweep, and the run ids by container
submissions/<id>.job.json           the name under which the back end knows that submission
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from job.errors import ManifestError
from job.manifest import Manifest, Since, Sweep, apply_overrides, expand, later_defaults, parse_json_object, validate
from job.runs import SCHEMA_VERSION, Record, run_id

SWEEP_FIELDS = frozenset({"name", "seeds"})
"""The fields that `--set` changes in the sweep itself. Every other field is changed in each of its configurations."""


AutoPrecision = Literal["bf16", "fp16", "fp32"]
"""What `auto` in a manifest may be set to for all runs of a comparison (`Submission.auto_precision`)."""


class PlannedId(Record):
    """As much of a planned run as every version of this program can read: a later one may know other manifests."""

    run_id: str


class PlannedRun(PlannedId):
    """One run of a sweep."""

    manifest: Manifest
    varied: dict[str, Any]
    """What sets it apart within its block, by dotted path."""


class SweepPlan(Record):
    """sweep.json: all runs that an experiment is to have."""

    schema_version: int = SCHEMA_VERSION
    name: str
    runs: list[PlannedRun]
    auto_precision: AutoPrecision | None = None
    """What `auto` means in every run, so that a later submission trains in the same arithmetic; null where each machine
    chooses for itself."""
    is_race: bool = False
    """Whether it was `job race` that sent runs of it. Then runs that are in no submission do not wait: a race asks for
    them only while their configuration may still be the best."""

    @property
    def run_ids(self) -> list[str]:
        return [run.run_id for run in self.runs]


class _PlannedIds(Record):
    """sweep.json, without the manifests in it."""

    runs: list[PlannedId]


class _Race(Record):
    """sweep.json, without all the rest."""

    is_race: bool = False


class _Sent(Record):
    """A submission, without its sweep."""

    containers: list[list[str]]


class _AutoPrecision(Record):
    """sweep.json, without all the rest."""

    auto_precision: AutoPrecision | None = None


class Submission(Record):
    """What containers read: the sweep, and which of its runs each of them does.

    The containers expand the sweep themselves, so this stays small. Their image may be older than this program, and an
    older program refuses fields that it does not know. So fields that came later are not written as long as they
    stand at their default (`later_defaults`).
    """

    schema_version: int = SCHEMA_VERSION
    sweep: Sweep
    containers: list[list[str]]
    """The run ids of each container, by completion index."""
    replaces: Annotated[str | None, Since("0.2.0")] = None
    """If runs are done again: when the newest of their old results was finished. Without it this submission could be
    equal to the one that made them, and a back end that goes by the content would take the two for one."""
    auto_precision: Annotated[AutoPrecision | None, Since("0.2.0")] = None
    """What `auto` means in every run of this submission, whichever machine the container gets. Without it each machine
    chooses for itself."""

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
    backend: str
    """Its name in `job.submit.registry`."""
    job: str
    """How the back end knows it: Batch's job id, the name of Kubernetes' Job."""
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
    """The key of the record (`SubmittedJob`) that says how a back end knows a submission."""
    return f"{submissions_prefix(experiment)}{submission_id}.job.json"


def submissions_prefix(experiment: str) -> str:
    """The prefix of all submissions of an experiment."""
    return f"{experiment}/submissions/"


def parse_document(content: bytes, *, source: str, overrides: Iterable[str] = ()) -> Manifest | Sweep | Submission:
    """A manifest, a sweep or a submission, told apart by a field that only one of them has.

    `overrides` are those of --set (`job.manifest.apply_overrides`). Raises `ManifestError` with every fault.
    """
    document, overrides = parse_json_object(content, source=source), list(overrides)
    if "containers" in document:
        if overrides:
            raise ManifestError(f"{source}: is a submission; --set belongs to the command that submits")
        return validate(document, Submission, source=source)
    if "blocks" not in document:
        return validate(apply_overrides(document, overrides), Manifest, source=source)
    own = [override for override in overrides if override.partition("=")[0] in SWEEP_FIELDS]
    sweep = validate(apply_overrides(document, own), Sweep, source=source)
    common = [override for override in overrides if override not in own]
    if not common:
        return sweep
    blocks = [block.model_copy(update={"base": apply_overrides(block.base, common)}) for block in sweep.blocks]
    return sweep.model_copy(update={"blocks": blocks})


def as_sweep(document: Sweep | Submission) -> Sweep:
    """The sweep, or the one that a submission is of."""
    return document.sweep if isinstance(document, Submission) else document


def read_plan(content: bytes) -> list[str]:
    """The run ids of a sweep.json, in its order, whichever version wrote it. Raises `ValueError` if it is no plan."""
    return [planned.run_id for planned in _PlannedIds.model_validate_json(content).runs]


def read_is_race(content: bytes) -> bool:
    """Whether a sweep.json is that of a race. Raises `ValueError` if it is no plan."""
    return _Race.model_validate_json(content).is_race


def read_sent(content: bytes) -> list[str]:
    """The run ids that a submission sends. Raises `ValueError` if it is no submission."""
    return [run_id for container in _Sent.model_validate_json(content).containers for run_id in container]


def is_submission_key(key: str) -> bool:
    """Whether `key` is that of what a submission's containers read."""
    return key.partition("/")[2].startswith("submissions/") and key.endswith(".json") and not key.endswith(".job.json")


def read_auto_precision(content: bytes) -> AutoPrecision | None:
    """What a sweep.json says that `auto` means; None where it says nothing. Raises `ValueError` if it is no plan."""
    return _AutoPrecision.model_validate_json(content).auto_precision


def build_plan(sweep: Sweep, *, source: str, auto_precision: AutoPrecision | None = None) -> SweepPlan:
    """All runs of `sweep`. Raises `ManifestError` with every fault of every configuration."""
    runs = [
        PlannedRun(run_id=run_id(configuration.manifest), manifest=configuration.manifest, varied=configuration.varied)
        for configuration in expand(sweep, source=source)
    ]
    return SweepPlan(name=sweep.name, runs=runs, auto_precision=auto_precision)


def build_submission(
    sweep: Sweep,
    run_ids: list[str],
    *,
    per_container: int,
    replaces: str | None = None,
    auto_precision: AutoPrecision | None = None,
) -> Submission:
    """The runs `run_ids` of `sweep`, in this order, `per_container` to a container."""
    groups = [run_ids[first : first + per_container] for first in range(0, len(run_ids), per_container)]
    return Submission(sweep=sweep, containers=groups, replaces=replaces, auto_precision=auto_precision)


def select_manifests(
    document: Sweep | Submission, plan: SweepPlan, *, index: int | None, source: str
) -> list[Manifest]:
    """What one process is to run: the container `index` of a submission, the run `index` of a sweep, or all.

    Raises `ManifestError` when there is no such index, or the sweep expands here to other runs than at submission.
    """
    planned = {run.run_id: run.manifest for run in plan.runs}
    groups = document.containers if isinstance(document, Submission) else [[run_id] for run_id in planned]
    if index is not None and index >= len(groups):
        raise ManifestError(f"{source}: index {index} is beyond its {len(groups)} parts, counted from 0")
    wanted = groups[index] if index is not None else [run_id for group in groups for run_id in group]
    unknown = [run_id for run_id in wanted if run_id not in planned]
    if unknown:
        raise ManifestError(f"{source}: {unknown[0]} is not a run of its sweep; submit again with this version")
    return [planned[run_id] for run_id in wanted]
