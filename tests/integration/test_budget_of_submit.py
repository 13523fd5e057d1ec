"""`job submit --max-usd`: what is rendered costs no more than the sum, if each container takes one attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job.manifest import Manifest
from job.runs import Timings
from job.storage import open_store
from tests.conftest import Answer
from tests.models.moto_queue import create_queue
from tests.models.stub_aws import StubAws, serve_aws
from tests.records import made_by, make_result, store_results

Job = Callable[..., Answer]
Submit = Callable[..., Answer]
PRICES = {("us-east-1", "g4dn.xlarge"): 3.6, ("us-east-1", "g5.xlarge"): 36.0}
STARTUP, OVERHEAD, RATE = 150, 15, 36.0 / 3600


@pytest.fixture
def price_list(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubAws]:
    monkeypatch.setattr("job.storage.aws.ANSWER_SECONDS", 60)  # moto's first answer of a service takes long
    with serve_aws() as stub:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", stub.url)
        stub.prices = dict(PRICES)
        yield stub


@pytest.fixture
def submit(job: Job, price_list: StubAws, bucket: str, tmp_path: Path, request: pytest.FixtureRequest) -> Submit:
    """What would be sent of five runs of the reference task to Batch, over T4 and A10G machines."""

    def call(*arguments: str, to: str = "batch") -> Answer:
        block = {"base": {"optimizer": {"name": "adam"}}}
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps({"name": "five", "seeds": [0, 1, 2, 3, 4], "blocks": [block]}))
        own: tuple[str, ...] = ()
        if to == "batch":
            own = (
                "--queue",
                create_queue(f"b-{abs(hash((request.node.name, arguments)))}", "g4dn.xlarge", "g5.xlarge"),
            )
        return job(
            "submit", "-m", path, "--to", to, "--output", f"{bucket}/runs", "--data", f"{bucket}/data", "--dry-run",
            *(("--image", "r/job:1") if to != "local" else ()), *own, *arguments,
        )  # fmt: skip

    return call


SECONDS = OVERHEAD + 50_000 / 3500 + 80_000 / 10_000
"""One run on the slowest machine of the pool, by the bundled table."""


def test_sum_limits_the_containers_and_gives_each_a_deadline(submit: Submit) -> None:
    answer = submit("--max-usd", "5")
    assert answer.exit_code == 0, answer.stderr
    request = json.loads(answer.stdout)
    num, deadline = (
        request["job"]["arrayProperties"]["size"],
        request["jobDefinition"]["timeout"]["attemptDurationSeconds"],
    )
    assert num == 2  # each needs (150 + 60) s at the price of the dearest machine: $2.10
    assert num * (STARTUP + deadline) * RATE <= 5
    assert deadline >= max(60, 1.25 * SECONDS)
    assert "--max-usd 5: 2 containers start" in answer.stderr
    total = 5 * (STARTUP + SECONDS) * RATE
    assert f"3 are left out: all would cost about ${total:.2f} and need --max-usd 10.50" in answer.stderr


def test_sum_that_suffices_leaves_none_out_and_the_usual_deadline_stays(submit: Submit) -> None:
    answer = submit("--max-usd", "1000")
    request = json.loads(answer.stdout)
    assert request["job"]["arrayProperties"]["size"] == 5
    assert request["jobDefinition"]["timeout"]["attemptDurationSeconds"] == 14_400
    assert "left out" not in answer.stderr
    shorter = json.loads(submit("--max-usd", "1000", "--timeout", "600").stdout)
    assert shorter["jobDefinition"]["timeout"]["attemptDurationSeconds"] == 600


def test_sum_that_buys_no_container_is_refused(submit: Submit) -> None:
    answer = submit("--max-usd", "1")
    assert answer.exit_code == 2
    assert "--max-usd 1 buys no container: the first needs $2.10" in answer.stderr
    assert answer.stdout == ""


def test_finished_runs_of_the_output_are_what_the_time_follows_from(submit: Submit, bucket: str) -> None:
    run = make_result(Manifest.model_validate({"name": "adam", "optimizer": {"name": "adam"}, "seed": 99}))
    history = [epoch.model_copy(update={"evaluate_images_per_second": 80.0}) for epoch in run.history]
    timings = Timings(startup=2, staging=5, preflight=1, train=80, evaluate=20, upload=2, total=120)
    run = run.model_copy(update={"train_images_per_second": 50.0, "timings": timings, "history": history})
    store_results(open_store(f"{bucket}/runs"), made_by(run, instance_type="g4dn.xlarge"))
    answer = submit("--max-usd", "30")
    (needed,) = re.findall(r"need --max-usd ([\d.]+)", answer.stderr)
    assert float(needed) == pytest.approx(5 * (STARTUP + 1.25 * (10 + 1000 + 1000)) * RATE, abs=0.05)


def test_price_of_the_table_counts_where_aws_does_not_tell(submit: Submit, price_list: StubAws) -> None:
    price_list.refusal = "AccessDeniedException"
    answer = submit("--max-usd", "1")
    assert answer.exit_code == 0, answer.stderr
    assert "price_of_table" in answer.stderr


def test_runs_of_one_container_are_bought_together(submit: Submit) -> None:
    request = json.loads(submit("--max-usd", "6", "--per-container", "2").stdout)
    assert request["job"]["arrayProperties"]["size"] == 2
    assert request["jobDefinition"]["timeout"]["attemptDurationSeconds"] == 600 / 2 - STARTUP


def test_machines_without_a_known_price_are_refused(submit: Submit) -> None:
    local = submit("--max-usd", "5", to="local")
    assert local.exit_code == 2
    assert "the machines of --to local have no price that is known" in local.stderr
    pods = submit("--max-usd", "5", to="kubernetes")
    assert "name their type, such as --node-selector node.kubernetes.io/instance-type=g5.xlarge" in pods.stderr
    other = submit("--max-usd", "5", "--node-selector", "node.kubernetes.io/instance-type=p5.48xlarge", to="kubernetes")
    assert "how fast p5.48xlarge is, is not known" in other.stderr
    known = submit("--max-usd", "5", "--node-selector", "node.kubernetes.io/instance-type=g5.xlarge", to="kubernetes")
    assert known.exit_code == 0, known.stderr
    assert "completions: 2\n" in known.stdout
