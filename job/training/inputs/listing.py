"""Which files of a folder are its images, and of which class. What is left out is counted; what looks like a picture
and cannot be read is refused: nothing that a person would take for a picture is passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from job.errors import DataError
from job.places import show_path
from job.training.inputs.kinds import OTHER_SUFFIXES, SUFFIXES, has_picture_name, looks_like_picture
from job.training.inputs.left_out import (
    BESIDE,
    HIDDEN,
    NO_IMAGE,
    composed,
    files_below,
    is_hidden,
    log_left_out,
    note,
    order,
)

APART = "what is tested on must not be trained on"
MAX_NAMED = 20
"""So many faults are named in one message; the rest is counted."""


@dataclass(frozen=True)
class Listing:
    """The image files of a data set. Classes are in the order of their names, files in the order of theirs."""

    root: Path
    classes: tuple[str, ...]
    """In Unicode's composed form (NFC): a Mac and Linux then mean the same class by the same name."""
    train: list[tuple[Path, int]]
    """Each with the index of its class."""
    test: list[tuple[Path, int]]
    left_out: dict[str, list[Path]]
    """What was passed over, by kind."""

    @property
    def paths(self) -> list[Path]:
        """Of all images, those to train on first."""
        return [path for path, _ in self.train + self.test]

    def name(self, path: Path) -> str:
        """How `path` is called within the data set, the same on every system."""
        return composed(path.relative_to(self.root).as_posix())

    def log_left_out(self) -> None:
        """Say what was passed over, by kind; as a warning where pictures are among it."""
        log_left_out(self.left_out, self.root)


def list_images(root: Path) -> Listing:
    """The images in `train/<class>/` and `test/<class>/` below `root`, at any depth.

    Links are followed where they stay within `root` and lead to no folder twice. Raises `DataError`, which names up to
    `MAX_NAMED` of the files that are at fault.
    """
    try:
        return _list_images(root)
    except OSError as error:
        raise DataError(f"{show_path(error.filename)}: cannot be read: {error.strerror}") from error


def refuse(faults: list[str]) -> None:
    """Raises a `DataError` that names them, if there are any: the first in its first line, which records keep."""
    if not faults:
        return
    if len(faults) == 1:
        raise DataError(faults[0])
    more = [f"and {len(faults) - MAX_NAMED} more"] if len(faults) > MAX_NAMED else []
    raise DataError("\n".join([f"{faults[0]} (the first of {len(faults)} faults)", *faults[1:MAX_NAMED], *more]))


def _list_images(root: Path) -> Listing:
    folders = {part: _class_folders(root / part) for part in ("train", "test")}
    _check_apart(root)
    different = sorted(folders["train"].keys() ^ folders["test"].keys())
    if different:
        raise DataError(
            f"{show_path(root)}: train/ and test/ must hold the same classes; only one has {', '.join(different)}"
        )
    left_out: dict[str, list[Path]] = {}
    walks = {
        "train": _Walk(root, part=root / "train", other=root / "test", left_out=left_out),
        "test": _Walk(root, part=root / "test", other=root / "train", left_out=left_out),
    }
    found: dict[str, list[tuple[Path, int]]] = {}
    for part, walk in walks.items():
        walk.note_strays()
        found[part] = [
            (path, label)
            for label, (_name, folder) in enumerate(sorted(folders[part].items()))
            for path in walk.images_below(folder)
        ]
    train, test = walks["train"], walks["test"]
    shared = [
        f"{show_path(path)}: is the same file as {show_path(train.files[real])}; {APART}"
        for real, path in test.files.items()
        if real in train.files
    ]
    beside = _faults_beside(root, used=train.files.keys() | test.files.keys(), left_out=left_out)
    refuse([*beside, *train.faults, *test.faults, *shared])
    return Listing(root, tuple(sorted(folders["train"])), found["train"], found["test"], left_out)


def _check_apart(root: Path) -> None:
    """Raises `DataError` where links make one part lie in the other."""
    train, test = (root / part for part in ("train", "test"))
    if train.resolve() == test.resolve():
        raise DataError(f"{show_path(root)}: train/ and test/ are the same folder, by a link; {APART}")
    for inner, outer in ((train, test), (test, train)):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise DataError(f"{show_path(root)}: {inner.name}/ lies in {outer.name}/, by a link; {APART}")


def _faults_beside(root: Path, *, used: set[Path], left_out: dict[str, list[Path]]) -> list[str]:
    """Pictures right in `root`. Notes what else lies beside the parts, but for what links from the parts lead to."""
    faults = []
    for path in _entries(root):
        if path.name in ("train", "test"):
            continue
        if is_hidden(path):
            note(left_out, HIDDEN, files_below(path))
        elif path.is_dir():
            note(left_out, BESIDE, files_below(path, but=used))
        elif path.is_file() and path.resolve() in used:
            continue
        elif has_picture_name(path) or (path.is_file() and looks_like_picture(path)):
            faults.append(f"{show_path(path)}: is in no class; move it into train/<class>/ or test/<class>/")
        else:
            note(left_out, NO_IMAGE, [path])
    return faults


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=order)


