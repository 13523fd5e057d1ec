"""The one place that takes secrets out of a text: where they may lie, and how libraries write them."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from job.errors import ManifestError, StorageError
from job.secrets import MASK, redact, redact_event, remember

SECRET = "planted%41 'one'\nplanted\"two\"\r\n\tplanted/three+four=="
FORMS: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "repr": repr,
    "repr of bytes": lambda secret: repr(secret.encode()),
    "repr of a repr": lambda secret: repr(repr(secret.encode())),
    "JSON": json.dumps,
    "JSON of a repr": lambda secret: json.dumps(repr(secret)),
    "URL": quote,
    "URL without slashes": lambda secret: quote(secret, safe=""),
    "URL in lower case": lambda secret: re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    "form": quote_plus,
    "HTML": html.escape,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "one line of it": lambda secret: secret.splitlines()[1],
    "cut short": lambda secret: f"{secret[:14]}...{secret[-20:]}",
    "cut short by int()": lambda secret: repr(secret)[:27],
    "lines apart": lambda secret: " | ".join(secret.splitlines()),
}


@pytest.mark.parametrize("form", FORMS)
def test_secret_is_found_however_a_library_writes_it(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("ANOTHER_TOOLS_TOKEN", SECRET)
    written = FORMS[form](SECRET)
    told = redact(f"before {written} after")
    assert "planted" not in told
    assert base64.b64encode(SECRET.encode()).decode()[:20] not in told
    assert told.startswith("before ")
    assert told.endswith(" after")


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "PGPASSWORD", "DB_PASS",
     "SSHPASS", "MYSQL_PWD", "WANDB_API_KEY", "APIKEY", "OAUTH_CLIENT_SECRET", "HTTP_AUTH", "GOOGLE_CREDENTIALS", "KEY",
     "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
)  # fmt: skip
def test_name_of_a_variable_tells_that_it_is_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "planted-value")
    assert redact("it was planted-value") == f"it was {MASK}"


@pytest.mark.parametrize(
    "name",
    ["PWD", "OLDPWD", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "SSH_AUTH_SOCK", "MONKEY",
     "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_AUTH_SCHEME_PREFERENCE", "TOPIC"],
)  # fmt: skip
def test_what_says_where_a_secret_lies_can_be_read_in_messages(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/some/where")
    assert redact("/some/where: permission denied") == "/some/where: permission denied"


@pytest.mark.parametrize("source", ["Environment", "Ec2InstanceMetadata", "EcsContainer"])
def test_source_of_credentials_does_not_take_its_word_out_of_every_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    (tmp_path / "config").write_text(f"[profile p]\nrole_arn = arn\ncredential_source = {source}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert redact(f"no credentials in {source}") == f"no credentials in {source}"


def test_documents_of_other_tools_tell_where_a_token_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"token_uri": "https://host/token", "tokenType": "Bearer", "private_key": "planted-key"}
    monkeypatch.setenv("GOOGLE_CREDENTIALS", json.dumps(document))
    assert redact("Bearer of https://host/token, planted-key") == f"Bearer of https://host/token, {MASK}"


def test_path_of_a_file_that_is_there_is_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    assert redact(f"{tmp_path / 'key.json'}: not readable") == f"{tmp_path / 'key.json'}: not readable"


@pytest.mark.parametrize("value", ["test", "minio", ""])
def test_short_secret_does_not_take_words_out_of_every_message(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", value)
    assert redact("test_top1 in minio") == "test_top1 in minio"


@pytest.mark.parametrize(
    "told",
    [
        "planted/pa%ss",
        "Proxy-Authorization: Basic " + base64.b64encode(b"some:planted/pa%ss").decode(),
        "planted/pa%25ss",
    ],
)
def test_password_in_the_url_of_any_variable_is_secret(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://some:planted/pa%25ss@host:5432/x")
    assert "planted" not in redact(told)
    assert base64.b64encode(b"some:planted/pa%ss").decode() not in redact(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://user:word@host/x", "http://***@host/x"),
        ("Invalid endpoint: user:word@host", "Invalid endpoint: ***@host"),
        ("AWS4-HMAC-SHA256 Credential=AKIAX/2026/us, Signature=0a1b", "AWS4-HMAC-SHA256 Credential=***, Signature=***"),
        ("https://b/k?X-Amz-Security-Token=abc%2F&X-Amz-Signature=12ab", "https://b/k?X-Amz-Security-Token=***&X-Amz-Signature=***"),
        ('{"SecretAccessKey": "abc", "SessionToken": "def"}', '{"SecretAccessKey": "***", "SessionToken": "***"}'),
        ("aws_secret_access_key = abc", "aws_secret_access_key = ***"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("the key AKIAIOSFODNN7EXAMPLE does not exist", "the key *** does not exist"),
        ("Error loading SSO Token: Token for s does not exist", "Error loading SSO Token: Token for s does not exist"),
    ],
)  # fmt: skip
def test_credentials_that_nobody_named_are_known_by_their_look(text: str, told: str) -> None:
    assert redact(text) == told


def test_files_of_the_credential_chain_are_read_again_when_they_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert redact("planted-1 planted-22") == "planted-1 planted-22"
    file.write_text("[a]\naws_secret_access_key = planted-1\nregion = planted-22\n")
    assert redact("planted-1 planted-22") == "*** planted-22"
    file.write_text("[a]\naws_session_token =\n  planted-1\n  planted-22\n")
    assert redact("planted-1 planted-22") == "*** ***"


def test_file_that_is_none_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"aws_secret_access_key=\xff\xfe\x00planted\nno = [ini")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "BOTO_CONFIG", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "binary"))
    monkeypatch.setenv("AWS_CREDENTIAL_FILE", str(tmp_path))
    assert redact("it is planted") == "it is ***"


def test_event_keeps_its_values_and_loses_the_secrets_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "planted")
    event = {"event": "x", "epoch": 3, "rate": 0.1, "is": True, "none": None, "path": Path("a/planted"),
             "nested": {"planted": ["planted", 1, ("planted",)]}, "error": ValueError("planted")}  # fmt: skip
    assert redact_event(event) == {
        "event": "x", "epoch": 3, "rate": 0.1, "is": True, "none": None, "path": "a/***",
        "nested": {"***": ["***", 1, ["***"]]}, "error": "***",
    }  # fmt: skip


def test_error_shows_no_secret_in_any_of_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "planted")
    error = StorageError("a planted b")
    assert str(error) == "a *** b"
    assert repr(error) == "StorageError('a *** b')"
    assert ManifestError("a planted b", "c").faults == ("a *** b", "c")


def test_what_a_provider_of_credentials_gave_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.secrets._remembered", set())
    assert redact("given-by-a-program") == "given-by-a-program"
    remember("given-by-a-program", None, "")
    assert redact("given-by-a-program") == MASK
