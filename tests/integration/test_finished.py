"""`job run` over a run that is finished: done where its data and weights are the same, 68 where they are others."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
import torch
from PIL import Image

from job.manifest import Manifest
from job.runs import RunResult, is_result_key, run_id
from job.storage import FolderStore, open_store
from job.training.inputs.listing import Listing, list_images
from tests.conftest import BUCKET, NARROW_PATH, TINY, Answer
from tests.models.faulty_s3 import FaultyS3
from tests.narrow import build
from tests.pace import slowness
from tests.records import make_result, store_results
from tests.unit.test_cifar100 import write_cifar100

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
Run = Callable[..., Answer]


def write_images(root: Path, names: tuple[str, ...] = ("dark", "light")) -> None:
    for part in ("train", "test"):
        for shade, name in enumerate(names):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (16, 16), (200 * shade + number,) * 3).save(root / part / name / f"{number}.bmp")


def write_weights(path: Path, *, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(build().state_dict(), path)


def events(answer: Answer, name: str) -> list[dict[str, object]]:
    parsed = [json.loads(line) for line in answer.stderr.splitlines() if line.startswith("{")]
    return [entry for entry in parsed if entry["event"] == name]


def not_compared(answer: Answer) -> list[object]:
    assert answer.exit_code == 0, answer.stderr
    assert events(answer, "run_already_complete")
    return [entry["what"] for entry in events(answer, "inputs_not_compared")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, weights, manifest, cache and the output of a run over them, trained once for all tests."""
    world = tmp_path_factory.mktemp("finished") / "world"
    write_images(world / "data")
    write_weights(world / "own.pth", seed=1)
    fields = {"epochs": 1, "batch_size": 4, "dataset": {"name": "folder", "size": 16}}
    (world / "tiny.json").write_text(json.dumps(TINY | fields | {"model": {"weights": str(world / "own.pth")}}))
    command: list[str | Path] = [
        sys.executable, "-m", "job", "run", "--manifest", world / "tiny.json", "--output", world / "out",
        "--data", world / "data", "--cache", world / "cache", "--threads", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": NARROW_PATH})
    shutil.copytree(world, world.with_name("pristine"))
    return world


@pytest.fixture
def world(trained: Path) -> Path:
    """The same folder, since its path stands in the manifest, as the run left it."""
    shutil.rmtree(trained)
    shutil.copytree(trained.with_name("pristine"), trained)
    return trained


@pytest.fixture
def data(world: Path) -> Path:
    return world / "data"


@pytest.fixture
def weights(world: Path) -> Path:
    return world / "own.pth"


@pytest.fixture
def finished(world: Path) -> Path:
    """result.json of the run."""
    (path,) = (world / "out").rglob("result.json")
    return path


@pytest.fixture
def run(job: Job, world: Path) -> Run:
    """The command that `trained` gave, in this process, but for the arguments that are added."""

    def call(*arguments: object, data: Path | None = world / "data") -> Answer:
        place = () if data is None else ("--data", data)
        return job("run", "--manifest", world / "tiny.json", "--output", world / "out", "--cache", world / "cache",
                   *place, *arguments)  # fmt: skip

    return call


@pytest.fixture
def submit(job: Job, world: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`job submit` of the same manifest into the same output."""
    monkeypatch.setenv("JOB_CACHE", str(world / "cache"))
    experiment = finished.parents[2].name

    def call(*arguments: object) -> Answer:
        return job("submit", "--manifest", world / "tiny.json", "--output", world / "out", "--experiment", experiment,
                   "--data", world / "data", *arguments)  # fmt: skip

    return call


def rename_class(data: Path, _weights: Path) -> None:
    for part in ("train", "test"):
        (data / part / "light").rename(data / part / "lit")


def replace_image(data: Path, _weights: Path) -> None:
    """By one of the same size and time."""
    path = data / "train/dark/0.bmp"
    before = path.stat()
    Image.new("RGB", (16, 16), "red").save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def swap_images(data: Path, _weights: Path) -> None:
    for source, target in (("train/dark/0.bmp", "swap"), ("train/light/0.bmp", "train/dark/0.bmp")):
        (data / source).rename(data / target)
    (data / "swap").rename(data / "train/light/0.bmp")


def replace_weights(_data: Path, weights: Path) -> None:
    write_weights(weights, seed=2)


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "class renamed": (rename_class, "was made with other data: only one of the two has the classes light, lit;"),
    "image replaced": (replace_image, "was made with other data (sha256"),
    "images swapped": (swap_images, "was made with other data (sha256"),
    "image added": (
        lambda data, _weights: shutil.copy(data / "test/dark/0.bmp", data / "test/dark/9.bmp"),
        "was made with other data (sha256",
    ),
    "image removed": (lambda data, _weights: (data / "train/dark/0.bmp").unlink(), "was made with other data (sha256"),
    "weights replaced": (replace_weights, "was made with other weights (sha256"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_other_data_or_weights_under_a_finished_run_are_a_conflict(
    run: Run, finished: Path, data: Path, weights: Path, change: Callable[[Path, Path], object], message: str
) -> None:
    before = {path: path.read_bytes() for path in finished.parent.rglob("*") if path.is_file()}
    change(data, weights)
    answer = run()
    assert answer.exit_code == 68, answer.stderr
    assert f"error: {finished}: {message}" in answer.stderr
    assert "put back what it was trained on, or name another --output or --experiment" in answer.stderr
    assert not events(answer, "run_already_complete")
    assert {path: path.read_bytes() for path in finished.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("back_end", ["local", "docker"])
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["sent", "dry run"])
@pytest.mark.parametrize(("change", "message"), [CHANGES["class renamed"], CHANGES["weights replaced"]])
def test_sweep_over_other_data_or_weights_is_a_conflict(
    submit: Run, finished: Path, data: Path, weights: Path, back_end: str, dry_run: tuple[str, ...],
    change: Callable[[Path, Path], object], message: str,
) -> None:  # fmt: skip
    """`job submit` took the old result for the one that was asked for."""
    change(data, weights)
    before = sorted(finished.parents[3].rglob("*"))
    answer = submit("--to", back_end, *(("--image", "any") if back_end == "docker" else ()), *dry_run)
    assert answer.exit_code == 68, answer.stderr
    assert f"error: {finished}: {message}" in answer.stderr
    assert "nothing to do" not in answer.stdout
    assert sorted(finished.parents[3].rglob("*")) == before


def test_sweep_over_the_same_data_and_weights_is_done(submit: Run, data: Path, weights: Path) -> None:
    answer = submit("--to", "local")
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "nothing to do; 1 runs are done" in answer.stdout
    weights.unlink()
    answer = submit("--to", "local")
    assert answer.exit_code == 2, "what no process here could train with is refused first"
    assert f"model.weights {weights}: no such file" in answer.stderr


def test_many_finished_runs_over_one_data_set_are_compared_once(
    submit: Run, world: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going through a folder of a million images for each of a thousand runs would take days."""
    result = RunResult.model_validate_json(finished.read_bytes())
    for seed in range(1, 12):
        manifest = result.manifest.model_copy(update={"seed": seed})
        other = result.model_copy(update={"manifest": manifest, "run_id": run_id(manifest)})
        store_results(FolderStore(world / "out"), other)
    base = json.loads((world / "tiny.json").read_text())
    (world / "tiny.json").write_text(json.dumps({"name": "many", "seeds": list(range(12)), "blocks": [{"base": base}]}))
    listed: list[Path] = []

    def counted(root: Path) -> Listing:
        listed.append(root)
        return list_images(root)

    monkeypatch.setattr("job.training.inputs.finished.list_images", counted)
    monkeypatch.setattr("job.training.inputs.listing.list_images", counted)
    monkeypatch.setattr("job.training.inputs.datasets.folder.list_images", counted)
    answer = submit("--to", "local")
    assert answer.exit_code == 0, answer.stderr
    assert "nothing to do; 12 runs are done" in answer.stdout
    assert 1 <= len(listed) <= 4


def test_what_a_cloud_finished_is_not_compared_and_submit_says_so(
    job: Job, tiny: Tiny, bucket: str, tmp_path: Path
) -> None:
    """What its containers read is not on this machine. Generated images are told wholly by the manifest."""
    for fields, said in (({}, ""), ({"dataset": {"name": "stl10"}}, "of 1 finished runs were not compared\n")):
        manifest = tiny(**fields)
        result = make_result(Manifest.model_validate_json(manifest.read_bytes()), experiment="tiny")
        store_results(open_store(f"{bucket}/study"), result)
        answer = job("submit", "--manifest", manifest, "--to", "batch", "--output", f"{bucket}/study",
                     "--experiment", "tiny")  # fmt: skip
        assert answer.exit_code == 0, answer.stderr
        assert "nothing to do; 1 runs are done" in answer.stdout
        assert answer.stderr == (f"tiny: data and weights {said}" if said else "")


def test_same_data_and_weights_are_found_done_however_they_came_there(
    run: Run, data: Path, weights: Path, tmp_path: Path
) -> None:
    assert not_compared(run()) == []
    for path in [weights, *data.rglob("*.bmp")]:
        os.utime(path, (1, 1))
    assert not_compared(run()) == []
    shutil.copytree(data, tmp_path / "copy")
    assert not_compared(run("--cache", tmp_path / "new", data=tmp_path / "copy")) == []


def test_what_is_not_on_this_machine_is_not_compared_and_the_log_says_so(
    run: Run, weights: Path, tmp_path: Path
) -> None:
    answer = run(data=None)
    assert not_compared(answer) == ["data"]
    assert events(answer, "inputs_not_compared")[0]["level"] == "warning"  # which a terminal shows
    assert not_compared(run(data=tmp_path / "nowhere")) == ["data"]
    weights.unlink()
    answer = run()
    assert not_compared(answer) == ["weights"]
    assert str(weights) in str(events(answer, "inputs_not_compared")[0]["reason"])


def test_damaged_image_under_a_finished_run_is_named(run: Run, data: Path) -> None:
    (data / "train/dark/0.bmp").write_bytes(b"")
    answer = run()
    assert answer.exit_code == 66
    assert f"{data}/train/dark/0.bmp: is empty (0 bytes)" in answer.stderr


def test_result_of_before_digests_were_kept_in_it_is_done_and_the_log_says_so(run: Run, finished: Path) -> None:
    content = json.loads(finished.read_text())
    del content["environment"]
    finished.write_text(json.dumps(content))
    assert not_compared(run()) == ["data and weights"]


def test_generated_images_need_no_comparison(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out")
    assert job(*arguments).exit_code == 0
    assert not_compared(job(*arguments)) == []


def test_binary_files_that_were_replaced_are_a_conflict(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "data/cifar-100-binary"
    write_cifar100(folder)
    manifest = tiny(epochs=1, batch_size=50, dataset={"name": "cifar100"})
    arguments = ("run", "--manifest", manifest, "--output", tmp_path / "out")
    assert job(*arguments, "--data", tmp_path / "data").exit_code == 0
    assert not_compared(job(*arguments, "--data", tmp_path / "data")) == []
    assert not_compared(job(*arguments)) == ["data"]
    content = bytearray((folder / "train.bin").read_bytes())
    content[100] ^= 1
    (folder / "train.bin").write_bytes(content)
    answer = job(*arguments, "--data", tmp_path / "data")
    assert answer.exit_code == 68
    assert "was made with other data (sha256" in answer.stderr


def test_weights_in_s3_are_compared_and_not_fetched_twice(job: Job, tiny: Tiny, tmp_path: Path, wire: FaultyS3) -> None:
    weights = tmp_path / "own.pth"
    write_weights(weights, seed=1)

    def fetched() -> int:
        return sum(request.split()[0] == "GET" and "own.pth" in request.split("?")[0] for request in wire.requests)

    client = boto3.session.Session().client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.upload_file(str(weights), BUCKET, "weights/own.pth")
    manifest = tiny(epochs=1, model={"weights": f"s3://{BUCKET}/weights/own.pth"})
    arguments = ("run", "--manifest", manifest, "--output", tmp_path / "out")
    assert job(*arguments).exit_code == 0
    assert not_compared(job(*arguments)) == []
    before = fetched()
    assert before > 0
    assert not_compared(job(*arguments)) == []
    assert fetched() == before
    write_weights(weights, seed=2)
    client.upload_file(str(weights), BUCKET, "weights/own.pth")
    answer = job(*arguments)
    assert answer.exit_code == 68
    assert "was made with other weights (sha256" in answer.stderr
    client.delete_object(Bucket=BUCKET, Key="weights/own.pth")
    assert not_compared(job(*arguments)) == ["weights"]


def test_interrupted_run_does_not_go_on_from_other_weights(run: Run, finished: Path, weights: Path) -> None:
    """Its result would name weights that it did not begin with."""
    finished.unlink()
    environment = finished.with_name("environment.json").read_bytes()
    write_weights(weights, seed=2)
    answer = run()
    assert answer.exit_code == 68
    assert "environment.json: was made with other weights (sha256" in answer.stderr
    assert finished.with_name("environment.json").read_bytes() == environment
    write_weights(weights, seed=1)
    assert run().exit_code == 0


def test_run_that_failed_before_its_first_checkpoint_may_take_other_weights(
    run: Run, finished: Path, weights: Path
) -> None:
    finished.unlink()
    shutil.rmtree(finished.with_name("checkpoints"))
    write_weights(weights, seed=2)
    assert run().exit_code == 0


@pytest.mark.parametrize("field", ["data_sha256", "weights_sha256"])
def test_slower_writer_that_had_other_data_or_weights_is_told(
    run: Run, finished: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Two containers for one configuration, whose folders differ: one result stands, and the other is a conflict."""
    finished.unlink()
    create = FolderStore.create

    def overtaken(self: FolderStore, key: str, content: bytes) -> None:
        if is_result_key(key):
            other = json.loads(content)
            other["attempt_id"], other["environment"][field] = "the-other-writer", "0" * 64
            create(self, key, json.dumps(other).encode())
        create(self, key, content)

    monkeypatch.setattr(FolderStore, "create", overtaken)
    answer = run()
    assert answer.exit_code == 68
    assert f"was made with other {field.partition('_')[0]} (sha256 {'0' * 64}, here " in answer.stderr


WATCH = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from job.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules, "torch was imported"
images = [path for path in opened if path.endswith(".bmp")]
assert not images, images
"""


def test_finished_run_over_files_that_nobody_touched_reads_none_and_imports_no_torch(run: Run, world: Path) -> None:
    time.sleep(2.1)  # a file that changed less than two seconds ago is read again
    assert not_compared(run("--cache", world / "later")) == []  # which remembers the digest
    command: list[str | Path] = [
        sys.executable, "-c", WATCH, "run", "--manifest", world / "tiny.json", "--output", world / "out",
        "--data", world / "data", "--cache", world / "later",
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.returncode == 0, answer.stderr
    assert "run_already_complete" in answer.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10 * slowness()
