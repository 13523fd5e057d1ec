"""Image files of any kind become square arrays; what is broken is named; what is unchanged is not decoded again."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from structlog.testing import capture_logs
from torchvision.transforms import v2

from job.errors import DataError
from job.manifest.models import Folder
from job.training.inputs.datasets import ImageData, load_data
from job.training.inputs.datasets.folder import load_folder
from job.training.inputs.kinds import SUFFIXES
from tests.conftest import SHARED

SIZE = 16
Load = Callable[..., ImageData]


def picture(seed: int, *, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of a cat and one of a dog to train on, one of each to test on."""
    root = tmp_path / "data"
    for seed, name in enumerate(["train/cat/a", "train/cat/b", "train/dog/a", "test/cat/a", "test/dog/a"]):
        save(root / f"{name}.png", picture(seed))
    return root


@pytest.fixture
def load(root: Path, tmp_path: Path) -> Load:
    def call(*, size: int = SIZE) -> ImageData:
        return load_folder(root, size=size, cache=tmp_path / "cache", num_threads=2)

    return call


@pytest.fixture
def decoded(root: Path, load: Load) -> Callable[[], np.ndarray]:
    """The image that the test put into train/dog/a.* as (SIZE, SIZE, 3)."""
    (root / "train/dog/a.png").unlink()

    def call() -> np.ndarray:
        data = load()
        (index,) = np.flatnonzero(data.train_labels == data.classes.index("dog"))
        return data.train_images[index].transpose(1, 2, 0)

    return call


def test_labels_follow_the_sorted_class_names_and_images_their_files(root: Path, load: Load) -> None:
    save(root / "train/cat/below/c.PNG", picture(5))
    (root / "train/cat/notes.txt").write_text("not an image by its name")
    (root / "train/.hidden").mkdir()
    data = load()
    assert data.classes == ("cat", "dog")
    assert data.train_labels.tolist() == [0, 0, 0, 1]
    assert data.test_labels.tolist() == [0, 1]
    np.testing.assert_array_equal(data.train_images.transpose(0, 2, 3, 1), [picture(seed) for seed in (0, 1, 5, 2)])
    np.testing.assert_array_equal(data.test_images.transpose(0, 2, 3, 1), [picture(3), picture(4)])
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".pgm", ".pbm"}))
def test_lossless_colour_file_is_read_exactly(root: Path, decoded: Callable[[], np.ndarray], suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    save(root / f"train/dog/a{suffix}", picture(9), **options)
    np.testing.assert_array_equal(decoded(), picture(9))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jpe", ".JFIF"])
def test_jpeg_is_read_with_its_colours(root: Path, decoded: Callable[[], np.ndarray], suffix: str) -> None:
    smooth = np.stack(np.broadcast_arrays(np.arange(SIZE) * 15, np.arange(SIZE)[:, None] * 10, 200), axis=-1)
    save(root / f"train/dog/a{suffix}", smooth.astype(np.uint8), quality=95)
    assert np.abs(decoded().astype(int) - smooth).max() < 12


def test_palette_of_a_gif_becomes_its_colours(root: Path, decoded: Callable[[], np.ndarray]) -> None:
    colours = picture(9, height=1)[0]
    index = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE) % SIZE
    image = Image.frombytes("P", (SIZE, SIZE), index.tobytes())
    image.putpalette(colours.tobytes())
    save(root / "train/dog/a.gif", image)
    np.testing.assert_array_equal(decoded(), colours[index])


def test_grey_image_gets_three_equal_channels(root: Path, decoded: Callable[[], np.ndarray]) -> None:
    grey = picture(9)[:, :, 0]
    save(root / "train/dog/a.png", grey)
    np.testing.assert_array_equal(decoded(), np.stack([grey] * 3, axis=-1))


def test_sixteen_bit_image_is_refused_and_not_clipped_to_white(root: Path, load: Load) -> None:
    path = save(root / "train/dog/a.png", np.full((SIZE, SIZE), 1000, dtype=np.uint16))
    with pytest.raises(DataError, match="more than 8 bits") as caught:
        load()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("height", "width"), [(48, 90), (91, 40), (8, 12), (16, 33), (17, 17)])
