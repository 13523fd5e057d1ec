"""A stub of AWS Batch and CloudWatch Logs, over real HTTP: it answers with what a test gives it, and runs nothing.

moto gives jobs neither a reason why they wait nor pages of children. Sources: the Batch API reference,
https://docs.aws.amazon.com/batch/latest/APIReference/, and
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE_SIZE = 2
"""Children on a page of ListJobs. AWS's pages hold up to 100."""
ANSWERS: dict[str, dict[str, Any]] = {
    "/v1/describejobdefinitions": {"jobDefinitions": []},
    "/v1/registerjobdefinition": {"jobDefinitionName": "job", "jobDefinitionArn": "job:1", "revision": 1},
    "/v1/submitjob": {"jobId": "array", "jobName": "job"},
    "/v1/terminatejob": {},
}
"""To requests that change nothing here."""
SUMMED_UP = ("jobId", "jobName", "status", "statusReason", "container")
"""The fields of a job that ListJobs tells, of those that tests use."""


class Account:
    """The state of the stub, which tests look at and change."""

    def __init__(self) -> None:
        self.url = ""
        self.jobs: list[dict[str, Any]] = []
        """As DescribeJobs tells them, array jobs with their children."""
        self.queue: dict[str, Any] = {
            "jobQueueName": "jobs", "jobQueueArn": "jobs", "state": "ENABLED",
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "spot"}],
        }  # fmt: skip
        self.environment: dict[str, Any] = {
            "computeEnvironmentName": "spot", "computeEnvironmentArn": "spot", "state": "ENABLED", "status": "VALID",
        }  # fmt: skip
        self.log: list[str] = []
        self.refusal = ""
        """Code of every answer of CloudWatch Logs, where set."""
        self.asked: list[str] = []

    def add_array(self, *children: dict[str, Any], **parent: Any) -> None:
        """An array job `array` whose children are given by what differs from one that waits."""
        self.jobs.append(
            {"jobId": "array", "status": "PENDING", "jobQueue": "jobs", "arrayProperties": {"size": len(children)}}
            | parent
        )
        for index, child in enumerate(children):
            self.jobs.append({"jobId": f"array:{index}", "status": "RUNNABLE", "jobQueue": "jobs"} | child)

    def answer(self, path: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        if path == "/v1/describejobs":
            return 200, {"jobs": [job for job in self.jobs if job["jobId"] in asked["jobs"]]}
        if path == "/v1/listjobs":
            return 200, self._list(f"{asked['arrayJobId']}:", asked["jobStatus"], start=int(asked.get("nextToken", 0)))
        if path in ANSWERS:
            return 200, ANSWERS[path]
        if path == "/v1/describejobqueues":
            return 200, {"jobQueues": [self.queue]}
        if path == "/v1/describecomputeenvironments":
            return 200, {"computeEnvironments": [self.environment]}
        if self.refusal:
            return 400, {"__type": self.refusal, "message": "told in words"}
        events = [{"timestamp": 0, "ingestionTime": 0, "message": line} for line in self.log[-asked["limit"] :]]
        return 200, {"events": events}

    def _list(self, prefix: str, status: str, *, start: int) -> dict[str, Any]:
        found = [job for job in self.jobs if job["jobId"].startswith(prefix) and job["status"] == status]
        page = [{key: job[key] for key in SUMMED_UP if key in job} for job in found[start : start + PAGE_SIZE]]
        more = {"nextToken": str(start + PAGE_SIZE)} if start + PAGE_SIZE < len(found) else {}
        return {"jobSummaryList": page} | more


@contextmanager
def stub_batch() -> Iterator[Account]:
    """A stub in a thread, reached at its `url`."""
    account = Account()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            status, told = account.answer(self.path, body)
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        account.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield account
        finally:
            server.shutdown()
            thread.join()
