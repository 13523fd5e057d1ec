"""Data and weights as people have them: `job run` takes what is plainly meant, and its log says what it left out."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from job.runs import RunResult
from tests.conftest import Answer
from tests.integration.test_finished import events
from tests.unit.test_decoding import ORIENTATION, TURNED

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
Train = Callable[[Path], tuple[RunResult, Answer]]


def write(root: Path, save: Callable[[Path, np.ndarray], None], *, names: tuple[str, str] = ("cat", "dog")) -> Path:
    """The same pictures each time, as `save` writes them: four to train on and two to test on."""
    random = np.random.default_rng(0)
    for part, each in (("train", 2), ("test", 1)):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for number in range(each):
                save(root / part / name / f"{number}.png", random.integers(0, 256, (16, 16, 4), dtype=np.uint8))
    return root


def plain(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels[:, :, :3]).save(path)


@pytest.fixture
def train(job: Job, tiny: Tiny, tmp_path: Path) -> Train:
    def call(data: Path) -> tuple[RunResult, Answer]:
        output = tmp_path / f"out-{data.name}"
        manifest = tiny(epochs=1, batch_size=2, dataset={"name": "folder", "size": 16})
        answer = job("run", "--manifest", manifest, "--output", output, "--data", data)
        assert answer.exit_code == 0, answer.stderr
        (path,) = output.rglob("result.json")
        return RunResult.model_validate_json(path.read_bytes()), answer

    return call


def digest(result: RunResult) -> str:
    assert result.environment is not None
    return result.environment.data_sha256


def test_what_systems_leave_among_photographs_is_no_data_and_is_counted(train: Train, tmp_path: Path) -> None:
    clean = write(tmp_path / "clean", plain)
    littered = write(tmp_path / "littered", plain)
    for path in list(littered.rglob("*.png")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7what a Mac keeps of a file")
    for name in (".DS_Store", "train/.DS_Store", "train/cat/.ipynb_checkpoints/0-checkpoint.png", "train/dog/notes.txt",
                 "test/@eaDir/cat/0.png"):  # fmt: skip
        (littered / name).parent.mkdir(parents=True, exist_ok=True)
        (littered / name).write_bytes(b"whatever")
    result, answer = train(littered)
    assert digest(result) == digest(train(clean)[0])
    assert (result.num_train, result.num_test, result.classes) == (4, 2, ["cat", "dog"])
    told = {entry["kind"]: (entry["num_files"], entry["example"]) for entry in events(answer, "files_left_out")}
    assert told == {"hidden": (10, ".DS_Store"), "no image": (1, "train/dog/notes.txt")}
    (log,) = (tmp_path / "out-littered").rglob("log.jsonl")
    assert "files_left_out" in log.read_text()


def test_photographs_held_sideways_are_the_data_that_people_see(train: Train, tmp_path: Path) -> None:
    backwards = {orientation: inverse for orientation, inverse in TURNED.items() if orientation not in (6, 8)}
    backwards |= {6: TURNED[8], 8: TURNED[6]}
    orientations = iter([6, 8, 3, 2, 5, 7])

    def sideways(path: Path, pixels: np.ndarray) -> None:
        exif, orientation = Image.Exif(), next(orientations)
        exif[ORIENTATION] = orientation
        Image.fromarray(np.ascontiguousarray(backwards[orientation](pixels[:, :, :3]))).save(path, exif=exif)

    upright, turned = write(tmp_path / "upright", plain), write(tmp_path / "turned", sideways)
    assert digest(train(turned)[0]) == digest(train(upright)[0])


def test_what_lies_below_transparent_pixels_is_no_data(train: Train, tmp_path: Path) -> None:
    def hiding(colour: int) -> Callable[[Path, np.ndarray], None]:
        def save(path: Path, pixels: np.ndarray) -> None:
            alpha = np.where(pixels[:, :, 3:] > 127, np.uint8(255), np.uint8(0))
            shown = np.where(alpha == 0, np.uint8(colour), pixels[:, :, :3])
            Image.fromarray(np.concatenate([shown, alpha], axis=-1)).save(path)

        return save

    def on_white(path: Path, pixels: np.ndarray) -> None:
        plain(path, np.where(pixels[:, :, 3:] > 127, pixels, np.uint8(255)))

    digests = {digest(train(write(tmp_path / str(colour), hiding(colour)))[0]) for colour in (0, 90)}
    assert digests == {digest(train(write(tmp_path / "white", on_white))[0])}


def test_class_whose_name_a_mac_decomposed_is_the_same_class(train: Train, tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    linux = write(tmp_path / "linux", plain, names=("café", "dog"))
    mixed = write(tmp_path / "mixed", plain, names=("café", "dog"))
    (mixed / "test" / composed).rename(mixed / "test" / decomposed)
    assert (mixed / "test" / decomposed).is_dir()
    result, _ = train(mixed)
    assert result.classes == [composed, "dog"]
    assert digest(result) == digest(train(linux)[0])


@pytest.mark.real_network
def test_weights_of_ones_own_training_are_found_and_the_log_says_where(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    state = {f"model._orig_mod.{name}": tensor for name, tensor in resnet18(weights=None).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "own.ckpt")
    manifest = tiny(epochs=1, model={"weights": f"{tmp_path}/own.ckpt"})
    answer = job("run", "--manifest", manifest, "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    (entry,) = events(answer, "weights_unwrapped")
    assert entry["found"] == "['state_dict'] model._orig_mod.*"
    (log,) = (tmp_path / "out").rglob("log.jsonl")
    assert any(json.loads(line)["event"] == "weights_unwrapped" for line in log.read_text().splitlines())
