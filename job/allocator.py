"""The C library's allocator: whether large blocks that are freed are kept for the next ones, or given back."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's numbers for mallopt: https://sourceware.org/git/?p=glibc.git;a=blob;f=malloc/malloc.h."""
LARGEST_KEPT = 1 << 30
LARGEST_FREE = (1 << 31) - 1
"""Bytes at the end of the heap that may lie free; an int is all that mallopt takes."""
LEAST_GIVEN_BACK = 1 << 20
CHOSEN_BY_USERS = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """For a training on a CPU: have freed blocks of up to 1 GiB kept for the next ones. Says whether this was possible.

    By itself glibc maps every block above 32 MiB anew and gives it back when it is freed, so that the kernel zeroes the
    same activations page by page in every step. Nothing changes where the environment chooses something, or where the
    C library is another one.
    """
    return _choose((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, LARGEST_FREE))


def give_back_freed_memory() -> bool:
    """For a report: have blocks of 1 MiB and more given back when they are freed. Says whether this was possible.

    By itself glibc takes blocks from the heap that are no larger than one that was freed before, up to 32 MiB. Freed
    ones lie there between small blocks that are still needed, and the next ones do not fit into the gaps. Nothing
    changes where `keep_freed_memory` would change nothing either.
    """
    return _choose((MMAP_THRESHOLD, LEAST_GIVEN_BACK))


def _choose(*values: tuple[int, int]) -> bool:
    if any(name in os.environ for name in CHOSEN_BY_USERS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all(mallopt(parameter, value) for parameter, value in values)
