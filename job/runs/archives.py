"""Reads the .npz files of a run without trusting them: their sizes, names, types and shapes are checked first.

`numpy.load` would allocate whatever a damaged header asks for.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy is imported late, because `job --help` imports this module
    import numpy as np
    import numpy.typing as npt


def read_arrays(content: bytes, wanted: Iterable[tuple[str, type[np.generic]]], *, max_bytes: int) -> list[Any]:
    """The one-dimensional arrays of an .npz file, for each pair of a name and a type in `wanted`; others are ignored.

    Raises `ValueError` where one is missing or has another type or shape, and where the arrays would take more than
    `max_bytes` each.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [_read_array(archive, name, kind, max_bytes=max_bytes) for name, kind in wanted]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, OSError, RuntimeError) as error:
        raise ValueError(f"is no .npz file that can be read: {error}") from error


def _read_array(
    archive: zipfile.ZipFile, name: str, kind: type[np.generic], *, max_bytes: int
) -> npt.NDArray[np.generic]:
    import numpy as np
    from numpy.lib import format as npy

    member = archive.getinfo(f"{name}.npy")
    if member.file_size > max_bytes + 1024:  # the header has its place in it
        raise ValueError(f"{name} takes {member.file_size} bytes; at most {max_bytes} are read")
    with archive.open(member) as opened:
        raw = opened.read(max_bytes + 1024)
    stream = io.BytesIO(raw)
    try:
        version = npy.read_magic(stream)
        shape, _, found = npy.read_array_header_1_0(stream)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{name} is not in numpy's format: {str(error)[:200]}") from error
    if version != (1, 0):
        raise ValueError(f"{name} is in version {version} of numpy's format; must be (1, 0)")
    if found != np.dtype(kind):
        raise ValueError(f"{name} holds {found}; must be {np.dtype(kind)}")
    if shape != ((len(raw) - stream.tell()) / found.itemsize,):
        raise ValueError(f"{name} says that its shape is {str(shape)[:40]}, and holds {len(raw) - stream.tell()} bytes")
    return np.frombuffer(raw, dtype=found, offset=stream.tell())
