"""A store in S3, or in what speaks its protocol (`AWS_ENDPOINT_URL`). Credentials come from boto3's chain alone."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import boto3
import structlog
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)
from s3transfer.exceptions import RetriesExceededError

from job.errors import CREDENTIALS_IN_URL, AccessDeniedError, ObjectExists, ObjectMissing, StorageError, UsageError
from job.runs import is_checkpoint_key

MAX_ATTEMPTS = 6
"""Per request, boto3's standard mode: exponential back-off up to 20 s, so a minute at most."""
READ_ATTEMPTS = 5
"""For an answer whose body breaks off, which is after botocore's own attempts; as many as s3transfer makes."""
BODY_ERRORS = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, FlexibleChecksumError)
MULTIPART_BYTES = 16 * 1024 * 1024
DELETE_BATCH = 1000
"""Keys in one request, https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html."""
COMMIT_CONFLICT_ATTEMPTS = 5
CHECKPOINT_TAG = "kind=checkpoint"
"""What the lifecycle rule of infra/batch.yaml goes by: its filters know no wildcards."""
EXPECTED_URI = "must be s3://BUCKET or s3://BUCKET/PREFIX"

MISSING = {"NoSuchKey", "404", "NotFound"}
DENIED = {
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AllAccessDisabled",
    "AccountProblem",
}
REFUSED = {"ValidationError", "ClientException"}
"""CloudFormation's and Batch's words for what is not there or cannot be meant."""
Params = ParamSpec("Params")
Answer = TypeVar("Answer")

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}


