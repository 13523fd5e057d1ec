"""`job doctor`: what is missing is told before money is spent, each with what to do; nothing stays behind."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from job.storage import open_store
from job.storage.staged import FOLDERS, IMAGENET_WEIGHTS, SUMS_NAME
from job.submit.doctor.cluster import OWN_ACCOUNT_RIGHT, RIGHTS
from job.submit.registry import BACKENDS
from tests import spool_backend
from tests.conftest import ROOT, Answer
from tests.models.faulty_s3 import FaultyS3
from tests.models.faulty_s3 import answer as answer_with
from tests.models.moto_queue import create_queue
from tests.models.stub_aws import StubAws, serve_aws
from tests.models.stub_facts import Facts
from tests.models.stub_kubernetes import serve_cluster

Job = Callable[..., Answer]
Doctor = Callable[..., dict[str, tuple[bool | None, str]]]


@pytest.fixture
def doctor(job: Job) -> Doctor:
    """The findings by name. The exit code is that of the first fault, and people are told the same as programs."""

    def call(*arguments: object) -> dict[str, tuple[bool | None, str]]:
        answer = job("doctor", *arguments, "--json")
        told = json.loads(answer.stdout)
        faults = [finding["exit_code"] for finding in told["findings"] if finding["ok"] is False]
        assert answer.exit_code == told["exit_code"] == (faults[0] if faults else 0)
        return {finding["name"]: (finding["ok"], finding["said"]) for finding in told["findings"]}

    return call


def program(folder: Path, name: str, script: str) -> None:
    """An executable on PATH that is no program of ours."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stage(bucket: str, *datasets: str, weights: tuple[str, ...] = ("resnet18",)) -> None:
    store = open_store(f"{bucket}/data")
    for dataset in datasets:
        store.write(f"{FOLDERS[dataset]}/{SUMS_NAME}", b"{}")
    for network in weights:
        store.write(IMAGENET_WEIGHTS[network], b"x")


# This machine


