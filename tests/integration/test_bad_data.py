"""Data and weights that are missing, damaged or hostile: `job run` ends with 66, says why, and leaves just that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18, resnet34

from tests.conftest import Answer
from tests.unit.test_cifar100 import records_with, write_cifar100
from tests.unit.test_folder import png_header
from tests.unit.test_model import Bomb, legacy_file, zip_file

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
Damage = Callable[[Path], object]
CIFAR = "cifar-100-binary"


def resnet_file(build: Callable[..., nn.Module], bias: float = 0.0, variance: float = 1.0) -> bytes:
    state = build(weights=None).state_dict()
    state["layer4.1.bn2.bias"] = torch.full((512,), bias)
    state["layer4.1.bn2.running_var"] = torch.full((512,), variance)
    return zip_file({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}})


def write_folder(root: Path) -> None:
    """Two images of each of two classes to train on, and as many to test on."""
    for part in ("train", "test"):
        for shade, name in enumerate(("dark", "light")):
            (root / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (96, 96), (200 * shade + number,) * 3).save(root / part / name / f"{number}.png")


def write_staged(root: Path) -> None:
    """CIFAR-100 with the digest that `job stage` leaves of it, as far as it is damaged here."""
    write_cifar100(root / CIFAR)
    (root / CIFAR / "SHA256SUMS.json").write_text(json.dumps({"train.bin": "0" * 64}))


def write_stl10(root: Path) -> None:
    for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt"):
        (root / name).write_bytes(b"not what was published")


def change(name: str, how: Callable[[bytes], bytes]) -> Damage:
    return lambda root: (root / name).write_bytes(how((root / name).read_bytes()))


def put(name: str, content: bytes) -> Damage:
    return lambda root: (root / name).write_bytes(content)


def empty(name: str) -> Damage:
    def remove_files(root: Path) -> None:
        for path in (root / name).iterdir():
            path.unlink()

    return remove_files


def make_one_part_of_both(root: Path) -> None:
    shutil.rmtree(root / "test")
    (root / "test").symlink_to("train")


def add_class_in_two_unicode_forms(root: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        (root / "train" / name).mkdir()


def put_device_in_place(root: Path) -> None:
    (root / CIFAR / "test.bin").unlink()
    (root / CIFAR / "test.bin").symlink_to("/dev/zero")


def link(name: str, target: str) -> Damage:
    return lambda root: (root / name).symlink_to(root.parent / target)


WRITERS = {"folder": write_folder, "cifar100": lambda root: write_cifar100(root / CIFAR), "staged": write_staged,
           "stl10": write_stl10}  # fmt: skip
DAMAGES: dict[str, tuple[str, Damage, str]] = {
    "folder that is not there": ("folder", shutil.rmtree, "data/train: no such folder"),
    "class without training images": (
        "folder",
        empty("train/dark"),
        "train/dark: holds no image files",
    ),
    "class without test images": (
        "folder",
        empty("test/dark"),
        "test/dark: holds no image files",
    ),
    "class in one part only": ("folder", lambda root: shutil.rmtree(root / "test/dark"), "holds 1 class folders"),
    "truncated image": (
        "folder",
        change("train/dark/0.png", lambda content: content[:-30]),
        "train/dark/0.png: cannot be decoded",
    ),
    "page instead of an image": (
        "folder",
        put("train/dark/0.png", b"<html>404</html>"),
        "train/dark/0.png: cannot be decoded",
    ),
    "image bomb": ("folder", put("train/dark/0.png", png_header(60_000, 60_000)), "3600000000 pixels"),
    "program for Ghostscript": (
        "folder",
        put("train/dark/0.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch exploded) (w) file\n"),
        "train/dark/0.png: cannot be decoded as an image: cannot identify",
    ),
    "image that is a link out": ("folder", link("train/dark/2.png", "elsewhere/secret.png"), "is a link out of"),
    "class that is a link out": ("folder", link("train/other", "elsewhere"), "train/other: is a link out of"),
    "linked folder that is a link out": ("folder", link("train/dark/more", "elsewhere"), "more: is a link out of"),
    "linked folder that never ends": (
        "folder",
        lambda root: (root / "train/dark/loop").symlink_to(root / "train/dark"),
        "train/dark/loop: is",
    ),
    "link to nothing": ("folder", link("train/dark/2.png", "nowhere.png"), "2.png: is a link to nothing"),
    "image that is tested on and trained on": (
        "folder",
        lambda root: (root / "test/dark/2.png").symlink_to(root / "train/dark/0.png"),
        "what is tested on must not be trained on",
    ),
    "test part that is a link to the training part": (
        "folder",
        make_one_part_of_both,
        "train/ and test/ are the same folder, by a link; what is tested on must not be trained on",
    ),
    "picture beside the parts": (
        "folder",
        lambda root: (root / "train/dark/0.png").rename(root / "stray.png"),
        "stray.png: is in no class; move it into train/<class>/ or test/<class>/",
    ),
    "damaged image with a line break in its name": (
        "folder",
        put("train/dark/a\nb.png", b"<html>404</html>"),
        r"train/dark/a\nb.png': cannot be decoded",
    ),
    "empty image": ("folder", put("train/dark/0.png", b""), "train/dark/0.png: is empty (0 bytes)"),
    "photograph of a telephone": (
        "folder",
        put("train/dark/IMG_1.HEIC", b"\0\0\0\x18ftypheic"),
        "IMG_1.HEIC: pictures of the kind .heic cannot be read; convert it to JPEG or PNG",
    ),
    "picture with the name of a backup": (
        "folder",
        lambda root: (root / "train/dark/0.png").rename(root / "train/dark/0.png.bak"),
        "0.png.bak: is a picture by its content but not by its name",
    ),
    "picture of no class": (
        "folder",
        lambda root: (root / "train/dark/0.png").rename(root / "train/0.png"),
        "train/0.png: is in no class; move it into train/<class>/",
    ),
    "one class in two Unicode forms": (
        "folder",
        add_class_in_two_unicode_forms,
        "two class folders are called caf\u00e9",
    ),
    "missing file": ("cifar100", lambda root: (root / CIFAR / "test.bin").unlink(), "test.bin of cifar100 not found"),
    "truncated file": (
        "cifar100",
        change(f"{CIFAR}/train.bin", lambda content: content[:-1]),
        "not a whole number of records",
    ),
    "label out of range": (
        "cifar100",
        put(f"{CIFAR}/train.bin", records_with(100)),
        "label 100 of image 99 is outside",
    ),
    "class without images": ("cifar100", put(f"{CIFAR}/test.bin", records_with(0)), "class 99 has no images"),
    "file that is a link to a device": (
        "cifar100",
        put_device_in_place,
        "test.bin of cifar100 not found",
    ),
    "flipped bit": (
        "staged",
        change(f"{CIFAR}/train.bin", lambda content: bytes([content[0] ^ 1]) + content[1:]),
        "train.bin: corrupt: sha256 is",
    ),
    "digests that are none": (
        "staged",
        put(f"{CIFAR}/SHA256SUMS.json", b"\xff"),
        "must be a JSON object of file names",
    ),
    "other files than the published ones": ("stl10", lambda _root: None, "train_X.bin: corrupt: md5 is"),
}


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Everything below `root`: files with their content."""
    return {str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else None
            for path in root.rglob("*")}  # fmt: skip


