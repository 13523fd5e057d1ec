"""Which files count as images: what is hidden does not, what looks like a picture is never passed over in silence."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image
from structlog.testing import capture_logs

from job.errors import DataError
from job.training.inputs.kinds import SUFFIXES
from job.training.inputs.listing import MAX_NAMED, list_images
from tests.unit.test_decoding import encoded
from tests.unit.test_folder import picture, root, save

__all__ = ["root"]

PNG, JPEG = encoded(picture(5), "PNG"), encoded(picture(5), "JPEG")


def put(path: Path, content: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_images(root).paths]


PLAIN = ["train/cat/a.png", "train/cat/b.png", "train/dog/a.png", "test/cat/a.png", "test/dog/a.png"]
"""What `root` holds."""


@pytest.mark.parametrize(
    "name",
    ["train/cat/._a.png", "train/cat/.DS_Store", "train/cat/.ipynb_checkpoints/a-checkpoint.png",
     "train/cat/below/.hidden/a.png", "train/.ipynb_checkpoints/a.png", "train/._cat", "test/.DS_Store", ".DS_Store",
     "train/__MACOSX/cat/a.png", "train/cat/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "train/cat/.png"],
)  # fmt: skip
def test_hidden_files_and_folders_are_no_images_and_are_counted(root: Path, name: str) -> None:
    put(root / name)
    listing = list_images(root)
    assert names(root) == PLAIN
    assert listing.classes == ("cat", "dog")
    assert len(listing.left_out["hidden"]) == 1


def test_what_is_left_out_is_told_by_kind_with_a_number_and_an_example(root: Path) -> None:
    for name in ("a", "b", "c"):
        put(root / f"train/cat/._{name}.png", b"what a Mac leaves there")
    put(root / "test/dog/notes.txt", b"no picture")
    put(root / "test/dog/Thumbs.db", b"\xd0\xcf\x11\xe0")
    put(root / "val/dog/a.png")
    with capture_logs() as logs:
        list_images(root).log_left_out()
    told = {(entry["event"], entry["kind"], entry["num_files"], entry["example"]) for entry in logs}
    assert told == {
        ("files_left_out", "hidden", 3, "train/cat/._a.png"),
        ("files_left_out", "no image", 2, "test/dog/Thumbs.db"),
        ("files_left_out", "neither train nor test", 1, "val/dog/a.png"),
    }


def test_pictures_that_a_person_would_miss_are_a_warning(root: Path) -> None:
    """A terminal shows warnings alone."""
    put(root / "val/cat/a.png")
    put(root / "val/cat/notes.txt", b"no picture")
    put(root / "extra/n0153")
    put(root / "train/cat/.ipynb_checkpoints/a.png")
    put(root / "train/cat/.ipynb_checkpoints/b.png")
    put(root / "test/cat/notes.txt", b"no picture")
    with capture_logs() as logs:
        list_images(root).log_left_out()
    beside = {"num_files": 3, "num_pictures": 2, "example": "extra/n0153", "folders": ["extra", "val"]}
    hidden = {"num_files": 2, "num_pictures": 2, "example": "train/cat/.ipynb_checkpoints/a.png"}
    plain = {"num_files": 1, "example": "test/cat/notes.txt"}
    event = {"event": "files_left_out"}
    expected = [
        event | beside | {"log_level": "warning", "kind": "neither train nor test"},
        event | hidden | {"log_level": "warning", "kind": "hidden"},
        event | plain | {"log_level": "info", "kind": "no image"},
    ]
    assert {entry["kind"]: entry for entry in logs} == {entry["kind"]: entry for entry in expected}


def test_what_systems_keep_of_pictures_and_what_links_lead_to_is_not_missed(root: Path) -> None:
    put(root / "test/@eaDir/cat/a.png/SYNOPHOTO_THUMB_M.jpg")
    put(root / "train/cat/._a.png", b"what a Mac leaves there")
    put(root / "more/c.png")
    (root / "train/dog/more").symlink_to(root / "more")
    with capture_logs() as logs:
        list_images(root).log_left_out()
    assert [(entry["log_level"], entry["kind"], entry["num_files"]) for entry in logs] == [("info", "hidden", 2)]


@pytest.mark.parametrize("name", ["stray.png", "stray.HEIC", "n0153", "stray.jpg.bak", "gone.png"])
def test_picture_beside_the_parts_is_refused(root: Path, name: str) -> None:
    if name == "gone.png":
        (root / name).symlink_to(root / "nowhere")
    else:
        put(root / name)
    with pytest.raises(DataError, match="is in no class; move it into train/<class>/ or test/<class>/") as caught:
        list_images(root)
    assert str(caught.value).startswith(f"{root / name}: ")


def test_what_is_no_picture_may_lie_beside_the_parts(root: Path) -> None:
    put(root / "README.md", b"no picture")
    (root / "loop").symlink_to(root / "loop")
    assert names(root) == PLAIN


@pytest.mark.parametrize(("link", "target"), [("test", "train"), ("train", "test")])
@pytest.mark.parametrize("spelt", ["{}", "./{}", "../data/{}"])
def test_part_that_is_a_link_to_the_other_is_refused(root: Path, link: str, target: str, spelt: str) -> None:
    shutil.rmtree(root / link)
    (root / link).symlink_to(spelt.format(target))
    with pytest.raises(
        DataError, match=r"train/ and test/ are the same folder.*; what is tested on must not be trained"
    ):
        list_images(root)


def test_parts_that_are_links_to_one_folder_are_refused(root: Path, tmp_path: Path) -> None:
    shutil.move(root / "train", tmp_path / "disk")
    shutil.rmtree(root / "test")
    for part in ("train", "test"):
        (root / part).symlink_to(tmp_path / "disk")
    with pytest.raises(DataError, match="train/ and test/ are the same folder"):
        list_images(root)


@pytest.mark.parametrize(("inner", "outer"), [("test", "train"), ("train", "test")])
def test_part_that_lies_in_the_other_is_refused(root: Path, inner: str, outer: str) -> None:
    shutil.move(root / inner, root / outer / "held-out")
    (root / inner).symlink_to(root / outer / "held-out")
    with pytest.raises(DataError, match=f"{inner}/ lies in {outer}/, by a link; what is tested on must not be"):
        list_images(root)


def test_images_that_both_parts_link_to_are_refused(root: Path) -> None:
    put(root / "all/c.png")
    put(root / "all/more/d.png")
    for part in ("train", "test"):
        (root / part / "dog/c.png").symlink_to(root / "all/c.png")
        (root / part / "dog/more").symlink_to(root / "all/more")
    with pytest.raises(DataError, match="what is tested on must not be trained on") as caught:
        list_images(root)
    assert "test/dog/c.png: is the same file as " in str(caught.value)
    assert "test/dog/more/d.png: is the same file as " in str(caught.value)


def test_class_that_is_a_link_to_another_is_refused(root: Path) -> None:
    shutil.rmtree(root / "train/dog")
    (root / "train/dog").symlink_to("cat")
    with pytest.raises(DataError, match=r"train/dog: is the same folder as .*train/cat; one of them is a link"):
        list_images(root)


@pytest.mark.parametrize("name", ["a\nb.heic", "a\x1b[31m.heic", "a\udcff.heic"])
def test_path_that_cannot_be_printed_is_quoted(root: Path, name: str) -> None:
    path = put(root / "train/dog" / name)
    with pytest.raises(DataError) as caught:
        list_images(root)
    assert str(caught.value).startswith(f"{str(path)!r}: pictures of the kind .heic cannot be read")
    assert str(caught.value).isprintable()


def test_nothing_is_told_where_nothing_is_left_out(root: Path) -> None:
    with capture_logs() as logs:
        list_images(root).log_left_out()
    assert logs == []


@pytest.mark.parametrize("suffix", sorted(SUFFIXES | {suffix.upper() for suffix in SUFFIXES}))
def test_every_suffix_of_an_image_counts_in_both_cases(root: Path, suffix: str) -> None:
    put(root / f"train/dog/b{suffix}")
    assert names(root) == [*PLAIN[:3], f"train/dog/b{suffix}", *PLAIN[3:]]


@pytest.mark.parametrize("content", [PNG, JPEG, encoded(picture(5), "WEBP"), encoded(picture(5), "TIFF"),
                                     encoded(picture(5), "BMP"), encoded(picture(5), "PPM"),
                                     b"P3\n# by hand\n1 1\n255\n1 2 3\n", b"P4 8 1\n\0",
                                     b"P5\t1 1 255\n\0"])  # fmt: skip
def test_image_without_a_suffix_counts(root: Path, content: bytes) -> None:
    put(root / "train/dog/n0153", content)
    assert "train/dog/n0153" in names(root)


@pytest.mark.parametrize("content", [b"BM is short for bookmark, and this is a text", b"P1 and P2 are priorities",
                                     b"P5", b"BM", b"", b"8 bits"])  # fmt: skip
def test_text_that_begins_as_a_picture_does_is_none(root: Path, content: bytes) -> None:
    put(root / "train/dog/notes", content)
    assert names(root) == PLAIN


OTHER_KINDS = {
    **{brand: b"\0\0\0\x18ftyp" + brand.encode() + bytes(9) for brand in ("heic", "heis", "hevc", "msf1", "avis")},
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(9),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(9),
    "Photoshop": b"8BPS\0\2" + bytes(9),
    "BMP": encoded(picture(5), "BMP"),
    "PPM": encoded(picture(5), "PPM"),
}


@pytest.mark.parametrize("content", OTHER_KINDS.values(), ids=OTHER_KINDS.keys())
def test_picture_of_any_kind_is_known_by_its_content(root: Path, content: bytes) -> None:
    put(root / "train/dog/a.bak", content)
    with pytest.raises(DataError, match=r"a\.bak: is a picture by its content but not by its name"):
        list_images(root)


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.avif", "a.jxl", "a.svg", "a.psd", "a.psb", "a.cr2", "a.dng"])
def test_picture_of_a_kind_that_cannot_be_read_is_refused_and_not_passed_over(root: Path, name: str) -> None:
    path = put(root / "train/dog" / name, b"whatever it holds")
    with pytest.raises(DataError, match="cannot be read; convert it to JPEG or PNG") as caught:
        list_images(root)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.exit_code == 66


@pytest.mark.parametrize("name", ["a.jpg.bak", "a.png~", "a.0001", "a.part", "a.txt"])
@pytest.mark.parametrize("content", [PNG, JPEG, b"\0\0\0\x18ftypheic" + bytes(9)], ids=["PNG", "JPEG", "HEIC"])
def test_picture_by_content_and_not_by_name_is_refused(root: Path, name: str, content: bytes) -> None:
    path = put(root / "train/dog" / name, content)
    with pytest.raises(
        DataError, match="is a picture by its content but not by its name; rename it or remove it"
    ) as caught:
        list_images(root)
    assert str(caught.value).startswith(f"{path}: ")


def test_picture_beside_the_class_folders_is_refused(root: Path) -> None:
    path = put(root / "train/a.png")
    with pytest.raises(DataError, match="is in no class; move it into train/<class>/") as caught:
        list_images(root)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["train/dog/gone.png", "train/dog/gone", "train/emu"])
def test_link_to_nothing_is_refused(root: Path, name: str) -> None:
    (root / name).symlink_to(root / "nowhere.png")
    with pytest.raises(DataError, match=f"{name}: is a link to nothing; remove it"):
        list_images(root)


def test_link_to_itself_is_refused(root: Path) -> None:
    (root / "train/dog/self.png").symlink_to(root / "train/dog/self.png")
    with pytest.raises(DataError, match=r"self\.png: is a link to nothing"):
        list_images(root)


def test_pipe_with_the_name_of_an_image_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "train/dog/pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: is no regular file"):
        list_images(root)


def test_linked_folder_within_the_data_is_followed(root: Path) -> None:
    put(root / "more/c.png")
    put(root / "more/below/d.png")
    (root / "train/dog/more").symlink_to(root / "more")
    assert names(root) == [*PLAIN[:3], "train/dog/more/below/d.png", "train/dog/more/c.png", *PLAIN[3:]]


def test_linked_part_and_what_it_holds_are_followed(root: Path, tmp_path: Path) -> None:
    """Data on a larger disk: `ln -s /mnt/photos/train data/train`."""
    shutil.move(root / "train", tmp_path / "disk")
    (root / "train").symlink_to(tmp_path / "disk")
    (root / "train/dog/again.png").symlink_to(tmp_path / "disk/dog/a.png")
    assert names(root) == [*PLAIN[:3], "train/dog/again.png", *PLAIN[3:]]


@pytest.mark.parametrize("target", ["train/dog", "train", "."])
def test_link_to_a_folder_that_it_lies_in_is_refused(root: Path, target: str) -> None:
    (root / "train/dog/loop").symlink_to(root / target)
    with pytest.raises(DataError, match=r"train/dog/loop: is (the same folder as|a link to a folder that it lies in)"):
        list_images(root)


def test_folder_that_two_links_lead_to_is_refused(root: Path) -> None:
    """Links to links to links could multiply it without end."""
    put(root / "more/c.png")
    for name in ("one", "two"):
        (root / "train/dog" / name).symlink_to(root / "more")
    with pytest.raises(DataError, match=r"is the same folder as .*; one of them is a link: remove it"):
        list_images(root)


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/a.png"])
def test_link_out_of_the_data_is_refused(root: Path, tmp_path: Path, target: str) -> None:
    put(tmp_path / "elsewhere/a.png")
    (root / "train/dog/out").symlink_to(tmp_path / target)
    with pytest.raises(DataError, match="train/dog/out: is a link out of"):
        list_images(root)


@pytest.mark.parametrize("target", ["train/dog", "train/dog/a.png", "train"])
def test_link_from_test_into_train_is_refused(root: Path, target: str) -> None:
    (root / "test/dog/link").symlink_to(root / target)
    with pytest.raises(DataError, match="what is tested on must not be trained on"):
        list_images(root)


def test_faults_are_named_together_up_to_a_number(root: Path) -> None:
    for number in range(MAX_NAMED + 7):
        put(root / f"test/dog/{number:02}.heic")
    with pytest.raises(DataError) as caught:
        list_images(root)
    lines = str(caught.value).splitlines()
    assert len(lines) == MAX_NAMED + 1
    assert lines[0].startswith(f"{root}/test/dog/00.heic: ")
    assert lines[0].endswith(f"(the first of {MAX_NAMED + 7} faults)")
    assert lines[-2].startswith(f"{root}/test/dog/{MAX_NAMED - 1:02}.heic: ")
    assert lines[-1] == "and 7 more"


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("train", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("test", [COMPOSED, DECOMPOSED])
def test_names_that_differ_only_in_their_unicode_form_are_one_class(root: Path, train: str, test: str) -> None:
    """A Mac's archive decomposes them, Linux keeps what it is given."""
    for part, name in (("train", train), ("test", test)):
        put(root / part / name / "a.png")
        put(root / part / "cafz" / "a.png")  # between the two forms, by their code points
    listing = list_images(root)
    assert (
        listing.classes == (COMPOSED, "cafz", "cat", "dog") if COMPOSED < "cafz" else ("cafz", COMPOSED, "cat", "dog")
    )
    label = listing.classes.index(COMPOSED)
    assert [path.parent.name for path, found in listing.train + listing.test if found == label] == [train, test]


def test_order_of_files_is_the_same_in_both_unicode_forms(root: Path) -> None:
    orders = []
    for form in ("NFC", "NFD"):
        for name in ("café.png", "cafz.png"):
            put(root / "train/dog" / unicodedata.normalize(form, name))
        orders.append([unicodedata.normalize("NFC", name) for name in names(root)])
        for path in (root / "train/dog").glob("caf*"):
            path.unlink()
    assert orders[0] == orders[1]


def test_two_class_folders_that_differ_only_in_their_unicode_form_are_refused(root: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        put(root / "train" / name / "a.png")
    with pytest.raises(DataError, match=r"two class folders are called café: 'cafe\\u0301' and 'caf\\xe9' differ only"):
        list_images(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_that_may_not_be_read_is_named(root: Path) -> None:
    (root / "train/dog").chmod(0)
    try:
        with pytest.raises(DataError, match="train/dog: cannot be read: Permission denied"):
            list_images(root)
    finally:
        (root / "train/dog").chmod(0o755)


def test_saved_by_a_camera_in_capitals(root: Path) -> None:
    save(root / "train/dog/IMG_0001.JPG", Image.new("RGB", (16, 16)))
    assert "train/dog/IMG_0001.JPG" in names(root)
