"""Containers in a cloud read the data set from the output's bucket; none downloads gigabytes unless told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision.models import get_model_weights

from job.storage import open_store
from job.storage.staged import FOLDERS, IMAGENET_WEIGHTS, SUMS_NAME, has_weights, is_staged
from job.training.inputs.datasets import STAGED
from tests.conftest import Answer

Job = Callable[..., Answer]
Submit = Callable[..., Answer]


def stage(bucket: str, *datasets: str) -> None:
    """As `job stage` leaves it, as far as anybody looks before containers start."""
    for dataset in datasets:
        open_store(f"{bucket}/data").write(f"{FOLDERS[dataset]}/{SUMS_NAME}", b"{}")


@pytest.fixture
def submit(job: Job, tmp_path: Path, bucket: str) -> Submit:
    """What would be sent of a sweep over these data sets, to Batch by default."""

    def call(
        *arguments: str, datasets: tuple[str, ...] = ("stl10",), to: str = "batch", output: str | None = None
    ) -> Answer:
        block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"dataset": [{"name": name} for name in datasets]}}
        path = tmp_path / "sweep.json"
        path.write_text(json.dumps({"name": "rates", "blocks": [block]}))
        return job(
            "submit", "-m", path, "--to", to, "--output", output or f"{bucket}/runs", "--dry-run",
            *(("--image", "r/job:1") if to != "local" else ()), *(("--queue", "q") if to == "batch" else ()),
            *arguments,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("to", ["batch", "kubernetes"])
def test_data_that_are_staged_in_the_bucket_are_taken_and_submit_says_so(to: str, submit: Submit, bucket: str) -> None:
    stage(bucket, "stl10", "cifar10")
    answer = submit(to=to, datasets=("stl10", "cifar10", "synthetic"))
    assert answer.exit_code == 0, answer.stderr
    assert f"{bucket}/data" in answer.stdout
    assert f"rates: containers read their data from {bucket}/data" in answer.stderr


def test_data_that_are_not_staged_are_refused_with_the_command_that_stages_them(submit: Submit, bucket: str) -> None:
    stage(bucket, "stl10")
    answer = submit(datasets=("stl10", "cifar10", "cifar100"))
    assert answer.exit_code == 2
    assert f"--data is not given, and {bucket}/data does not hold it" in answer.stderr
    assert "every container would download cifar10 and cifar100" in answer.stderr
    for dataset in ("cifar10", "cifar100"):
        assert f"`job stage {bucket}/data --dataset {dataset}`" in answer.stderr
    assert "stl10`" not in answer.stderr


@pytest.mark.parametrize("to", ["batch", "kubernetes"])
def test_every_container_may_be_told_to_download(to: str, submit: Submit, bucket: str) -> None:
    stage(bucket, "stl10")
    answer = submit("--data", "download", to=to)
    assert answer.exit_code == 0, answer.stderr
    assert f"{bucket}/data" not in answer.stdout
    assert "download" not in answer.stdout


def test_place_that_is_named_is_taken_as_it_is(submit: Submit, bucket: str) -> None:
    answer = submit("--data", "s3://elsewhere/images")
    assert answer.exit_code == 0, answer.stderr
    assert "s3://elsewhere/images" in answer.stdout
    assert "containers read" not in answer.stderr


def test_generated_images_need_no_data(submit: Submit) -> None:
    answer = submit(datasets=("synthetic",))
    assert answer.exit_code == 0, answer.stderr
    assert "--data" not in answer.stdout


def test_claim_has_no_bucket_to_look_into(submit: Submit) -> None:
    answer = submit(to="kubernetes", output="pvc://claim")
    assert answer.exit_code == 2
    assert "--data is not given: every container would download stl10; run `job stage s3://BUCKET/data" in answer.stderr


def test_containers_on_this_machine_use_its_cache(submit: Submit, tmp_path: Path) -> None:
    for arguments in ((), ("--data", "download")):
        answer = submit(*arguments, to="local", output=str(tmp_path / "out"))
        assert answer.exit_code == 0, answer.stderr
        assert "--data" not in answer.stdout


def test_dry_run_without_a_way_to_the_bucket_warns_and_takes_the_data_for_staged(
    submit: Submit, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    answer = submit()
    assert answer.exit_code == 0, answer.stderr
    assert f"{bucket}/data" in answer.stdout
    assert "data_not_looked_for" in answer.stderr


def test_what_is_staged_is_known_by_the_names_under_which_it_is_staged(bucket: str) -> None:
    assert {name: files.folder for name, files in STAGED.items()} == FOLDERS
    for network, name in IMAGENET_WEIGHTS.items():
        assert get_model_weights(network)["IMAGENET1K_V1"].url.endswith(f"/{name}")
    store = open_store(bucket)
    assert not is_staged(store, "stl10")
    assert not has_weights(store, "resnet18")
    store.write(IMAGENET_WEIGHTS["resnet18"], b"x")
    assert has_weights(store, "resnet18")
