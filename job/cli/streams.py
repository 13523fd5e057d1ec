"""Standard output and standard error that may go away: a reader that ends, a terminal that closes, a full disk.

What a command does matters more than what it prints. So logs, warnings and error messages are dropped if they cannot be
written. A command's answer on standard output is dropped too once the command has called `outlive_reader`. Before that,
the answer is all that the command is for, so the command ends if nobody can read it.
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
"""The exit code that a shell sees of a program whose reader has gone, such as `yes` in `yes | head -1`."""


class _Output(io.FileIO):
    """The file under a standard stream. Unless it is `needed`, writing to it never fails."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed = needed

    def write(self, content: ReadableBuffer, /) -> int:
        """Write `content`; returns its number of bytes, even if it was dropped.

        If it cannot be written while `needed`, exits with `READER_GONE` or raises a `JobError`.
        """
        try:
            written = super().write(content)
        except OSError as error:
            if self.needed:
                self.needed = False  # the failure is reported once, and what is still buffered is dropped
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
    """Replace the process's own streams by streams of this kind, unless something else has replaced them already.

    A stream that was closed before the start is opened on the null device. Otherwise another file would get its number,
    and what a C library writes to standard error would end up in that file.
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
    """`output` as text. A character that the encoding lacks is written as its number, so that it ends no command."""
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
    """From this call on, an answer on standard output that cannot be written is dropped."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.needed = False
