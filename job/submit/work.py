"""What is left to do of a sweep, what can be done of it where, and what every back end tells its containers.

sweep → plan − finished runs − runs under way = submission → launch → request of a back end
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from job.errors import AccessDeniedError, StorageError, UsageError
from job.logs import get_logger
from job.manifest import Sweep
from job.manifest.models import NAMED_WEIGHTS, Folder
from job.places import CLAIM_SCHEME, is_remote
from job.plan import (
    Submission,
    SubmittedJob,
    SweepPlan,
    build_submission,
    job_key,
    plan_key,
    submission_key,
)
from job.runs import RunKeys
from job.storage import Store, open_store
from job.submit.stale import Stale, find_stale, put_aside
from job.submit.status import observe_children, read_submitted

PERMANENT_EXIT_CODES = (1, 2, 65, 66, 67, 68, 69)
RETRYABLE_EXIT_CODES = (71, 74, 75, 143)
"""As the tree in `job.errors` has them."""
MAX_ATTEMPTS = 5
CLOUDS = ("batch", "kubernetes")
"""Back ends whose containers run on other machines."""


@dataclass(frozen=True)
class Launch:
    """One submission: `num_containers` containers that differ in their index alone."""

    name: str
    """`<experiment>-<submission id>`."""
    experiment: str
    output: str
    submission: str
    """Path or URI under which the containers read it."""
    num_containers: int
    image: str = ""
    data: str | None = None
    weights: tuple[str, ...] = ()
    """Places of pretrained weights that its runs name."""
    device: str = "auto"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """Arguments of `job run`, the image's entry point."""
        arguments = ["--manifest", self.submission, "--output", self.output, "--experiment", self.experiment]
        if self.data:
            arguments += ["--data", self.data]
        if self.device != "auto":
            arguments += ["--device", self.device]
        return arguments


@dataclass(frozen=True)
class Work:
    """What is left to do of a sweep."""

    experiment: str
    output: str
    plan: SweepPlan
    submission: Submission
    store: Store | None
    """None where only containers reach the output."""
    done: tuple[str, ...]
    """Runs that have a result and are not made again, in the order of the plan."""
    num_busy: int
    """Runs in containers that an earlier submission started, and that have not ended."""
    stale: list[Stale] = field(default_factory=list)
    """Finished runs that are to be made again."""

    def launch(self, *, image: str, data: str | None, device: str) -> Launch:
        """The same for every back end."""
        key = submission_key(self.experiment, self.submission.id)
        _, _, digest = image.partition("@")
        return Launch(
            name=f"{self.experiment}-{self.submission.id}",
            experiment=self.experiment,
            output=self.output,
            submission=self.store.locate(key) if self.store else "",
            num_containers=len(self.submission.containers),
            image=image,
            data=data,
            weights=tuple(_find_weights(self.plan)),
            device=device,
            environment={"JOB_IMAGE_DIGEST": digest} if digest else {},
        )

    def write(self) -> None:
        """Put the plan and the submission where containers, status and report find them, and stale results aside."""
        if self.store:
            self.store.probe(plan_key(self.experiment), self.plan.model_dump_json(indent=1).encode())
            put_aside(self.store, self.experiment, self.stale)
            key = submission_key(self.experiment, self.submission.id)
            self.store.write(key, self.submission.as_json().encode())

    def write_job(self, job: SubmittedJob) -> None:
        """Remember under which name the back end knows the submission."""
        if self.store:
            self.store.write(job_key(self.experiment, self.submission.id), job.model_dump_json(indent=1).encode())


def check_inputs(plan: SweepPlan, *, data: str | None, output: str, to: str) -> None:
    """Raises `UsageError` with every reason why containers of `to` could not read data or weights, or write there."""
    faults = [*_find_data_faults(plan, data=data, output=output, to=to)]
    if to not in CLOUDS and not is_remote(output):
        faults += _find_faults_here("--output", output, to=to, is_file=False, may_be_missing=True)
    for weights in _find_weights(plan):
        if is_remote(weights):
            continue
        if to == "local" or (to == "docker" and weights.startswith("/")):
            faults += _find_faults_here("model.weights", weights, to=to, is_file=True, may_be_missing=to == "docker")
        elif to in CLOUDS and _is_of_this_machine(weights, output=output):
            faults.append(
                f"model.weights {weights}: containers of --to {to} cannot read a file of this machine; "
                "copy it to S3 and write s3://BUCKET/KEY, or copy it into the image and write its absolute path there"
            )
        elif to == "docker":
            absolute = _expand(weights).absolute()
            faults.append(f"model.weights {weights}: containers have a working folder of their own; write {absolute}")
    if faults:
        raise UsageError("\n".join(faults))


