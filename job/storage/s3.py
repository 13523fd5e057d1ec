"""A store in S3, or in a server that speaks its protocol (`AWS_ENDPOINT_URL`). Credentials come from boto3 alone."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from job.errors import AccessDeniedError, ObjectExists, UsageError
from job.runs import is_checkpoint_key
from job.storage.faults import CHECKSUM_ADVICE, EXPECTED_URI, Conflict, CredentialsExpired, NotImplementedThere
from job.storage.pages import NO_S3
from job.storage.s3_client import build_s3_client
from job.storage.translation import never_missing, quote_answer, translate_errors

READ_ATTEMPTS = 5
"""How often an object is asked for if the body of the answer breaks off. botocore's own attempts do not cover the
body, and s3transfer makes as many."""
BODY_ERRORS = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, FlexibleChecksumError)
MULTIPART_BYTES = 16 * 1024 * 1024
DELETE_BATCH = 1000
"""Keys in one request, https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html."""
COMMIT_CONFLICT_ATTEMPTS = 5
CHECKPOINT_TAG = "kind=checkpoint"
"""The lifecycle rule of infra/batch.yaml finds checkpoints by this tag, because its filters know no wildcards."""
NEEDS_CONDITIONS = (
    "two containers could both commit a result. Use a server that knows If-None-Match, such as AWS S3, or a folder as "
    "--output"
)
Params = ParamSpec("Params")
Answer = TypeVar("Answer")


def _renewing(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """`method` of a store, with one more try: if the credentials have expired, it is called again with fresh ones."""

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
        if scheme != "s3" or not self._bucket or "@" in self._bucket:  # "@": no credentials are taken from a URI
            raise UsageError(f"{uri}: {EXPECTED_URI}")
        self.uri = uri.rstrip("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._client = client or build_s3_client()
        self._tags_checkpoints = True
        self._is_probed = False

    def renew_client(self) -> None:
        """Ask the credential chain anew."""
        self._client = build_s3_client()

    @_renewing
    def read(self, key: str) -> bytes:
        with translate_errors(self.locate(key)):
            for attempts_left in reversed(range(READ_ATTEMPTS)):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
                if answer.get("ContentLength", 0) > MULTIPART_BYTES:  # without it where a proxy answers in chunks
                    answer["Body"].close()
                    break
                try:
                    content: bytes = answer["Body"].read()
                except BODY_ERRORS:
                    if not attempts_left:
                        raise
                else:
                    return content
            buffer = io.BytesIO()  # large: fetched in several ranges at once, and each range is retried by itself
            self._client.download_fileobj(self._bucket, self._prefix + key, buffer, Config=_transfer())
            return buffer.getvalue()

    @_renewing
    def write(self, key: str, content: bytes) -> None:
        extra = {"ContentType": content_type(key)}
        if self._tags_checkpoints and is_checkpoint_key(key):
            try:
                self._upload(key, content, extra | {"Tagging": CHECKPOINT_TAG})
            except AccessDeniedError:
                self._tags_checkpoints = False  # a tag needs a permission of its own; without a tag nothing expires
            else:
                return
        self._upload(key, content, extra)

    def _upload(self, key: str, content: bytes, extra: dict[str, str]) -> None:
        with never_missing(self.locate(key)):
            self._client.upload_fileobj(
                io.BytesIO(content), self._bucket, self._prefix + key, ExtraArgs=extra, Config=_transfer()
            )

    @_renewing
    def upload(self, key: str, path: Path) -> None:
        with never_missing(self.locate(key)), path.open("rb") as file:
            extra = {"ContentType": content_type(key)}
            self._client.upload_fileobj(file, self._bucket, self._prefix + key, ExtraArgs=extra, Config=_transfer())

    @_renewing
    def download(self, key: str, path: Path) -> None:
        with translate_errors(self.locate(key)), path.open("wb") as file:
            self._client.download_fileobj(self._bucket, self._prefix + key, file, Config=_transfer())

    @_renewing
    def copy(self, key: str, target: str) -> None:
        # S3 copies by itself, in one request of at most 5 GB; only checkpoints could be larger
        with translate_errors(self.locate(key)):
            source = {"Bucket": self._bucket, "Key": self._prefix + key}
            self._client.copy_object(Bucket=self._bucket, Key=self._prefix + target, CopySource=source)

    def create(self, key: str, content: bytes) -> None:
        try:
            self._create(key, content)
        except NotImplementedThere as error:
            raise self._without_conditions(key, error) from error

    @_renewing
    def _create(self, key: str, content: bytes) -> None:
        for attempts_left in reversed(range(COMMIT_CONFLICT_ATTEMPTS)):
            try:
                with never_missing(self.locate(key)):
                    self._client.put_object(
                        Bucket=self._bucket,
                        Key=self._prefix + key,
                        Body=content,
                        ContentType=content_type(key),
                        IfNoneMatch="*",
                    )
            except Conflict:
                if not attempts_left:
                    raise
            else:
                return

    def _without_conditions(self, key: str, error: UsageError) -> UsageError:
        return UsageError(
            f"{self.locate(key)}: the server does not know conditional writes ({quote_answer(error)}), so that "
            f"{NEEDS_CONDITIONS}"
        )

    def probe(self, key: str, content: bytes) -> None:
        self.write(key, content)
        if self._is_probed:
            return
        if self.read(key) != content:
            raise UsageError(f"{self.locate(key)}: what is read differs from what was written; {CHECKSUM_ADVICE}")
        try:
            self._create(key, content)  # must be refused; if it is not, the content is still the same
        except ObjectExists:
            self._is_probed = True
            structlog.get_logger().info("storage_probed", output=self.uri, commit="conditional write")
        except UsageError as error:  # the same write without the condition has just succeeded
            raise self._without_conditions(key, error) from error
        else:
            raise UsageError(
                f"{self.locate(key)}: the server passes over If-None-Match and has replaced what was there, so that "
                f"{NEEDS_CONDITIONS}"
            )

    def delete(self, keys: Iterable[str]) -> None:
        names = [{"Key": self._prefix + key} for key in keys]
        for start in range(0, len(names), DELETE_BATCH):
            try:
                kept = self._delete(names[start : start + DELETE_BATCH])
            except AccessDeniedError:
                return  # a role with the least privileges may not delete; the bucket's lifecycle rule does it
            if kept:
                structlog.get_logger().warning("objects_not_deleted", output=self.uri, count=len(kept), first=kept[0])

    @_renewing
    def _delete(self, names: list[dict[str, str]]) -> list[str]:
        """The keys that may not be deleted. What failed for another reason is asked for once more, one by one.

        The answer is 200 also where single keys failed: https://docs.aws.amazon.com/AmazonS3/latest/API/
        API_DeleteObjects.html.
        """
        try:
            with never_missing(self.uri):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})
            failed = answer.get("Errors", [])
        except UsageError:  # the request needs a checksum that older servers do not know
            failed = [name | {"Code": ""} for name in names]
        with never_missing(self.uri):
            for fault in failed:
                if fault["Code"] != "AccessDenied":
                    self._client.delete_object(Bucket=self._bucket, Key=fault["Key"])
        return [fault["Key"] for fault in failed if fault["Code"] == "AccessDenied"]

    def list_keys(self, prefix: str) -> list[str]:
        return list(self.list_versions(prefix))

    @_renewing
    def list_folders(self) -> list[str]:
        with never_missing(self.uri):
            pages = self._list(Prefix=self._prefix, Delimiter="/")
            entries = (entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", []))
            return sorted(entry.removeprefix(self._prefix).rstrip("/") for entry in entries)

    @_renewing
    def list_versions(self, prefix: str) -> dict[str, str]:
        with never_missing(self.locate(prefix)):
            pages = self._list(Prefix=self._prefix + prefix)
            entries = (entry for page in pages for entry in page.get("Contents", []))
            return dict(
                sorted((entry["Key"].removeprefix(self._prefix), entry["ETag"].strip('"')) for entry in entries)
            )

    def _list(self, **which: str) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **which):
            if "Name" not in page:  # S3 names the bucket in every page; a login page can be XML too, and names none
                raise UsageError(f"{self.uri}: the answer is no listing of a bucket; {NO_S3}")
            yield page

    def locate(self, key: str) -> str:
        return f"{self.uri}/{key}"


def content_type(key: str) -> str:
    """The media type by the key's ending, so that a browser shows pages and plots."""
    types = {"json": "application/json", "html": "text/html; charset=utf-8", "png": "image/png", "jsonl": "text/plain"}
    return types.get(key.rpartition(".")[2], "application/octet-stream")


def _transfer() -> TransferConfig:
    return TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES)
