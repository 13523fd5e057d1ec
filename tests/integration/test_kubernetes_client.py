"""A sweep on Kubernetes, from submit to cancel, through the official client and against a stub API server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.plan import SweepPlan
from job.runs import Progress, RunKeys
from job.storage import open_store
from tests.conftest import Answer
from tests.models.stub_kubernetes import Cluster, serve_cluster, write_kubeconfig

Job = Callable[..., Answer]
UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with serve_cluster() as stub:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, {"stub": stub.url})
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield stub


@pytest.fixture
def submit(job: Job, tmp_path: Path, bucket: str) -> Callable[..., Answer]:
    """Submits a sweep of so many learning rates, with output in the bucket by default."""

    def call(num_runs: int = 4, *, output: str = bucket) -> Answer:
        rates = [0.001 * (1 + i) for i in range(num_runs)]
        block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": rates}}
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps({"name": "rates", "blocks": [block]}))
        arguments = ("--to", "kubernetes", "--image", "r/job:1", "--output", output, "--data", f"{bucket}/data")
        return job("submit", "-m", path, *arguments)

    return call


def run_ids(bucket: str) -> list[str]:
    plan = SweepPlan.model_validate_json(open_store(bucket).read("rates/sweep.json"))
    return [run.run_id for run in plan.runs]


def finish(bucket: str, run_id: str) -> None:
    """What status and submit go by: there is a result."""
    open_store(bucket).write(RunKeys("rates", run_id).result, b"{}")


def status(job: Job, bucket: str) -> dict[str, Any]:
    answer = job("status", bucket, "--json")
    assert answer.exit_code == 0, answer.stderr
    seen: dict[str, Any] = json.loads(answer.stdout)
    return seen


@pytest.mark.parametrize("num_runs", [4, 300])
def test_sweep_of_any_size_is_submitted_in_four_calls(
    num_runs: int, submit: Callable[..., Answer], cluster: Cluster
) -> None:
    answer = submit(num_runs)
    assert answer.exit_code == 0, answer.stderr
    assert [path.rpartition("/")[2] for _, path in cluster.requests] == [
        "namespaces", "serviceaccounts", "configmaps", "jobs",
    ]  # fmt: skip
    assert cluster.job["spec"]["completions"] == num_runs


def test_what_is_under_way_is_not_submitted_again_and_what_is_missing_is(
    submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    assert "nothing to do; 0 runs are done, 4 under way" in submit().stdout
    first = cluster.job["metadata"]["name"]
    cluster.job["status"] = {"completedIndexes": "0-2", "failedIndexes": "3"}
    for run_id in run_ids(bucket)[:3]:
        finish(bucket, run_id)
    assert "1 runs in 1 containers" in submit().stdout
    [name] = [name for kind, name in cluster.objects if kind == "jobs" and name != first]
    assert cluster.objects["jobs", name]["spec"]["completions"] == 1


def test_status_says_why_containers_wait_and_how_they_failed(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    cluster.job["status"] = {"failedIndexes": "2"}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE}
    cluster.add_pod(0, {"phase": "Pending", "conditions": [condition]})
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/job:1"'}}
    cluster.add_pod(1, {"phase": "Pending", "containerStatuses": [container(waiting)]})
    cluster.add_pod(2, {"phase": "Failed", "containerStatuses": [ended(75, "Error")]}, age_seconds=90)
    cluster.add_pod(
        2, {"phase": "Failed", "containerStatuses": [ended(137, "OOMKilled")]}, log="one\ntwo\nthree\nfour\n"
    )
    seen = status(job, bucket)
    reasons = [(run["state"], run["exit_code"], run["reason"]) for run in seen["runs"]]
    assert reasons == [
        ("waiting", None, f"Unschedulable: {UNSCHEDULABLE}"),
        ("waiting", None, 'ImagePullBackOff: Back-off pulling image "r/job:1"'),
        ("failed", 137, "OOMKilled with exit code 137"),
        ("waiting", None, "its pod is not there yet"),
    ]
    shown = job("status", bucket).stdout
    assert "exit code 137" in shown
    assert "two\n  three\n  four" in shown


def test_running_container_shows_its_run_s_progress(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    cluster.add_pod(1, {"phase": "Running", "containerStatuses": [container({"running": {}})]})
    run_id = run_ids(bucket)[1]
    progress = Progress(
        run_id=run_id, state="running", attempt=1, epoch=5, step=0, num_epochs=10, num_steps=100,
        trained_seconds=60.0, updated_at=datetime.now(UTC),
    )  # fmt: skip
    open_store(bucket).write(RunKeys("rates", run_id).progress, progress.model_dump_json().encode())
    seen = status(job, bucket)
    assert seen["counts"]["running"] == 1
    assert seen["seconds_left"] == pytest.approx(60)
    assert seen["runs"][1]["done_fraction"] == 0.5


def test_suspended_job_waits_for_kueue(job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str) -> None:
    submit()
    cluster.job["spec"]["suspend"] = True
    cluster.job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpu"
    assert {run["reason"] for run in status(job, bucket)["runs"]} == {"suspended: Kueue has not admitted it"}


def test_job_that_a_person_suspended_waits_until_it_is_resumed(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    cluster.set_condition("Suspended", "JobSuspended", "Job suspended")
    seen = status(job, bucket)
    assert {(run["state"], run["reason"]) for run in seen["runs"]} == {
        ("waiting", "suspended: it starts when its Job is resumed")
    }
    assert "4 under way" in submit().stdout


FAILURES = {
    "Failed": ("DeadlineExceeded", "Job was active longer than specified deadline"),
    "FailureTarget": ("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
}


@pytest.mark.parametrize("condition", FAILURES)
def test_job_that_has_failed_as_a_whole_fails_every_index_that_is_not_complete(
    condition: str, job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    reason, message = FAILURES[condition]
    cluster.set_condition(condition, reason, message)
    cluster.job["status"] |= {"completedIndexes": "0", "failedIndexes": "2"}
    cluster.add_pod(1, {"phase": "Running", "containerStatuses": [container({"running": {}})]})
    cluster.add_pod(2, {"phase": "Failed", "containerStatuses": [ended(137, "OOMKilled")]})
    finish(bucket, run_ids(bucket)[0])
    said = f"{reason}: {message}"
    assert [(run["state"], run["exit_code"], run["reason"]) for run in status(job, bucket)["runs"]] == [
        ("done", None, ""),
        ("failed", None, said),
        ("failed", 137, "OOMKilled with exit code 137"),
        ("failed", None, said),
    ]
    assert "3 runs in 3 containers" in submit().stdout


def test_complete_job_has_nothing_under_way(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    """Even where its pods are gone: a run without result has failed then, because its container left nothing."""
    submit()
    cluster.set_condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    assert status(job, bucket)["counts"]["failed"] == 4


def list_requests(cluster: Cluster) -> int:
    return sum(method == "GET" and path.endswith("/pods") for method, path in cluster.requests)


def fill(cluster: Cluster, num_pods: int) -> None:
    """As many pods that run, and one more, which is the newest of index 0 and comes last."""
    for index in range(num_pods - 1):
        cluster.add_pod(index, {"phase": "Running", "containerStatuses": [container({"running": {}})]}, age_seconds=90)
    cluster.add_pod(0, {"phase": "Failed", "containerStatuses": [ended(75, "Error")]})
    cluster.pods[-1]["metadata"]["name"] = "zz"


@pytest.mark.parametrize(
    ("expiring", "num_requests"),
    [([], 3), ([True], 4), ([False], 5)],
    ids=["in one go", "expired, and told where to go on", "expired, and begun anew"],
)
def test_many_pods_are_read_in_pages_also_where_the_list_expires(
    expiring: list[bool], num_requests: int, job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit(1199)
    fill(cluster, 1200)
    cluster.expiring = list(expiring)
    runs = status(job, bucket)["runs"]
    assert (runs[0]["state"], runs[0]["reason"]) == ("waiting", "Error with exit code 75")
    assert list_requests(cluster) == num_requests
    assert cluster.expiring == []


def test_list_that_expires_again_and_again_is_given_up(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit(501)
    fill(cluster, 502)
    cluster.expiring = [False] * 10
    runs = status(job, bucket)["runs"]
    assert "too old" in runs[0]["reason"]
    assert list_requests(cluster) == 8


def test_pods_of_a_complete_job_are_not_asked_for(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    cluster.set_condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    status(job, bucket)
    assert list_requests(cluster) == 0


def test_evicted_pod_tells_what_the_kubelet_says(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    said = "Pod ephemeral local storage usage exceeds the total limit of containers 30Gi."
    evicted = {"phase": "Failed", "reason": "Evicted", "message": said}
    cluster.add_pod(0, evicted | {"containerStatuses": [ended(137, "ContainerStatusUnknown")]})
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                  "message": "preempting to accommodate a higher priority pod"}  # fmt: skip
    cluster.add_pod(1, {"phase": "Failed", "containerStatuses": [ended(143, "Error")], "conditions": [disruption]})
    seen = status(job, bucket)["runs"][:2]
    assert [(run["state"], run["exit_code"], run["reason"]) for run in seen] == [
        ("waiting", 137, f"Evicted: {said}"),
        ("waiting", 143, "PreemptionByScheduler: preempting to accommodate a higher priority pod"),
    ]


def test_containers_beside_ours_do_not_speak_for_it(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    proxy = container({"terminated": {"exitCode": 1, "reason": "Error"}}) | {"name": "proxy"}
    cluster.add_pod(0, {"phase": "Running", "containerStatuses": [proxy, container({"running": {}})]}, log="ours\n")
    run = status(job, bucket)["runs"][0]
    assert (run["exit_code"], run["reason"]) == (None, "")
    assert job("logs", bucket, run["run_id"]).stdout == "ours\n"


def test_logs_are_the_newest_pod_s_and_then_the_run_s_own(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    cluster.add_pod(0, {"phase": "Failed"}, log="old\n", age_seconds=90)
    cluster.add_pod(0, {"phase": "Running"}, log="first\nsecond\n")
    run_id = run_ids(bucket)[0]
    assert job("logs", bucket, run_id, "--lines", "1").stdout == "second\n"
    cluster.pods.clear()
    missing = job("logs", bucket, run_id)
    assert missing.exit_code == 2
    assert "no log" in missing.stderr
    open_store(bucket).write(RunKeys("rates", run_id).log, b'{"event": "kept"}\n')
    assert job("logs", bucket, run_id).stdout.split() == ["kept"]
    assert job("logs", bucket, run_id, "--json").stdout == '{"event": "kept"}\n'


def test_cancel_deletes_the_job_with_its_pods_and_status_goes_on_from_the_records(
    job: Job, submit: Callable[..., Answer], cluster: Cluster, bucket: str
) -> None:
    submit()
    finish(bucket, run_ids(bucket)[0])
    answer = job("cancel", bucket)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.startswith("cancelled: kubernetes rates-")
    assert cluster.deletions == ["Foreground"]
    name = cluster.job["metadata"]["name"]
    left = [run for run in status(job, bucket)["runs"] if run["state"] != "done"]
    assert {(run["state"], run["reason"]) for run in left} == {("gone", f"the Job {name} is being deleted")}
    cluster.finish_deletions()
    seen = status(job, bucket)
    assert seen["counts"] == {
        "done": 1, "running": 0, "waiting": 0, "interrupted": 0, "failed": 0, "lost": 0, "gone": 3, "corrupt": 0,
        "held": 0,
    }  # fmt: skip
    assert job("status", bucket, "--watch").exit_code == 0  # nothing is under way
    again = job("cancel", bucket)
    assert (again.exit_code, again.stdout) == (0, f"gone already: kubernetes {name}\n")


@pytest.mark.parametrize(
    ("refusal", "exit_code"),
    [((401, "Unauthorized"), 67), ((403, "jobs is forbidden"), 67), ((422, "spec.completions: Invalid value"), 2),
     ((500, "etcd is gone"), 74)],
)  # fmt: skip
def test_refusal_ends_with_its_code_and_the_server_s_words(
    refusal: tuple[int, str], exit_code: int, submit: Callable[..., Answer], cluster: Cluster
) -> None:
    cluster.refusal = refusal
    answer = submit()
    assert answer.exit_code == exit_code
    assert refusal[1] in answer.stderr
    assert "Traceback" not in answer.stderr


def test_cluster_that_does_not_answer_is_worth_another_try(
    submit: Callable[..., Answer], cluster: Cluster, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(path.read_text().replace(cluster.url, "http://127.0.0.1:1"))
    answer = submit()
    assert answer.exit_code == 74
    assert "cannot be reached" in answer.stderr


def test_missing_kubeconfig_is_said(submit: Callable[..., Answer], cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").unlink()
    answer = submit()
    assert answer.exit_code == 2
    assert "no cluster" in answer.stderr


def container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "job", "image": "r/job:1", "imageID": "", "ready": False, "restartCount": 0, "state": state}


def ended(code: int, reason: str) -> dict[str, Any]:
    return container({"terminated": {"exitCode": code, "reason": reason}})
