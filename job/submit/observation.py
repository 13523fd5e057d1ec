"""What a back end says of one container."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Child:
    """A container by its completion index."""

    index: int
    state: str
    """`waiting`, `running`, `succeeded` or `failed`."""
    exit_code: int | None
    reason: str
    """Why it waits or failed, in one sentence; empty where there is nothing to say."""
