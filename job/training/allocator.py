"""The C library's allocator under a training on a CPU: memory that a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's numbers for mallopt: https://sourceware.org/git/?p=glibc.git;a=blob;f=malloc/malloc.h."""
LARGEST_KEPT = 1 << 30
LARGEST_FREE = (1 << 31) - 1
"""Bytes at the end of the heap that may lie free; an int is all that mallopt takes."""
CHOSEN_BY_USERS = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Have blocks of up to 1 GiB taken from a heap that is kept, and say whether this was possible.

    By itself glibc maps every block above 32 MiB anew and gives it back when it is freed, so that the kernel zeroes the
    same activations page by page in every step. Nothing changes where the environment chooses something, or where the
    C library is another one.
    """
    if any(name in os.environ for name in CHOSEN_BY_USERS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(TRIM_THRESHOLD, LARGEST_FREE))
