"""`job submit`, `status`, `logs` and `cancel`: a sweep as one thing to send, watch, finish or stop."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from job.cli.done import check_done
from job.cli.options import (
    DataOption,
    ExperimentOption,
    ManifestOption,
    SettingsOption,
    check_place,
    check_place_or_claim,
    extra,
    name_experiment,
    name_source,
    open_output,
    read_sweep,
)
from job.cli.streams import outlive_reader
from job.errors import UsageError
from job.places import CLAIM_SCHEME, is_remote

if TYPE_CHECKING:
    from job.submit.work import Work

WATCH_SECONDS = 15
OutputArgument = Annotated[
    str,
    typer.Argument(
        envvar="JOB_OUTPUT", callback=check_place, help="Folder or s3:// URI that the sweep was submitted with."
    ),
]
SubmittedOutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        envvar="JOB_OUTPUT",
        callback=check_place_or_claim,
        help="Folder or s3:// URI for the artefacts; kubernetes: also pvc://CLAIM. By default the stack's, or runs.",
    ),
]


class Backend(StrEnum):
    """Where containers can run."""

    LOCAL = "local"
    DOCKER = "docker"
    BATCH = "batch"
    KUBERNETES = "kubernetes"


def submit(
    manifest: ManifestOption,
    to: Annotated[Backend, typer.Option("--to", help="local: processes here; docker: containers here.")],
    output: SubmittedOutputOption = None,
    settings: SettingsOption = None,
    experiment: ExperimentOption = None,
    data: DataOption = None,
    per_container: Annotated[int, typer.Option(min=1, help="Runs that one container does, one after another.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact requests; send and write nothing.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Run again what other code, torch or image made; see above.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="local, docker: how many at once; they share the cores.")] = 1,
    image: Annotated[
        str, typer.Option(envvar="JOB_IMAGE", help="docker, batch, kubernetes: the container image.")
    ] = "",
    gpus: Annotated[
        str, typer.Option(help="Of each container: a number; docker also takes `all`. By default 1, in docker none.")
    ] = "",
    stack: Annotated[
        str | None, typer.Option(help="batch: CloudFormation stack to read queue, roles, bucket and image from.")
    ] = None,
    queue: Annotated[str, typer.Option(help="batch: the job queue; kubernetes: a Kueue LocalQueue.")] = "",
    job_role: Annotated[str, typer.Option(help="batch: ARN of the containers' role.")] = "",
    region: Annotated[str | None, typer.Option(help="batch: AWS region.")] = None,
    namespace: Annotated[str, typer.Option(help="kubernetes: namespace.")] = "job",
    context: Annotated[str | None, typer.Option(help="kubernetes: context of the kubeconfig.")] = None,
) -> None:
    """Run a sweep: one container per configuration, and only for those without a result.

    With --stale also for results that were made by other code, another torch or torchvision, or another image than what
    would run now. What is not known of either side counts as the same: of an image only its digest, or a tag that is a
    commit, tells what is in it. The old results are kept in the output, below `superseded/`.
    """
    from job.logs import configure_logs
    from job.plan import build_plan
    from job.submit import batch, kubernetes, kubernetes_documents, processes
    from job.submit.work import check_inputs, prepare

    configure_logs()
    sweep = read_sweep(manifest, settings or [])
    plan = build_plan(sweep, source=name_source(manifest))
    check_inputs(plan, data=data, output=output or "runs", to=to.value)
    cloud = batch.BatchSettings(queue=queue, job_role=job_role, region=region, num_gpus=_count(gpus))
    if stack:
        found = batch.read_stack(stack, cloud)
        cloud, output, image = found.settings, output or found.output, image or found.image
    cluster = kubernetes_documents.KubernetesSettings(
        namespace=namespace, context=context, queue=queue or None, num_gpus=_count(gpus)
    )
    output = output or "runs"
    _check_reachable(output, to)
    origin = _read_origin(to, image, output=output) if stale else None
    with extra("kubernetes"):  # earlier submissions may be there
        work = prepare(
            sweep,
            plan,
            output=output,
            experiment=name_experiment(experiment, sweep),
            per_container=per_container,
            is_dry_run=dry_run,
            origin=origin,
        )
    _show_stale(work, asked=stale)
    check_done(work, data=data, is_here=to in (Backend.LOCAL, Backend.DOCKER))
    if not work.submission.containers:
        typer.echo(f"{work.experiment}: nothing to do; {len(work.done)} runs are done, {work.num_busy} under way")
        return
    asked = gpus not in ("", "0")
    needs_gpu = asked if to in (Backend.LOCAL, Backend.DOCKER) else bool(_count(gpus))
    launch = work.launch(image=image, data=data, device="cuda" if needs_gpu else "auto")
    match to:
        case Backend.LOCAL:
            request: Any = processes.render_local(launch, jobs=jobs)
        case Backend.DOCKER:
            request = processes.render_docker(launch, gpus=gpus if asked else None, jobs=jobs)
        case Backend.BATCH:
            request = batch.render(launch, cloud)
        case Backend.KUBERNETES:
            request = kubernetes_documents.render(launch, work.submission, cluster)
    if dry_run:
        _show(to, request)
        return
    outlive_reader()
    work.write()
    if to is Backend.BATCH:
        work.write_job(batch.submit(request, cloud))
    elif to is Backend.KUBERNETES:
        with extra("kubernetes"):
            work.write_job(kubernetes.submit(request, cluster))
    else:
        _run_here(request, work, jobs=jobs)
    runs = sum(len(container) for container in work.submission.containers)
    where = "the folder where the claim is mounted" if output.startswith(CLAIM_SCHEME) else output
    typer.echo(f"{work.experiment}: {runs} runs in {launch.num_containers} containers; see: job status {where}")


def status(
    output: OutputArgument,
    experiment: ExperimentOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until nothing is under way.")] = False,
) -> None:
    """Show what became of a sweep: done, running, waiting and why, failed and why, lost."""
    from job.cli.tables import print_status
    from job.submit.status import find_experiment, observe_sweep, read_last_words

    store = open_output(output)
    name = find_experiment(store, experiment)
    while True:
        with extra("kubernetes"):
            seen = observe_sweep(store, name)
            words = {} if as_json else read_last_words(store, seen)
        if as_json:
            counts = {"experiment": name, "counts": seen.counts, "done_fraction": round(seen.done_fraction, 4)}
            runs = [asdict(run) for run in seen.runs]
            typer.echo(json.dumps(counts | {"seconds_left": seen.seconds_left, "runs": runs}))
        else:
            print_status(seen, words)
        if not watch or seen.is_over:
            return
        time.sleep(WATCH_SECONDS)


def logs(
    output: OutputArgument,
    run_id: Annotated[str, typer.Argument(help="The run, as `job status` names it.")],
    experiment: ExperimentOption = None,
    num_lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they were logged: JSON, for programs.")] = False,
) -> None:
    """Print the last log lines of a run: its container's where the back end still has them, else its log.jsonl."""
    from job.logs import show_line
    from job.submit.status import find_experiment, read_log

    store = open_output(output)
    with extra("kubernetes"):
        for line in read_log(store, find_experiment(store, experiment), run_id, num_lines=num_lines):
            typer.echo(line if as_json else show_line(line))


