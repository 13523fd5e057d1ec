"""The machine under a run as its owner describes it: instance type, zone and market. Readable without torch.

A container cannot ask for them itself: the metadata service of an instance answers the host alone (hop limit 1). So the
host writes a file, and whoever starts the container mounts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from job.logs import get_logger

DEFAULT_FILE = "/var/lib/job/machine.json"
MAX_BYTES = 1 << 16
Fact = Annotated[str | None, BeforeValidator(lambda value: value or None)]
"""What is empty is not known."""


class Host(BaseModel):
    """What is known of the machine; None for what is not."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instance_type: Fact = None
    zone: Fact = None
    region: Fact = None
    market: Fact = None
    """`spot` or `on-demand`."""
    instance_id: Fact = None


def read_host(environment: Mapping[str, str]) -> Host:
    """What the file that JOB_MACHINE_FILE names says, and JOB_INSTANCE_TYPE where it is set.

    A file that is missing or damaged is no fault: it is logged, and nothing is known. Where nobody named a file, and
    there is none at the usual place, that is not worth a word.
    """
    location = environment.get("JOB_MACHINE_FILE")
    host = _read(Path(location or DEFAULT_FILE), is_expected=bool(location))
    instance_type = environment.get("JOB_INSTANCE_TYPE")
    return host.model_copy(update={"instance_type": instance_type}) if instance_type else host


def _read(path: Path, *, is_expected: bool) -> Host:
    try:
        with path.open("rb") as file:
            return Host.model_validate_json(file.read(MAX_BYTES))
    except FileNotFoundError as error:
        reason, is_told = error.strerror, is_expected
    except OSError as error:
        reason, is_told = error.strerror, True
    except ValidationError as error:
        reason, is_told = f"not a description of a machine: {error.errors()[0]['msg']}", True
    if is_told:
        get_logger().info("machine_not_known", file=str(path), reason=reason)
    return Host()
