"""Objects and pages that a store in S3 asks for by signed URLs, after the client's own request has had its answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote
from wsgiref.types import StartResponse, WSGIApplication

import pytest

from job.errors import AccessDeniedError, ObjectMissing
from job.storage.s3 import S3Store
from job.storage.s3_client import build_s3_client
from job.storage.signed_requests import MOST_FAILED
from tests.models.faulty_s3 import ALWAYS, Environ, Fault, FaultyS3, answer, cut, flip, truncate, wordless

KEYS = ["a b/ü&<1>.json", "a/1", "a/b/2", "c", "d+e%20f", "e=~*'()"]
SIGNED = "X-Amz-Signature"
EVERY_FAULT = pytest.mark.parametrize(
    "fault",
    [answer("503 Slow Down", "SlowDown"), answer("403 Forbidden", "AccessDenied"), cut, truncate],
    ids=["503", "403", "cut", "truncated"],
)


@pytest.fixture
def s3(wire: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """Pages of a listing have two keys."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    store = S3Store(f"{bucket}/a prefix", client=build_s3_client())
    for key in KEYS:
        store.write(key, f"content of {key}".encode())
    wire.requests.clear()
    return store


def count_signed(wire: FaultyS3) -> int:
    return sum(SIGNED in request for request in wire.requests)


def read_all(store: S3Store) -> list[str]:
    return [store.read(key).decode() for key in KEYS]


def test_every_object_but_the_first_is_asked_for_once_by_a_signed_url(s3: S3Store, wire: FaultyS3) -> None:
    assert read_all(s3) == [f"content of {key}" for key in KEYS]
    assert (len(wire.requests), count_signed(wire)) == (len(KEYS), len(KEYS) - 1)


def test_every_page_but_the_first_is_asked_for_by_a_signed_url(s3: S3Store, wire: FaultyS3) -> None:
    assert s3.list_keys("") == sorted(KEYS)
    assert s3.list_folders() == ["a", "a b"]
    assert count_signed(wire) >= 2
    assert s3.list_versions("") == S3Store(s3.uri, client=build_s3_client()).list_versions("")
    assert len(set(s3.list_versions("").values())) == len(KEYS)


@EVERY_FAULT
def test_what_signed_urls_fail_to_get_the_client_gets_and_soon_alone(s3: S3Store, wire: FaultyS3, fault: Fault) -> None:
    wire.spoil("GET", SIGNED, fault, times=ALWAYS)
    assert read_all(s3) == [f"content of {key}" for key in KEYS]
    assert count_signed(wire) == MOST_FAILED
    assert s3.list_keys("") == sorted(KEYS)
    assert count_signed(wire) == MOST_FAILED


def test_page_that_is_no_listing_is_asked_for_again(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("GET", SIGNED, wordless("200 OK", b"<html></html>"))
    wire.spoil("GET", SIGNED, wordless("200 OK", b"<p>Who are you?"))
    assert s3.list_keys("") == sorted(KEYS)


def test_damaged_answer_is_asked_for_again(s3: S3Store, wire: FaultyS3) -> None:
    wire.spoil("GET", SIGNED, flip, times=2)
    assert read_all(s3) == [f"content of {key}" for key in KEYS]


def test_object_that_is_missing_is_told_and_no_failure(s3: S3Store, wire: FaultyS3) -> None:
    s3.read(KEYS[0])
    for _ in range(MOST_FAILED + 1):
        with pytest.raises(ObjectMissing, match="nothing"):
            s3.read("nothing")
    wire.requests.clear()
    s3.read(KEYS[1])
    assert count_signed(wire) == 1


def test_what_the_client_is_told_is_what_is_told(s3: S3Store, wire: FaultyS3) -> None:
    s3.read(KEYS[0])
    wire.spoil("GET", "", answer("403 Forbidden", "AccessDenied"), times=ALWAYS)
    with pytest.raises(AccessDeniedError, match="check the credentials"):
        s3.read(KEYS[1])


def test_signature_is_of_the_request_that_arrives(s3: S3Store, wire: FaultyS3) -> None:
    """By https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html."""
    seen: list[tuple[str, str]] = []

    def look(api: WSGIApplication, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        seen.append((sign(environ), dict(parse_qsl(environ["QUERY_STRING"]))[SIGNED]))
        return list(api(environ, start))

    wire.spoil("GET", SIGNED, look, times=ALWAYS)
    read_all(s3)
    s3.list_keys("")
    assert len(seen) == len(KEYS) - 1 + 2
    assert all(expected == found for expected, found in seen)


def sign(environ: Environ) -> str:
    query = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    told = dict(query)
    names = told["X-Amz-SignedHeaders"].split(";")
    headers = [f"{name}:{environ['HTTP_' + name.upper().replace('-', '_')]}\n" for name in names]
    pairs = sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query if name != SIGNED)
    path = quote(unquote(environ["RAW_URI"].partition("?")[0]), safe="/~")
    canonical = "\n".join(["GET", path, "&".join(pairs), "".join(headers), ";".join(names), "UNSIGNED-PAYLOAD"])
    _, *scope = told["X-Amz-Credential"].split("/")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", told["X-Amz-Date"], "/".join(scope), digest])
    key = b"AWS4test"
    for part in (*scope, text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def test_network_with_a_proxy_is_left_to_the_client(
    s3: S3Store, wire: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    read_all(s3)
    assert count_signed(wire) == 0
