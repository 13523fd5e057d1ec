"""What `job submit` does where a name is taken: the Job runs already, has ended, is being deleted, or is another's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer
from tests.models.kubernetes_rules import DNS_LABEL
from tests.models.stub_kubernetes import Cluster, serve_cluster, write_kubeconfig

Job = Callable[..., Answer]
CLAIM = "pvc://claim"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with serve_cluster() as stub:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, {"stub": stub.url})
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield stub


@pytest.fixture
def submit(job: Job, tmp_path: Path) -> Callable[[str], Answer]:
    """Submits two runs into an output. Nothing of a claim can be read here, so only the cluster knows what runs."""
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": [0.001, 0.002]}}
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"name": "rates", "blocks": [block]}))

    def call(output: str) -> Answer:
        arguments = ("--to", "kubernetes", "--image", "r/job:1", "--output", output, "--data", "s3://bucket/data")
        return job("submit", "-m", path, *arguments)

    return call


def names(cluster: Cluster, kind: str = "Job") -> list[str]:
    return [body["metadata"]["name"] for body in cluster.objects.values() if body["kind"] == kind]


def mounted(body: dict[str, Any]) -> list[str]:
    """The ConfigMaps that the pods of a Job read."""
    volumes = body["spec"]["template"]["spec"]["volumes"]
    return [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]


def states(job: Job, output: str) -> set[str]:
    answer = job("status", output, "--json")
    assert answer.exit_code == 0, answer.stderr
    return {run["state"] for run in json.loads(answer.stdout)["runs"]}


def test_sweep_that_failed_as_a_whole_is_started_again_under_the_number_of_the_attempt(
    job: Job, submit: Callable[[str], Answer], cluster: Cluster, bucket: str
) -> None:
    submit(bucket)
    first = cluster.job
    for attempt in (2, 3):
        newest = cluster.jobs[-1]
        newest["status"]["failedIndexes"] = "0-1"
        cluster.set_condition("Failed", "FailedIndexes", "Job has failed indexes", job=newest)
        assert states(job, bucket) == {"failed"}
        assert "2 runs in 2 containers" in submit(bucket).stdout
        assert names(cluster)[-1] == f"{first['metadata']['name']}-{attempt}"
        assert states(job, bucket) == {"waiting"}
        assert "2 under way" in submit(bucket).stdout
    assert [mounted(body) for body in cluster.jobs] == [[name] for name in names(cluster)]
    assert names(cluster, "ConfigMap") == names(cluster)
    assert len({body["data"]["submission.json"] for body in cluster.objects.values() if "data" in body}) == 1
    assert all(DNS_LABEL.fullmatch(name) for name in names(cluster))


@pytest.mark.parametrize("condition", ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"])
def test_job_that_has_ended_or_is_about_to_gives_its_name_up(
    condition: str, submit: Callable[[str], Answer], cluster: Cluster
) -> None:
    submit(CLAIM)
    cluster.set_condition(condition, "AnyReason", "any message")
    assert submit(CLAIM).exit_code == 0
    first, second = names(cluster)
    assert second == f"{first}-2"


def test_sweep_whose_cancelled_job_is_still_being_deleted_is_started_at_once(
    job: Job, submit: Callable[[str], Answer], cluster: Cluster, bucket: str
) -> None:
    submit(bucket)
    first = cluster.job["metadata"]["name"]
    assert job("cancel", bucket).exit_code == 0
    assert names(cluster) == [first]  # its pods are saving their checkpoints
    assert "2 runs in 2 containers" in submit(bucket).stdout
    assert names(cluster) == [first, f"{first}-2"]
    del cluster.objects["configmaps", first]  # and whoever tidies up after it takes nothing from the second
    cluster.finish_deletions()
    assert names(cluster) == [f"{first}-2"]
    assert [("configmaps", name) in cluster.objects for name in mounted(cluster.job)] == [True]
    assert states(job, bucket) == {"waiting"}


def test_job_that_runs_already_is_not_started_twice(submit: Callable[[str], Answer], cluster: Cluster) -> None:
    """Although the server has filled in its defaults, and Kueue has changed what it may."""
    submit(CLAIM)
    cluster.job["spec"] |= {"suspend": True, "parallelism": 1}
    again = submit(CLAIM)
    assert again.exit_code == 0, again.stderr
    assert "job_runs_already" in again.stderr
    assert cluster.job["metadata"]["name"] in again.stderr
    assert len(cluster.jobs) == 1


def other_image(cluster: Cluster) -> None:
    cluster.job["spec"]["template"]["spec"]["containers"][0]["image"] = "r/other:1"


def other_arguments(cluster: Cluster) -> None:
    cluster.job["spec"]["template"]["spec"]["containers"][0]["args"].append("--index")


def other_completions(cluster: Cluster) -> None:
    cluster.job["spec"]["completions"] = 7


def no_container(cluster: Cluster) -> None:
    cluster.job["spec"]["template"]["spec"]["containers"][0]["name"] = "main"


def other_content(cluster: Cluster) -> None:
    [key] = [key for key in cluster.objects if key[0] == "configmaps"]
    cluster.objects[key]["data"] = {"submission.json": "{}"}


@pytest.mark.parametrize(
    ("change", "said"),
    [(other_image, "its image is r/other:1, must be r/job:1"), (other_arguments, "its args is ["),
     (other_completions, "its completions is 7, must be 2"), (no_container, "its image is None"),
     (other_content, "exists with other content")],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_else_stands_under_a_name_is_said_and_stays(
    change: Callable[[Cluster], None], said: str, submit: Callable[[str], Answer], cluster: Cluster
) -> None:
    submit(CLAIM)
    change(cluster)
    answer = submit(CLAIM)
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert "delete it, or submit under another --experiment" in answer.stderr
    assert len(cluster.jobs) == 1