def test_machine_that_can_train_is_ready_and_its_output_is_as_it_was(job: Job, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    answer = job("doctor", "--to", "local", "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stdout
    assert [line.split()[:2] for line in answer.stdout.splitlines()[:-1]] == [
        ["ok", "python"], ["ok", "output"], ["ok", "data"],
    ]  # fmt: skip
    assert answer.stdout.splitlines()[-1] == "ready"
    assert list((tmp_path / "out").iterdir()) == []


def test_gpu_is_looked_for_where_one_is_asked_for(doctor: Doctor, path: Path, tmp_path: Path) -> None:
    arguments = ("--to", "local", "--output", tmp_path / "out", "--gpus", "2")
    ok, said = doctor(*arguments)["gpu"]
    assert not ok
    assert said.startswith("nvidia-smi is not installed on this machine; install NVIDIA's driver")
    program(path, "nvidia-smi", "print('NVIDIA A10G, 580.65\\nNVIDIA A10G, 580.65')")
    assert doctor(*arguments)["gpu"] == (True, "2 here: NVIDIA A10G, 580.65")
    program(path, "nvidia-smi", "print('NVIDIA A10G, 580.65')")
    assert "1 GPUs are here, --gpus asks for 2" in doctor(*arguments)["gpu"][1]


def test_folder_that_cannot_be_the_output_is_a_fault(doctor: Doctor, job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert doctor("--to", "local", "--output", tmp_path / "file/out")["output"][0] is False
    answer = job("doctor", "--to", "local", "--output", tmp_path / "file/out")
    assert answer.exit_code == 2
    assert answer.stdout.splitlines()[-1] == "1 to mend"
    assert any(line.startswith("FAULT output") for line in answer.stdout.splitlines())


DOCKER = """
if sys.argv[1] == "version": print("28.2.2")
elif sys.argv[1:3] == ["image", "inspect"]:
    if sys.argv[3] != "job:local": sys.exit("Error: No such image: " + sys.argv[3])
    print('[{"Id": "sha256:1f", "Architecture": "amd64", "RepoDigests": ["r/job@sha256:2e"]}]')
elif "--gpus" in sys.argv: GPU
else: sys.exit(99)
"""


def test_docker_is_asked_for_its_engine_the_image_and_the_gpu(doctor: Doctor, path: Path, tmp_path: Path) -> None:
    arguments = ("--to", "docker", "--output", tmp_path / "out", "--gpus", "all", "--image")
    assert "docker is not installed" in doctor(*arguments, "job:local")["docker"][1]
    program(path, "docker", DOCKER.replace("GPU", "print('NVIDIA L4, 580.65')"))
    found = doctor(*arguments, "job:local")
    assert found["docker"] == (True, "engine 28.2.2")
    assert found["image"] == (True, "job:local: is here, sha256:2e, amd64")
    assert found["gpu"] == (True, "1 in a container: NVIDIA L4, 580.65")
    assert "No such image: other; `make image` builds it" in doctor(*arguments, "other")["image"][1]
    program(path, "docker", DOCKER.replace("GPU", "sys.exit('could not select device driver')"))
    ok, said = doctor(*arguments, "job:local")["gpu"]
    assert not ok
    assert "could not select device driver; install the driver and the NVIDIA Container Toolkit" in said


def test_what_a_program_says_is_told_without_secrets(
    doctor: Doctor, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted/by+the/test")
    program(path, "docker", "sys.exit('cannot log in with planted/by+the/test')")
    ok, said = doctor("--to", "docker", "--output", tmp_path / "out", "--image", "i")["docker"]
    assert not ok
    assert "cannot log in with" in said
    assert "planted" not in said


# AWS


@pytest.fixture
def aws(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubAws]:
    """moto's services, and a stub of the quotas: sixteen vCPUs of spot machines."""
    monkeypatch.setattr("job.storage.aws.ANSWER_SECONDS", 60)  # moto's first answer of a service takes long
    with serve_aws() as stub:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", stub.url)
        stub.quotas = {"L-3819A6DF": 16.0, "L-DB2E81BA": 0.0}
        yield stub


@pytest.fixture
def queue(aws: StubAws, request: pytest.FixtureRequest) -> str:
    """A queue in moto over two of the stack's default types."""
    return create_queue(f"q-{abs(hash(request.node.name))}", "g4dn.xlarge", "g5.xlarge")


@pytest.fixture
def image(aws: StubAws) -> Iterator[str]:
    """An image in moto's ECR."""
    ecr = boto3.client("ecr")
    place = ecr.create_repository(repositoryName="job")["repository"]["repositoryUri"]
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"digest": "sha256:" + "0" * 64, "size": 1, "mediaType": "x"}, "layers": []}  # fmt: skip
    ecr.put_image(repositoryName="job", imageManifest=json.dumps(manifest), imageTag="0123abc")
    yield f"{place}:0123abc"
    ecr.delete_repository(repositoryName="job", force=True)


def test_account_that_is_ready_is_ok_in_every_line_and_the_bucket_is_as_it_was(
    doctor: Doctor, queue: str, image: str, bucket: str
) -> None:
    stage(bucket, "stl10")
    before = open_store(bucket).list_keys("")
    found = doctor("--to", "batch", "--queue", queue, "--image", image, "--output", f"{bucket}/runs")
    assert {name: ok for name, (ok, _) in found.items()} == dict.fromkeys(
        ("credentials", "region", "options", "queue", "instance types", "quota", "image", "output", "data"), True
    ), found
    assert "g4dn.xlarge, g5.xlarge; spot, up to 64 vCPUs" in found["queue"][1]
    assert "G and VT: 16 vCPUs spot, 0 on demand" in found["quota"][1]
    assert "sha256:" in found["image"][1]
    assert "written, committed only once, tagged, removed again" in found["output"][1]
    assert "holds stl10 and the ImageNet weights" in found["data"][1]
    assert open_store(bucket).list_keys("") == before


def test_what_is_missing_in_an_account_is_named_with_what_to_do(
    doctor: Doctor, queue: str, image: str, aws: StubAws, bucket: str
) -> None:
    aws.quotas = {"L-3819A6DF": 0.0, "L-DB2E81BA": 0.0}
    absent = image.replace("0123abc", "fedcba")
    found = doctor("--to", "batch", "--queue", queue, "--image", absent, "--output", f"{bucket}/runs")
    faults = {name: said for name, (ok, said) in found.items() if ok is False}
    assert set(faults) == {"quota", "image", "data"}
    assert (
        "a container needs 4: ask for more with `aws service-quotas request-service-quota-increase" in faults["quota"]
    )
    assert "--quota-code L-3819A6DF" in faults["quota"]
    assert "is not in the repository; run `make image push-image`" in faults["image"]
    assert f"run `job stage {bucket}/data --dataset stl10`" in faults["data"]


def test_missing_right_to_look_is_no_fault(doctor: Doctor, queue: str, image: str, aws: StubAws, bucket: str) -> None:
    stage(bucket, "stl10", weights=())
    aws.refusal = "AccessDeniedException"
    found = doctor("--to", "batch", "--queue", queue, "--image", image, "--output", f"{bucket}/runs")
    assert found["quota"][0] is None
    assert "without the right servicequotas:GetServiceQuota" in found["quota"][1]
    assert found["data"][0] is None
    assert "--dataset none --model resnet18`" in found["data"][1]


def test_queue_that_is_not_there_and_options_that_are_missing(doctor: Doctor, aws: StubAws, bucket: str) -> None:
    batch = ("--to", "batch", "--output", f"{bucket}/runs")
    found = doctor(*batch, "--queue", "absent", "--image", "r/job:1")
    assert found["queue"] == (False, "--queue absent: there is no such queue in us-east-1")
    assert found["image"][0] is None  # not in ECR
    assert "quota" not in found
    assert "--to batch needs --queue and --image, or --stack NAME" in doctor(*batch)["options"][1]


def test_without_credentials_nothing_else_is_asked(
    job: Job, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    answer = job("doctor", "--to", "batch", "--queue", "q", "--image", "i", "--output", f"{bucket}/runs")
    assert answer.exit_code == 67
    assert [line.split()[1] for line in answer.stdout.splitlines()[:-1]] == ["credentials"]


def test_data_of_a_sweep_are_looked_for(doctor: Doctor, bucket: str, tmp_path: Path) -> None:
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"dataset": [{"name": "stl10"}, {"name": "cifar10"}]}}
    sweep = tmp_path / "sweep.json"
    sweep.write_text(json.dumps({"name": "both", "blocks": [block]}))
    stage(bucket, "stl10")
    kubernetes = ("--to", "kubernetes", "--image", "i", "--output", f"{bucket}/runs", "-m", sweep)
    ok, said = doctor(*kubernetes)["data"]
    assert not ok
    assert f"`job stage {bucket}/data --dataset cifar10`" in said
    stage(bucket, "cifar10")
    assert doctor(*kubernetes)["data"] == (True, f"{bucket}/data: holds stl10, cifar10 and the ImageNet weights")
    assert doctor(*kubernetes, "--set", "dataset.name=synthetic", "--data", "download")["data"][0]


# A cluster


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facts]:
    stub = Facts()
    with serve_cluster(stub):
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "stub", "users": [{"name": "me", "user": {}}],
            "clusters": [{"name": "stub", "cluster": {"server": stub.url}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "me"}}],
        }  # fmt: skip
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        yield stub


