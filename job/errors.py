"""Every failure a user can expect, as one tree; each class carries the exit code the schedulers act on.

    JobError                    1   a bug, unless a subclass says otherwise
    ├── UsageError              2   the command line cannot be carried out
    │   └── UnusablePlace       2   its place can never do what is asked of it
    ├── IncompleteError         3   runs are missing, or a report does not show what it should
    ├── ManifestError          65   the manifest is wrong
    ├── DataError              66   data set or weights missing or corrupt
    ├── AccessDeniedError      67   credentials missing, wrong or not allowed
    ├── ConflictError          68   another configuration's files lie under this run
    ├── OutOfMemoryError       69   the memory of the GPU or of the machine does not suffice
    ├── HostError              71   this machine is at fault: no GPU, disk full
    ├── StorageError           74   storage unreachable after retries, token expired
    │   └── (ObjectMissing, ObjectExists are answers of a store, not failures of a run)
    └── Interruption                the run stopped early on purpose, its checkpoint saved
        ├── TimeBudgetUsed     75
        └── Terminated        143   SIGTERM or another signal that ends programs

71, 74, 75 and 143 are worth another attempt, everything else is not: `infra/` and `submit` rely on it.
No run ends with 70.
"""

from __future__ import annotations

from job.secrets import redact


class JobError(Exception):
    """Base of all expected failures; `str()` is the message for the user, without secrets (`job.secrets`)."""

    exit_code = 1

    def __str__(self) -> str:
        return redact(super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class UsageError(JobError):
    """The command line cannot be carried out."""

    exit_code = 2


class UnusablePlace(UsageError):
    """The file system can never do at this place what was asked of it: there is a file where a folder must be, say."""


class ManifestError(JobError):
    """The manifest is wrong. `faults` holds one line each, so that all are mended in one go."""

    exit_code = 65

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(redact(fault) for fault in faults)


class DataError(JobError):
    """Data set or weights are missing or corrupt."""

    exit_code = 66


class AccessDeniedError(JobError):
    """Credentials are missing, wrong, or not allowed to do this."""

    exit_code = 67


class ConflictError(JobError):
    """Another configuration's files lie under this run."""

    exit_code = 68


class OutOfMemoryError(JobError):
    """The memory of the GPU or of the machine does not suffice; on another one of its kind it would not either."""

    exit_code = 69


class IncompleteError(JobError):
    """Runs are missing (`job report --strict`, `job race --watch`), or a report does not show what it should."""

    exit_code = 3


class HostError(JobError):
    """This machine is at fault: another one may do."""

    exit_code = 71


class StorageError(JobError):
    """Storage cannot be reached, after retries; later it may."""

    exit_code = 74


class ObjectMissing(StorageError):
    """There is nothing under this key."""


class ObjectExists(StorageError):
    """A conditional write found the key taken."""


class Interruption(JobError):
    """The run stopped early on purpose; the same command carries on from its checkpoint."""


class TimeBudgetUsed(Interruption):
    """The run's own time budget is used up."""

    exit_code = 75


class Terminated(Interruption):
    """A signal arrived that ends programs: see `job.signals`."""

    exit_code = 143
