"""Turns what botocore raises into this project's errors, by the tables in `job.storage.faults`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError

from job.errors import AccessDeniedError, JobError, ObjectMissing, StorageError, UsageError
from job.storage.faults import (
    CHECKSUM_WORDS,
    CODES,
    ELSEWHERE,
    EXPECTED_URI,
    EXPIRED,
    FAMILIES,
    HEADS,
    LATER,
    NO_TLS,
    REFUSED,
    STATUSES,
    TROUBLES,
    UNKNOWN_CHECKSUM,
    WORDLESS,
    Fault,
)
from job.storage.pages import NO_S3, PAGE

REGION_IN_ENDPOINT = re.compile(r"(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.")
"""The region in an S3 endpoint, https://docs.aws.amazon.com/general/latest/gr/s3.html. A bucket may stand before it."""


@contextmanager
def translate_errors(place: str, *, profile: str = "NAME") -> Iterator[None]:
    """Turn botocore's exceptions, of S3 and other services, into this project's. Their messages begin with `place`."""
    try:
        yield
    except ClientError as error:
        raise _translate_answer(error, place) from error
    except boto.ParamValidationError as error:
        expected = f"{EXPECTED_URI}: " if place.startswith("s3://") else ""
        raise UsageError(f"{place}: {expected}{error.kwargs['report']}") from error
    except RetriesExceededError as error:
        raise StorageError(f"{place}: the download broke off again and again: {error.last_exception}") from error
    except (boto.IncompleteReadError, boto.ReadTimeoutError, boto.ResponseStreamingError) as error:
        raise StorageError(f"{place}: the download broke off again and again: {error}") from error
    except ResponseParserError as error:
        if PAGE.search(str(error)):
            raise UsageError(f"{place}: the answer is a page in HTML; {NO_S3}") from error
        raise StorageError(f"{place}: {error}") from error
    except BotoCoreError as error:
        raise _translate_trouble(error, place, profile) from error


def _translate_answer(error: ClientError, place: str) -> JobError:
    told = error.response.get("Error", {})
    code, text = str(told.get("Code", "")), str(told.get("Message", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "400":  # the answer has no XML that gives a reason
        fault = EXPIRED if error.operation_name in HEADS else WORDLESS
    else:
        fault = CODES.get(code) or FAMILIES.get(code.partition(".")[0]) or _judge(status, f"{code} {text}")
    message = fault.message.format(code=code or status, text=text, region=_advise_region(error))
    return fault.error(f"{place}: {message}")


@contextmanager
def never_missing(place: str) -> Iterator[None]:
    """Like `translate_errors`, for requests that S3 never answers with `NoSuchKey`: a server that does so is not S3."""
    try:
        with translate_errors(place):
            yield
    except ObjectMissing as error:
        raise UsageError(f"{place}: {quote_answer(error)}; {NO_S3}") from error.__cause__


def quote_answer(error: JobError) -> str:
    """The server's own words if `translate_errors` made `error` from an answer, else the message of `error`."""
    if not isinstance(error.__cause__, ClientError):
        return str(error)
    told = error.__cause__.response.get("Error", {})
    return f"{told.get('Code', '')}: {told.get('Message', '')}"


def _judge(status: int, told: str) -> Fault:
    """The meaning of an answer whose code is in no table, judged by its status and its words."""
    if status in STATUSES:
        return STATUSES[status]
    if 400 <= status < 500:
        return UNKNOWN_CHECKSUM if CHECKSUM_WORDS.search(told) else REFUSED
    return ELSEWHERE if 300 <= status < 400 else LATER


def _advise_region(error: ClientError) -> str:
    region = find_region(error.response)
    if region:
        return f"the bucket is in {region}: set AWS_DEFAULT_REGION={region}"
    endpoint = error.response.get("Error", {}).get("Endpoint")
    if endpoint:
        return f"the bucket is at {endpoint}: set AWS_DEFAULT_REGION to its region, and no other AWS_ENDPOINT_URL"
    return "set AWS_DEFAULT_REGION to the bucket's region, and check AWS_ENDPOINT_URL (http:// for https://?)"


def find_region(response: dict[str, Any]) -> str | None:
    """The bucket's region from a header, from the answer's XML or from the endpoint in it; None if none has it."""
    told = response.get("Error", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    in_endpoint = REGION_IN_ENDPOINT.search(told.get("Endpoint") or "")
    region = headers.get("x-amz-bucket-region") or told.get("Region") or (in_endpoint and in_endpoint[1])
    return str(region) if region else None


def _translate_trouble(error: BotoCoreError, place: str, profile: str) -> JobError:
    if isinstance(error, boto.CredentialRetrievalError):
        return _translate_retrieval(error, place, profile)
    for trouble in TROUBLES:
        if isinstance(error, trouble.kinds):
            return trouble.error(f"{place}: {str(error).rstrip('.')}; {trouble.advice.format(profile=profile)}")
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AccessDeniedError(
            f"{place}: {error}; let AWS_CA_BUNDLE name the certificates that vouch for this server"
        )
    if isinstance(error, boto.SSLError) and any(word in str(error) for word in NO_TLS):
        return UsageError(f"{place}: {error}; the server does not speak TLS: write http:// for https://, or its port")
    cause = error.kwargs.get("error")
    if isinstance(
        cause, (ValueError, FileNotFoundError, IsADirectoryError, PermissionError)
    ):  # before anything is sent
        return UsageError(
            f"{place}: no request can be made: {cause}; check AWS_CA_BUNDLE, the proxies, and line breaks in the "
            "variables that begin with AWS_"
        )
    return StorageError(f"{place}: {error}")


def _translate_retrieval(error: boto.CredentialRetrievalError, place: str, profile: str) -> JobError:
    """A provider of credentials failed. What its program printed is not quoted, because it may hold secrets."""
    if error.kwargs.get("provider") == "custom-process":
        return AccessDeniedError(
            f"{place}: the credential_process of profile {profile} failed; run its command in a shell to see why"
        )
    if re.search(r"non 200 response \(?4(?!29)\d\d", str(error)):
        return AccessDeniedError(f"{place}: {error}; check the role that this container or machine was given")
    return StorageError(f"{place}: {error}")
