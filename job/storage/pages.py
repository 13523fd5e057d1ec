"""Recognises an HTML page, which a proxy, a login or a console sends in place of an answer of S3. Needs no boto3."""

from __future__ import annotations

import re

NO_S3 = "does an S3 server answer at AWS_ENDPOINT_URL, and is its http:// or https:// right?"
PAGE = re.compile(r"(?i)\s*(?:<!doctype html|<html)\b")


def quote_page(content: bytes) -> str | None:
    """The beginning of `content`, if that is a page in HTML; else None."""
    start = content[:80].decode(errors="replace").strip()
    return start if PAGE.match(start) else None
