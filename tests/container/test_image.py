"""The image as its user runs it, in a real Docker engine: small, for any user, stopped and resumed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from job import __version__
from tests.conftest import ROOT, TINY, Answer
from tests.container.engine import HARDENED, PLOTS, Bucket, finish, start

LONG = TINY | {"epochs": 3, "dataset": {"name": "synthetic", "size": 32, "num_train": 300, "num_test": 60}}
"""Long enough to be stopped in the middle."""
TIMES = ("train_seconds", "evaluate_seconds", "train_images_per_second", "evaluate_images_per_second")


def metrics(s3: Bucket, key: str) -> dict[str, Any]:
    """What of a result does not depend on when and how fast it was computed."""
    result = json.loads(s3.get(key))
    history = [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in result["history"]]
    return {"history": history} | {name: result[name] for name in ("final", "best", "confusion", "class_accuracy")}


def result_keys(s3: Bucket, experiment: str) -> list[str]:
    return [key for key in s3.keys(f"{experiment}/") if key.endswith("/result.json")]


def run_in_bucket(engine: docker.DockerClient, image: str, s3: Bucket, *arguments: str, **options: Any) -> Any:
    return start(engine, image, *arguments, "--output", s3.uri, environment=s3.environment, **options)


def test_help_is_the_command_s(engine: docker.DockerClient, image: str) -> None:
    with start(engine, image, "--help", **HARDENED) as container:
        code, output = finish(container)
    assert code == 0
    assert "--manifest" in output


def test_bundled_manifest_runs_with_nothing_configured_and_says_where_its_output_went(
    engine: docker.DockerClient, image: str
) -> None:
    arguments = ("--manifest", "smoke.json", "--set", "epochs=1", "--set", "dataset.num_train=100")
    with start(engine, image, *arguments) as container:
        code, output = finish(container)
        assert code == 0, output
        finished = json.loads(next(line for line in output.splitlines() if '"run_finished"' in line))
        assert finished["result"].startswith("/output/default/runs/smoke-s0-")
        chunks, _ = container.get_archive(finished["result"])
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            result = json.load(archive.extractfile("result.json"))  # type: ignore[arg-type]
    assert result["status"] == "completed"


def test_hardened_container_of_an_unknown_user_leaves_every_artefact_in_s3(
    engine: docker.DockerClient, image: str, s3: Bucket
) -> None:
    manifest = s3.put("manifests/tiny.json", TINY)
    with run_in_bucket(engine, image, s3, "--manifest", manifest, "--experiment", "hardened", **HARDENED) as container:
        code, output = finish(container)
    assert code == 0, output
    [result] = result_keys(s3, "hardened")
    run = result.removesuffix("result.json")
    names = {key.removeprefix(run) for key in s3.keys(run)}
    assert {"manifest.json", "environment.json", "progress.json", "history.jsonl", "log.jsonl"} <= names
    assert {"model.safetensors", "predictions.npz", "checkpoints/epoch-0002.pt", "checkpoints/epoch-0002.json"} <= names
    assert {f"plots/{plot}.png" for plot in PLOTS} <= names
    environment = json.loads(s3.get(f"{run}environment.json"))
    labels = engine.images.get(image).labels
    assert environment["package_version"] == labels["org.opencontainers.image.version"] == __version__
    assert environment["git_sha"] == labels["org.opencontainers.image.revision"]


def test_stopped_container_leaves_a_checkpoint_and_another_one_finishes_with_the_same_metrics(
    engine: docker.DockerClient, image: str, s3: Bucket
) -> None:
    manifest = s3.put("manifests/long.json", LONG)

    def arguments(experiment: str) -> tuple[str, ...]:
        return ("--manifest", manifest, "--experiment", experiment, "--checkpoint-interval", "0")

    with run_in_bucket(engine, image, s3, *arguments("whole")) as container:
        assert finish(container)[0] == 0
    with run_in_bucket(engine, image, s3, *arguments("stopped")) as container:
        deadline = time.monotonic() + 300
        while not any("/checkpoints/epoch-0001" in key for key in s3.keys("stopped/")):
            assert time.monotonic() < deadline, container.logs().decode()
            time.sleep(0.1)
        asked = time.monotonic()
        container.stop(timeout=25)
        code, output = finish(container)
        assert time.monotonic() - asked < 25
    assert code == 143, output
    assert result_keys(s3, "stopped") == []
    with run_in_bucket(engine, image, s3, *arguments("stopped")) as container:
        code, output = finish(container)
    assert code == 0, output
    assert "checkpoint_restored" in output
    [stopped], [whole] = result_keys(s3, "stopped"), result_keys(s3, "whole")
    assert json.loads(s3.get(stopped))["attempts"] == 2
    assert metrics(s3, stopped) == metrics(s3, whole)


def test_container_out_of_memory_leaves_no_result(engine: docker.DockerClient, image: str, s3: Bucket) -> None:
    dataset = {"name": "synthetic", "size": 256, "num_train": 20_000, "num_test": 100}  # 3.9 GB
    manifest = s3.put("manifests/large.json", TINY | {"dataset": dataset})
    limits = {"mem_limit": "1g", "memswap_limit": "1g"}
    with run_in_bucket(engine, image, s3, "--manifest", manifest, "--experiment", "memory", **limits) as container:
        code, output = finish(container)
    assert code == 137, output
    assert any(key.endswith("/progress.json") for key in s3.keys("memory/"))
    assert result_keys(s3, "memory") == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--manifest", "smoke.json", "--set", "optimizer.lr=-1"), 65, "smoke.json: optimizer.lr is -1"),
        (("--manifest", "absent.json"), 65, "absent.json: no such manifest"),
        (("--manifest", "smoke.json", "--device", "cuda"), 71, "GPU"),
    ],
)
def test_what_cannot_run_ends_with_its_code_and_a_message(
    arguments: tuple[str, ...], code: int, message: str, engine: docker.DockerClient, image: str
) -> None:
    with start(engine, image, *arguments, **HARDENED) as container:
        seen, output = finish(container)
    assert seen == code, output
    assert message in output
    assert "Traceback" not in output


def test_report_says_what_to_install(engine: docker.DockerClient, image: str) -> None:
    """The image trains; whoever reads reports has the project."""
    with start(engine, image, "report", "/output", entrypoint=["job"], **HARDENED) as container:
        seen, output = finish(container)
    assert seen == 2, output
    assert "it belongs to the extra 'report': run `make install` in the project's folder" in output
    assert "Traceback" not in output


def test_sweep_runs_in_containers_of_this_machine(job: Callable[..., Answer], image: str, tmp_path: Path) -> None:
    """`job submit --to docker` into a folder, whose files belong to whoever submitted."""
    defaults = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")}
    blocks = [{"base": {"optimizer": {"name": name}}} for name in ("adam", "sgd")]
    sweep, output = tmp_path / "sweep.json", tmp_path / "out"
    sweep.write_text(json.dumps({"name": "docker", "defaults": defaults, "blocks": blocks}))
    answer = job("submit", "-m", sweep, "--to", "docker", "--image", image, "--output", output, "--jobs", "2")
    assert answer.exit_code == 0, answer.stdout + answer.stderr
    assert json.loads(job("status", output, "--json").stdout)["counts"]["done"] == 2
    results = list(output.glob("docker/runs/*/result.json"))
    assert {path.stat().st_uid for path in results} == {os.getuid()}


def test_image_keeps_within_its_budget_and_names_its_user(engine: docker.DockerClient, image: str) -> None:
    attributes = engine.images.get(image).attrs
    assert attributes["Size"] <= 4.5e9
    assert attributes["Config"]["User"] == "10001:10001"
    assert attributes["Config"]["Entrypoint"] == ["job", "run"]
    assert attributes["Config"]["WorkingDir"] == "/opt/job/manifests/jobs"


def test_image_finds_the_driver_of_gke_and_takes_no_card_that_nobody_gave_it(
    engine: docker.DockerClient, image: str
) -> None:
    environment = dict(line.split("=", 1) for line in engine.images.get(image).attrs["Config"]["Env"])
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert environment["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    assert environment["PATH"].split(":")[0] == "/opt/job/bin"
    assert environment["PATH"].split(":")[-1] == "/usr/local/nvidia/bin"
    assert "NVIDIA_VISIBLE_DEVICES" not in environment


def test_every_library_that_was_kept_loads_without_those_that_were_not(engine: docker.DockerClient, image: str) -> None:
    """Without a GPU nothing runs on CUDA here, but the dynamic linker resolves every library and symbol now."""
    script = """
