"""What run, status and report must agree on: run ids, the keys of a run's files, what these files hold, and how a run
without a result is judged.

ids           which manifests are the same run
keys          where a run's files lie
records       what a record is, and the records that a run writes while it is under way
result        the record that ends a run
right_images  which test images were classified correctly, one bit for each
sample_images small pictures of test images that were classified wrongly
archives      .npz files, read without trust
measured      for which steps and which weights there are diagnostics
progress      what became of a run that has no result
origins       what made a result, and how two origins differ
"""

from job.runs.archives import read_arrays
from job.runs.ids import configuration_digest, run_id
from job.runs.keys import (
    EPOCHS_KEY,
    KEPT_CHECKPOINTS,
    LIVE_KEY,
    REPORT_KEY,
    RunKeys,
    checkpoint_digest_key,
    is_checkpoint_key,
    is_result_key,
    runs_prefix,
    split_run,
    superseded_prefix,
)
from job.runs.measured import FIRST_STEPS, GROUPS, MEASURED_EVERY, QUANTITIES
from job.runs.origins import describe_origin, differences, is_same_commit
from job.runs.progress import LOST_AFTER_SECONDS, Judgement, judge_unfinished
from job.runs.records import (
    SCHEMA_VERSION,
    AttemptRecord,
    CheckpointDigest,
    Diagnostics,
    EpochRecord,
    GroupDiagnostics,
    Progress,
    Record,
    Scores,
)
from job.runs.result import (
    BestEpoch,
    Divergence,
    Efficiency,
    Environment,
    GradientCheck,
    RunResult,
    Timings,
)
from job.runs.right_images import RightImages, pack_right, unpack_right
from job.runs.sample_images import choose_wrong, pack_samples, place_in_order, unpack_samples

__all__ = [
    "EPOCHS_KEY",
    "FIRST_STEPS",
    "GROUPS",
    "KEPT_CHECKPOINTS",
    "LIVE_KEY",
    "LOST_AFTER_SECONDS",
    "MEASURED_EVERY",
    "QUANTITIES",
    "REPORT_KEY",
    "SCHEMA_VERSION",
    "AttemptRecord",
    "BestEpoch",
    "CheckpointDigest",
    "Diagnostics",
    "Divergence",
    "Efficiency",
    "Environment",
    "EpochRecord",
    "GradientCheck",
    "GroupDiagnostics",
    "Judgement",
    "Progress",
    "Record",
    "RightImages",
    "RunKeys",
    "RunResult",
    "Scores",
    "Timings",
    "checkpoint_digest_key",
    "choose_wrong",
    "configuration_digest",
    "describe_origin",
    "differences",
    "is_checkpoint_key",
    "is_result_key",
    "is_same_commit",
    "judge_unfinished",
    "pack_right",
    "pack_samples",
    "place_in_order",
    "read_arrays",
    "run_id",
    "runs_prefix",
    "split_run",
    "superseded_prefix",
    "unpack_right",
    "unpack_samples",
]
