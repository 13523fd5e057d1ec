"""The boto3 client that a store in S3 uses: bounded waits, retries that are logged, redirects that come to an end."""

from __future__ import annotations

from typing import Any

import boto3
import botocore
import structlog
from botocore.config import Config
from botocore.exceptions import ClientError

from job.storage import aws
from job.storage.translation import find_region

MAX_ATTEMPTS = 6
"""Attempts for a request, in boto3's standard mode. Its back-off grows to 20 s, so they take up to a minute."""
RETRIED = {429, 500, 502, 503, 504}
"""Statuses after which botocore's standard mode tries again."""
USER_AGENT = f"Boto3/{boto3.__version__} Botocore/{botocore.__version__} job"
"""botocore puts its own together anew for every request, twice, which takes a seventh of the time of a small one."""
REDIRECTS = {301, 302, 307}
"""Statuses after which botocore finds out the bucket's region and asks again there."""


def build_s3_client() -> Any:
    """A boto3 client for S3, with the default credential chain, bounded waits, and standard retries that are logged."""
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        user_agent=USER_AGENT,
    )
    client = aws.build_client("s3", config=config, is_fresh=True)
    client.meta.events.register("needs-retry.s3", _log_trouble)
    client.meta.events.register_first("needs-retry.s3", _guide_redirect)
    return client


def _guide_redirect(operation: Any, response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Tell botocore's redirector the region, if the answer names it in a way that botocore cannot read.

    Otherwise the redirector would ask with HEAD for the region, be redirected in the same way, and ask again, until
    Python's stack is used up.
    """
    if response is None or response[0].status_code not in REDIRECTS:
        return
    region = find_region(response[1])
    if region:
        response[1].setdefault("Error", {})["Region"] = region
    elif operation.name == "HeadBucket":
        raise ClientError(response[1], operation.name)


def _log_trouble(
    operation: Any,
    attempts: int,
    response: tuple[Any, dict[str, Any]] | None,
    caught_exception: Exception | None,
    **_: Any,
) -> None:
    """Log an answer after which botocore tries again. botocore calls this after every answer."""
    status = response[0].status_code if response else None
    if caught_exception is not None or (status is not None and status in RETRIED):
        told = caught_exception or (response[1].get("Error", {}).get("Code", status) if response else None)
        structlog.get_logger().warning(
            "storage_trouble", operation=operation.name, attempt=attempts, of=MAX_ATTEMPTS, reason=str(told)
        )
