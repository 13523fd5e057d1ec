"""Submissions that a back end has forgotten, and back ends that cannot be asked: the rest goes on without them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from job.plan import SweepPlan
from job.runs import Progress, RunKeys
from job.storage import open_store
from job.submit.kubernetes_cluster import connect
from tests.conftest import Answer
from tests.models.stub_kubernetes import Cluster, serve_cluster, write_kubeconfig

Job = Callable[..., Answer]
Submit = Callable[..., Answer]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


@pytest.fixture
def clusters(kubeconfig: Path) -> Iterator[dict[str, Cluster]]:
    """Two clusters, of which `east` is the current one."""
    with serve_cluster() as east, serve_cluster() as west:
        write_kubeconfig(kubeconfig, {"east": east.url, "west": west.url})
        yield {"east": east, "west": west}


@pytest.fixture
def submit(job: Job, tmp_path: Path, bucket: str) -> Submit:
    """Submits as many learning rates of one sweep as are asked for, to Kubernetes by default."""

    def call(num_runs: int = 2, *options: str, to: str = "kubernetes") -> Answer:
        rates = [0.001 * (1 + i) for i in range(num_runs)]
        block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": rates}}
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps({"name": "rates", "blocks": [block]}))
        arguments = ("--to", to, "--image", "r/job:1", "--output", bucket, "--data", f"{bucket}/data")
        return job("submit", "-m", path, *arguments, *options)

    return call


def run_ids(bucket: str) -> list[str]:
    plan = SweepPlan.model_validate_json(open_store(bucket).read("rates/sweep.json"))
    return [run.run_id for run in plan.runs]


def say(bucket: str, run_id: str, *, state: Any = "running", age_seconds: float = 0.0) -> None:
    """Write what a run reports of itself."""
    progress = Progress(
        run_id=run_id, state=state, attempt=1, epoch=5, step=0, num_epochs=10, num_steps=100, trained_seconds=60.0,
        updated_at=datetime.now(UTC) - timedelta(seconds=age_seconds),
    )  # fmt: skip
    open_store(bucket).write(RunKeys("rates", run_id).progress, progress.model_dump_json().encode())


def runs(job: Job, bucket: str) -> list[tuple[str, str]]:
    answer = job("status", bucket, "--json")
    assert answer.exit_code == 0, answer.stderr
    return [(run["state"], run["reason"]) for run in json.loads(answer.stdout)["runs"]]


def jobs(bucket: str) -> list[dict[str, Any]]:
    """How the back ends know what was submitted."""
    store = open_store(bucket)
    return [json.loads(store.read(key)) for key in store.list_keys("rates/submissions/") if key.endswith(".job.json")]


@pytest.mark.parametrize(("options", "used"), [((), "east"), (("--context", "west"), "west")])
def test_context_is_stored_by_its_name_and_outlives_a_switch(
    options: tuple[str, ...], used: str, job: Job, submit: Submit, clusters: dict[str, Cluster], kubeconfig: Path,
    bucket: str,
) -> None:  # fmt: skip
    submit(2, *options)
    assert [record["context"] for record in jobs(bucket)] == [used]
    other = "west" if used == "east" else "east"
    write_kubeconfig(kubeconfig, {name: cluster.url for name, cluster in clusters.items()}, current=other)
    name = clusters[used].job["metadata"]["name"]
    assert "2 under way" in submit(2, *options).stdout
    assert runs(job, bucket) == [("waiting", "its pod is not there yet")] * 2
    assert job("cancel", bucket).stdout == f"cancelled: kubernetes {name}\n"
    assert clusters[used].deletions == ["Foreground"]
    assert clusters[other].requests == []


def test_named_context_is_never_replaced_by_another_cluster(submit: Submit, clusters: dict[str, Cluster]) -> None:
    answer = submit(2, "--context", "north")
    assert answer.exit_code == 2
    assert "no cluster: context north" in answer.stderr
    assert all(cluster.requests == [] for cluster in clusters.values())


def test_pod_without_a_kubeconfig_means_its_own_cluster(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has no name, so that a record of it says None."""
    for name, value in {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SERVICE_TOKEN_FILENAME", "SERVICE_CERT_FILENAME"):
        (tmp_path / name).write_text("token")
        monkeypatch.setattr(f"kubernetes.config.incluster_config.{name}", str(tmp_path / name))
    assert connect(None).context is None
    with pytest.raises(UsageError, match="no cluster: context east: "):
        connect("east")


@pytest.mark.parametrize("to", ["kubernetes", "spool"])
def test_submission_that_its_back_end_has_forgotten_is_gone_and_starts_again(
    to: str, job: Job, submit: Submit, clusters: dict[str, Cluster], spool: Path, bucket: str
) -> None:
    """With a run that was interrupted, one that fell silent and one that never began."""
    submit(3, to=to)
    [name] = [record["job"] for record in jobs(bucket)]
    clusters["east"].objects.clear()
    for path in spool.iterdir():
        path.unlink()
    interrupted, silent, _ = run_ids(bucket)
    say(bucket, interrupted, state="interrupted", age_seconds=5000)
    say(bucket, silent, age_seconds=5000)
    why = f"{to} no longer knows {name}, which was cancelled, or removed after its end"
    (first, of_first), (second, of_second), third = runs(job, bucket)
    assert (first, second, third) == ("gone", "gone", ("gone", why))
    assert of_first == f"stopped with its checkpoint saved; {why}"
    assert of_second.endswith(f"silent for 83 minutes; {why}")
    shown = job("status", bucket, "--watch")
    assert "3 gone" in shown.stdout
    assert "3 runs in 3 containers" in submit(3, to=to).stdout
    assert {state for state, _ in runs(job, bucket)} == {"waiting"}


def lose_context(kubeconfig: Path, clusters: dict[str, Cluster]) -> str:
    write_kubeconfig(kubeconfig, {"west": clusters["west"].url})
    return "no cluster: context east"


def lose_cluster(kubeconfig: Path, clusters: dict[str, Cluster]) -> str:
    write_kubeconfig(kubeconfig, {"east": NOWHERE, "west": clusters["west"].url}, current="west")
    return "the cluster cannot be reached"


def lose_rights(kubeconfig: Path, clusters: dict[str, Cluster]) -> str:
    clusters["east"].refusal = (401, "Unauthorized")
    return "Unauthorized"


def lose_kubeconfig(kubeconfig: Path, clusters: dict[str, Cluster]) -> str:
    kubeconfig.write_text("apiVersion: [")
    return "no cluster: context east"


@pytest.mark.parametrize("lose", [lose_context, lose_cluster, lose_rights, lose_kubeconfig])
def test_cluster_that_cannot_be_asked_blocks_neither_status_nor_submit_nor_cancel(
    lose: Callable[[Path, dict[str, Cluster]], str], job: Job, submit: Submit, clusters: dict[str, Cluster],
    kubeconfig: Path, spool: Path, bucket: str,
) -> None:  # fmt: skip
    """Submit goes by the records: what speaks is under way, and what is silent or never began starts elsewhere."""
    submit(3)
    [name] = [record["job"] for record in jobs(bucket)]
    why = lose(kubeconfig, clusters)
    speaking, silent, _ = run_ids(bucket)
    say(bucket, speaking)
    say(bucket, silent, age_seconds=5000)
    seen = runs(job, bucket)
    assert [state for state, _ in seen] == ["running", "lost", "waiting"]
    assert all(f"kubernetes cannot be asked about {name}: " in reason and why in reason for _, reason in seen)

    answer = submit(3, to="spool")
    assert answer.exit_code == 0, answer.stderr
    assert "2 runs in 2 containers" in answer.stdout
    assert "back_end_not_asked" in answer.stderr
    assert name in answer.stderr
    assert why in answer.stderr
    assert [state for state, _ in runs(job, bucket)] == ["running", "waiting", "waiting"]

    cancelled = job("cancel", bucket)
    assert cancelled.exit_code == {"lose_cluster": 74, "lose_rights": 67}.get(lose.__name__, 2)
    assert f"not cancelled: kubernetes {name}: " in cancelled.stderr
    assert why in cancelled.stderr
    [path] = spool.iterdir()
    assert cancelled.stdout == f"cancelled: spool {path.stem}\n"
    assert {container["exit_code"] for container in json.loads(path.read_text())} == {143}


def test_missing_client_blocks_nothing_but_its_own_back_end(
    job: Job, submit: Submit, clusters: dict[str, Cluster], spool: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(2)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    assert {"belongs to the extra 'kubernetes'" in reason for _, reason in runs(job, bucket)} == {True}
    assert "2 runs in 2 containers" in submit(2, to="spool").stdout
    assert job("cancel", bucket).exit_code == 2


def test_same_submission_in_two_places_is_known_and_cancelled_in_both(
    job: Job, submit: Submit, clusters: dict[str, Cluster], kubeconfig: Path, bucket: str
) -> None:
    """The first cluster could not be asked when the second was given the same runs, and answers again later."""
    submit(2)
    lose_cluster(kubeconfig, clusters)
    assert "2 runs in 2 containers" in submit(2).stdout
    assert sorted(record["context"] for record in jobs(bucket)) == ["east", "west"]
    write_kubeconfig(kubeconfig, {name: cluster.url for name, cluster in clusters.items()})
    assert job("cancel", bucket).stdout.count("cancelled: kubernetes ") == 2
    assert [cluster.deletions for cluster in clusters.values()] == [["Foreground"]] * 2


def test_log_that_the_cluster_does_not_show_is_the_run_s_own_and_fails_no_status(
    job: Job, submit: Submit, clusters: dict[str, Cluster], bucket: str
) -> None:
    """A pod whose container is not there, then a user who may see pods and not their logs."""
    cluster = clusters["east"]
    submit(1)
    [run_id] = run_ids(bucket)
    waiting = {"name": "job", "image": "r/job:1", "imageID": "", "ready": False, "restartCount": 0,
               "state": {"waiting": {"reason": "ImagePullBackOff"}}}  # fmt: skip
    cluster.add_pod(0, {"phase": "Pending", "containerStatuses": [waiting]})
    missing = job("logs", bucket, run_id)
    assert missing.exit_code == 2
    assert "no log; kubernetes does not show its container's: log of pod" in missing.stderr
    assert "waiting to start: ImagePullBackOff" in missing.stderr
    open_store(bucket).write(RunKeys("rates", run_id).log, b'{"event": "kept"}\n')
    assert job("logs", bucket, run_id).stdout.split() == ["kept"]
    cluster.rules = [{"apiGroups": ["", "batch"], "resources": ["jobs", "pods"], "verbs": ["get", "list"]}]
    cluster.pods[0]["status"] = {"phase": "Failed"}
    cluster.job["status"]["failedIndexes"] = "0"
    assert job("logs", bucket, run_id).stdout.split() == ["kept"]
    status = job("status", bucket)
    assert status.exit_code == 0, status.stderr
    assert "kept" in status.stdout
    open_store(bucket).delete([RunKeys("rates", run_id).log])
    assert job("status", bucket).exit_code == 0
