"""Which files of a folder are its images, and of which class.

Other files are left out and counted. A file that looks like a picture but cannot be used is refused, so that nothing
that a person would take for a picture is passed over in silence.
"""

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
"""At most this many faults are named in one message; the rest are counted."""


@dataclass(frozen=True)
class Listing:
    """The image files of a data set. Classes are sorted by name, and so are the files of each class."""

    root: Path
    classes: tuple[str, ...]
    """In Unicode's composed form (NFC): a Mac and Linux then mean the same class by the same name."""
    train: list[tuple[Path, int]]
    """The training images, each with the index of its class."""
    test: list[tuple[Path, int]]
    left_out: dict[str, list[Path]]
    """The files that are no part of the data set, by kind."""

    @property
    def paths(self) -> list[Path]:
        """The paths of all images, training images first."""
        return [path for path, _ in self.train + self.test]

    def name(self, path: Path) -> str:
        """The name of `path` within the data set. It is the same on every system."""
        return composed(path.relative_to(self.root).as_posix())

    def log_left_out(self) -> None:
        """Log the files that are no part of the data set, by kind. If pictures are among them, it is a warning."""
        log_left_out(self.left_out, self.root)


def list_images(root: Path) -> Listing:
    """The images in `train/<class>/` and `test/<class>/` below `root`, at any depth.

    Links are followed if they stay within `root` and lead to no folder twice; other links are faults. Raises
    `DataError`, which names up to `MAX_NAMED` of the files that are at fault.
    """
    listing, faults = list_with_faults(root)
    refuse(faults)
    return listing


def list_with_faults(root: Path) -> tuple[Listing, list[str]]:
    """The images below `root`, and what must be mended before they are a data set.

    Raises `DataError` where nothing can be listed: without the folders of both parts, say.
    """
    try:
        return _list_images(root)
    except OSError as error:
        raise DataError(f"{show_path(error.filename)}: cannot be read: {error.strerror}") from error


def refuse(faults: list[str]) -> None:
    """Raises a `DataError` that names `faults`, if there are any. Records keep only its first line."""
    if not faults:
        return
    if len(faults) == 1:
        raise DataError(faults[0])
    more = [f"and {len(faults) - MAX_NAMED} more"] if len(faults) > MAX_NAMED else []
    raise DataError("\n".join([f"{faults[0]} (the first of {len(faults)} faults)", *faults[1:MAX_NAMED], *more]))


def _list_images(root: Path) -> tuple[Listing, list[str]]:
    folders = {part: _class_folders(root / part) for part in ("train", "test")}
    _check_apart(root)
    different = sorted(folders["train"].keys() ^ folders["test"].keys())
    apart = [f"{show_path(root)}: train/ and test/ must hold the same classes; only one has {', '.join(different)}"]
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
    listing = Listing(root, tuple(sorted(folders["train"])), found["train"], found["test"], left_out)
    return listing, [*(apart if different else []), *beside, *train.faults, *test.faults, *shared]


def _check_apart(root: Path) -> None:
    """Raises `DataError` where links make one part lie in the other."""
    train, test = (root / part for part in ("train", "test"))
    if train.resolve() == test.resolve():
        raise DataError(f"{show_path(root)}: train/ and test/ are the same folder, by a link; {APART}")
    for inner, outer in ((train, test), (test, train)):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise DataError(f"{show_path(root)}: {inner.name}/ lies in {outer.name}/, by a link; {APART}")


def _faults_beside(root: Path, *, used: set[Path], left_out: dict[str, list[Path]]) -> list[str]:
    """A fault for each picture directly in `root`. Other files beside the parts are noted, if no link uses them."""
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
    """The folders of the classes, by their names in composed form."""
    if not part.is_dir():
        raise DataError(
            f"{show_path(part)}: no such folder; images belong into train/<class>/ and test/<class>/ below --data"
        )
    folders: dict[str, Path] = {}
    for path in _entries(part):
        if is_hidden(path) or not path.is_dir():
            continue
        if not path.name.isprintable():  # such as a name in Latin-1, which no result could hold
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
    """Goes through one part of a data set. Notes the files to leave out, and collects in `faults` what is refused."""

    def __init__(self, root: Path, *, part: Path, other: Path, left_out: dict[str, list[Path]]) -> None:
        """`other` is the part that this one may not share images with."""
        self._root, self._part, self._other, self._left_out = root, part, other, left_out
        self._real_root, self._real_part, self._real_other = root.resolve(), part.resolve(), other.resolve()
        self.faults: list[str] = []
        self.files: dict[Path, Path] = {}
        """The path of each image, by the file that it is behind all links."""
        self._walked: dict[Path, Path] = {}

    def note_strays(self) -> None:
        """Note, or refuse, the files that lie beside the folders of the classes."""
        for path in _entries(self._part):
            if is_hidden(path):
                self._leave_out(HIDDEN, path)
            elif not path.is_dir() and self._is_image(path):
                self.faults.append(f"{show_path(path)}: is in no class; move it into {self._part.name}/<class>/")

    def images_below(self, folder: Path) -> list[Path]:
        """The image files in `folder`, sorted. None is a fault. Raises `DataError` for a loop of links."""
        num_faults = len(self.faults)
        self._check_link(folder)
        found: list[Path] = []
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            real = below.resolve()
            first = self._walked.setdefault(real, below)
            if first is not below:  # otherwise a loop of links would never end
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
            self.faults.append(f"{show_path(folder)}: holds no image files ({', '.join(sorted(SUFFIXES))})")
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
        """Whether `path` is an image that can be used. Any other file is left out, or becomes a fault."""
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
