"""Standard output and standard error that may go away: a reader that ends, a terminal that closes, a full disk.

What a command does matters more than what it says of it, so what cannot be said is dropped: logs, warnings and error
messages always, an answer from where the command has called `outlive_reader`. Before that, the answer is all there is
to the command, and it ends where nobody can read it.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

READER_GONE = 128 + signal.SIGPIPE
"""How a shell sees that other programs end whose reader has gone: `yes | head -1`."""


class _Output(io.FileIO):
    """The file under a standard stream. It takes everything and never fails, unless it is `needed`."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed = needed

    def write(self, content: ReadableBuffer, /) -> int:
        """The number of bytes of `content`. While `needed`, exits with `READER_GONE`, or raises a `JobError`."""
        try:
            written = super().write(content)
        except OSError as error:
            if self.needed:
                self.needed = False  # it is said once, and what is still buffered is dropped
                _end(error)
            written = None
        return memoryview(content).nbytes if written is None else written  # None: a pipe that is full for now


def _end(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise SystemExit(READER_GONE) from error
    from job.storage import reported

    with reported("standard output"):
        raise error


def protect_streams() -> None:
    """Put streams of this kind in the place of the process's own, unless something else stands there already.

    A stream that was closed before the start is opened on nothing, so that no other file gets its number: what a C
    library writes to standard error would end up in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, and so the stream's own
        elif stream is getattr(sys, f"__{name}__"):
            descriptor = number
        else:
            continue
        if name != "stdin":
            setattr(sys, name, _wrap(_Output(descriptor, needed=name == "stdout"), like=stream))


def _wrap(output: _Output, *, like: TextIO | None) -> TextIO:
    """`output` as text. A character that the encoding lacks is written as its number: it ends nothing either."""
    if not isinstance(like, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(output), "utf-8", "backslashreplace")
    errors = "backslashreplace" if like.errors == "strict" else like.errors
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        like.encoding,
        errors,
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )


def outlive_reader() -> None:
    """From here on an answer on standard output that cannot be written is dropped."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.needed = False
