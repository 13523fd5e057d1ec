"""A page in HTML where an answer of S3 was expected: of a proxy, a login, a console. Readable without boto3."""

from __future__ import annotations

import re

NO_S3 = "does an S3 server answer at AWS_ENDPOINT_URL, and with http:// or https:// as it stands there?"
PAGE = re.compile(r"(?i)\s*(?:<!doctype html|<html)\b")


def quote_page(content: bytes) -> str | None:
    """How `content` begins, if it begins like a page in HTML."""
    start = content[:80].decode(errors="replace").strip()
    return start if PAGE.match(start) else None
