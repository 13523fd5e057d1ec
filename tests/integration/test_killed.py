"""Real processes with a real S3 API, stopped, killed and started twice: exactly one right result, or none."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import boto3
import pytest

from job.runs import RunResult, checkpoint_digest_key
from job.signals import ENDING_SIGNALS
from job.storage import Store, open_store
from tests.conftest import BUCKET, TINY, Tiny, in_each_precision
from tests.models.faulty_s3 import ALWAYS, FaultyS3, delay, lose_answer
from tests.processes import start_job, wait_for_end, wait_until, warm_up
from tests.results import metrics, result_in

pytestmark = pytest.mark.slow
GRACE_SECONDS = 25
"""Of the 30 that a container has between SIGTERM and SIGKILL."""
Start = Callable[..., ForkServerProcess]


@pytest.fixture
def output(wire: FaultyS3, bucket: str) -> str:
    """Reached by way of a wire that can be spoilt."""
    return f"{bucket}/study"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `job run`, and leaves no process behind."""
    started: list[ForkServerProcess] = []

    def run(manifest: Path, output: object, *options: object) -> ForkServerProcess:
        arguments = ("run", "--manifest", manifest, "--output", output, "--checkpoint-interval", "0", *options)
        started.append(start_job(*arguments, log=tmp_path / f"job-{len(started)}.log"))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.join()


def assert_no_upload_is_pending() -> None:
    """After SIGKILL some may be: the lifecycle rule of infra/batch.yaml removes them."""
    assert list(boto3.resource("s3").Bucket(BUCKET).multipart_uploads.all()) == []


def assert_whole_checkpoints(store: Store) -> None:
    """None counts whose content differs from its digest."""
    keys = store.list_keys("")
    for key in (key for key in keys if key.endswith(".pt") and checkpoint_digest_key(key) in keys):
        assert len(store.read(key)) == json.loads(store.read(checkpoint_digest_key(key)))["size_bytes"]


