"""Pictures of wrongly classified test images: packed by runs, read without trust, compared and drawn by the report."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from job.report.analysis.samples import Gallery, choose_sample_runs, compare_images
from job.report.analysis.sources import count_images
from job.report.read.answers import Answers, read_answers
from job.report.render.sample_pictures import MAX_BYTES, draw_samples
from job.runs import RunKeys, RunResult, choose_wrong, pack_right, pack_samples, unpack_samples
from job.storage import FolderStore
from job.training.inputs.datasets.synthetic import load_synthetic
from tests.records import CLASSES, NUM_TEST, build_study, diverged, make_manifest, make_result, store_results
from tests.samples import add_samples
from tests.traces import list_untraced

SHA = "f" * 64
Pictures = dict[int, npt.NDArray[np.uint8]]
PHOTOS = [
    np.asarray(Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(2))).transpose(2, 0, 1)
    for image in load_synthetic(size=64, num_train=20, num_test=100).test_images
]


def photos(*indices: int) -> Pictures:
    """Generated shapes, blurred: they are as smooth as photographs."""
    return {index: PHOTOS[index % len(PHOTOS)] for index in indices}


# Which images a run keeps


def test_wrong_images_are_the_first_of_an_order_that_only_the_test_set_decides() -> None:
    right = np.random.default_rng(0).random(3000) < 0.9
    chosen = choose_wrong(right, test_sha256=SHA)
    by_hand = sorted(range(3000), key=lambda index: hashlib.sha256(f"{SHA} {index}".encode()).hexdigest())
    assert chosen == [index for index in by_hand if not right[index]][:64]
    assert chosen != choose_wrong(right, test_sha256="e" * 64)[:64]


def test_two_runs_keep_the_same_images_where_both_are_wrong() -> None:
    random = np.random.default_rng(1)
    hard = random.random(4000) < 0.06
    runs = [~hard & (random.random(4000) < share) for share in (0.95, 0.8)]
    kept = [set(choose_wrong(right, test_sha256=SHA)) for right in runs]
    assert len(kept[0] & kept[1] & set(np.flatnonzero(hard))) >= 8  # enough for the report's row of images


def test_fewer_wrong_images_than_a_run_may_keep_are_all_kept() -> None:
    assert choose_wrong([True, False, True], test_sha256=SHA) == [1]
    assert choose_wrong([True] * 5, test_sha256=SHA) == []


# The file


@pytest.mark.parametrize("num", [0, 1, 8, 9, 64])
def test_pictures_come_back_with_their_indices(num: int) -> None:
    images = photos(*range(7, 7 + num))
    found = unpack_samples(pack_samples(images), num_test=100)
    assert list(found) == list(images)
    for index, image in images.items():
        small = Image.fromarray(image.transpose(1, 2, 0)).resize((48, 48), Image.Resampling.LANCZOS)
        assert found[index].shape == (3, 48, 48)
        assert np.abs(found[index].astype(int) - np.asarray(small).transpose(2, 0, 1)).mean() < 8


def test_no_picture_touches_its_neighbours() -> None:
    shades = {index: np.full((3, 96, 96), 255 * (index % 2), dtype=np.uint8) for index in range(20)}
    for index, image in unpack_samples(pack_samples(shades), num_test=20).items():
        assert np.unique(image).tolist() == [255 * (index % 2)]


def test_file_of_64_photographs_is_small() -> None:
    assert len(pack_samples(photos(*range(64)))) < 100_000


def archive(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def sheet(kind: str = "JPEG", *, size: tuple[int, int] = (384, 48), mode: str = "RGB") -> npt.NDArray[np.uint8]:
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind)
    return np.frombuffer(content.getvalue(), dtype=np.uint8)


def with_header(header: str, *, name: str = "sheet.npy", data: bytes = b"") -> bytes:
    """An archive whose array says of itself what `header` says."""
    text = f"{header}\n".encode()
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
    content = io.BytesIO(archive(index=np.arange(1, dtype=np.uint32)))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(name, array)
    return content.getvalue()


INDEX = np.arange(3, dtype=np.uint32)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is no .npz file"),
    "page": (b"<script>alert(1)</script>", "is no .npz file"),
    "truncated": (archive(index=INDEX, sheet=sheet())[:-200], "is no .npz file"),
    "huge": (bytes(2 << 20), "has 2097152 bytes"),
    "no-sheet": (archive(index=INDEX), "is no .npz file"),
    "objects": (archive(index=INDEX, sheet=np.array([{}], dtype=object)), "sheet holds object"),
    "floats": (archive(index=INDEX.astype(float), sheet=sheet()), "index holds float64"),
    "matrix": (archive(index=INDEX.reshape(1, 3), sheet=sheet()), "index says that its shape is"),
    "terabyte": (
        with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,)}"),
        "sheet says that its shape is",
    ),
    "bomb": (
        with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (8388608,)}", data=bytes(8 << 20)),
        "sheet takes",
    ),
    "code": (with_header("__import__('os').abort()"), "sheet is not in numpy's format"),
    "many": (archive(index=np.arange(65, dtype=np.uint32), sheet=sheet()), "names images that are not"),
    "twice": (archive(index=np.zeros(2, dtype=np.uint32), sheet=sheet()), "names images that are not"),
    "outside": (archive(index=INDEX + 99, sheet=sheet()), "names images that are not"),
    "png": (archive(index=INDEX, sheet=sheet("PNG")), "is no JPEG file"),
    "text": (archive(index=INDEX, sheet=np.frombuffer(b"<svg onload=x>", dtype=np.uint8)), "is no JPEG file"),
    "cut": (archive(index=INDEX, sheet=sheet()[:-300]), "is no JPEG file"),
    "grey": (archive(index=INDEX, sheet=sheet(mode="L")), "must be RGB"),
    "vast": (archive(index=INDEX, sheet=sheet(size=(5000, 5000))), "must be RGB of"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_file_that_no_run_would_write_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack_samples(content, num_test=100)


# Reading them beside the records


def answers_of(seed: int, *, share: float = 0.8) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Predicted and true classes of 1000 test images."""
    labels = np.arange(NUM_TEST, dtype=np.uint16) % len(CLASSES)
    random = np.random.default_rng(seed)
    others = (labels + random.integers(1, len(CLASSES), NUM_TEST)) % len(CLASSES)
    return np.where(random.random(NUM_TEST) < share, labels, others).astype(np.uint16), labels.astype(np.uint16)


