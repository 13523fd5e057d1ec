"""What must stay secret, and the one place that takes it out of a text before it reaches a log, a record or a terminal.

Three sources say what is secret: variables of the environment whose names tell, the files that boto3's credential chain
reads, and what `remember` was given, which is what the chain found in the end. Beside these, patterns find credentials
that nobody has told us of. Readable without boto3.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
MIN_LENGTH = 6
"""Shorter secrets, such as the `test` of a local server, would take half of every message with them."""
PART_LENGTH = 12
"""So much of a longer secret, from its beginning or its end, is a secret as well."""

CREDENTIALS_IN_URL = re.compile(r"(?:(?<=://)|(?<=Invalid endpoint: ))[^\s/]+@")
"""Libraries quote an endpoint or a proxy whole when they cannot reach it, or find no scheme before it."""
PATTERNS = (
    (CREDENTIALS_IN_URL, f"{MASK}@"),
    (re.compile(r"(?i)\b((?:signature|credential|x-amz-security-token)=)[^\s,&'\"]+"), rf"\1{MASK}"),
    (
        re.compile(
            r"(?i)((?:secret_?access_?key|session_?token|security-?_?token|access_?token|refresh_?token|client_?secret)"
            r"\\?[\"']?\s*[:=]\s*b?\\?[\"']?)[^\s\"',}&\\]+"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)(authorization\\?['\"]?\s*[:=]\s*b?\\?['\"]?(?:basic|bearer)\s+)[^\s'\"\\]+"), rf"\1{MASK}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), MASK),
)
"""Of signed requests, of answers that hold credentials, of HTTP authentication, and AWS's own access keys."""

SECRET_NAME = re.compile(
    r"(?i)token|secret|passw|passphrase|credential|(api|access|private)_?key"
    r"|(^|_)(keys?|pass|auth|pwd|pat|sas|cookie|signature)(_|$)|pass$"
)
HARMLESS_NAME = re.compile(
    r"(?i)_(file|path|dir|sock|name|type|process|source|preference|(?<!relative_)uri)$|^(old)?pwd$"
)
"""Names that tell where a secret is, or of what kind; messages have to say so.

AWS_CONTAINER_CREDENTIALS_RELATIVE_URI stays secret: whoever knows it can ask for the credentials of the container.
"""
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
SETTINGS_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ("AWS_CONFIG_FILE", "~/.aws/config"),
    ("AWS_CREDENTIAL_FILE", ""),
    ("BOTO_CONFIG", "~/.boto"),
    ("", "/etc/boto.cfg"),
)
"""Variable and default; https://docs.aws.amazon.com/boto3/latest/guide/credentials.html has the order of the chain."""
TOKEN_FILES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
CACHES = ("~/.aws/sso/cache", "~/.aws/cli/cache", "~/.aws/boto/cache", "~/.aws/login/cache")
"""Folders of JSON files with tokens and credentials of logins and assumed roles."""

_remembered: set[str] = set()


def remember(*secrets: str | None) -> None:
    """Take these out of every text from now on: what a provider of credentials gave is in no variable and no file."""
    _remembered.update(secret for secret in secrets if secret)


def redact(text: str) -> str:
    """`text` with every secret replaced by `MASK`: as it stands, in pieces between line breaks, and encoded."""
    return _redact(text, _known_forms())


def redact_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """The log event with every secret in its values replaced; what is no JSON value becomes its text."""
    forms = _known_forms()
    return {name: _redact_value(value, forms) for name, value in event.items()}


def _redact(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        if form in text:
            text = text.replace(form, MASK)
    for form in forms:  # only now: the end of one form is often the end of another, shorter one
        if len(form) > PART_LENGTH and (form[:PART_LENGTH] in text or form[-PART_LENGTH:] in text):
            text = _mask_beginning(text, form)
            text = _mask_beginning(text[::-1], form[::-1])[::-1]
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _mask_beginning(text: str, form: str) -> str:
    """`text` without what stands in it of `form` from its beginning on: libraries cut long values short."""
    start = text.find(form[:PART_LENGTH])
    while start >= 0:
        length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text[start:], form, strict=False)))
        text = text[:start] + MASK + text[start + length :]
        start = text.find(form[:PART_LENGTH], start + len(MASK))
    return text


def _redact_value(value: Any, forms: Iterable[str]) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _redact(value, forms)
        case dict():
            return {_redact(str(key), forms): _redact_value(item, forms) for key, item in value.items()}
        case list() | tuple():
            return [_redact_value(item, forms) for item in value]
    return _redact(str(value), forms)


