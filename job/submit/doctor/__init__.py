"""`job doctor`: whether a back end is ready for containers, looked at before money is spent.

finding   what a check found
host      this machine, for local and docker
aws       an account, for batch
cluster   a cluster, for kubernetes
places    output and staged data, for all
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from job.errors import JobError
from job.plan import SweepPlan
from job.submit.backend import Settings
from job.submit.doctor.finding import Finding, look
from job.submit.options import Options
from job.submit.registry import load_backend

__all__ = ["Finding", "examine", "find_exit_code"]


def examine(options: Options, *, plan: SweepPlan | None = None) -> Iterator[Finding]:
    """What is ready and what is not for containers of `options`; for the data of `plan`, if it is given.

    Nothing is written but one object in the output, which is removed again. No check raises, and each has a time limit.
    """
    faulty = False
    for finding in _load_checks(options.to)(options):
        faulty = faulty or (finding.name in ("credentials", "stack", "options") and finding.ok is False)
        yield finding
    if faulty:  # where the output is, or whether it can be reached, is then unknown
        return
    try:
        settings: Settings = load_backend(options.to).configure(options)
    except JobError as error:
        yield Finding("options", False, str(error), error.exit_code)
        return
    from job.submit.doctor.places import check_data, check_place

    yield look("output", lambda: check_place(options.to, settings.output))
    yield look("data", lambda: check_data(options.to, settings.output, data=options.data, plan=plan))


def find_exit_code(findings: list[Finding]) -> int:
    """0 if nothing is wrong, else the code of the first fault."""
    return next((finding.exit_code for finding in findings if finding.ok is False), 0)


def _load_checks(to: str) -> Callable[[Options], Iterator[Finding]]:
    """The checks of a back end; none for one that somebody has added. Only the chosen one's clients are imported."""
    if to == "batch":
        from job.submit.doctor.aws import check_batch

        return check_batch
    if to == "kubernetes":
        from job.submit.doctor.cluster import check_kubernetes

        return check_kubernetes
    from job.submit.doctor.host import check_docker, check_local

    return {"local": check_local, "docker": check_docker}.get(to, lambda _options: iter(()))
