"""Which files of a folder are its images, and of which class. What is left out is counted; what looks like a picture
and cannot be read is refused: nothing that a person would take for a picture is passed over in silence."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from job.errors import DataError
from job.logs import get_logger

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp",
            ".ppm", ".pgm", ".pbm", ".pnm"}  # fmt: skip
"""Of the kinds of image that `decoding` reads."""
OTHER_SUFFIXES = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jxr", ".svg", ".psd", ".xcf", ".ico", ".tga",
                  ".pcx", ".exr", ".hdr", ".eps", ".dib", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf",
                  ".rw2", ".raf"}  # fmt: skip
"""Pictures as well, which it does not read."""
SIGNATURES: tuple[tuple[int, bytes], ...] = (
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"\x89PNG\r\n\x1a\n"),
    (0, b"GIF87a"),
    (0, b"GIF89a"),
    (0, b"II*\0"),  # TIFF
    (0, b"MM\0*"),
    (8, b"WEBP"),
    (4, b"ftypheic"),
    (4, b"ftypheix"),
    (4, b"ftypmif1"),
    (4, b"ftypavif"),
)
"""How pictures begin, for files whose names do not tell: offset and bytes."""
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir"}
"""What macOS's archives and Synology's servers leave beside pictures: copies of them, or their metadata."""
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
        return _composed(path.relative_to(self.root).as_posix())

    def log_left_out(self) -> None:
        """Say what was passed over, by kind, with a number and an example."""
        for kind, paths in self.left_out.items():
            example = str(paths[0].relative_to(self.root))
            get_logger().info("files_left_out", kind=kind, num_files=len(paths), example=example)


def list_images(root: Path) -> Listing:
    """The images in `train/<class>/` and `test/<class>/` below `root`, at any depth.

    Links are followed where they stay within `root` and lead to no folder twice. Raises `DataError`, which names up to
    `MAX_NAMED` of the files that are at fault.
    """
    try:
        return _list_images(root)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


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
    different = sorted(folders["train"].keys() ^ folders["test"].keys())
    if different:
        raise DataError(f"{root}: train/ and test/ must hold the same classes; only one has {', '.join(different)}")
    left_out: dict[str, list[Path]] = {}
    for path in _entries(root):
        if path.name not in folders:
            left_out.setdefault("hidden" if _is_hidden(path) else "neither train nor test", []).append(path)
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
    refuse([fault for walk in walks.values() for fault in walk.faults])
    return Listing(root, tuple(sorted(folders["train"])), found["train"], found["test"], left_out)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _order(path: Path) -> tuple[tuple[str, ...], Path]:
    return tuple(_composed(part) for part in path.parts), path


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=_order)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in SYSTEM_FOLDERS


def _class_folders(part: Path) -> dict[str, Path]:
    """The folders of the classes by their composed names."""
    if not part.is_dir():
        raise DataError(f"{part}: no such folder; images belong into train/<class>/ and test/<class>/ below --data")
    folders: dict[str, Path] = {}
    for path in _entries(part):
        if _is_hidden(path) or not path.is_dir():
            continue
        if not path.name.isprintable():  # such as Latin-1, which no result could name
            raise DataError(f"{part}: the class folder {path.name!r} must have a printable UTF-8 name; rename it")
        name = _composed(path.name)
        if name in folders:
            raise DataError(
                f"{part}: two class folders are called {name}: {folders[name].name!a} and {path.name!a} differ only in "
                "how Unicode writes an accent; put their images into one folder"
            )
        folders[name] = path
    if len(folders) < 2:
        raise DataError(f"{part}: holds {len(folders)} class folders; at least 2 are needed")
    return folders


class _Walk:
    """Goes through one part of a data set; gathers what it leaves out and, in `faults`, what it must refuse."""

    def __init__(self, root: Path, *, part: Path, other: Path, left_out: dict[str, list[Path]]) -> None:
        """`other` is the part that this one may not share images with."""
        self._root, self._part, self._other, self._left_out = root, part, other, left_out
        self._real_root, self._real_part, self._real_other = root.resolve(), part.resolve(), other.resolve()
        self.faults: list[str] = []

    def note_strays(self) -> None:
        """What lies beside the folders of the classes."""
        for path in _entries(self._part):
            if _is_hidden(path):
                self._leave_out("hidden", path)
            elif not path.is_dir() and self._is_image(path):
                self.faults.append(f"{path}: is in no class; move it into {self._part.name}/<class>/")

    def images_below(self, folder: Path) -> list[Path]:
        """Its image files in order. Raises `DataError` where there are none, and for a link that leads astray."""
        num_faults = len(self.faults)
        self._check_link(folder)
        found: list[Path] = []
        walked: dict[Path, Path] = {}
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            first = walked.setdefault(below.resolve(), below)
            if first is not below:  # a loop would have no end
                raise DataError(f"{below}: is the same folder as {first}; one of them is a link: remove it")
            for path in _entries(below):
                if _is_hidden(path):
                    self._leave_out("hidden", path)
                    continue
                self._check_link(path)
                if path.is_dir():
                    waiting.append(path)
                elif self._is_image(path):
                    found.append(path)
        if not found and len(self.faults) == num_faults:
            raise DataError(f"{folder}: holds no image files ({', '.join(sorted(SUFFIXES))})")
        return sorted(found, key=_order)

    def _check_link(self, path: Path) -> None:
        if not path.is_symlink() or not path.exists():
            return
        target = path.resolve()
        if not any(target.is_relative_to(inside) for inside in (self._real_root, self._real_part)):
            raise DataError(f"{path}: is a link out of {self._root}; put a copy there instead")
        if target.is_relative_to(self._real_other):
            raise DataError(f"{path}: is a link out of {self._part}; what is tested on must not be trained on")
        if self._real_part.is_relative_to(target):
            raise DataError(f"{path}: is a link to a folder that it lies in; remove it")

    def _is_image(self, path: Path) -> bool:
        """Whether it is one. Notes it where it is none, and where it looks like one and cannot be taken."""
        suffix = path.suffix.lower()
        if not path.is_file():
            kind = "a link to nothing" if path.is_symlink() else "no regular file"
            self.faults.append(f"{path}: is {kind}; remove it")
        elif suffix in SUFFIXES:
            return True
        elif suffix in OTHER_SUFFIXES:
            self.faults.append(f"{path}: pictures of the kind {suffix} cannot be read; convert it to JPEG or PNG")
        elif not _looks_like_picture(path):
            self._leave_out("no image", path)
        elif suffix:
            self.faults.append(f"{path}: is a picture by its content but not by its name; rename it or remove it")
        else:
            return True
        return False

    def _leave_out(self, kind: str, path: Path) -> None:
        self._left_out.setdefault(kind, []).append(path)


def _looks_like_picture(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(16)
    return any(beginning[offset:].startswith(signature) for offset, signature in SIGNATURES)
