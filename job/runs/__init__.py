"""The contract between run, status and report: run ids, the keys of a run's files, their records and their judge.

ids        which manifests are the same run
keys       where a run's files lie
records    what stands in them
origins    what made a result, and how two origins differ
"""

from job.runs.ids import configuration_digest, run_id
from job.runs.keys import (
    EPOCHS_KEY,
    KEPT_CHECKPOINTS,
    REPORT_KEY,
    RunKeys,
    checkpoint_digest_key,
    is_checkpoint_key,
    is_result_key,
)
from job.runs.origins import describe_origin, differences
from job.runs.records import (
    SCHEMA_VERSION,
    BestEpoch,
    CheckpointDigest,
    Diagnostics,
    Divergence,
    Efficiency,
    Environment,
    EpochRecord,
    GroupDiagnostics,
    Progress,
    Record,
    RunResult,
    Scores,
    Timings,
)

LOST_AFTER_SECONDS = 900.0
"""A run that says it runs, but said so longer ago, is lost: while it trains it reports every 15 s."""

__all__ = [
    "EPOCHS_KEY",
    "KEPT_CHECKPOINTS",
    "LOST_AFTER_SECONDS",
    "REPORT_KEY",
    "SCHEMA_VERSION",
    "BestEpoch",
    "CheckpointDigest",
    "Diagnostics",
    "Divergence",
    "Efficiency",
    "Environment",
    "EpochRecord",
    "GroupDiagnostics",
    "Progress",
    "Record",
    "RunKeys",
    "RunResult",
    "Scores",
    "Timings",
    "checkpoint_digest_key",
    "configuration_digest",
    "describe_origin",
    "differences",
    "is_checkpoint_key",
    "is_result_key",
    "run_id",
]