def test_other_sizes_are_resized_and_cut_like_torchvision_does(
    root: Path, decoded: Callable[[], np.ndarray], height: int, width: int
) -> None:
    small = torch.from_numpy(picture(9, height=5, width=7)).permute(2, 0, 1)
    smooth = v2.functional.resize(small, [height, width], v2.InterpolationMode.BICUBIC, antialias=True)
    save(root / "train/dog/a.png", smooth.permute(1, 2, 0).numpy())
    resize = v2.Compose([v2.Resize(SIZE, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(SIZE)])
    difference = decoded().astype(int) - resize(smooth).permute(1, 2, 0).numpy()
    assert np.abs(difference).mean() < 6  # the crop may lie half a pixel apart
    off_centre = v2.functional.resize(smooth, [SIZE, SIZE], antialias=True).permute(1, 2, 0).numpy()
    if max(height, width) > 1.5 * min(height, width):  # a squeezed image would be something else
        assert np.abs(difference).mean() < np.abs(decoded().astype(int) - off_centre).mean() / 2


def test_centre_is_kept_and_sides_are_cut_away(root: Path, decoded: Callable[[], np.ndarray]) -> None:
    wide = np.zeros((32, 96, 3), dtype=np.uint8)
    wide[:, :32, 0] = wide[:, 32:64, 1] = wide[:, 64:, 2] = 255  # red, green, blue
    save(root / "train/dog/a.png", wide)
    assert (decoded() == [0, 255, 0]).all()


def test_thin_strip_needs_no_gigabytes(root: Path, load: Load) -> None:
    """Scaled whole, its shorter side to 512 pixels, it would have 512 x 512,000,000 of them."""
    save(root / "train/dog/a.png", Image.new("L", (1, 1_000_000), 7))
    assert (load(size=512).train_images[2] == 7).all()


def test_unchanged_folder_is_not_decoded_again(root: Path, load: Load, tmp_path: Path) -> None:
    with capture_logs() as first:
        before = load()
    (cached,) = (tmp_path / "cache/folder").iterdir()
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))  # what counts is the content
    with capture_logs() as second:
        after = load()
    assert [entry["event"] for entry in first] == ["data_cached"]
    assert second == []
    assert list((tmp_path / "cache/folder").iterdir()) == [cached]
    assert after.sha256() == before.sha256()


def test_cache_is_what_is_read_when_nothing_changed(root: Path, load: Load, tmp_path: Path) -> None:
    load()
    (cached,) = (tmp_path / "cache/folder").iterdir()
    marked = np.zeros((5, 3, SIZE, SIZE), dtype=np.uint8)
    np.savez(cached, images=marked)
    np.testing.assert_array_equal(load().train_images, marked[:3])


def test_what_older_code_decoded_and_cached_is_not_used(root: Path, load: Load, tmp_path: Path) -> None:
    """It knew neither EXIF nor transparency. Its key was of version 2, and nothing else of it has changed."""
    key = hashlib.sha256(f"v2 {SIZE}".encode())
    for name in ("train/cat/a", "train/cat/b", "train/dog/a", "test/cat/a", "test/dog/a"):
        key.update(f"{name}.png".encode() + hashlib.sha256((root / f"{name}.png").read_bytes()).digest())
    (tmp_path / "cache/folder").mkdir(parents=True)
    older = tmp_path / f"cache/folder/{key.hexdigest()[:32]}.npz"
    np.savez(older, images=np.zeros((5, 3, SIZE, SIZE), dtype=np.uint8))
    assert load().train_images.any()
    assert len(list(older.parent.iterdir())) == 2


def test_digest_of_plain_images_is_the_one_of_the_first_release(load: Load) -> None:
    """Finished runs name it: where neither EXIF nor transparency says otherwise, it stays for ever."""
    assert load().sha256() == "dde886eee7a9affb75e84ee8ce25d881bb76d40b7264fb5bf0709e2362aea9f0"


def test_file_replaced_by_one_of_the_same_size_and_time_is_seen(root: Path, load: Load) -> None:
    """As `cp --preserve` and `rsync --times` leave it."""
    path = save(root / "train/dog/a.bmp", picture(50))
    before, first = path.stat(), load()
    save(path, picture(51))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert load().sha256() != first.sha256()


