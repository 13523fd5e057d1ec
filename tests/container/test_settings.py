"""One settings file from `job submit` to the report: with Docker, and whole on a cluster that has an S3 of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from job.submit.options import read_settings
from tests.conftest import ROOT, TINY, Answer
from tests.container.engine import Bucket
from tests.models.kubelet import run_pod

Job = Callable[..., Answer]
pytestmark = pytest.mark.timeout(900)
FIELDS = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {"epochs": 1}
SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    blocks = [{"base": {"optimizer": {"name": name}}} for name in ("adam", "sgd")]
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"name": "settings", "defaults": FIELDS, "blocks": blocks}))
    return path


def write(folder: Path, **settings: Any) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_on_prem_example_is_run_whole_from_its_settings_to_the_report(
    engine: docker.DockerClient, image: str, s3: Bucket, job: Job, sweep: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The bundled file with the image, the endpoint and a machine of ours, the credentials in a Secret alone."""
    example = yaml.safe_load((ROOT / "infra/settings/on-prem.yaml").read_text())
    ours = {
        "image": image, "output": f"{s3.uri}/on-prem", "data": None, "gpus": 0,
        "env": example["env"] | {"AWS_ENDPOINT_URL_S3": s3.environment["AWS_ENDPOINT_URL"], "JOB_THREADS": "1"},
    }  # fmt: skip
    path = write(tmp_path, **example | ours)
    for name, value in s3.environment.items():  # of the one who submits
        monkeypatch.setenv(name, value)
    answer = job("submit", "--manifest", sweep, "--settings", path, "--dry-run")
    assert answer.exit_code == 0, answer.stderr
    documents = list(yaml.safe_load_all(answer.stdout))
    secrets = {"s3": {name: s3.environment[name] for name in SECRET}}
    assert not any(name in answer.stdout for name in SECRET)

    for index in range(2):
        code, said = run_pod(engine, documents, index, secrets=secrets, folder=tmp_path)
        assert code == 0, said
    with pytest.raises(KeyError, match="s3"):
        run_pod(engine, documents, 0, secrets={}, folder=tmp_path)
    code, said = run_pod(engine, documents, 0, secrets={"s3": {}}, folder=tmp_path)
    assert code == 67, said  # a Secret without the keys

    store = f"{s3.uri}/on-prem"
    assert len([key for key in s3.keys("on-prem/settings/runs/") if key.endswith("result.json")]) == 2
    report = job("report", store)
    assert report.exit_code == 0, report.stderr


def test_the_same_file_runs_the_sweep_with_docker(
    image: str, s3: Bucket, job: Job, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_SETTINGS_TEST", "from here")
    path = write(
        tmp_path, to="docker", image=image, output=f"{s3.uri}/by-docker", cpus=1, memory="3Gi", timeout=600, attempts=2,
        env={"JOB_THREADS": "1", "JOB_INSTANCE_TYPE": "desk", "DOCKER_SETTINGS_TEST": None}, jobs=2,
        toleration=["sku=gpu:NoSchedule"],
    )  # fmt: skip
    options = read_settings(str(path))
    assert options.resolve_env({"DOCKER_SETTINGS_TEST": "from here"})["DOCKER_SETTINGS_TEST"] == "from here"
    answer = job("submit", "--manifest", sweep, "--settings", path)
    assert answer.exit_code == 0, answer.stderr
    results = [json.loads(s3.get(key)) for key in s3.keys("by-docker/settings/runs/") if key.endswith("result.json")]
    assert [result["environment"]["instance_type"] for result in results] == ["desk", "desk"]
    assert [result["environment"]["num_threads"] for result in results] == [1, 1]
