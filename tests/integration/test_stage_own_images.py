"""`job stage --dataset folder` makes one object of a person's images, and runs from it are those from the folder."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

from job.errors import DataError
from job.manifest.models import Folder
from job.storage import open_store
from job.storage.staged import StagedImages
from job.training.inputs.datasets import ImageData, load_data
from job.training.inputs.datasets.folder import load_folder
from tests.conftest import BUCKET, TINY, Answer
from tests.unit.test_folder import picture, save

Job = Callable[..., Answer]
SIZE = 16
KEY = f"data/folder-{SIZE}px/images.safetensors"
CONTENTS = f"data/folder-{SIZE}px/images.json"
OWN = {"name": "folder", "size": SIZE}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes: ten images of each to train on, five to test on."""
    root = tmp_path / "photos"
    for start, part, num in ((0, "train", 10), (100, "test", 5)):
        for kind, seeds in (("cat", range(start, start + num)), ("dog", range(start + 50, start + 50 + num))):
            for number, seed in enumerate(seeds):
                save(root / part / kind / f"{number:02}.png", picture(seed, height=20, width=24))
    return root


@pytest.fixture
def stage(job: Job, photos: Path) -> Callable[..., Answer]:
    def call(destination: object, *arguments: object, data: object = None) -> Answer:
        return job(
            "stage", destination, "--dataset", "folder", "--size", SIZE, "--data", data or photos, "--no-weights",
            *arguments,
        )  # fmt: skip

    return call


@pytest.fixture
def staged(stage: Callable[..., Answer], bucket: str) -> str:
    """The URI that the images are staged in."""
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 0, answer.stderr
    return f"{bucket}/data"


def load(data: object, cache: Path, *, size: int = SIZE) -> ImageData:
    return load_data(Folder(name="folder", size=size), data=str(data), cache=cache, num_threads=1)


def read(key: str) -> bytes:
    return boto3.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()


def put(key: str, content: bytes) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)


def losses(output: Path) -> list[tuple[str, list[Any], str]]:
    """Run id, losses and digest of the data of each result."""
    results = [json.loads(path.read_bytes()) for path in sorted(output.glob("*/runs/*/result.json"))]
    return [
        (
            result["run_id"],
            [(epoch["train"]["loss"], epoch["test"]["loss"]) for epoch in result["history"]],
            result["environment"]["data_sha256"],
        )
        for result in results
    ]


@pytest.mark.usefixtures("forked_children")
def test_run_from_the_bucket_is_the_run_from_the_folder_to_the_last_bit(
    job: Job, tmp_path: Path, photos: Path, staged: str
) -> None:
    base = {name: value for name, value in TINY.items() if name not in ("name", "optimizer")} | {"dataset": OWN}
    sweep = {"name": "own", "blocks": [{"base": base | {"optimizer": {"name": "adam", "lr": 0.001}}}]}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    for name, data in (("folder", photos), ("bucket", staged)):
        answer = job(
            "submit", "-m", tmp_path / "sweep.json", "--to", "local", "--data", data, "--output", tmp_path / name
        )
        assert answer.exit_code == 0, answer.stderr
    assert len(losses(tmp_path / "folder")) == 1
    assert losses(tmp_path / "folder") == losses(tmp_path / "bucket")
    again = job(
        "submit", "-m", tmp_path / "sweep.json", "--to", "local", "--data", staged, "--output", tmp_path / "folder"
    )
    assert "nothing to do; 1 runs are done" in again.stdout
    assert "not compared" not in again.stderr