def _known_forms() -> tuple[str, ...]:
    """Asked for anew each time: variables and files change while a process runs."""
    return _forms(frozenset({*_remembered, *_environment_secrets(), *_file_secrets()}))


def _environment_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if "@" in value:
            yield from _passwords_in_url(value)
        if tells_secret(name) and not (value.startswith("/") and Path(value).exists()):
            yield value
            if value.lstrip()[:1] in ("{", "["):
                yield from _json_secrets(value)


@lru_cache(maxsize=1024)
def tells_secret(name: str) -> bool:
    """Whether the name of a variable tells that its value is a secret."""
    return bool(SECRET_NAME.search(name)) and not HARMLESS_NAME.search(name)


def _passwords_in_url(value: str) -> Iterator[str]:
    _, scheme, rest = value.partition("://")
    credentials, at, _ = rest.rpartition("@") if scheme else value.rpartition("@")
    user, colon, password = credentials.partition(":")
    if at and colon:
        for pair in (f"{user}:{password}", f"{unquote(user)}:{unquote(password)}"):
            yield base64.b64encode(os.fsencode(pair)).decode()  # how HTTP's Basic authentication sends them
        yield from (password, unquote(password))


def _file_secrets() -> Iterator[str]:
    """What the files of the credential chain hold now, for all profiles."""
    for variable, default in SETTINGS_FILES:
        yield from _read_secrets(os.environ.get(variable) or default, "settings")
    for variable in TOKEN_FILES:
        yield from _read_secrets(os.environ.get(variable, ""), "token")
    for folder in (*CACHES, os.environ.get("AWS_LOGIN_CACHE_DIRECTORY", "")):
        place = os.path.expanduser(folder)  # noqa: PTH111 - unlike Path's, it takes a user without a home
        if folder and os.path.isdir(place):  # noqa: PTH112
            for path in Path(place).glob("*.json"):
                yield from _read_secrets(str(path), "json")


def _read_secrets(path: str, kind: str) -> tuple[str, ...]:
    place = Path(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111 - see above
    try:
        status = place.stat()
        return _parse_file(place, kind, status.st_mtime_ns, status.st_size) if path else ()
    except (OSError, ValueError):
        return ()


@lru_cache(maxsize=256)
def _parse_file(place: Path, kind: str, _modified: int, _size: int) -> tuple[str, ...]:
    if not place.is_file():
        return ()
    text = place.read_text(encoding="utf-8", errors="surrogateescape")
    match kind:
        case "settings":
            return tuple(_settings_secrets(text))
        case "json":
            return tuple(_json_secrets(text))
    return (text,)


def _settings_secrets(text: str) -> Iterator[str]:
    """Of an INI file, line by line: it may be damaged, and a value may go on in the next, indented line."""
    is_secret = False
    for line in text.splitlines():
        name, _, value = line.partition("=") if "=" in line else line.partition(":")
        if line[:1].isspace():
            value = line
        else:
            is_secret = tells_secret(name.strip())
            if name.strip().endswith("token_file"):
                yield from _read_secrets(value.strip(), "token")
        if is_secret:
            yield from (value.strip(), value.strip().strip("\"'"))


def _json_secrets(text: str) -> Iterator[str]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    waiting = [("", document)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]
        elif isinstance(value, str) and tells_secret(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)):
            yield value


@lru_cache(maxsize=8)
def _forms(secrets: frozenset[str]) -> tuple[str, ...]:
    """Every way in which a library may write one of `secrets`, the longest first."""
    pieces = {piece.strip() for secret in secrets for piece in (secret, *LINE_BREAKS.split(secret))} | secrets
    forms: set[str] = set()
    for piece in pieces:
        if len(piece) >= MIN_LENGTH:
            forms.update(_encode(piece))
    return tuple(sorted((form for form in forms if len(form) >= MIN_LENGTH), key=len, reverse=True))


def _encode(secret: str) -> set[str]:
    content = os.fsencode(secret)
    in_url = {quote(content), quote(content, safe=""), quote_plus(content)}
    in_url |= {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in in_url}
    in_base64 = {base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()}
    forms = {secret, html.escape(secret), *in_url, *in_base64, *(form.rstrip("=") for form in in_base64)}
    for _ in range(2):  # an exception quotes a text that quotes the secret
        forms |= {escaped for form in forms for escaped in _escape(form)}
    return forms


def _escape(text: str) -> Iterable[str]:
    escaped = text.encode("unicode_escape").decode()
    yield from (escaped, escaped.replace("'", r"\'"), escaped.replace('"', r"\""))
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield from (repr(text)[1:-1], repr(os.fsencode(text))[2:-1])