def test_file_that_changes_while_it_is_read_is_refused(
    root: Path, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded, it would be cached under the digest of what it was."""
    path, read_bytes = root / "train/dog/a.png", Path.read_bytes

    def read_and_replace(self: Path) -> bytes:
        content = read_bytes(self)
        if self == path:
            save(path, picture(99))
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_replace)
    with pytest.raises(DataError, match=r"train/dog/a\.png: changed while it was read"):
        load()
    assert not list((tmp_path / "cache").rglob("*.npz"))


PEAK = (
    "import re, sys; from pathlib import Path; from job.training.inputs.datasets.folder import load_folder\n"
    "peak = lambda: int(re.search(r'HWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
    "before = peak(); load_folder(Path(sys.argv[1]), size=16, cache=Path(sys.argv[2]), num_threads=2)\n"
    "print(peak() - before)"
)


def test_files_are_decoded_one_by_one_and_never_all_in_memory(root: Path, tmp_path: Path) -> None:
    """Sixty of three megabytes each; two threads hold one each, with the pixels and two copies of them on the way."""
    for number in range(60):
        save(root / f"train/dog/{number}.bmp", picture(number, height=1000, width=1000))
    command: list[str | Path] = [sys.executable, "-c", PEAK, root, tmp_path / "cache"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes = int(answer.stdout.splitlines()[-1])
    assert kilobytes < 60_000


def test_change_of_one_file_is_seen(root: Path, load: Load) -> None:
    load()
    save(root / "test/dog/a.png", picture(77))
    with capture_logs() as logs:
        data = load()
    assert [entry["event"] for entry in logs] == ["data_cached"]
    np.testing.assert_array_equal(data.test_images[1], picture(77).transpose(2, 0, 1))


def test_swapped_files_added_files_and_another_size_are_seen(root: Path, load: Load) -> None:
    load()
    (root / "train/cat/a.png").rename(root / "swap")
    (root / "train/dog/a.png").rename(root / "train/cat/a.png")
    (root / "swap").rename(root / "train/dog/a.png")
    assert (load().train_images[2].transpose(1, 2, 0) == picture(0)).all()
    save(root / "train/dog/b.png", picture(8))
    assert load().train_labels.tolist() == [0, 0, 1, 1]
    assert load(size=32).train_images.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "flipped bit", "other array"])
def test_corrupt_cache_is_decoded_anew_with_a_warning(load: Load, tmp_path: Path, damage: str) -> None:
    before = load()
    (cached,) = (tmp_path / "cache/folder").iterdir()
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    other = io.BytesIO()
    np.savez(other, labels=np.zeros(3))
    cached.write_bytes(
        {
            "empty": b"",
            "truncated": bytes(content[: len(content) // 2]),
            "text": b"no array",
            "flipped bit": bytes(content),
            "other array": other.getvalue(),
        }[damage]
    )
    with capture_logs() as logs:
        after = load()
    assert [(entry["event"], entry["path"]) for entry in logs] == [
        ("data_cache_corrupt", str(cached)),
        ("data_cached", str(cached)),
    ]
    assert after.sha256() == before.sha256()
    with capture_logs() as logs:
        load()
    assert logs == []


def png_header(width: int, height: int, *, pixels: bytes = bytes(100), text: bytes = b"") -> bytes:
    """A valid PNG that says how large it is, and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    texts = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text)) if text else b""
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + texts + data + chunk(b"IEND", b"")


BOMBS = {
    "pixels": png_header(10_001, 10_000, pixels=bytes(300_040_000)),
    "text": png_header(16, 16, text=bytes(300_000_000)),
    "size": png_header(2**31 - 1, 2**31 - 1),
}
"""Three hundred megabytes and more in less than one."""