def _class_folders(part: Path) -> dict[str, Path]:
    """The folders of the classes by their composed names."""
    if not part.is_dir():
        raise DataError(
            f"{show_path(part)}: no such folder; images belong into train/<class>/ and test/<class>/ below --data"
        )
    folders: dict[str, Path] = {}
    for path in _entries(part):
        if is_hidden(path) or not path.is_dir():
            continue
        if not path.name.isprintable():  # such as Latin-1, which no result could name
            raise DataError(
                f"{show_path(part)}: the class folder {path.name!r} must have a printable UTF-8 name; rename it"
            )
        name = composed(path.name)
        if name in folders:
            raise DataError(
                f"{show_path(part)}: two class folders are called {name}: {folders[name].name!a} and {path.name!a} "
                "differ only in how Unicode writes an accent; put their images into one folder"
            )
        folders[name] = path
    if len(folders) < 2:
        raise DataError(f"{show_path(part)}: holds {len(folders)} class folders; at least 2 are needed")
    return folders


class _Walk:
    """Goes through one part of a data set; gathers what it leaves out and, in `faults`, what it must refuse."""

    def __init__(self, root: Path, *, part: Path, other: Path, left_out: dict[str, list[Path]]) -> None:
        """`other` is the part that this one may not share images with."""
        self._root, self._part, self._other, self._left_out = root, part, other, left_out
        self._real_root, self._real_part, self._real_other = root.resolve(), part.resolve(), other.resolve()
        self.faults: list[str] = []
        self.files: dict[Path, Path] = {}
        """Of every image the file that it is, behind all links."""
        self._walked: dict[Path, Path] = {}

    def note_strays(self) -> None:
        """What lies beside the folders of the classes."""
        for path in _entries(self._part):
            if is_hidden(path):
                self._leave_out(HIDDEN, path)
            elif not path.is_dir() and self._is_image(path):
                self.faults.append(f"{show_path(path)}: is in no class; move it into {self._part.name}/<class>/")

    def images_below(self, folder: Path) -> list[Path]:
        """Its image files in order. Raises `DataError` where there are none, and for a link that leads astray."""
        num_faults = len(self.faults)
        self._check_link(folder)
        found: list[Path] = []
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            real = below.resolve()
            first = self._walked.setdefault(real, below)
            if first is not below:  # a loop would have no end
                raise DataError(
                    f"{show_path(below)}: is the same folder as {show_path(first)}; one of them is a link: remove it"
                )
            for path in _entries(below):
                if is_hidden(path):
                    self._leave_out(HIDDEN, path)
                    continue
                self._check_link(path)
                if path.is_dir():
                    waiting.append(path)
                elif self._is_image(path):
                    found.append(path)
                    self.files[path.resolve() if path.is_symlink() else real / path.name] = path
        if not found and len(self.faults) == num_faults:
            raise DataError(f"{show_path(folder)}: holds no image files ({', '.join(sorted(SUFFIXES))})")
        return sorted(found, key=order)

    def _check_link(self, path: Path) -> None:
        if not path.is_symlink() or not path.exists():
            return
        target = path.resolve()
        if not any(target.is_relative_to(inside) for inside in (self._real_root, self._real_part)):
            raise DataError(f"{show_path(path)}: is a link out of {show_path(self._root)}; put a copy there instead")
        if target.is_relative_to(self._real_other):
            raise DataError(f"{show_path(path)}: is a link out of {show_path(self._part)}; {APART}")
        if self._real_part.is_relative_to(target):
            raise DataError(f"{show_path(path)}: is a link to a folder that it lies in; remove it")

    def _is_image(self, path: Path) -> bool:
        """Whether it is one. Notes it where it is none, and where it looks like one and cannot be taken."""
        suffix = path.suffix.lower()
        if not path.is_file():
            kind = "a link to nothing" if path.is_symlink() else "no regular file"
            self.faults.append(f"{show_path(path)}: is {kind}; remove it")
        elif suffix in SUFFIXES:
            return True
        elif suffix in OTHER_SUFFIXES:
            self.faults.append(
                f"{show_path(path)}: pictures of the kind {suffix} cannot be read; convert it to JPEG or PNG"
            )
        elif not looks_like_picture(path):
            self._leave_out(NO_IMAGE, path)
        elif suffix:
            self.faults.append(
                f"{show_path(path)}: is a picture by its content but not by its name; rename it or remove it"
            )
        else:
            return True
        return False

    def _leave_out(self, kind: str, path: Path) -> None:
        note(self._left_out, kind, files_below(path) if kind == HIDDEN else [path])