def store_run(store: FolderStore, optimizer: str, *, number: int, seed: int = 0, sha: str = SHA) -> RunResult:
    """A finished run with its predictions and pictures."""
    predicted, labels = answers_of(number)
    confusion = np.zeros((10, 10), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    result = make_result(
        make_manifest(optimizer, seed=seed), confusion=confusion.tolist(),
        test_right=pack_right(predicted == labels, epoch=4, test_sha256=sha),
    )  # fmt: skip
    keys = RunKeys(result.experiment, result.run_id)
    store_results(store, result)
    store.write(keys.predictions, archive(predicted=predicted, labels=labels))
    store.write(keys.samples, pack_samples(photos(*choose_wrong(predicted == labels, test_sha256=sha))))
    return result


def test_answers_are_those_that_the_run_stored(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    result = store_run(store, "adam", number=3)
    run = f"default/{result.run_id}"
    answers = read_answers(store, [run])[run]
    predicted, labels = answers_of(3)
    assert np.array_equal(answers.predicted, predicted)
    assert np.array_equal(answers.labels, labels)
    assert answers.classes == list(CLASSES)
    assert list(answers.pictures) == choose_wrong(predicted == labels, test_sha256=SHA)


def test_run_without_pictures_is_read_and_one_without_predictions_is_left_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    bare, older = store_run(store, "adam", number=0), make_result(make_manifest("adagrad"))
    store.delete([RunKeys("default", bare.run_id).samples])
    store_results(store, older)
    found = read_answers(store, [f"default/{run.run_id}" for run in (bare, older)])
    assert list(found) == [f"default/{bare.run_id}"]
    assert found[f"default/{bare.run_id}"].pictures == {}


@pytest.mark.parametrize("content", [content for content, _ in HOSTILE.values()], ids=HOSTILE)
def test_damaged_pictures_are_left_out_and_the_predictions_count(tmp_path: Path, content: bytes) -> None:
    store = FolderStore(tmp_path)
    result = store_run(store, "adam", number=0)
    store.write(RunKeys("default", result.run_id).samples, content)
    (answers,) = read_answers(store, [f"default/{result.run_id}"]).values()
    assert answers.pictures == {}


@pytest.mark.parametrize(
    "arrays",
    [
        {"predicted": answers_of(1)[0], "labels": answers_of(1)[1]},
        {"predicted": answers_of(0)[0] + 10, "labels": answers_of(0)[1]},
        {"predicted": answers_of(0)[0][:5], "labels": answers_of(0)[1]},
        {"predicted": answers_of(0)[0].astype(int), "labels": answers_of(0)[1]},
        {"labels": answers_of(0)[1]},
    ],
    ids=["of another run", "classes that there are not", "too few", "another type", "none"],
)
def test_predictions_that_do_not_fit_the_result_are_left_out(tmp_path: Path, arrays: dict[str, Any]) -> None:
    store = FolderStore(tmp_path)
    result = store_run(store, "adam", number=0)
    store.write(RunKeys("default", result.run_id).predictions, archive(**arrays))
    assert read_answers(store, [f"default/{result.run_id}"]) == {}


def test_runs_of_before_get_their_pictures_from_the_data_set(tmp_path: Path) -> None:
    data = load_synthetic(size=32, num_train=20, num_test=NUM_TEST)
    store = FolderStore(tmp_path)
    result = store_run(store, "adam", number=0, sha=data.test_sha256)
    other = store_run(store, "adagrad", number=1)
    before = store.read(RunKeys("default", other.run_id).samples)
    store.delete([RunKeys("default", result.run_id).samples])
    assert add_samples(store, data) == 1
    found = unpack_samples(store.read(RunKeys("default", result.run_id).samples), num_test=NUM_TEST)
    predicted, labels = answers_of(0)
    assert list(found) == choose_wrong(predicted == labels, test_sha256=data.test_sha256)
    assert store.read(RunKeys("default", other.run_id).samples) == before


# Comparing


def test_runs_that_stand_for_the_configurations_are_of_one_seed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    wanted = {name: store_run(store, name, number=place, seed=1) for place, name in enumerate(("adam", "adagrad"))}
    store_run(store, "adam", number=5, seed=0)
    sgd = [make_result(make_manifest("sgd", seed=seed)) for seed in (0, 1)]
    study = build_study(tmp_path, sgd[0], diverged(sgd[1]), make_result(make_manifest("rmsprop", seed=1)))
    assert choose_sample_runs(study) == {
        configuration.label: f"default/{wanted[configuration.optimizer].run_id}"
        for configuration in study.shown
        if configuration.optimizer in wanted
    }


def test_runs_over_other_test_images_or_of_other_seeds_are_not_compared(tmp_path: Path) -> None:
    images, seeds = FolderStore(tmp_path / "images"), FolderStore(tmp_path / "seeds")
    store_run(images, "adam", number=0)
    store_run(images, "adagrad", number=1, sha="e" * 64)
    store_run(seeds, "adam", number=0, seed=0)
    store_run(seeds, "adagrad", number=1, seed=1)
    assert [choose_sample_runs(build_study(tmp_path / name)) for name in ("images", "seeds")] == [{}, {}]


def build_gallery(*, labels: tuple[str, ...] = ("Adam", "Adagrad", "SGD"), **changes: Any) -> Gallery:
    answers = {}
    for number, label in enumerate(labels):
        predicted, truth = answers_of(number)
        pictures = photos(*choose_wrong(predicted == truth, test_sha256=SHA))
        answers[label] = Answers(predicted, truth, list(CLASSES), SHA, changes.get("pictures", pictures))
    gallery = compare_images(answers, seed=2)
    assert gallery is not None
    return gallery


def test_groups_hold_what_counting_by_hand_gives() -> None:
    gallery = build_gallery()
    truth = answers_of(0)[1].tolist()
    said = [answers_of(number)[0].tolist() for number in range(3)]
    right = [[answer == label for answer, label in zip(own, truth, strict=True)] for own in said]
    alone = [sum(right[own][i] and sum(run[i] for run in right) == 1 for i in range(1000)) for own in range(3)]
    wrong = sum(not any(run[i] for run in right) for i in range(1000))
    assert [group.num for group in gallery.groups] == [wrong, *alone]
    assert [group.label for group in gallery.groups] == [None, "Adam", "Adagrad", "SGD"]
    all_right = sum(all(run[i] for run in right) for i in range(1000))
    assert gallery.num_right_for_all == all_right
    assert gallery.sentence == (
        f"Of 1,000 test images all 3 get {all_right} right and {wrong} wrong; about the other "
        f"{1000 - all_right - wrong} they differ. Right for one alone: Adam {alone[0]}, Adagrad {alone[1]} and SGD "
        f"{alone[2]}. These are the runs of seed 2 after their last epoch, 3 configurations, so another seed gives "
        "other images."
    )
    assert list_untraced(gallery.sentence, count_images(gallery)) == []


def test_images_shown_are_of_their_group_with_the_classes_that_the_runs_gave() -> None:
    for group in build_gallery().groups:
        assert 0 < len(group.images) <= 8
        for image in group.images:
            right = [label for label, name in image.predicted.items() if name == image.true_class]
            assert right == ([group.label] if group.label else [])
            assert image.image.shape == (3, 64, 64)


def test_caption_says_what_each_said_or_once_what_all_say() -> None:
    captions = [image.caption for group in build_gallery().groups for image in group.images]
    assert any(caption.endswith(": all say dog") or ": all say " in caption for caption in captions)
    assert any(": Adam says " in caption and ", Adagrad " in caption for caption in captions)


def test_runs_without_pictures_are_counted_all_the_same() -> None:
    bare = build_gallery(pictures={})
    assert not bare.has_pictures
    assert [group.num for group in bare.groups] == [group.num for group in build_gallery().groups]
    assert draw_samples(bare) == []


def test_one_run_is_no_comparison_and_other_images_are_refused() -> None:
    predicted, labels = answers_of(0)
    own = Answers(predicted, labels, list(CLASSES), SHA, {})
    assert compare_images({"Adam": own}, seed=0) is None
    other = Answers(predicted, labels, list(CLASSES), "e" * 64, {})
    with pytest.raises(ValueError, match="not tested on the same images"):
        compare_images({"Adam": own, "SGD": other}, seed=0)


# Drawing


def test_sheets_show_the_images_from_left_to_right_and_fit_into_the_page() -> None:
    gallery = build_gallery()
    sheets = draw_samples(gallery)
    assert [sheet.group.title for sheet in sheets] == [
        "Wrong for all 3", "Right for Adam alone", "Right for Adagrad alone", "Right for SGD alone",
    ]  # fmt: skip
    assert sum(len(sheet.data_uri) for sheet in sheets) <= MAX_BYTES
    for sheet, group in zip(sheets, gallery.groups, strict=True):
        start, content = sheet.data_uri.split(",")
        assert start == "data:image/jpeg;base64"
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert pixels.shape == (sheet.tile, sheet.width, 3)
        for place, image in enumerate(group.images):
            tile = pixels[:, place * sheet.tile : (place + 1) * sheet.tile].astype(int)
            assert np.abs(tile - image.image.transpose(1, 2, 0)).mean() < 12
        assert sheet.alt.startswith(f"{group.title}. {group.images[0].caption}")


def test_images_that_compress_badly_are_fewer() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (NUM_TEST, 3, 48, 48), dtype=np.uint8)
    sheets = draw_samples(build_gallery(pictures=dict(enumerate(noise))), max_bytes=20_000)
    assert len(sheets) == 4
    assert sum(len(sheet.data_uri) for sheet in sheets) <= 20_000
    assert 0 < len(sheets[0].group.images) < 8
