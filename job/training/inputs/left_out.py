"""Files in the folder of a data set that are no part of it. They are counted by kind, and logged with an example."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Set
from pathlib import Path

from job.logs import get_logger
from job.training.inputs.kinds import has_picture_name, looks_like_picture

HIDDEN, NO_IMAGE, BESIDE = "hidden", "no image", "neither train nor test"
"""The kinds. A picture is never of the kind `NO_IMAGE`: it is used or refused instead."""
SYSTEM_FOLDERS = {"__MACOSX", "@eaDir"}
"""Folders that macOS's archives and Synology's servers leave beside pictures. They hold copies or metadata of them."""
MAX_FOLDERS = 20
"""At most this many folders are named in the log."""


def is_hidden(path: Path) -> bool:
    """Whether `path` is hidden from people, or was put there by a system."""
    return path.name.startswith(".") or path.name in SYSTEM_FOLDERS


def files_below(path: Path, *, but: Set[Path] = frozenset()) -> list[Path]:
    """The files in the folder `path`, at any depth, without those in `but`; or `path` itself if it is no folder.

    `but` holds paths without links. A folder that cannot be read is passed over, because it is no part of the data set.
    """
    if not path.is_dir() or (path.is_symlink() and is_hidden(path)):
        return [path]
    files: list[Path] = []
    for folder, _, names in os.walk(path):
        real = Path(folder).resolve()
        files += [Path(folder, name) for name in names if real / name not in but]
    return sorted(files, key=order)


def note(left_out: dict[str, list[Path]], kind: str, paths: list[Path]) -> None:
    """Add `paths` to those of `kind`. A kind without paths gets no entry."""
    if paths:
        left_out.setdefault(kind, []).extend(paths)


def log_left_out(left_out: dict[str, list[Path]], root: Path) -> None:
    """Log an event for each kind. If a person would miss pictures of it, it is a warning, which a terminal shows."""
    for kind, paths in left_out.items():
        pictures = [] if kind == NO_IMAGE else [path for path in paths if _would_be_missed(path)]
        names = sorted((path.relative_to(root) for path in pictures or paths), key=order)
        folders = sorted({name.parts[0] for name in names})[:MAX_FOLDERS]
        log = get_logger().warning if pictures else get_logger().info
        log(
            "files_left_out",
            kind=kind,
            num_files=len(paths),
            example=str(names[0]),
            **({"num_pictures": len(pictures)} if pictures else {}),
            **({"folders": folders} if kind == BESIDE else {}),
        )


def composed(name: str) -> str:
    """`name` in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name)


def order(path: Path) -> tuple[tuple[str, ...], Path]:
    """The key to sort paths by: the same order in every Unicode form."""
    return tuple(composed(part) for part in path.parts), path


def _would_be_missed(path: Path) -> bool:
    """Whether `path` is a picture, and not a system's copy of one. Names of hidden files do not tell, so it is read."""
    if not SYSTEM_FOLDERS.isdisjoint(path.parts) or not (has_picture_name(path) or not path.suffix):
        return False
    try:
        return path.is_file() and looks_like_picture(path)
    except OSError:
        return False