def _renewing(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """`method` of a store, carried out once more with fresh credentials where the old ones have expired."""

    @functools.wraps(method)
    def renewing(*args: Params.args, **kwargs: Params.kwargs) -> Answer:
        try:
            return method(*args, **kwargs)
        except CredentialsExpired as error:
            store: S3Store = args[0]  # type: ignore[assignment]
            structlog.get_logger().warning("credentials_renewed", reason=str(error))
            store.renew_client()
            return method(*args, **kwargs)

    return renewing


class S3Store:
    """A `Store` below `s3://bucket/prefix`."""

    def __init__(self, uri: str, *, client: Any = None) -> None:
        """`client` is a boto3 S3 client; by default one with this project's time-outs and retries."""
        scheme, _, place = uri.partition("://")
        self._bucket, _, prefix = place.rstrip("/").partition("/")
        if scheme != "s3" or not self._bucket or "@" in self._bucket:  # credentials have their own way
            raise UsageError(f"{uri}: {EXPECTED_URI}")
        self.uri = uri.rstrip("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._client = client or build_client()
        self._tags_checkpoints = True

    def renew_client(self) -> None:
        """Ask the credential chain anew."""
        self._client = build_client()

    @_renewing
    def read(self, key: str) -> bytes:
        with translate_errors(self.locate(key)):
            for attempts_left in reversed(range(READ_ATTEMPTS)):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
                if answer["ContentLength"] > MULTIPART_BYTES:
                    answer["Body"].close()
                    break
                try:
                    content: bytes = answer["Body"].read()
                except BODY_ERRORS:
                    if not attempts_left:
                        raise
                else:
                    return content
            buffer = io.BytesIO()  # several ranges at once, each with attempts of its own
            self._client.download_fileobj(self._bucket, self._prefix + key, buffer, Config=_transfer())
            return buffer.getvalue()

    @_renewing
    def write(self, key: str, content: bytes) -> None:
        extra = {"ContentType": content_type(key)}
        if self._tags_checkpoints and is_checkpoint_key(key):
            try:
                self._upload(key, content, extra | {"Tagging": CHECKPOINT_TAG})
            except AccessDeniedError:
                self._tags_checkpoints = False  # a tag needs a permission of its own; without it nothing expires
            else:
                return
        self._upload(key, content, extra)

    def _upload(self, key: str, content: bytes, extra: dict[str, str]) -> None:
        with translate_errors(self.locate(key)):
            self._client.upload_fileobj(
                io.BytesIO(content), self._bucket, self._prefix + key, ExtraArgs=extra, Config=_transfer()
            )

    @_renewing
    def copy(self, key: str, target: str) -> None:
        with translate_errors(self.locate(key)):  # within S3, in one request; only checkpoints could be beyond its 5 GB
            source = {"Bucket": self._bucket, "Key": self._prefix + key}
            self._client.copy_object(Bucket=self._bucket, Key=self._prefix + target, CopySource=source)

    @_renewing
    def create(self, key: str, content: bytes) -> None:
        for attempts_left in reversed(range(COMMIT_CONFLICT_ATTEMPTS)):
            try:
                with translate_errors(self.locate(key)):
                    self._client.put_object(
                        Bucket=self._bucket,
                        Key=self._prefix + key,
                        Body=content,
                        ContentType=content_type(key),
                        IfNoneMatch="*",
                    )
            except _Conflict:
                if not attempts_left:
                    raise
            else:
                return

    def delete(self, keys: Iterable[str]) -> None:
        names = [{"Key": self._prefix + key} for key in keys]
        for start in range(0, len(names), DELETE_BATCH):
            batch = {"Objects": names[start : start + DELETE_BATCH], "Quiet": True}
            try:
                with translate_errors(self.uri):
                    self._client.delete_objects(Bucket=self._bucket, Delete=batch)
            except AccessDeniedError:
                return  # a least-privilege role may not delete; the bucket's lifecycle rule does

    def list_keys(self, prefix: str) -> list[str]:
        return list(self.list_versions(prefix))

    @_renewing
    def list_folders(self) -> list[str]:
        with translate_errors(self.uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
            )
            entries = (entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", []))
            return sorted(entry.removeprefix(self._prefix).rstrip("/") for entry in entries)

    @_renewing
    def list_versions(self, prefix: str) -> dict[str, str]:
        with translate_errors(self.locate(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            entries = (entry for page in pages for entry in page.get("Contents", []))
            return dict(
                sorted((entry["Key"].removeprefix(self._prefix), entry["ETag"].strip('"')) for entry in entries)
            )

    def locate(self, key: str) -> str:
        return f"{self.uri}/{key}"


class CredentialsExpired(StorageError):
    """S3 says that the credentials were good once."""


class _Conflict(StorageError):
    """409: another conditional write to the key was under way; S3 asks to try again."""


def build_client() -> Any:
    """A boto3 S3 client by the default credential chain, with bounded waits and standard retries, which it logs."""
    with translate_errors("S3"):
        try:
            client: Any = boto3.session.Session().client(  # of its own: the default session keeps expired credentials
                "s3",
                config=Config(
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
                    user_agent_extra="job",
                ),
            )
        except ValueError as error:  # botocore's word for an endpoint that is no URL
            raise UsageError(f"{error}; AWS_ENDPOINT_URL must be like https://HOST:PORT") from error
    client.meta.events.register("needs-retry.s3", _log_trouble)
    return client


def _log_trouble(
    operation: Any,
    attempts: int,
    response: tuple[Any, dict[str, Any]] | None,
    caught_exception: Exception | None,
    **_: Any,
) -> None:
    """botocore's event after every answer, of which only those are told that it will try again."""
    status = response[0].status_code if response else None
    if caught_exception is not None or (status is not None and (status >= 500 or status == 429)):
        told = caught_exception or (response[1].get("Error", {}).get("Code", status) if response else None)
        reason = CREDENTIALS_IN_URL.sub("***@", str(told))
        structlog.get_logger().warning(
            "storage_trouble", operation=operation.name, attempt=attempts, of=MAX_ATTEMPTS, reason=reason
        )


def content_type(key: str) -> str:
    """The media type by the key's ending, so that a browser shows pages and plots."""
    types = {"json": "application/json", "html": "text/html; charset=utf-8", "png": "image/png", "jsonl": "text/plain"}
    return types.get(key.rpartition(".")[2], "application/octet-stream")


def _transfer() -> TransferConfig:
    return TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES)


@contextmanager
def translate_errors(place: str) -> Iterator[None]:
    """Turn botocore's exceptions, of S3 and of other services, into this project's; `place` begins the message."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, place) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise AccessDeniedError(f"{place}: {error} (boto3's default credential chain found none)") from error
    except ParamValidationError as error:
        expected = f"{EXPECTED_URI}: " if place.startswith("s3://") else ""
        raise UsageError(f"{place}: {expected}{error.kwargs['report']}") from error
    except RetriesExceededError as error:
        raise StorageError(f"{place}: the download broke off again and again: {error.last_exception}") from error
    except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError) as error:
        raise StorageError(f"{place}: the download broke off again and again: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"{place}: {error}") from error


def _translate(error: ClientError, place: str) -> Exception:
    code = error.response.get("Error", {}).get("Code", "")
    text = error.response.get("Error", {}).get("Message", "")
    if code in MISSING:
        return ObjectMissing(f"{place}: no such object")
    if code == "NoSuchBucket":
        return AccessDeniedError(f"{place}: the bucket does not exist, or belongs to another account")
    if code in ("PreconditionFailed", "412"):
        return ObjectExists(f"{place}: exists already")
    if code in ("ConditionalRequestConflict", "409"):
        return _Conflict(f"{place}: {code}: {text}")
    if code in REFUSED:
        return UsageError(f"{place}: {text}")
    if code in DENIED:
        return AccessDeniedError(f"{place}: {code}: {text}; check the credentials and the role's policy")
    if code in EXPIRED:
        return CredentialsExpired(f"{place}: the credentials expired: {code}: {text}")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{place}: this machine's clock is wrong ({text}); set it and run again")
    return StorageError(f"{place}: {code}: {text}")