def assert_only_word_is_left(output: Path, answer: Answer) -> None:
    """The run failed with 66, and its output says so and holds nothing else."""
    assert answer.exit_code == 66, answer.stderr
    (run,) = (output / "default/runs").iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["log.jsonl", "manifest.json", "progress.json"]
    progress = json.loads((run / "progress.json").read_text())
    assert (progress["state"], progress["exit_code"]) == ("failed", 66)
    assert f"error: {progress['error']}" in answer.stderr.splitlines()
    assert "Traceback" not in answer.stderr
    assert " object at 0x" not in answer.stderr  # the library was given bytes; the user knows the file


@pytest.mark.parametrize(("dataset", "damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_run_on_bad_data_ends_with_66_and_leaves_only_word_of_it(
    job: Job, tiny: Tiny, tmp_path: Path, dataset: str, damage: Damage, message: str
) -> None:
    data, output = tmp_path / "world/data", tmp_path / "out"
    data.mkdir(parents=True)
    WRITERS[dataset](data)
    outside = data.parent / "elsewhere"
    outside.mkdir()
    Image.new("RGB", (96, 96)).save(outside / "secret.png")
    damage(data)
    before = snapshot(tmp_path / "world")
    manifest = tiny(dataset={"name": "cifar100" if dataset == "staged" else dataset})
    answer = job("run", "--manifest", manifest, "--output", output, "--data", data, "--cache", tmp_path / "cache")
    assert message in answer.stderr
    assert_only_word_is_left(output, answer)
    assert snapshot(tmp_path / "world") == before
    assert not list((tmp_path / "cache").rglob("*"))


def test_damaged_images_are_all_named_up_to_a_number(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "out"
    write_folder(data)
    for number in range(10, 33):
        (data / f"train/dark/{number}.png").write_bytes(b"" if number % 2 else b"no picture")
    answer = job("run", "--manifest", tiny(dataset={"name": "folder"}), "--output", output, "--data", data)
    assert_only_word_is_left(output, answer)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in lines[:20]] == [f"{data}/train/dark/{n}.png" for n in range(10, 30)]
    assert lines[0].endswith("(the first of 23 faults)")
    assert lines[1].endswith("is empty (0 bytes); fetch it again or remove it")
    assert lines[20:] == ["error: and 3 more"]


@pytest.mark.parametrize("write", [zip_file, legacy_file], ids=["zip", "legacy"])
def test_run_does_not_execute_its_weights(
    job: Job, tiny: Tiny, tmp_path: Path, write: Callable[[object], bytes]
) -> None:
    (tmp_path / "bomb.pth").write_bytes(write({"conv1.weight": Bomb(tmp_path / "exploded")}))
    answer = job("run", "--manifest", tiny(model={"weights": f"{tmp_path}/bomb.pth"}), "--output", tmp_path / "out")
    assert "nothing in it was executed" in answer.stderr
    assert_only_word_is_left(tmp_path / "out", answer)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.real_network
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pth", None, "missing.pth: not found"),
        ("cut.pth", zip_file({"conv1.weight": torch.zeros(64, 3, 7, 7)})[:-100], "cut.pth: damaged"),
        ("other.pth", zip_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}), "not a state dict of resnet18"),
        ("page.safetensors", b"<html>404</html>", "page.safetensors: damaged"),
        ("deeper.pth", resnet_file(resnet34), "not a state dict of resnet18: these are the weights of a resnet34"),
        (
            "diverged.pth",
            resnet_file(resnet18, torch.nan),
            "of the 512 values of layer4.1.bn2.bias are NaN or infinite",
        ),
        (
            "averaged.pth",
            resnet_file(resnet18, variance=-0.5),
            "512 of the 512 values of layer4.1.bn2.running_var are negative, and a variance is not",
        ),
        ("empty.pth", b"", "empty.pth: is empty (0 bytes); fetch it again"),
        ("empty.safetensors", b"", "empty.safetensors: is empty (0 bytes); fetch it again"),
        (f"{'w' * 300}.pth", None, "not found"),
    ],
)
def test_run_with_bad_weights_ends_with_66_and_leaves_only_word_of_it(
    job: Job, tiny: Tiny, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    answer = job("run", "--manifest", tiny(model={"weights": f"{tmp_path}/{name}"}), "--output", tmp_path / "out")
    assert message in answer.stderr
    assert len([line for line in answer.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert_only_word_is_left(tmp_path / "out", answer)
