"""What `job.submit.batch` makes of Batch's answers: why containers wait, and logs that are not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from job.manifest import Sweep
from job.plan import Submission, SubmittedJob
from job.submit.backend import Child, Launch
from job.submit.batch import cancel, observe, read_log, submit
from job.submit.batch_documents import BatchSettings, render
from tests.conftest import ROOT
from tests.models.stub_batch import Account, stub_batch
from tests.models.template_rules import load_template, statements

ARRAY = SubmittedJob(backend="batch", job="array", region="eu-west-1")
NO_MACHINE = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is too high"
FULL = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for [g5.xlarge]"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with stub_batch() as account:
        monkeypatch.setenv("AWS_ENDPOINT_URL", account.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        yield account


def reasons(children: list[Child]) -> list[str]:
    return [child.reason for child in children]


@pytest.mark.parametrize("reason", [NO_MACHINE, FULL])
def test_child_that_waits_shows_batch_s_reason_word_for_word(account: Account, reason: str) -> None:
    """Batch writes it on the child at the head of the queue, and not on the array."""
    account.add_array({"statusReason": reason})
    assert observe(ARRAY) == [Child(index=0, state="waiting", exit_code=None, reason=reason)]


def test_child_without_a_reason_shows_its_array_s_and_else_what_is_wrong_with_the_queue(account: Account) -> None:
    account.add_array({"statusReason": FULL}, {})
    assert reasons(observe(ARRAY)) == [
        FULL,
        "waiting for an instance: capacity, quota or max vCPUs; the queue's time limit cancels what waits too long",
    ]
    account.environment |= {"status": "INVALID", "statusReason": "CLIENT_ERROR - Denied"}
    assert reasons(observe(ARRAY)) == [
        FULL,
        "compute environment spot is ENABLED, INVALID: CLIENT_ERROR - Denied",
    ]
    account.jobs[0]["statusReason"] = "the array's own"
    assert reasons(observe(ARRAY)) == [FULL, "the array's own"]


def test_children_of_all_states_and_pages_are_seen_in_their_order(account: Account) -> None:
    failed = {"status": "FAILED", "statusReason": "Essential container in task exited", "container": {"exitCode": 66}}
    unable = {"status": "FAILED", "statusReason": "Task failed to start", "container": {"reason": "CannotPull…"}}
    account.add_array({}, {}, {}, {"status": "RUNNING"}, failed, {"status": "SUCCEEDED"}, unable)
    children = observe(ARRAY)
    assert [child.index for child in children] == list(range(7))
    assert [child.state for child in children[3:]] == ["running", "failed", "succeeded", "failed"]
    assert [(child.exit_code, child.reason) for child in (children[4], children[6])] == [
        (66, "Essential container in task exited"), (None, "CannotPull…"),
    ]  # fmt: skip


def test_job_of_one_container_shows_its_own_reason(account: Account) -> None:
    account.jobs = [{"jobId": "array", "status": "RUNNABLE", "jobQueue": "jobs", "statusReason": NO_MACHINE}]
    assert reasons(observe(ARRAY)) == [NO_MACHINE]


def test_queue_is_asked_about_only_where_a_child_waits_without_a_reason(account: Account) -> None:
    account.add_array({"statusReason": FULL}, {"status": "RUNNING"})
    observe(ARRAY)
    assert "/v1/describejobqueues" not in account.asked


def test_job_that_batch_has_forgotten_has_no_containers(account: Account) -> None:
    assert observe(ARRAY) == []


def test_submitter_s_policy_allows_every_call_that_is_made(account: Account) -> None:
    """The stub has the calls by their paths, such as /v1/submitjob, and GetLogEvents as /."""
    actions = {
        action.lower()
        for statement in statements(load_template(ROOT / "infra" / "batch.yaml"), "SubmitterPolicy")
        for action in statement["Action"]
    }
    sweep = Sweep.model_validate({"name": "two", "blocks": [{"base": {"optimizer": {"name": "adam"}}}]})
    submission = Submission(sweep=sweep, containers=[["first"], ["second"]])
    launch = Launch(
        experiment="two", output="s3://bucket/runs", submission=submission, submission_place="s3://bucket/x"
    )
    settings = BatchSettings(queue="jobs", image="repository:abc", region="eu-west-1")
    account.add_array({}, {"container": {"logStreamName": "job/default/1"}})
    job = submit(render(launch, settings), settings)
    observe(job)
    read_log(job, index=1, num_lines=1)
    cancel(job, reason="enough")
    called = {path.removeprefix("/v1/") for path in account.asked}
    assert called == {
        "describejobdefinitions", "registerjobdefinition", "submitjob", "describejobs", "listjobs", "describejobqueues",
        "describecomputeenvironments", "terminatejob", "/",
    }  # fmt: skip
    assert {f"batch:{name}" for name in called - {"/"}} | {"logs:getlogevents", "batch:tagresource"} <= actions


def test_last_lines_of_a_log_are_read(account: Account) -> None:
    account.add_array({"status": "RUNNING", "container": {"logStreamName": "job/default/1"}})
    account.log = ["first", "second", "third"]
    assert read_log(ARRAY, index=0, num_lines=2) == ["second", "third"]


@pytest.mark.parametrize("refusal", ["ResourceNotFoundException", "AccessDeniedException"])
def test_log_that_is_gone_or_may_not_be_read_has_no_lines(account: Account, refusal: str) -> None:
    account.add_array({"status": "RUNNING", "container": {"logStreamName": "job/default/1"}})
    account.refusal = refusal
    assert read_log(ARRAY, index=0, num_lines=2) == []