import ctypes, pathlib, sysconfig
import torch
packages = pathlib.Path(sysconfig.get_path("purelib"))
driver = ("libcuda.so.1", "libnvidia", "libibverbs", "libmlx5", "libmpi", "libfabric", "libucp", "libucs", "libpmix",
          "librdmacm", "liboshmem", "libgdrapi")  # come with the driver or the network card
faults, loaded = [], 0
for path in sorted([*packages.glob("nvidia/**/*.so*"), *packages.glob("torch/lib/*.so*")]):
    try:
        ctypes.CDLL(str(path))
        loaded += 1
    except OSError as error:
        if not str(error).startswith(driver):
            faults.append(str(error))
assert not faults, faults
print("loaded", loaded, torch.version.cuda)
"""
    with start(engine, image, "-c", script, entrypoint="python") as container:
        code, output = finish(container)
    assert code == 0, output
    assert int(output.split()[1]) > 20


def test_weights_with_another_digest_are_not_baked_in(image: str, tmp_path: Path) -> None:
    """The build's own check; layers before the weights come from the cache of `make image`."""
    client = os.environ.get("DOCKER", "docker")
    for name in ("job", "manifests", "requirements", "infra"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/resnet18-f37072fd.pth").write_bytes(b"not the weights")
    command = [client, "build", "--target", "weights", "--build-arg", "WEIGHTS=weights", str(tmp_path)]
    built = subprocess.run(
        command, env=os.environ | {"DOCKER_BUILDKIT": "1"}, capture_output=True, text=True, check=False, timeout=550
    )
    assert built.returncode != 0
    assert "resnet18-f37072fd.pth: corrupt: sha256" in built.stderr + built.stdout