@pytest.mark.parametrize("bomb", BOMBS)
def test_image_bomb_is_refused_without_being_unpacked(root: Path, tmp_path: Path, bomb: str) -> None:
    (root / "train/dog/bomb.png").write_bytes(BOMBS[bomb])
    assert (root / "train/dog/bomb.png").stat().st_size < 1_000_000
    script = (
        "import re, sys; from pathlib import Path; from job.errors import DataError;"
        "from job.training.inputs.datasets.folder import load_folder\n"
        "try: load_folder(Path(sys.argv[1]), size=16, cache=Path(sys.argv[2]), num_threads=1)\n"
        "except DataError as error: print(re.search(r'HWM:\\s*(\\d+)', open('/proc/self/status').read())[1], error)"
    )
    command: list[str | Path] = [sys.executable, "-c", script, root, tmp_path / "cache"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    kilobytes, _, message = answer.stdout.partition(" ")
    assert message.startswith(f"{root}/train/dog/bomb.png: ")
    assert int(kilobytes) < 250_000


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("empty.jpg", b"", r"is empty \(0 bytes\)"),
        ("text.jpg", b"<html>404 Not Found</html>", "cannot be decoded as an image"),
        ("bomb.png", png_header(60_000, 60_000), "cannot be decoded as an image.*3600000000 pixels"),
        ("large.png", png_header(10_001, 10_000), "10001x10000 pixels are more than 100000000"),
        ("header.png", png_header(9_999, 9_999), "cannot be decoded as an image"),
        ("none.png", png_header(0, 16), "cannot be decoded as an image"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of JPEG, PNG, BMP, GIF"),
    ],
)
def test_file_that_is_no_image_is_named(root: Path, load: Load, name: str, content: bytes, what: str) -> None:
    path = root / "test/dog" / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        load()
    assert caught.value.exit_code == 66
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif", ".webp", ".bmp"])
def test_truncated_image_is_named(root: Path, load: Load, suffix: str) -> None:
    path = save(root / f"train/cat/cut{suffix}", picture(1, height=64, width=64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        load()
    assert str(caught.value).startswith(f"{path}: ")


def test_class_without_images_is_named(root: Path, load: Load) -> None:
    (root / "test/dog/a.png").unlink()
    (root / "test/dog/notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"test/dog: holds no image files \(.*\.jpg"):
        load()


def test_class_in_only_one_part_is_named(root: Path, load: Load) -> None:
    save(root / "test/emu/a.png", picture(1))
    save(root / "train/fox/a.png", picture(1))
    with pytest.raises(DataError, match="same classes; only one has emu, fox"):
        load()


def test_single_class_is_too_few(root: Path, load: Load) -> None:
    shutil.rmtree(root / "train/dog")
    with pytest.raises(DataError, match="train: holds 1 class folders; at least 2 are needed"):
        load()


def test_class_name_that_no_result_could_hold_is_refused(root: Path, load: Load) -> None:
    for part in ("train", "test"):
        save(Path(os.fsdecode(os.fsencode(root / part) + b"/caf\xe9")) / "a.png", picture(1))
    with pytest.raises(DataError, match="UTF-8") as caught:
        load()
    str(caught.value).encode()


@pytest.mark.parametrize("link", ["file", "class"])
def test_link_out_of_the_folder_is_refused(root: Path, load: Load, tmp_path: Path, link: str) -> None:
    outside = save(tmp_path / "elsewhere/secret.png", picture(1))
    if link == "file":
        place = root / "train/dog/link.png"
        place.symlink_to(outside)
    else:
        place = root / "train/dog"
        shutil.rmtree(place)
        place.symlink_to(outside.parent)
    with pytest.raises(DataError, match="is a link out of") as caught:
        load()
    assert str(caught.value).startswith(f"{place}: ")


def test_link_within_the_folder_is_followed(root: Path, load: Load) -> None:
    (root / "train/dog/again.png").symlink_to(root / "train/dog/a.png")
    data = load()
    np.testing.assert_array_equal(data.train_images[2], data.train_images[3])


def test_missing_folder_is_named_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; images belong into train/<class>/") as caught:
        load_folder(tmp_path / "nowhere", size=SIZE, cache=tmp_path, num_threads=1)
    assert str(caught.value).startswith(f"{tmp_path / 'nowhere/train'}: ")
    assert caught.value.exit_code == 66


def test_folder_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data is not given; must be a folder of images, or where they are staged"):
        load_data(Folder(name="folder"), data=None, cache=tmp_path, num_threads=1)


def test_real_photographs_are_read_as_torchvision_reads_them(root: Path, load: Load) -> None:
    photos = SHARED / "photos"
    if not photos.is_dir():
        pytest.skip(f"no photographs in {photos}")
    shutil.rmtree(root)
    names = sorted(path.name for path in (photos / "train").iterdir())[:2]
    for part in ("train", "test"):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for path in sorted((photos / part / name).iterdir())[:4]:
                shutil.copy(path, root / part / name)
    data = load(size=96)
    assert data.classes == tuple(names)
    assert data.test_labels.tolist() == [0] * 4 + [1] * 4
    reference = torchvision.datasets.ImageFolder(root / "train")
    assert reference.targets == data.train_labels.tolist()
    np.testing.assert_array_equal(
        data.train_images.transpose(0, 2, 3, 1), [np.asarray(image) for image, _ in reference]
    )