def test_object_holds_pixels_labels_and_classes_for_anybody(staged: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(read(KEY))
    folder = load_folder(photos, size=SIZE, cache=None, num_threads=1)
    with safe_open(tmp_path / "copy", framework="numpy") as file:
        assert json.loads(file.metadata()["classes"]) == ["cat", "dog"]
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            np.testing.assert_array_equal(file.get_tensor(name), getattr(folder, name))
    contents = StagedImages.model_validate_json(read(CONTENTS))
    assert (contents.num_train, contents.num_test, contents.classes) == (20, 10, ["cat", "dog"])
    assert contents.data_sha256 == folder.sha256() == load(staged, tmp_path / "cache").sha256()


def test_stage_says_where_the_object_is_and_how_runs_take_it(stage: Callable[..., Answer], bucket: str) -> None:
    answer = stage(f"{bucket}/data")
    assert answer.stdout.splitlines() == [f"{bucket}/{KEY}"]
    assert "20 training and 10 test images of 2 classes, 16x16 pixels" in answer.stderr
    assert f"--data {bucket}/data --set dataset.name=folder --set dataset.size=16" in answer.stderr


def test_staged_again_the_object_is_the_same_and_is_not_sent_again(
    stage: Callable[..., Answer], staged: str, photos: Path
) -> None:
    before = boto3.client("s3").head_object(Bucket=BUCKET, Key=KEY)
    assert stage(staged).exit_code == 0
    after = boto3.client("s3").head_object(Bucket=BUCKET, Key=KEY)
    assert (before["ETag"], before["LastModified"]) == (after["ETag"], after["LastModified"])
    save(photos / "train/cat/00.png", picture(999))
    answer = stage(staged)
    assert "staged_images_replaced" in answer.stderr
    assert boto3.client("s3").head_object(Bucket=BUCKET, Key=KEY)["ETag"] != before["ETag"]


def test_sizes_lie_beside_each_other(stage: Callable[..., Answer], staged: str, tmp_path: Path) -> None:
    assert stage(staged, "--size", 32).exit_code == 0
    for size in (16, 32):
        assert load(staged, tmp_path, size=size).train_images.shape == (20, 3, size, size)


def test_staging_to_a_folder_works_alike(stage: Callable[..., Answer], staged: str, tmp_path: Path) -> None:
    assert stage(tmp_path / "nfs").exit_code == 0
    assert load(tmp_path / "nfs", tmp_path / "a").sha256() == load(staged, tmp_path / "b").sha256()


def test_object_is_fetched_once_and_verified_each_time(staged: str, tmp_path: Path) -> None:
    first = load(staged, tmp_path / "cache")
    content = read(KEY)
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    assert load(staged, tmp_path / "cache").sha256() == first.sha256()
    (kept,) = (tmp_path / "cache/staged").iterdir()
    damaged = bytearray(kept.read_bytes())
    damaged[-1] ^= 1
    kept.write_bytes(damaged)
    with pytest.raises(DataError, match=r"images\.safetensors: missing; stage the images again"):
        load(staged, tmp_path / "cache")
    put(KEY, content)
    assert load(staged, tmp_path / "cache").sha256() == first.sha256()


def test_flipped_bit_is_found_and_does_not_reach_the_cache(staged: str, tmp_path: Path) -> None:
    content = bytearray(read(KEY))
    content[len(content) // 2] ^= 1
    put(KEY, bytes(content))
    with pytest.raises(DataError, match="corrupt: sha256 is"):
        load(staged, tmp_path / "cache")
    assert not list((tmp_path / "cache/staged").iterdir())


def test_contents_that_are_none_are_named(staged: str, tmp_path: Path) -> None:
    put(CONTENTS, b"[]")
    with pytest.raises(DataError, match=r"images\.json: does not say what was staged; stage the images again"):
        load(staged, tmp_path / "cache")


def test_finished_run_is_compared_without_fetching_the_images(
    job: Job, tiny: Callable[..., Path], staged: str, stage: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    command = ("run", "-m", tiny(dataset=OWN), "--output", tmp_path / "out", "--data", staged)
    assert job(*command).exit_code == 0
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=KEY)
    again = job(*command, "--cache", tmp_path / "empty")
    assert again.exit_code == 0, again.stderr
    assert "run_already_complete" in again.stderr
    assert "inputs_not_compared" not in again.stderr
    save(photos / "train/cat/00.png", picture(999))
    assert stage(staged).exit_code == 0
    assert job(*command).exit_code == 68


@pytest.mark.parametrize("to", ["local", "batch", "kubernetes"])
def test_submit_refuses_a_bucket_without_the_size_with_the_command_that_stages_it(
    to: str, job: Job, tiny: Callable[..., Path], staged: str, bucket: str, tmp_path: Path
) -> None:
    images = () if to == "local" else ("--image", "r/job:1", *(("--queue", "q") if to == "batch" else ()))
    command = ("submit", "--to", to, "--output", f"{bucket}/runs", "--data", staged, "--dry-run", *images, "-m")
    answer = job(*command, tiny(dataset=OWN))
    assert answer.exit_code == 0, answer.stderr
    assert staged in answer.stdout
    answer = job(*command, tiny(dataset={"name": "folder", "size": 64}))
    assert answer.exit_code == 2
    assert f"`job stage {staged} --dataset folder --size 64 --data FOLDER`" in answer.stderr


def test_run_names_the_size_that_is_not_staged(
    job: Job, tiny: Callable[..., Path], staged: str, tmp_path: Path
) -> None:
    answer = job("run", "-m", tiny(dataset={"name": "folder", "size": 64}), "--output", tmp_path, "--data", staged)
    assert answer.exit_code == 66
    assert "holds no images of 64 pixels" in answer.stderr


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_staged(
    stage: Callable[..., Answer], photos: Path, bucket: str
) -> None:
    (photos / "train/cat/00.png").write_bytes(b"")
    (photos / "test/dog/00.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    (photos / "train/bird").mkdir()
    save(photos / "train/bird/a.png", picture(1))
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 66
    for said in (
        "train/ and test/ must hold the same classes; only one has bird",
        "train/cat/00.png: is empty",
        "test/dog/00.png: cannot be decoded",
    ):
        assert said in answer.stderr
    assert open_store(bucket).list_keys("data/") == []


def test_what_is_odd_is_said_with_an_example(stage: Callable[..., Answer], photos: Path, bucket: str) -> None:
    save(photos / "train/cat/grey.png", Image.new("L", (20, 20), 7))
    save(photos / "train/cat/long.png", picture(5, height=20, width=80))
    for number in (1, 2):
        save(photos / f"train/cat/small{number}.png", picture(6 + number, height=8, width=9))
    (photos / "test/cat/same.png").write_bytes((photos / "train/dog/03.png").read_bytes())
    for number in range(3, 10):
        (photos / f"train/dog/{number:02}.png").unlink(missing_ok=number != 3)
    answer = stage(f"{bucket}/data")
    assert answer.exit_code == 0, answer.stderr
    assert "note: 1 image is grey: all three channels are equal (" in answer.stderr
    assert "note: 1 image is at least twice as long as wide" in answer.stderr
    assert "note: 2 images are smaller than 16 pixels, and enlarged (such as " in answer.stderr
    assert "small1.png, 9x8" in answer.stderr
    assert "note: the classes are uneven: 14 training images of cat, 3 of dog" in answer.stderr
    assert "tested on and trained on" not in answer.stderr  # the copy's original is gone


def test_image_in_both_parts_is_said(stage: Callable[..., Answer], photos: Path, bucket: str) -> None:
    (photos / "test/cat/same.png").write_bytes((photos / "train/dog/03.png").read_bytes())
    assert "note: 1 image is tested on and trained on (" in stage(f"{bucket}/data").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dataset", "folder"), "--data is not given"),
        (("--dataset", "folder", "--data", "s3://bucket/photos"), "must be a folder of images of this machine"),
        (("--dataset", "folder", "--data", "nowhere"), "--data nowhere: no such file or folder"),
        (("--dataset", "stl10", "--size", "32"), "are for --dataset folder"),
        (("--dataset", "folder", "--data", "PHOTOS", "--label-column", "kind"), "there are no columns to name"),
    ],
)
def test_what_cannot_be_staged_is_refused(
    arguments: tuple[str, ...], said: str, job: Job, photos: Path, tmp_path: Path
) -> None:
    answer = job("stage", tmp_path / "out", "--no-weights", *(str(photos) if a == "PHOTOS" else a for a in arguments))
    assert answer.exit_code == 2
    assert said in answer.stderr


def rows_of(root: Path, part: str, *, as_label: Callable[[str], Any]) -> dict[str, list[Any]]:
    """The images of a part as columns, in the order in which a folder has them."""
    paths = sorted((root / part).glob("*/*.png"))
    return {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": [as_label(path.parent.name) for path in paths],
    }


def as_hugging_face(columns: dict[str, list[Any]], names: list[str]) -> pa.Table:
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def write_parquet(root: Path, photos: Path) -> Path:
    """As a repository of data sets has them."""
    (root / "data").mkdir(parents=True)
    for part in ("train", "test"):
        table = as_hugging_face(rows_of(photos, part, as_label=["cat", "dog"].index), ["cat", "dog"])
        half = table.num_rows // 2
        pq.write_table(table.slice(0, half), root / f"data/{part}-00000-of-00002.parquet")
        pq.write_table(table.slice(half), root / f"data/{part}-00001-of-00002.parquet")
    return root


def write_arrow(root: Path, photos: Path) -> Path:
    """As `save_to_disk` of Hugging Face's library writes them."""
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        (root / part / "state.json").write_text("{}")
        table = as_hugging_face(rows_of(photos, part, as_label=["cat", "dog"].index), ["cat", "dog"])
        with pa.ipc.new_stream(root / part / "data-00000-of-00001.arrow", table.schema) as writer:
            writer.write_table(table)
    return root


def write_one_file(root: Path, photos: Path) -> Path:
    """One file for both parts; the classes are words, the images bare bytes, and the parts are mixed."""
    columns: dict[str, list[Any]] = {"picture": [], "class": [], "split": []}
    for part in ("test", "train"):
        rows = rows_of(photos, part, as_label=str)
        columns["picture"] += [image["bytes"] for image in rows["image"]]
        columns["class"] += rows["label"]
        columns["split"] += [part] * len(rows["label"])
    root.mkdir()
    pq.write_table(pa.table(columns), root / "everything.parquet")
    return root / "everything.parquet"


@pytest.mark.parametrize("write", [write_parquet, write_arrow, write_one_file])
def test_tables_of_images_are_staged_as_the_folder_is(
    write: Callable[[Path, Path], Path], stage: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    answer = stage(tmp_path / "staged", data=write(tmp_path / "tables", photos))
    assert answer.exit_code == 0, answer.stderr
    folder = load_folder(photos, size=SIZE, cache=None, num_threads=1)
    assert load(tmp_path / "staged", tmp_path / "cache").sha256() == folder.sha256()


@pytest.mark.parametrize("name", ["training", "train.parquet"])
def test_column_split_counts_whatever_that_which_holds_all_is_called(
    name: str, stage: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    table = write_one_file(tmp_path / "training", photos)
    data = table.rename(tmp_path / name) if name.endswith(".parquet") else table.parent
    answer = stage(tmp_path / "staged", data=data)
    assert answer.exit_code == 0, answer.stderr
    folder = load_folder(photos, size=SIZE, cache=None, num_threads=1)
    assert load(tmp_path / "staged", tmp_path / "cache").sha256() == folder.sha256()


@pytest.mark.parametrize("table", ["train/everything.parquet", "train.parquet"])
def test_name_of_that_which_holds_all_counts_where_there_is_no_column_split(
    table: str, stage: Callable[..., Answer], tmp_path: Path
) -> None:
    """Who names the part with the training images alone is told that the test images are missing."""
    (tmp_path / "train").mkdir()
    pq.write_table(pa.table({"image": [png(1)], "label": ["a"]}), tmp_path / table)
    answer = stage(tmp_path / "staged", data=tmp_path / table.partition("/")[0])
    assert answer.exit_code == 66
    assert "must hold images to train on and images to test on; parts found: train." in answer.stderr


def test_column_of_lists_is_no_column_of_classes(stage: Callable[..., Answer], tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [png(1)], "label": [["a"]], "split": ["train"]}), tmp_path / "all.parquet")
    answer = stage(tmp_path / "staged", "--label-column", "label", data=tmp_path / "all.parquet")
    assert answer.exit_code == 66
    assert re.search(r"all\.parquet: the column label holds list<.*>; must hold the class of the row", answer.stderr)


def test_hidden_folder_beside_tables_is_no_class(stage: Callable[..., Answer], photos: Path, tmp_path: Path) -> None:
    """Downloaders leave such."""
    root = write_arrow(tmp_path / "tables", photos)
    (root / "train/.cache").mkdir()
    answer = stage(tmp_path / "staged", data=root)
    assert answer.exit_code == 0, answer.stderr


def test_part_validation_is_tested_on_where_there_is_no_test(
    stage: Callable[..., Answer], photos: Path, tmp_path: Path
) -> None:
    root = write_parquet(tmp_path / "tables", photos)
    for path in root.glob("data/test-*"):
        path.rename(path.with_name(path.name.replace("test", "validation")))
    answer = stage(tmp_path / "staged", data=root)
    assert answer.exit_code == 0, answer.stderr
    assert "note: there is no part test: tested is on validation" in answer.stderr
    pq.write_table(
        as_hugging_face(rows_of(photos, "test", as_label=["cat", "dog"].index), ["cat", "dog"]),
        root / "data/test-00000-of-00001.parquet",
    )
    assert "note: 10 images of validation are left out" in stage(tmp_path / "staged", data=root).stderr


def write_rows(root: Path, columns: dict[str, list[Any]], names: list[str] | None = None) -> Path:
    root.mkdir()
    for part in ("train", "test"):
        table = as_hugging_face(columns, names) if names else pa.table(columns)
        pq.write_table(table, root / f"{part}.parquet")
    return root


def png(seed: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture(seed)).save(content, "PNG")
    return content.getvalue()


FAULTS: dict[str, tuple[dict[str, list[Any]], list[str] | None, tuple[str, ...]]] = {
    "class without images and damage, at once": (
        {"image": [{"bytes": png(1)}, {"bytes": b"none"}, {"bytes": None}], "label": [0, 1, 1]}, ["a", "b", "c"],
        ("train has no images of the classes c", "test has no images of the classes c",
         "train.parquet: row 1: cannot be decoded", "train.parquet: row 2: is empty"),
    ),
    "label that is no class": (
        {"image": [{"bytes": png(1)}, {"bytes": png(2)}, {"bytes": png(3)}], "label": [0, 1, -1]}, ["a", "b"],
        ("label is -1 in some rows, which is no class",),
    ),
    "one class": ({"image": [png(1)], "label": ["a"]}, None, ("must have at least 2 classes",)),
    "two columns of images": (
        {"image": [png(1)], "mask": [png(2)], "label": ["a"]}, None,
        ("which column holds the encoded images? Name it with --image-column; its columns are image, mask, label",),
    ),
    "no column of classes": (
        {"image": [png(1)], "kind": ["a"]}, None, ("which column holds the classes? Name it with --label-column",)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "names", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_tables_that_are_no_data_set_are_refused(
    columns: dict[str, list[Any]], names: list[str] | None, said: tuple[str, ...],
    stage: Callable[..., Answer], tmp_path: Path,
) -> None:  # fmt: skip
    answer = stage(tmp_path / "staged", data=write_rows(tmp_path / "tables", columns, names))
    assert answer.exit_code == 66
    for words in said:
        assert words in answer.stderr


def test_columns_that_are_named_are_taken(stage: Callable[..., Answer], tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "image": [png(1), png(2)], "mask": [png(3), png(4)], "kind": ["b", "a"],
    }  # fmt: skip
    root = write_rows(tmp_path / "tables", columns)
    answer = stage(tmp_path / "staged", "--image-column", "mask", "--label-column", "kind", data=root)
    assert answer.exit_code == 0, answer.stderr
    data = load(tmp_path / "staged", tmp_path / "cache")
    assert (data.classes, data.train_labels.tolist()) == (("a", "b"), [1, 0])
    np.testing.assert_array_equal(data.train_images[0], picture(3).transpose(2, 0, 1))


SAVED = Path(__file__).parents[1] / "data" / "hugging-face"
"""What `save_to_disk` of datasets 5.2.0 wrote: 6 and 4 images; beside them lies what `filter` and `map` left."""


def test_data_set_that_the_library_of_hugging_face_saved_is_staged(
    stage: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = stage(tmp_path / "staged", data=SAVED)
    assert answer.exit_code == 0, answer.stderr
    data = load(tmp_path / "staged", tmp_path / "cache")
    assert (data.classes, data.train_labels.tolist()) == (("cat", "dog"), [0, 1, 0, 1, 0, 1])
    assert data.test_labels.tolist() == [0, 1, 0, 1]


def test_table_that_holds_paths_and_no_images_says_so_once(stage: Callable[..., Answer], tmp_path: Path) -> None:
    image: list[dict[str, Any]] = [{"bytes": None, "path": f"/photos/{name}.jpg"} for name in "abc"]
    image[1]["bytes"] = png(1)
    rows: dict[str, list[Any]] = {"image": image, "label": [0, 1, 1]}
    answer = stage(tmp_path / "staged", data=write_rows(tmp_path / "tables", rows, ["a", "b"]))
    assert answer.exit_code == 66
    assert "row 0: holds the path of an image, /photos/a.jpg, and not the image; stage the folder" in answer.stderr
    assert "row 2" not in answer.stderr


def test_images_that_are_staged_are_named_although_the_weights_cannot_be_had(
    job: Job, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    answer = job(
        "stage", tmp_path / "staged", "--dataset", "folder", "--size", SIZE, "--data", photos,
        "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert answer.exit_code == 66
    assert answer.stdout.strip() == f"{tmp_path}/staged/folder-{SIZE}px/images.safetensors"
    assert "cannot be downloaded" in answer.stderr
    assert "leave the weights out with --no-weights" in answer.stderr


def test_files_that_say_no_part_or_are_no_tables_are_refused(stage: Callable[..., Answer], tmp_path: Path) -> None:
    root = tmp_path / "tables"
    root.mkdir()
    pq.write_table(pa.table({"image": [png(1)], "label": ["a"]}), root / "all.parquet")
    answer = stage(tmp_path / "staged", data=root)
    assert answer.exit_code == 66
    assert "neither its name nor a column split says" in answer.stderr
    assert "such as train.parquet (a data set of Hugging Face's library gets both parts" in answer.stderr
    (root / "all.parquet").write_bytes(b"PAR1")
    (root / "all.parquet").rename(root / "train.parquet")
    answer = stage(tmp_path / "staged", data=root)
    assert answer.exit_code == 66
    assert "train.parquet: cannot be read as a table" in answer.stderr


@pytest.mark.parametrize("place", ["bucket", "folder"])
def test_files_go_to_a_store_and_back_in_pieces(place: str, bucket: str, tmp_path: Path) -> None:
    store = open_store(bucket if place == "bucket" else str(tmp_path / "store"))
    content = np.random.default_rng(0).bytes(40 * 1024 * 1024 + 1)  # three parts
    (tmp_path / "file").write_bytes(content)
    store.upload("some/object", tmp_path / "file")
    assert store.list_keys("") == ["some/object"]
    store.download("some/object", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
