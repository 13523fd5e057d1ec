"""What a finished run is good for: `job predict`, `job export --to onnx`, `job.load_model`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from job.api import load_model
from job.errors import DataError, UsageError
from job.runs import RunKeys, split_run
from job.storage import open_store
from job.training.inputs.listing import list_images
from tests.conftest import NARROW_PATH, TINY, Answer
from tests.narrow import use_narrow_network

Job = Callable[..., Answer]
COLOURS = {"green": (20, 160, 40), "orange": (230, 120, 10), "violet": (120, 20, 200)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy pictures of three colours, wider than high, some of them held sideways."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, number in (("train", 14), ("test", 6)):
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = np.clip(np.array(colour) + random.normal(0, 25, (40, 56, 3)), 0, 255).astype(np.uint8)
                exif = Image.Exif()
                exif[0x0112] = 6 if index % 2 else 1
                Image.fromarray(pixels).save(folder / f"{index}.jpg", exif=exif)
    return root


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was really trained on them, at another size and with ImageNet's normalisation."""
    place = tmp_path_factory.mktemp("trained")
    manifest = TINY | {"dataset": {"name": "folder", "size": 24}, "image_size": 32, "epochs": 8, "batch_size": 6}
    (place / "tiny.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "job", "run", "--manifest", "tiny.json", "--data", str(photos), "--output", "out"]
    environment = os.environ | {"PYTHONPATH": NARROW_PATH, "JOB_THREADS": "1", "JOB_CACHE": str(place / "cache")}
    subprocess.run(command, check=True, capture_output=True, timeout=550, env=environment, cwd=place)
    (run,) = (place / "out/default/runs").iterdir()
    return run


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    use_narrow_network(monkeypatch)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The run in an output that a test may damage."""
    run = tmp_path / "out/default/runs" / trained.name
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints", "model.onnx"))
    return run


def read_predictions(run: Path) -> Any:
    with np.load(run / "predictions.npz") as arrays:
        return arrays["predicted"]


def test_pictures_of_the_test_set_get_the_classes_that_the_run_recorded(trained: Path, photos: Path, job: Job) -> None:
    paths = [path for path, _ in list_images(photos).test]
    answer = job("predict", trained, *paths, "--json")
    assert answer.exit_code == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert said["classes"] == sorted(COLOURS)
    assert [one["path"] for one in said["images"]] == [str(path) for path in paths]
    predicted = [said["classes"].index(one["top"][0]["class"]) for one in said["images"]]
    assert predicted == read_predictions(trained).tolist()
    assert len(set(predicted)) > 1, "a network that says the same of all shows nothing"
    for one in said["images"]:
        probabilities = [part["probability"] for part in one["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)  # there are only three classes


def test_folder_is_told_as_a_table_without_what_is_hidden_or_no_picture(
    trained: Path, photos: Path, tmp_path: Path, job: Job
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(photos / "test", mine)
    (mine / ".hidden.jpg").write_bytes(b"no picture")
    (mine / "__MACOSX").mkdir()
    (mine / "__MACOSX/1.jpg").write_bytes(b"no picture")
    (mine / "notes.txt").write_text("no picture")
    (mine / "without_suffix").write_bytes((photos / "test/green/0.jpg").read_bytes())
    answer = job("predict", trained, mine)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert len(lines) == 19
    assert {line.split()[0] for line in lines} == {
        str(path) for path in mine.rglob("*") if path.parent.name in COLOURS or path.name == "without_suffix"
    }
    assert all(line.count("%") == 3 for line in lines)


def test_damaged_files_are_named_and_the_others_are_told(trained: Path, photos: Path, tmp_path: Path, job: Job) -> None:
    whole = photos / "test/green/0.jpg"
    for name, content in {"cut.jpg": whole.read_bytes()[:300], "empty.png": b"", "phone.heic": b"ftypheic"}.items():
        (tmp_path / name).write_bytes(content)
    damaged = [tmp_path / name for name in ("cut.jpg", "empty.png", "phone.heic")]
    answer = job("predict", trained, damaged[0], whole, *damaged[1:], "--json")
    assert answer.exit_code == 66
    said = json.loads(answer.stdout)
    assert [one["path"] for one in said["images"]] == [str(whole)]
    assert [one["path"] for one in said["damaged"]] == [str(path) for path in damaged]
    assert all(str(path) in answer.stderr for path in damaged)
    table = job("predict", trained, *damaged, whole)
    assert (table.exit_code, len(table.stdout.splitlines())) == (66, 1)


@pytest.mark.parametrize("place", ["nothing", "empty"])
def test_pictures_that_are_not_there_are_66(place: str, trained: Path, tmp_path: Path, job: Job) -> None:
    (tmp_path / "empty").mkdir()
    answer = job("predict", trained, tmp_path / place)
    assert answer.exit_code == 66
    assert str(tmp_path / place) in answer.stderr


def test_pictures_in_a_bucket_are_refused(trained: Path, job: Job) -> None:
    answer = job("predict", trained, "s3://bucket/cat.jpg")
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "must be files or folders of this machine" in answer.stderr


def test_place_that_is_no_finished_run_is_refused_and_those_that_are_there_are_named(
    copy: Path, photos: Path, job: Job
) -> None:
    output = copy.parents[2]
    for place in (output, output / "default", copy.parent / "other-s0-0123456789"):
        answer = job("predict", place, photos)
        assert answer.exit_code == 2, answer.stderr
        assert "<output>/<experiment>/runs/<run id>" in answer.stderr
    assert str(copy) in job("predict", output, photos).stderr
    (copy / "result.json").unlink()
    assert job("predict", copy, photos).exit_code == 2


def spoil_with_nan(path: Path) -> None:
    state = safetensors.torch.load_file(path)
    state["fc.bias"][0] = float("nan")
    safetensors.torch.save_file(state, path)


def spoil_with_another_network(path: Path) -> None:
    state = safetensors.torch.load_file(path)
    state["fc.weight"] = torch.zeros(7, 3)
    safetensors.torch.save_file(state, path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "damaged"),
        (spoil_with_nan, "fc.bias holds values that are not finite"),
        (spoil_with_another_network, "is not of this run's network"),
    ],
)
def test_weights_that_cannot_be_used_are_66(
    spoil: Callable[[Path], Any], said: str, copy: Path, photos: Path, job: Job
) -> None:
    spoil(copy / "model.safetensors")
    answer = job("predict", copy, photos)
    assert answer.exit_code == 66
    assert str(copy / "model.safetensors") in answer.stderr
    assert said in answer.stderr
    with pytest.raises(DataError, match=r"model\.safetensors"):
        load_model(copy)


def test_run_in_a_bucket_predicts_as_the_one_in_a_folder(trained: Path, photos: Path, bucket: str, job: Job) -> None:
    store = open_store(f"{bucket}/study")
    for name in ("result.json", "model.safetensors"):
        store.write(f"default/runs/{trained.name}/{name}", (trained / name).read_bytes())
    there = job("predict", f"{bucket}/study/default/runs/{trained.name}/", photos / "test")
    assert there.exit_code == 0, there.stderr
    assert there.stdout == job("predict", trained, photos / "test").stdout
    exported = job("export", f"{bucket}/study/default/runs/{trained.name}", "--to", "onnx")
    assert exported.exit_code == 0, exported.stderr
    assert store.read(f"default/runs/{trained.name}/model.onnx")


def test_loaded_model_is_a_module_with_what_belongs_to_it(trained: Path, photos: Path) -> None:
    model = load_model(trained)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert model.classes == tuple(sorted(COLOURS))
    assert (model.decoded_size, model.input_size) == (24, 32)
    assert model.result.run_id == trained.name
    paths = [path for path, _ in list_images(photos).test]
    images = torch.stack([model.decode(path) for path in paths])
    assert (images.shape, images.dtype) == ((18, 3, 24, 24), torch.uint8)
    assert model.prepare(images).shape == (18, 3, 32, 32)
    assert model(images).argmax(1).tolist() == read_predictions(trained).tolist()
    assert torch.equal(model.network(model.prepare(images)), model(images))
    with pytest.raises(DataError, match="no-such"):
        model.decode("no-such.jpg")
    with pytest.raises(UsageError, match="names no run"):
        load_model(trained.parent)


# ONNX


@pytest.fixture(scope="module")
def exported(trained: Path) -> Iterator[Path]:
    """The file that the command leaves beside the model."""
    command = [sys.executable, "-m", "job", "export", str(trained), "--to", "onnx"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": NARROW_PATH}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(trained / "model.onnx")
    assert "uint8 RGB" in lines[1]
    assert "1e-04 is allowed" in lines[2]
    yield trained / "model.onnx"
    (trained / "model.onnx").unlink()


def test_onnx_computes_the_logits_of_the_network_for_any_number_of_pictures(
    exported: Path, trained: Path, photos: Path
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported.read_bytes(), providers=["CPUExecutionProvider"])
    model = load_model(trained)
    images = torch.stack([model.decode(path) for path, _ in list_images(photos).test])
    for part in (images[:1], images):
        (logits,) = session.run(None, {"images": part.numpy()})
        assert np.allclose(logits, model(part).numpy(), atol=1e-4)
    assert logits.argmax(1).tolist() == read_predictions(trained).tolist()


def test_onnx_file_says_what_a_program_must_know(exported: Path, trained: Path) -> None:
    import onnx

    proto = onnx.load(exported)
    onnx.checker.check_model(proto)
    about = {pair.key: pair.value for pair in proto.metadata_props}
    assert json.loads(about["classes"]) == sorted(COLOURS)
    assert (about["run_id"], about["normalization"], about["image_size"]) == (trained.name, "imagenet", "32")
    assert "24 pixels" in about["images"]
    assert [version.version for version in proto.opset_import if not version.domain] == [18]


def test_onnx_that_computes_something_else_is_not_written(
    copy: Path, tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    right = onnxruntime.InferenceSession.run
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", lambda *given, **named: [part + 0.01 for part in right(*given, **named)]
    )
    target = tmp_path / "mine.onnx"
    answer = job("export", copy, "--to", "onnx", "--into", target)
    assert answer.exit_code == 71
    assert "must be at most 1e-04" in answer.stderr
    assert not target.exists()
    monkeypatch.undo()
    use_narrow_network(monkeypatch)
    assert job("export", copy, "--to", "onnx", "--into", target).exit_code == 0
    assert target.stat().st_size > 100_000
    assert not (copy / "model.onnx").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_extra_that_is_missing_is_named(missing: str, copy: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "onnx":
        monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, missing, None)
    answer = job("export", copy, "--to", "onnx")
    assert answer.exit_code == 2, answer.stderr
    assert "the extra 'onnx'" in answer.stderr


# Names of runs


@pytest.mark.parametrize(
    ("place", "output"),
    [
        ("/study/e/runs/r", "/study"),
        ("/e/runs/r/", "/"),
        ("s3://bucket/e/runs/r", "s3://bucket"),
        ("s3://bucket/a/b/e/runs/r//", "s3://bucket/a/b"),
    ],
)
def test_folder_of_a_run_gives_its_output_and_its_keys(place: str, output: str) -> None:
    assert split_run(place) == (output, RunKeys("e", "r"))


@pytest.mark.parametrize(
    "place", ["/study", "/runs/r", "/study/e/runs", "s3://bucket", "s3://e/runs/r", "s3://b/e/x/r"]
)
def test_what_is_no_folder_of_a_run_gives_nothing(place: str) -> None:
    assert split_run(place) is None


def test_folder_of_a_run_may_be_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "e/runs/r"
    run.mkdir(parents=True)
    monkeypatch.chdir(run)
    assert split_run(".") == (str(tmp_path), RunKeys("e", "r"))
