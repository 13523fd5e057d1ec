"""A back end as somebody else would add one: a spooler that takes its jobs as files and keeps their state in files.

One module, and `ENTRY` as its line in the registry. It touches no other file of ours.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.plan import SubmittedJob
from job.submit.backend import Child, Launch
from job.submit.options import Options
from job.submit.registry import Entry, Reach


@dataclass(frozen=True, kw_only=True)
class SpoolSettings:
    """Where the containers run."""

    output: str
    image: str
    queue: str
    needs_gpu: bool


def configure(options: Options) -> SpoolSettings:
    return SpoolSettings(
        output=options.output or "",
        image=options.image,
        queue=options.queue,
        needs_gpu=options.count_gpus() > 0,
    )


def render(launch: Launch, settings: SpoolSettings) -> dict[str, Any]:
    return {"name": launch.name, "queue": settings.queue, "image": settings.image, "size": launch.num_containers,
            "arguments": launch.arguments}  # fmt: skip


def show(request: dict[str, Any]) -> str:
    return f"{json.dumps(request)}\n"


def submit(request: dict[str, Any], settings: SpoolSettings) -> SubmittedJob:
    state = [{"state": "waiting", "reason": f"queue {settings.queue} is closed", "log": []}] * request["size"]
    _write(request["name"], state)
    return SubmittedJob(backend="spool", job=request["name"])


def observe(job: SubmittedJob) -> list[Child]:
    return [
        Child(index, container["state"], container.get("exit_code"), container["reason"])
        for index, container in enumerate(_read(job.job))
    ]


def read_log(job: SubmittedJob, *, index: int, num_lines: int) -> list[str]:
    return _read(job.job)[index]["log"][-num_lines:]


def cancel(job: SubmittedJob, *, reason: str) -> bool:
    state = [{"state": "failed", "exit_code": 143, "reason": reason, "log": []} for _ in _read(job.job)]
    if state:
        _write(job.job, state)
    return bool(state)


def _path(name: str) -> Path:
    return Path(os.environ["SPOOL"]) / f"{name}.json"


def _read(name: str) -> list[dict[str, Any]]:
    return json.loads(_path(name).read_text()) if _path(name).exists() else []


def _write(name: str, state: list[dict[str, Any]]) -> None:
    _path(name).write_text(json.dumps(state))


ENTRY = Entry(
    summary="a file in a spool folder",
    load=lambda: sys.modules[__name__],
    reach=Reach.NONE,
    takes_claims=True,
    options={"image": "the container image", "gpus": "how many each container has, by default 1", "queue": "a spool"},
)
