"""What names a place, and what is said of other spellings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job.errors import UsageError
from job.places import find_fault, is_remote, parse_place


@pytest.mark.parametrize(
    "place",
    [
        "runs", "a/b", "/tmp/x", "../x", ".", "..", "-", "größe", "2026-01-01T10:30", "adam:v2", "./s3:/bucket/x",
        "/tmp/s3://x", "s3", "s3x/y", "s3/y", "实验：1/x", "amazonaws.com.txt",
        "s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b c/größe", "s3://123/x",
    ],
)  # fmt: skip
def test_place_is_taken_as_it_is(place: str) -> None:
    assert parse_place(place) == place
    assert is_remote(place) == place.startswith("s3://")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket/x", "s3://bucket/x"),
        ("S3://bucket/x", "s3://bucket/x"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("arn:aws:s3:::bucket/x", "s3://bucket/x"),
        ("arn:aws-cn:s3:::bucket", "s3://bucket"),
        ("https://bucket.s3.eu-west-1.amazonaws.com/a/b", "s3://bucket/a/b"),
        ("https://my.bucket.s3.amazonaws.com/", "s3://my.bucket"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("http://s3-eu-west-1.amazonaws.com/bucket/a", "s3://bucket/a"),
        ("file:///tmp/x", "/tmp/x"),
        ("file:/tmp/x", "/tmp/x"),
        ('"s3://bucket/x"', "s3://bucket/x"),  # docker run --env-file keeps the quotes
        (" s3://bucket/x", "s3://bucket/x"),
        ("\ts3://bucket/x", "s3://bucket/x"),
        ("s3//bucket/x", "s3://bucket/x"),
        ("s3;//bucket/x", "s3://bucket/x"),
        ("s3:\\\\bucket/x", "s3://bucket/x"),
        ("s3：//bucket/x", "s3://bucket/x"),
        ("s3:／／bucket/x", "s3://bucket/x"),
        ("bucket.s3.amazonaws.com/x", "s3://bucket/x"),
        ("bucket.s3.eu-west-1.amazonaws.com", "s3://bucket"),
        ("s3.cn-north-1.amazonaws.com.cn/bucket/x", "s3://bucket/x"),
    ],
)
def test_other_spelling_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match=r"is neither a path nor an s3:// URI") as caught:
        parse_place(text)
    assert f"did you mean {meant}? accepted: a path, or s3://BUCKET/PREFIX" in str(caught.value)
    assert parse_place(meant) == meant


@pytest.mark.parametrize(
    "text",
    [
        "gs://bucket/x", "http://host/bucket", "https://host/x", "az://x", "hdfs://x", "C:/runs", "host:/folder",
        "me@host:/folder", "s3:", "s3:/", "s3:/Bucket_Upper/x", "file:x", "arn:aws:s3:eu-west-1:1:accesspoint/x",
        "arn:aws:iam::1:role/x", "arn:aws:s3:::Bucket_Upper", "pvc:claim",
        "gs//bucket/x", "storage.googleapis.com/bucket/x", "me.blob.core.windows.net/x", "ec2.amazonaws.com:443/x",
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused_without_a_guess(text: str) -> None:
    with pytest.raises(UsageError, match=r"is neither a path nor an s3:// URI; accepted: a path, or") as caught:
        parse_place(text)
    assert ("a folder of that name is written ./" in str(caught.value)) == ("://" not in text)


@pytest.mark.parametrize("uri", ["https：//me:hidden@host/x", "s3//me:hidden@bucket", "s3：//me：hidden@bucket"])
def test_credentials_are_not_shown_whatever_the_colon(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_place(uri)
    assert "hidden" not in str(caught.value)


def test_uri_behind_a_tab_is_not_said_to_be_a_folder() -> None:
    with pytest.raises(UsageError) as caught:
        parse_place("\ts3://bucket/x")
    assert "./" not in str(caught.value)


def test_folder_that_is_called_like_a_bucket_can_be_named_all_the_same() -> None:
    with pytest.raises(UsageError, match=r"a folder of that name is written \./s3:/bucket/x"):
        parse_place("s3:/bucket/x")
    assert parse_place("./s3:/bucket/x") == "./s3:/bucket/x"


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket; must be"),
        ("s3:///bucket/x", "names no bucket; did you mean s3://bucket/x? must be"),
        ("s3://Bucket/x", "'Bucket' is no name of a bucket: 3 to 63 lower-case letters"),
        ("s3://under_score", "'under_score' is no name of a bucket"),
        ("s3://ab/x", "'ab' is no name of a bucket"),
        ("s3://-abc/x", "'-abc' is no name of a bucket"),
        ("s3://bucket\n", "no name of a bucket"),
        ("s3://bucket/x\n", "cannot be printed, such as a line break at its end"),
        ("s3://me:secret@bucket/x", "must hold no credentials"),
    ],
)
def test_bucket_that_cannot_be_one_is_refused(uri: str, fault: str) -> None:
    with pytest.raises(UsageError, match="must be s3://BUCKET or s3://BUCKET/PREFIX") as caught:
        parse_place(uri)
    assert fault in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_nothing_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match=r"is empty; accepted: a path, or s3://"):
        parse_place(text)


def test_home_folder_is_put_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_place("~/x") == f"{tmp_path}/x"
    assert parse_place("~") == str(tmp_path)
    assert parse_place("a~/x") == "a~/x"
    with pytest.raises(UsageError, match="~no-such-user is no home folder known here; write the whole path"):
        parse_place("~no-such-user/x")


@settings(deadline=None)
@example("~\0")
@given(st.text() | st.builds("{}{}".format, st.sampled_from(["~", "s3:/", "s3://", "file:/"]), st.text()))
def test_any_text_is_a_place_or_refused_in_one_line(text: str) -> None:
    fault = ""
    try:
        parse_place(text)
    except UsageError as error:
        fault = str(error)
    assert len(fault.splitlines()) == 1 if fault else find_fault(text) is None
