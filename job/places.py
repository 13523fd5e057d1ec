"""What the name of a place may look like: a path, or s3://BUCKET/PREFIX. One rule for every option and field.

Names alone are judged here, without looking whether something is there; opening a place is left to `job.storage`.
"""

from __future__ import annotations

import os
import re
import unicodedata

from job.errors import UsageError

ACCEPTED = "accepted: a path, or s3://BUCKET/PREFIX"
CLAIM_SCHEME = "pvc://"
"""An output on a PersistentVolumeClaim, which only a cluster's containers reach."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LOOKS_REMOTE = re.compile(
    r".*://"  # a URI, also one in quotes, as an --env-file of Docker keeps them
    r"|[\w+.@-]+:/"  # s3:/bucket, or scp's host:/folder
    r"|(?:s3[an]?|arn|gs|gcs|abfss?|wasbs?|hdfs|https?|file|pvc)(?::|[^\w/]?//)"  # s3//bucket, s3;//bucket
    r"|[\w.-]+\.(?:amazonaws\.com(?:\.cn)?|googleapis\.com|windows\.net|cloudflarestorage\.com)(?::\d+)?(?:/|$)",
    re.IGNORECASE | re.DOTALL,
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
_MISSPELT_S3 = (
    re.compile(r"s3[an]?(?::[\\/]*|[^\w/]?//+)(?P<place>[^\\/].*)", re.IGNORECASE),
    re.compile(r"arn:aws[\w-]*:s3:::(?P<place>.+)", re.IGNORECASE),
    re.compile(r"(?:https?://)?s3[.-](?:[\w-]+\.)*amazonaws\.com(?:\.cn)?/(?P<place>.+)", re.IGNORECASE),
    re.compile(
        r"(?:https?://)?(?P<bucket>[\w.-]+?)\.s3[.-](?:[\w-]+\.)*amazonaws\.com(?:\.cn)?/?(?P<key>.*)", re.IGNORECASE
    ),
)
"""Other ways to write down a bucket, and where its name and the prefix stand in them."""
_FILE_URI = re.compile(r"file:(?://)?(?P<path>/.*)", re.IGNORECASE)


def show_path(path: object) -> str:
    """A path for a message, which has one line for each fault: as it is, or quoted where it cannot be printed."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def is_remote(place: str) -> bool:
    """Whether `place` is a URI and not a path."""
    return bool(_SCHEME.match(place))


def parse_place(text: str) -> str:
    """`text`, if it names a place: an S3 URI as it is, a path with its `~` replaced by the home folder.

    Raises `UsageError` for what is neither, with what was probably meant.
    """
    fault = find_fault(text) or _find_s3_fault(text)
    if fault:
        raise UsageError(f"{_show(text)}: {fault}")
    if not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path would raise RuntimeError without a home folder
    if expanded.startswith("~"):
        raise UsageError(
            f"{_show(text)}: {_show(text.partition('/')[0])} is no home folder known here; write the whole path"
        )
    return expanded


def find_fault(text: str) -> str | None:
    """Why `text` is neither a path nor an s3:// URI, and what is accepted; None where it is one.

    What begins with `/`, `.` or `~` is a path, whatever follows. Characters that only look like a colon or a slash, as
    East Asian keyboards write them, count as these (Unicode's NFKC).
    """
    if not text.strip():
        return f"is empty; {ACCEPTED}"
    if "\0" in text:
        return f"holds a null character, which no name may; {ACCEPTED}"
    if text.startswith(("/", ".", "~", "s3://")) or not _LOOKS_REMOTE.match(_plain(text)):
        return None
    if text.startswith(CLAIM_SCHEME):
        return (
            "a PersistentVolumeClaim can only be the --output of `job submit --to kubernetes`; "
            "elsewhere name the folder where it is mounted"
        )
    meant = _guess(text)
    hint = f"did you mean {_show(meant)}? " if meant else ""
    escape = "" if "://" in _plain(text) else f"; a folder of that name is written ./{_show(text)}"
    return f"is neither a path nor an s3:// URI; {hint}{ACCEPTED}{escape}"


def _find_s3_fault(text: str) -> str | None:
    """Why an s3:// URI cannot be one, or None."""
    if not text.startswith("s3://"):
        return None
    bucket = text.removeprefix("s3://").partition("/")[0]
    expected = "must be s3://BUCKET or s3://BUCKET/PREFIX"
    if not bucket:
        meant = _guess(text)
        return f"names no bucket; {f'did you mean {_show(meant)}? ' if meant else ''}{expected}"
    if "@" in bucket:
        return f"must hold no credentials; they come from the environment; {expected}"
    if not _BUCKET.fullmatch(bucket):
        return (
            f"{bucket!r} is no name of a bucket: 3 to 63 lower-case letters, digits, dots and dashes, "
            f"with a letter or digit at both ends; {expected}"
        )
    if not text.isprintable():
        return f"holds a character that cannot be printed, such as a line break at its end; {expected}"
    return None


def _guess(text: str) -> str | None:
    """The place that `text` is another spelling of, if that is plain."""
    bare = _plain(text).strip().strip("'\"").strip()
    if bare != text and not find_fault(bare) and not _find_s3_fault(bare):
        return bare
    if found := _FILE_URI.fullmatch(bare):
        return found["path"]
    for spelling in _MISSPELT_S3:
        if found := spelling.fullmatch(bare):
            parts = found.groupdict()
            uri = f"s3://{parts['place'] if 'place' in parts else parts['bucket'] + '/' + parts['key']}".rstrip("/")
            if uri != text and not _find_s3_fault(uri):
                return uri
    return None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _show(text: str) -> str:
    """`text` as it can be printed, without credentials before a host, whatever the slashes."""
    shown = text if text.isprintable() else repr(text)
    return re.sub(r"((?:^|[:：/／])['\"]?)[^\s/／@＠]*[:：][^\s/／@＠]*[@＠]", r"\1***@", shown)