def uninterrupted(start: Start, manifest: Path, output: Path) -> dict[str, Any]:
    assert wait_for_end(start(manifest, output), seconds=120) == 0
    return metrics(result_in(open_store(str(output))))


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        (r"PUT .*/manifest\.json", "failed|interrupted"),  # before the first step
        (r"PUT .*/environment\.json", "interrupted"),  # training begins
        (r"PUT .*/history\.jsonl", "interrupted"),  # mid-training, an epoch's artefacts under way
        (r"(PUT|POST) .*\.pt", "interrupted"),  # during the upload of a checkpoint, which is slow
    ],
    ids=["before the first step", "first epoch", "later epoch", "upload"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_ends_with_143_in_time_and_leaves_nothing_partial(
    start: Start, tiny: Tiny, wire: FaultyS3, output: str, moment: str, state: str, times: int
) -> None:
    if ".pt" in moment:
        wire.spoil("PUT|POST", r"\.pt", delay(2))
    process = start(tiny(epochs=200, optimizer={"name": "sgd", "lr": 0.01}), output)
    wait_until(lambda: any(re.match(moment, request) for request in wire.requests), process)
    for _ in range(times):
        process.terminate()  # SIGTERM, unless it has ended since
        time.sleep(0.1)
    assert wait_for_end(process, seconds=GRACE_SECONDS) == 143
    assert_no_upload_is_pending()
    store = open_store(output)
    assert_whole_checkpoints(store)
    keys = store.list_keys("")
    assert not any(key.endswith("result.json") for key in keys)
    (progress,) = (json.loads(store.read(key)) for key in keys if key.endswith("progress.json"))
    assert progress["exit_code"] == 143
    assert re.fullmatch(state, progress["state"])


@pytest.mark.parametrize("number", [number for number in ENDING_SIGNALS if number is not signal.SIGTERM],
                         ids=lambda number: number.name)  # fmt: skip
def test_every_signal_that_ends_programs_ends_a_run_as_sigterm_does(
    start: Start, tiny: Tiny, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "out"
    process = start(tiny(epochs=200, optimizer={"name": "sgd", "lr": 0.01}), output)
    wait_until(lambda: list(output.rglob("history.jsonl")), process)
    os.kill(process.pid or 0, number)
    assert wait_for_end(process, seconds=GRACE_SECONDS) == 143
    assert_interrupted(open_store(str(output)), reason=number.name)


def assert_interrupted(store: Store, *, reason: str) -> None:
    """A checkpoint and word of the signal, and no result."""
    assert_whole_checkpoints(store)
    keys = store.list_keys("")
    assert any(key.endswith(".pt") for key in keys)
    assert not any(key.endswith("result.json") for key in keys)
    (progress,) = (json.loads(store.read(key)) for key in keys if key.endswith("progress.json"))
    assert (progress["state"], progress["exit_code"]) == ("interrupted", 143)
    assert reason in progress["error"]


def test_signal_while_the_last_artefacts_are_stored_ends_with_143_and_the_next_attempt_stores_them(
    start: Start, tiny: Tiny, wire: FaultyS3, output: str
) -> None:
    """They are stored behind the training of the next run, or, as here, when all training is over."""
    told = threading.Event()
    wire.hold("PUT", r"/plots/loss\.png", until=told.is_set)
    manifest = tiny(epochs=1, optimizer={"name": "sgd", "lr": 0.01})
    process = start(manifest, output)
    wait_until(lambda: any("/plots/loss.png" in request for request in wire.requests), process)
    process.terminate()
    time.sleep(0.5)  # the process does nothing else meanwhile
    told.set()
    assert wait_for_end(process, seconds=GRACE_SECONDS) == 143
    assert_interrupted(open_store(output), reason="SIGTERM")
    assert wait_for_end(start(manifest, output), seconds=120) == 0
    assert result_in(open_store(output)).attempts == 2


def test_signal_while_a_failure_is_recorded_leaves_word_of_it(
    start: Start, tiny: Tiny, wire: FaultyS3, output: str, tmp_path: Path
) -> None:
    """Word of the failure goes out slowly, and the signal finds it under way."""
    wire.spoil("PUT", r"/log\.jsonl", delay(1))  # after progress.json, which says why the run failed
    wire.spoil("PUT", r"/progress\.json", delay(1), times=2)
    process = start(tiny(dataset={"name": "folder"}), output, "--data", tmp_path / "nowhere")
    told = re.compile(r"PUT .*/progress\.json")  # once that the run starts, once that it failed
    wait_until(lambda: len([request for request in wire.requests if told.match(request)]) == 2, process)
    process.terminate()
    assert wait_for_end(process, seconds=GRACE_SECONDS) == 66
    store = open_store(output)
    (progress,) = (json.loads(store.read(key)) for key in store.list_keys("") if key.endswith("progress.json"))
    assert (progress["state"], progress["exit_code"]) == ("failed", 66)


@pytest.mark.timeout(1500)  # an attempt takes as long as the machine is busy, and there are more than twenty
@in_each_precision
def test_twenty_kills_at_any_moment_change_no_result(
    start: Start, tiny: Tiny, output: str, tmp_path: Path, precision_fields: dict[str, Any]
) -> None:
    """Each attempt goes on until it is killed; a run that finishes makes room for the next one."""
    moments = random.Random(0)
    manifest = tiny(**precision_fields, optimizer={"name": "sgd", "lr": 0.01})  # its checkpoints are a third of Adam's
    warm_up(tmp_path / "warm.log")  # else the first run would seem to take a quarter of a minute longer than the others
    began = time.monotonic()
    expected = uninterrupted(start, manifest, tmp_path / "whole")
    longest = time.monotonic() - began
    num_kills = num_runs = 0
    while num_kills < 20:
        process = start(manifest, f"{output}/{num_runs}", "--checkpoint-age", "0.01")  # within epochs too
        process.join(moments.uniform(0, longest))
        if process.exitcode is None:
            process.kill()
            num_kills += 1
        else:
            assert process.exitcode == 0
            num_runs += 1
    assert wait_for_end(start(manifest, f"{output}/{num_runs}"), seconds=120) == 0
    for number in range(num_runs + 1):
        store = open_store(f"{output}/{number}")
        assert_whole_checkpoints(store)
        assert metrics(result_in(store)) == expected


@in_each_precision
def test_run_that_is_killed_within_an_epoch_goes_on_from_its_last_checkpoint_by_time(
    start: Start, tiny: Tiny, wire: FaultyS3, output: str, tmp_path: Path, precision_fields: dict[str, Any]
) -> None:
    """One epoch of twenty steps: without checkpoints within it, everything would be trained again."""
    data = (TINY | precision_fields)["dataset"] | {"num_train": 400}
    fields = precision_fields | {"epochs": 1, "dataset": data, "optimizer": {"name": "sgd", "lr": 0.01}}
    manifest = tiny(**fields)
    expected = uninterrupted(start, manifest, tmp_path / "whole")
    killed = threading.Event()

    def is_first_or_killed() -> bool:
        """The training cannot come to its end before the second checkpoint is stored."""
        return killed.is_set() or not any(re.match(r"PUT .*_step-.*\.json", request) for request in wire.requests)

    wire.hold("PUT|POST", r"_step-.*\.pt", until=is_first_or_killed, times=ALWAYS)
    process = start(manifest, output, "--checkpoint-age", "0.001")
    store = open_store(output)
    wait_until(lambda: any("_step-" in key and key.endswith(".json") for key in store.list_keys("")), process)
    process.kill()
    process.join()
    killed.set()
    assert_whole_checkpoints(store)
    assert wait_for_end(start(manifest, output), seconds=120) == 0
    result = result_in(store)
    assert metrics(result) == expected
    (log,) = (store.read(key).decode() for key in store.list_keys("") if key.endswith("log.jsonl"))
    (started,) = (json.loads(line) for line in log.splitlines() if '"training_started"' in line)
    assert (started["epoch"], started["step"] > 0) == (0, True)
    lost, last = result.attempt_records  # a killed attempt is known by its last sign of life
    assert (lost.number, last.number) == (1, 2)
    assert lost.seconds > 0
    assert lost.ended_at < last.started_at


def test_finished_run_ends_at_once_and_changes_no_key(start: Start, tiny: Tiny, output: str, wire: FaultyS3) -> None:
    manifest = tiny(epochs=1)
    assert wait_for_end(start(manifest, output), seconds=120) == 0
    before = open_store(output).list_versions("")
    wire.requests.clear()
    assert wait_for_end(start(manifest, output), seconds=120) == 0
    assert {request.split()[0] for request in wire.requests} == {"GET"}
    assert open_store(output).list_versions("") == before


def test_two_processes_for_one_configuration_commit_once(start: Start, tiny: Tiny, output: str, wire: FaultyS3) -> None:
    manifest = tiny()
    processes = [start(manifest, output) for _ in range(2)]
    assert [wait_for_end(process, seconds=120) for process in processes] == [0, 0]
    commits = [request for request in wire.requests if re.match(r"PUT .*/result\.json", request)]
    assert 1 <= len(commits) <= 2
    assert isinstance(result_in(open_store(output)), RunResult)


def test_commit_whose_acknowledgement_is_lost_ends_with_0(
    start: Start, tiny: Tiny, output: str, wire: FaultyS3, tmp_path: Path
) -> None:
    wire.spoil("PUT", r"/result\.json", lose_answer)
    assert wait_for_end(start(tiny(epochs=1), output), seconds=120) == 0
    assert sum("result.json" in request and request.startswith("PUT") for request in wire.requests) == 2
    assert "run_completed_elsewhere" not in (tmp_path / "job-0.log").read_text()
    assert result_in(open_store(output)).attempts == 1
