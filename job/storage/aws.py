"""Clients of AWS's services. Credentials come from boto3's default chain alone and are checked before every request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.utils import parse_timestamp

from job.errors import AccessDeniedError, UsageError
from job.secrets import remember
from job.storage.translation import translate_errors

CONNECT_SECONDS, ANSWER_SECONDS = 3, 10
"""Waits of a quick client, for one attempt."""
FILE_VARIABLES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
FIELDS = {
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "token": ("AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"),
}
"""botocore's names for the parts of credentials, and the variables that hold them. Files have these in lower case."""


def build_client(service: str, *, region: str | None = None, config: Any = None, is_fresh: bool = False) -> Any:
    """A boto3 client that looks at the credentials before every request.

    With `is_fresh` it asks the credential chain anew; boto3's default session keeps what it once found, expired or not.
    Raises `AccessDeniedError` or `UsageError`, which say what to set.
    """
    for variable in FILE_VARIABLES:
        _check_readable(variable)
    _check_readable("AWS_CA_BUNDLE", must_exist=True)
    _check_container_token()
    with translate_errors(f"AWS {service}"):
        session = _fresh_session() if is_fresh else _default_session()
        with _translate_chain(session):
            session.get_credentials()
        try:
            client = session.client(service, region_name=region, config=config)
        except ValueError as error:  # botocore raises it for an endpoint that is no URL
            if isinstance(error, BotoCoreError):
                raise
            raise UsageError(f"{error}; AWS_ENDPOINT_URL must be like https://HOST:PORT") from error
    client.meta.events.register("before-call", lambda **_: _check_credentials(session))
    return client


def build_quick_client(service: str, *, region: str | None = None) -> Any:
    """A client for one question that a person waits for: each attempt is given up after seconds, and there are two."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
    return build_client(service, region=region, config=config)


def _fresh_session() -> Any:
    session = botocore.session.get_session()
    # As AWS's own command line does; botocore's parser takes most of the time of a listing.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_moment)
    return boto3.session.Session(botocore_session=session)


def parse_moment(value: Any) -> datetime:
    """What botocore's own parser gives, but sooner for the two forms in which S3 writes a time."""
    if isinstance(value, str):
        with suppress(ValueError):
            if "T" in value[8:11]:  # 2026-01-01T00:00:00.000Z
                return datetime.fromisoformat(value)
            if value.endswith("GMT"):  # Thu, 01 Jan 2026 00:00:00 GMT
                return parsedate_to_datetime(value)
    found: datetime = parse_timestamp(value)
    return found


def _default_session() -> Any:
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    return boto3.DEFAULT_SESSION


def _check_readable(variable: str, *, must_exist: bool = False) -> None:
    """Raises `AccessDeniedError` where the file that `variable` names cannot be read.

    botocore would skip such a file and then find no credentials. A file that does not exist is usual, so it is accepted
    unless it `must_exist`: without its file of certificates, botocore would try every request six times.
    """
    location = os.environ.get(variable)
    if not location:
        return
    try:
        with Path(os.path.expanduser(location)).open("rb"):  # noqa: PTH111 - unlike Path's, it needs no home
            pass
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not must_exist:
            return
        advice = "let it name a file that this user may read, or unset it"
        raise AccessDeniedError(f"{variable}: {location} cannot be read: {error.strerror}; {advice}") from error


def _check_container_token() -> None:
    """Raises `AccessDeniedError` for a token that no header can hold. botocore's own error does not say where it is."""
    variable, location = "AWS_CONTAINER_AUTHORIZATION_TOKEN", os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    token = os.environ.get(variable, "")
    if location and Path(location).is_file():
        variable = f"the file {location} (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)"
        try:
            token = Path(location).read_text(encoding="ascii")
        except (OSError, UnicodeError) as error:
            raise AccessDeniedError(f"{variable} cannot be read as a token: {type(error).__name__}") from None
    fault = _find_fault(token, is_sent=True)
    if fault:
        raise AccessDeniedError(f"{variable} holds {fault}; correct it (its value is not shown here)")


def _check_credentials(session: Any) -> None:
    """Raises `AccessDeniedError` if there are none, or if they hold characters that credentials never hold.

    botocore would put a line break into a header, fail there, try again, and quote the header. Whatever the chain gives
    is remembered as a secret, because it may come from a program or a server that `job.secrets` cannot look into.
    """
    with _translate_chain(session):
        credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen = credentials.get_frozen_credentials()
    parts = {field: getattr(frozen, field) or "" for field in FIELDS}
    remember(*parts.values())
    for field, value in parts.items():
        fault = _find_fault(value, is_sent=field != "secret_key")
        if fault:
            place = _name_source(session, credentials.method, field, value)
            raise AccessDeniedError(f"{place} holds {fault}; correct it (its value is not shown here)")


def _find_fault(value: str, *, is_sent: bool) -> str | None:
    """What is wrong with a part of the credentials, if anything. A part that `is_sent` in a header must be ASCII."""
    if any(character in value for character in "\r\n"):
        return "a line break"
    if value != value.strip():
        return "blanks around it"
    if not value.isprintable():
        return "a control character"
    return "a character that is not ASCII" if is_sent and not value.isascii() else None


def _name_source(session: Any, method: str, field: str, value: str) -> str:
    """Where a person finds the part of the credentials that is wrong."""
    variables = FIELDS[field]
    name = next((name for name in variables if os.environ.get(name) == value), variables[-1])
    if method == "env":
        return f"the variable {name}"
    files = {"shared-credentials-file": "AWS_SHARED_CREDENTIALS_FILE", "config-file": "AWS_CONFIG_FILE"}
    if method in files:
        location = os.environ.get(files[method]) or FILE_VARIABLES[files[method]]
        return f"{name.lower()} of profile {session.profile_name} in {location}"
    origin = f"the credential_process of profile {session.profile_name}" if method == "custom-process" else method
    return f"{name.lower()} from {origin}"


@contextmanager
def _translate_chain(session: Any) -> Iterator[None]:
    """Translate what providers of credentials raise, including exceptions that are not botocore's.

    They raise these for files and programs that do not exist, or that give something other than credentials.
    """
    try:
        with translate_errors("AWS credentials", profile=session.profile_name):
            yield
    except OSError as error:
        named = error.filename or "a file"
        advice = "it is named by a variable that begins with AWS_, or by a profile of AWS's config file"
        raise AccessDeniedError(f"AWS credentials: {named}: {error.strerror or error}; {advice}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        advice = "check the credential_process, the token file or the cached login of the profile"
        raise AccessDeniedError(
            f"AWS credentials: profile {session.profile_name}: {type(error).__name__}: {error}; {advice}"
        ) from error
