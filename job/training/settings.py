"""How a run is carried out, as against what it computes; readable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunSettings:
    """How to run; nothing here changes what is computed, but for threads and device in the last bits."""

    data: str | None = None
    """Where the data set lies: a folder or s3:// URI; None for the cache, then the download."""
    cache: Path = Path("~/.cache/job")
    device: str = "auto"
    num_threads: int | None = None
    """None for the cores that this process may use."""
    graphs: bool = True
    """Replay training and evaluation as CUDA graphs, where there is a GPU."""
    checkpoint_interval_seconds: float = 10.0
    """Least time between checkpoints of whole epochs; the last epoch always gets one."""
    price_per_hour: float | None = None
    """USD, for the estimated cost."""
