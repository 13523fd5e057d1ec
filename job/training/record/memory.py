"""Out of memory, told apart from other errors and given its exit code. Readable without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from job.errors import OutOfMemoryError

CPU_ALLOCATION_FAILED = "DefaultCPUAllocator"
"""How torch's allocator begins its complaint, which is a plain RuntimeError."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn torch's and Python's out-of-memory into the one with an exit code."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, a RuntimeError too
            raise OutOfMemoryError(f"GPU memory does not suffice: {error}; lower batch_size or image_size") from error
        if isinstance(error, MemoryError) or CPU_ALLOCATION_FAILED in str(error):
            advice = "lower batch_size or image_size, or give the container more"
            raise OutOfMemoryError(f"this machine's memory does not suffice: {error}; {advice}") from error
        raise