def cancel(
    output: OutputArgument,
    experiment: ExperimentOption = None,
) -> None:
    """Stop everything of a sweep that waits or runs in the cloud; checkpoints stay, submitting again carries on."""
    from job.submit.status import backend, find_experiment, read_submitted

    store = open_output(output)
    name = find_experiment(store, experiment)
    submitted = read_submitted(store, name)
    outlive_reader()
    with extra("kubernetes"):
        for one in submitted:
            backend(one.job.backend).cancel(one.job, reason=f"job cancel {name}")
            typer.echo(f"cancelled: {one.job.backend} {one.job.job}")
    if not submitted:
        typer.echo(f"{name}: nothing of it was sent to Batch or Kubernetes")


def _check_reachable(output: str, to: Backend) -> None:
    """Raises `UsageError` for an output that the containers, or this machine, cannot write to."""
    is_claim, in_cloud = output.startswith(CLAIM_SCHEME), to in (Backend.BATCH, Backend.KUBERNETES)
    if is_claim and to is not Backend.KUBERNETES:
        raise UsageError(f"--output {output}: a PersistentVolumeClaim is for --to kubernetes")
    if in_cloud and not is_remote(output):
        raise UsageError(
            f"--output {output}: containers of --to {to} cannot reach a folder of this machine; give s3://…"
        )


def _read_origin(to: Backend, image: str, *, output: str) -> dict[str, str]:
    """What the containers would run with. Raises `UsageError` where nothing of it is known."""
    from job.runs.origins import build_origin
    from job.submit.processes import read_image_commit
    from job.submit.stale import read_image_origin, read_local_origin

    if output.startswith(CLAIM_SCHEME):
        raise UsageError(f"--stale: only containers reach {output}, so the results there cannot be looked at")
    if to is Backend.LOCAL:
        return read_local_origin()
    origin = read_image_origin(image)
    if to is Backend.DOCKER:
        origin = build_origin(code=read_image_commit(image)) | origin
    if not origin:
        raise UsageError(
            f"--stale: nothing is known of what --image {image or '(none)'} holds; name it by its digest "
            "(NAME@sha256:…) or by a tag that is a commit, as `make push-image` does"
        )
    return origin


def _show_stale(work: Work, *, asked: bool) -> None:
    """On standard error, for standard output may be a request."""
    from job.submit.stale import describe_stale

    if asked:
        typer.echo(f"{work.experiment}: {len(work.stale)} of the finished runs are stale and run again", err=True)
    for line in describe_stale(work.stale):
        typer.echo(f"  {line}", err=True)


def _count(gpus: str) -> int:
    """A number of GPUs; 1 where none is named. Raises `UsageError`."""
    if gpus in ("", "all"):
        return 1
    if not gpus.isdigit():
        raise UsageError(f"--gpus {gpus}: must be a number")
    return int(gpus)


def _show(backend: Backend, request: Any) -> None:
    """Print a request as its back end reads it."""
    import shlex

    match backend:
        case Backend.BATCH:
            typer.echo(json.dumps(request, indent=2))
        case Backend.KUBERNETES:
            from job.submit.kubernetes_documents import show

            typer.echo(show(request), nl=False)
        case _:
            for command in request:
                typer.echo(shlex.join(command))


def _run_here(commands: list[list[str]], work: Work, *, jobs: int) -> None:
    """Run all on this machine. Exits with the code of the first that failed."""
    from job.submit.processes import Ended, run_processes

    def show(ended: Ended) -> None:
        runs = ", ".join(work.submission.containers[ended.index])
        attempts = f" after {ended.attempts} attempts" if ended.attempts > 1 else ""
        typer.echo(f"{'done' if not ended.exit_code else f'exit code {ended.exit_code}'}{attempts}: {runs}")

    failed = [ended for ended in run_processes(commands, jobs=jobs, on_end=show) if ended.exit_code]
    if failed:
        raise typer.Exit(failed[0].exit_code)
