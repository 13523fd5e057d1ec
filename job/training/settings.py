"""How a run is carried out, as against what it computes; readable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from job.plan import AutoPrecision
from job.training.host import Host


@dataclass(frozen=True)
class RunSettings:
    """How to run. Only `auto_precision` changes what is computed; device and threads change the last bits."""

    data: str | None = None
    """Where the data set lies: a folder or s3:// URI; None for the cache, then the download."""
    cache: Path = Path("~/.cache/job")
    device: str = "auto"
    num_threads: int | None = None
    """None for the cores that this process may use."""
    auto_precision: AutoPrecision | None = None
    """What a manifest's `auto` means in all runs of the comparison; None for what this machine is best at."""
    graphs: bool = False
    """Replay training and evaluation as CUDA graphs, where there is a GPU. Off until they were tried on one."""
    checkpoint_interval_seconds: float = 10.0
    """Least time between checkpoints of whole epochs; the last epoch always gets one."""
    checkpoint_age_seconds: float = 300.0
    """Most time that the training goes on without a checkpoint, within an epoch too; 0 for whole epochs alone."""
    host: Host = field(default_factory=Host)
    """What is known of the machine."""