def _find_weights(plan: SweepPlan) -> list[str]:
    """The places of pretrained weights that runs of `plan` name."""
    return sorted({run.manifest.model.weights for run in plan.runs} - set(NAMED_WEIGHTS))


def _find_data_faults(plan: SweepPlan, *, data: str | None, output: str, to: str) -> Iterator[str]:
    remedy = "copy it into the image and name its absolute path there with --data"
    if to == "kubernetes":
        remedy += ", or onto the claim of --output pvc://CLAIM and write --data /output/FOLDER"
    elif to in ("local", "docker"):
        remedy = "give --data a folder of this machine"
    folders = [run.run_id for run in plan.runs if isinstance(run.manifest.dataset, Folder)]
    if folders and data is None:
        yield f"dataset.name is folder in {folders[0]}, but --data is not given: {remedy}"
    elif folders and data is not None and is_remote(data):
        yield f"--data {data}: the data set folder of {folders[0]} cannot be read from S3; {remedy}"
    elif data is None or is_remote(data):
        return
    elif to in CLOUDS and _is_of_this_machine(data, output=output):
        advice = remedy if folders else "put the data set in S3 with `job stage s3://BUCKET/data` and name that"
        yield f"--data {data}: containers of --to {to} cannot read a folder of this machine; {advice}"
    elif to not in CLOUDS:
        is_of_image = to == "docker" and data.startswith("/")
        yield from _find_faults_here("--data", data, to=to, is_file=False, may_be_missing=is_of_image)


def _find_faults_here(name: str, place: str, *, to: str, is_file: bool, may_be_missing: bool) -> Iterator[str]:
    """Why the path `place` of this machine is nothing that a process, or a container that it is mounted into, can use.

    What `may_be_missing` is one of the image, or is made.
    """
    path, kind = _expand(place), "file" if is_file else "folder"
    if not path.exists() and not may_be_missing:
        yield f"{name} {place}: no such {kind}"
    elif path.exists() and path.is_dir() == is_file:
        yield f"{name} {place}: must be a {kind}, is a {'folder' if is_file else 'file'}"
    elif to == "docker" and (path.exists() or name == "--output") and ":" in f"{path.resolve()}{place}":
        yield f"{name} {place}: docker cannot mount {path.resolve()}, for its name holds a colon; give it another one"


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path would raise RuntimeError without a home folder


def _is_of_this_machine(path: str, *, output: str) -> bool:
    """Whether `path` cannot be meant as one inside a container in the cloud: it is relative, or lies here."""
    if output.startswith(CLAIM_SCHEME) and path.startswith("/output/"):  # the claim is mounted there
        return False
    return not path.startswith("/") or Path(path).exists()


def prepare(
    sweep: Sweep,
    plan: SweepPlan,
    *,
    output: str,
    experiment: str,
    per_container: int,
    is_dry_run: bool = False,
    origin: Mapping[str, str] | None = None,
) -> Work:
    """What of `plan`, which `sweep` expands to, is to be submitted. Storage is listed once, however many runs.

    With `origin`, what would run now, finished runs that something else made are to be made again.
    A dry run goes on without storage that cannot be reached, as if nothing were done yet.
    """
    store = None if output.startswith(CLAIM_SCHEME) else open_store(output)
    done: set[str] = set()
    busy: set[str] = set()
    stale: list[Stale] = []
    if store:
        try:
            done = find_done(plan, store, experiment=experiment)
            busy = find_busy(store, experiment=experiment)
            if origin is not None:
                settled = [run.run_id for run in plan.runs if run.run_id in done - busy]
                stale = find_stale(store, experiment, settled, origin)
            done -= {each.run_id for each in stale}
            busy -= done
        except (AccessDeniedError, StorageError) as error:
            if not is_dry_run:
                raise
            get_logger().warning("output_not_read", reason=str(error), consequence="every run is rendered")
    runs = [run for run in plan.runs if run.run_id not in done | busy]
    newest = max((each.finished_at for each in stale), default=None)
    replaces = newest.isoformat() if newest else None
    submission = build_submission(sweep, runs, per_container=per_container, replaces=replaces)
    finished = tuple(run.run_id for run in plan.runs if run.run_id in done)
    return Work(experiment, output, plan, submission, store, done=finished, num_busy=len(busy), stale=stale)


def find_done(plan: SweepPlan, store: Store, *, experiment: str) -> set[str]:
    """The ids of the runs of `plan` that have a result."""
    keys = set(store.list_keys(f"{experiment}/runs/"))
    return {run.run_id for run in plan.runs if RunKeys(experiment, run.run_id).result in keys}


def find_busy(store: Store, *, experiment: str) -> set[str]:
    """The ids of the runs whose containers wait or run."""
    children = observe_children(read_submitted(store, experiment))
    return {run_id for run_id, child in children.items() if child.state in ("waiting", "running")}
