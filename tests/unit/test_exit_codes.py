"""One table of exit codes for all back ends: after which of them a container is tried again."""

from __future__ import annotations

import signal

import pytest

from job.manifest import Sweep
from job.plan import build_plan, build_submission
from job.submit.backend import MAX_ATTEMPTS, RETRYABLE_EXIT_CODES, Ended, Launch
from job.submit.batch_documents import EVALUATE_ON_EXIT
from job.submit.kubernetes_documents import KubernetesSettings, render
from job.submit.processes import run_processes
from tests.models import batch_retries, kubernetes_rules

CODES = range(1, 256)
TABLE = set(RETRYABLE_EXIT_CODES)


def test_table_is_what_the_error_tree_says() -> None:
    assert {code for code, is_worth_it in batch_retries.exit_codes().items() if is_worth_it} == TABLE


def test_kubernetes_goes_by_the_table() -> None:
    block = {"base": {"optimizer": {"name": "adam"}}}
    sweep = Sweep.model_validate({"name": "one", "blocks": [block]})
    submission = build_submission(sweep, build_plan(sweep, source="").run_ids, per_container=1)
    launch = Launch(experiment="one", output="s3://bucket/study", submission=submission, submission_place="")
    documents = render(launch, KubernetesSettings(image="registry/job:1"))
    answers = {code: kubernetes_rules.decide(documents, exit_code=code, disrupted=False) for code in CODES}
    assert {code for code, answer in answers.items() if answer == "Count"} == TABLE
    assert set(answers.values()) == {"Count", "FailIndex"}


def test_batch_goes_by_the_table() -> None:
    rules = [{key[0].upper() + key[1:]: value for key, value in rule.items()} for rule in EVALUATE_ON_EXIT]
    ended = "Essential container in task exited"
    again = {code for code in CODES if batch_retries.decide(rules, exit_code=code, status=ended) == "RETRY"}
    assert again == TABLE


def test_processes_go_by_the_table() -> None:
    ended = run_processes([["sh", "-c", f"exit {code}"] for code in CODES], jobs=2)
    assert {one.exit_code: one.attempts for one in ended} == {
        code: MAX_ATTEMPTS if code in TABLE else 1 for code in CODES
    }


@pytest.mark.parametrize(
    ("number", "ended"),
    [(signal.SIGKILL, Ended(0, 137, 1)), (signal.SIGABRT, Ended(0, 134, 1)), (signal.SIGTERM, Ended(0, 143, 5))],
)
def test_signal_that_ended_a_process_is_the_code_that_a_container_would_have(number: int, ended: Ended) -> None:
    assert list(run_processes([["sh", "-c", f"kill -{number:d} $$"]], jobs=1)) == [ended]