def on_cluster(bucket: str, *more: object) -> tuple[object, ...]:
    return ("--to", "kubernetes", "--image", "r/job:1", "--output", f"{bucket}/runs", *more)


def test_cluster_that_is_ready_is_ok_in_every_line(doctor: Doctor, cluster: Facts, bucket: str) -> None:
    stage(bucket, "stl10")
    found = doctor(*on_cluster(bucket))
    assert {name: ok for name, (ok, _) in found.items()} == dict.fromkeys(
        ("options", "cluster", "rights", "namespace", "service account", "gpu", "output", "data"), True
    ), found
    assert found["cluster"][1] == "context stub, Kubernetes v1.34.1"
    assert found["gpu"][1] == "4 nvidia.com/gpu on 1 of 2 nodes"
    assert found["service account"][1] == "job: is not there yet; submit creates it"


def test_rights_that_are_missing_are_named(doctor: Doctor, cluster: Facts, bucket: str) -> None:
    cluster.refused = {("create", "jobs"), ("get", "pods/log")}
    ok, said = doctor(*on_cluster(bucket))["rights"]
    assert not ok
    assert said.startswith("these credentials may not create jobs, get pods/log in namespace job")


def test_rights_that_are_asked_for_are_those_of_the_submitter_s_role() -> None:
    documents = yaml.safe_load_all((ROOT / "infra/submitter-rbac.yaml").read_text())
    (role,) = (document for document in documents if document["kind"] == "Role")
    given = [
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(given) == sorted([*RIGHTS, OWN_ACCOUNT_RIGHT])


def test_what_the_pods_name_must_be_there(doctor: Doctor, cluster: Facts, bucket: str) -> None:
    named = ("--env-from", "s3", "--image-pull-secret", "registry", "--service-account", "mine", "--queue", "gpus")
    found = doctor(*on_cluster(bucket, *named))
    assert [name for name, (ok, _) in found.items() if ok is False][:4] == [
        "service account", "secret s3", "secret registry", "kueue",
    ]  # fmt: skip
    assert "kubectl create secret generic s3 --namespace job" in found["secret s3"][1]
    place = "/api/v1/namespaces/job"
    secret: dict[str, Any] = {"metadata": {"name": "s3"}, "data": {"AWS_SECRET_ACCESS_KEY": "cGxhbnRlZA=="}}
    cluster.found |= {
        f"{place}/secrets/s3": secret,
        f"{place}/secrets/registry": secret,
        f"{place}/serviceaccounts/mine": {"metadata": {"name": "mine"}},
        "/apis/kueue.x-k8s.io/v1beta1/namespaces/job/localqueues/gpus": {"spec": {"clusterQueue": "all"}},
    }
    found = doctor(*on_cluster(bucket, *named))
    assert found["secret s3"] == (True, "is there, with the keys AWS_SECRET_ACCESS_KEY")
    assert found["kueue"] == (True, "LocalQueue gpus of ClusterQueue all")
    assert found["service account"] == (True, "mine: is there")
    assert "planted" not in str(found)
    assert "cGxhbnRlZA" not in str(found)


def test_gpus_are_looked_for_on_the_nodes_that_pods_accept(doctor: Doctor, cluster: Facts, bucket: str) -> None:
    cluster.set_nodes({"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": "1"})
    ok, said = doctor(*on_cluster(bucket, "--gpus", "2"))["gpu"]
    assert not ok
    assert said.startswith("none of 2 nodes offers 2 nvidia.com/gpu: install NVIDIA's device plugin")
    assert "gpu" not in doctor(*on_cluster(bucket, "--gpus", "0"))
    cluster.forbidden = {"/api/v1/nodes", "/api/v1/namespaces/job"}
    found = doctor(*on_cluster(bucket))
    assert found["gpu"][0] is None
    assert found["namespace"][0] is None


def test_claim_is_looked_for_and_its_content_is_left_to_the_pods(doctor: Doctor, cluster: Facts) -> None:
    arguments = ("--to", "kubernetes", "--image", "i", "--output", "pvc://runs/study", "--data", "/output/photos")
    found = doctor(*arguments)
    assert found["claim"][0] is False
    cluster.found["/api/v1/namespaces/job/persistentvolumeclaims/runs"] = {
        "spec": {"accessModes": ["ReadWriteMany"]},
        "status": {"phase": "Bound"},
    }
    found = doctor(*arguments)
    assert found["claim"] == (True, "runs: Bound, ReadWriteMany")
    assert found["output"][0] is None
    assert found["data"][0] is None


def test_cluster_that_does_not_answer_is_the_only_fault_of_it(
    doctor: Doctor, cluster: Facts, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(path.read_text().replace(cluster.url, "http://127.0.0.1:1"))
    found = doctor(*on_cluster(bucket))
    assert found["cluster"][0] is False
    assert "cannot be reached" in found["cluster"][1]
    assert "rights" not in found
    assert "output" in found


def test_settings_file_is_taken_whole(doctor: Doctor, cluster: Facts, bucket: str) -> None:
    found = doctor("--settings", ROOT / "infra/settings/on-prem.yaml", "--output", f"{bucket}/runs")
    assert {"secret s3", "secret registry", "gpu", "output", "data"} <= found.keys()
    assert found["output"][0]


def test_back_end_that_somebody_adds_has_its_output_and_data_looked_at(
    doctor: Doctor, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOOL", str(tmp_path))
    monkeypatch.setitem(BACKENDS, "spool", spool_backend.ENTRY)
    stage(bucket, "stl10")
    found = doctor("--to", "spool", "--image", "i", "--queue", "night", "--output", f"{bucket}/runs")
    assert {name: ok for name, (ok, _) in found.items()} == {"output": True, "data": True}


# The output in S3


@pytest.mark.parametrize(
    ("method", "pattern", "ok", "said"),
    [
        ("PUT", r"\?tagging", None, "checkpoints are stored without their tag"),
        ("DELETE", r"/doctor/", None, "may not remove the probe"),
        ("PUT", r"/doctor/", False, "AccessDenied"),
    ],
)
def test_right_that_is_missing_in_the_bucket_is_told(
    method: str, pattern: str, ok: bool | None, said: str, doctor: Doctor, wire: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    wire.spoil(method, pattern, answer_with("403 Forbidden", "AccessDenied"), times=99)
    found = doctor("--to", "local", "--output", f"{bucket}/runs")
    assert found["output"][0] is ok
    assert said in found["output"][1]
