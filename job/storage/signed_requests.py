"""Asks S3 for objects and listings by the thousand, by URLs that botocore has signed: a third of the work of its own
requests.

Only an answer that is whole and right counts. Everything else is left to the client, which tries again, follows
redirects and says what is wrong. https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
"""

from __future__ import annotations

import base64
import os
import ssl
import weakref
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, unquote_plus, urlsplit
from xml.etree import ElementTree

from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

VALID_SECONDS = 60
"""So long a URL is good for."""
WAIT_SECONDS = 10
MOST_FAILED = 3
"""After so many failures one after the other nothing is asked any more: some policies forbid signed URLs."""
CHECKSUM = "x-amz-checksum-crc32"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
KEY, ETAG, PREFIX = f"{NAMESPACE}Key", f"{NAMESPACE}ETag", f"{NAMESPACE}Prefix"


class SignedRequests:
    """Requests to one bucket, for any number of threads."""

    def __init__(self, client: Any, bucket: str) -> None:
        """`client` is one of `build_s3_client` that has had an answer from the bucket, so that it knows the region."""
        self._client, self._bucket = client, bucket
        self._num_failed = MOST_FAILED if get_environ_proxies(client.meta.endpoint_url) else 0
        self._idle: deque[HTTPConnection] = deque()
        weakref.finalize(self, _close, self._idle)

    def read(self, key: str) -> bytes | None:
        """The object, or None."""
        answer = self._ask("get_object", {"x-amz-checksum-mode": "ENABLED"}, Key=key, ChecksumMode="ENABLED")
        if answer is None:
            return None
        content, told = answer
        return content if told in (None, _checksum(content)) else None

    def list_page(self, token: str, **which: str) -> dict[str, Any] | None:
        """What `list_objects_v2` of the client answers, as far as a store needs it; or None."""
        answer = self._ask("list_objects_v2", {}, ContinuationToken=token, EncodingType="url", **which)
        try:
            return None if answer is None else _parse_page(answer[0])
        except (ElementTree.ParseError, KeyError):
            return None

    def _ask(self, operation: str, headers: dict[str, str], **fields: str) -> tuple[bytes, str | None] | None:
        """The body of an answer with the status 200 and its checksum, or None."""
        if self._num_failed >= MOST_FAILED:
            return None
        try:
            parameters = {"Bucket": self._bucket} | fields
            url = urlsplit(self._client.generate_presigned_url(operation, parameters, ExpiresIn=VALID_SECONDS))
            with self._connect(url) as connection:
                connection.request("GET", f"{url.path}?{url.query}", headers=headers)
                answer = connection.getresponse()
                content = answer.read()
        except (BotoCoreError, OSError, HTTPException):
            self._num_failed += 1
            return None
        if answer.status == 200:
            self._num_failed = 0
            return content, answer.headers.get(CHECKSUM)
        self._num_failed += answer.status != 404
        return None

    @contextmanager
    def _connect(self, url: SplitResult) -> Iterator[HTTPConnection]:
        """A connection that nobody uses; after a failure it is closed, and opens itself again."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open(url)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        finally:
            self._idle.append(connection)

    def _open(self, url: SplitResult) -> HTTPConnection:
        if url.scheme == "http":
            return HTTPConnection(url.netloc, timeout=WAIT_SECONDS)
        return HTTPSConnection(url.netloc, timeout=WAIT_SECONDS, context=self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        bundled = get_cert_path(True)
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or bundled)


def _close(connections: deque[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


def _checksum(content: bytes) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html"""
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def _parse_page(content: bytes) -> dict[str, Any] | None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    page = ElementTree.fromstring(content)  # noqa: S314 - botocore reads it so too
    if page.findtext(f"{NAMESPACE}EncodingType") != "url":
        return None
    contents, folders = page.iterfind(f"{NAMESPACE}Contents"), page.iterfind(f"{NAMESPACE}CommonPrefixes")
    return {
        "Name": page.findtext(f"{NAMESPACE}Name"),
        "NextContinuationToken": page.findtext(f"{NAMESPACE}NextContinuationToken"),
        "Contents": [{"Key": unquote_plus(entry[KEY]), "ETag": entry[ETAG]} for entry in map(_read_entry, contents)],
        "CommonPrefixes": [{"Prefix": unquote_plus(entry[PREFIX])} for entry in map(_read_entry, folders)],
    }


def _read_entry(entry: ElementTree.Element) -> dict[str, str]:
    return {part.tag: part.text or "" for part in entry}
