"""What must stay secret reaches neither the streams of a command nor anything that it writes, however it ends."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote
from xml.sax.saxutils import escape

import boto3
import pytest

from job import cli
from job.storage import open_store
from tests.conftest import Answer
from tests.models.faulty_s3 import ALWAYS, FaultyS3, answer, echo

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_SESSION_TOKEN": "planted-session-token==",
    "HTTPS_PROXY": "http://someone:planted-proxy@127.0.0.1:9",
    "WANDB_API_KEY": "planted-by-another-tool",
}
"""Each holds the word that is looked for; a user's environment is full of others' secrets."""
WORDS = (b"planted", base64.b64encode(b"someone:planted-proxy"), quote("planted/secret+key", safe="").encode())


@pytest.fixture
def planted(bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket, reached through an endpoint with a password in it."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint.replace("://", "://someone:planted-endpoint@"))
    return bucket


def assert_kept(*answers: Answer, place: str) -> None:
    """Neither the commands nor what lies in `place` tell."""
    store = open_store(place)
    told = {answer.stderr: (answer.stdout + answer.stderr).encode() for answer in answers}
    told |= {store.locate(key): store.read(key) for key in store.list_keys("")}
    assert not [where for where, content in told.items() if any(word in content for word in WORDS)]


def test_good_run_and_its_report_keep_the_secrets(job: Job, tiny: Tiny, planted: str) -> None:
    output = f"{planted}/study"
    trained = job("run", "--manifest", tiny(epochs=1, optimizer={"name": "sgd"}), "--output", output)
    assert trained.exit_code == 0, trained.stderr
    assert len(open_store(output).list_keys("default/runs/")) > 10
    reported = job("report", output)
    assert open_store(output).list_keys("report/index.html")
    assert_kept(trained, reported, place=planted)


FAILING: dict[str, tuple[tuple[str, ...], dict[str, str], int]] = {
    "bucket": (("--output", "s3://no-such-bucket/study"), {}, 67),
    "weights": (("--set", "model.weights=s3://no-such-bucket/w.pth"), {}, 67),
    "endpoint": (
        ("--set", "model.weights=s3://bucket/w.pth"),
        {"AWS_ENDPOINT_URL": "http://someone:planted-endpoint@127.0.0.1:9"},
        74,
    ),
    "proxy": (
        ("--set", "model.weights=s3://bucket/w.pth"),
        {"AWS_ENDPOINT_URL": "http://nowhere.example", "HTTP_PROXY": "http://someone:planted-proxy@127.0.0.1:9"},
        74,
    ),
    "endpoint without scheme": (("--output", "s3://bucket"), {"AWS_ENDPOINT_URL": "someone:planted@nowhere"}, 2),
    "weights with a password": (("--set", "model.weights=s3://someone:planted@bucket/w.pth"), {}, 65),
    "data with a password": (
        ("--set", 'dataset={"name": "stl10"}', "--data", "https://someone:planted@host/data"),
        {},
        2,
    ),
    "manifest with a password": (("--manifest", "https://someone:planted@host/m.json"), {}, 2),
    "output with a password and one slash": (("--output", "s3:/someone:planted@bucket/study"), {}, 2),
    "cache with a password": (("--cache", "https://someone:planted@host/cache"), {}, 2),
    "output with a password": (("--output", "s3://someone:planted@bucket/study"), {}, 2),
}
RECORDED = {"weights", "endpoint", "proxy"}
"""What fails only after the run has begun, so that its output tells."""


@pytest.mark.parametrize("fault", FAILING)
def test_run_that_fails_keeps_the_secrets(
    job: Job, tiny: Tiny, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    arguments, environment, code = FAILING[fault]
    output = tmp_path / "out"
    with monkeypatch.context() as changed:
        changed.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
        for name, value in environment.items():
            changed.setenv(name, value)
        answer = job("run", "--manifest", tiny(epochs=1), "--output", output, *arguments)
    assert answer.exit_code == code, answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("error: ")
    states = [json.loads(path.read_text())["exit_code"] for path in output.rglob("progress.json")]
    assert states == ([code] if fault in RECORDED else [])
    reported = [job("report", output)] if states else []
    assert_kept(answer, *reported, place=str(output))


# Every place that the credential chain reads

AWKWARD = "{own}planted%41 'one'/{own}\n{own}planted-\"two\"-{own}\r\n\t{own}planted-three-{own}"
"""Line breaks, quotes, percent signs: what libraries quote in as many ways. Ends of its `own`: what begins or ends like
another secret would be masked with that one, and a place that nobody reads would not be noticed."""
USED = {"AWS_ACCESS_KEY_ID": "planted'key%id", "AWS_SECRET_ACCESS_KEY": 'planted"secret/%2F+key',
        "AWS_SESSION_TOKEN": "planted'session\"%41token=="}  # fmt: skip
"""The same without line breaks: with one they would be refused at once."""


def awkward(name: str) -> str:
    return AWKWARD.format(own=hashlib.sha256(name.encode()).hexdigest()[:12])


@pytest.fixture
def everywhere(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Secrets in every variable and file that boto3's credential chain reads, and in other tools' variables."""
    home = tmp_path / "home"
    planted = [*USED.values()]

    def plant(name: str) -> str:
        planted.append(awkward(name))
        return awkward(name)

    def indented(text: str) -> str:
        return text.replace("\r\n", "\n").replace("\n", "\n    ")

    def write(path: Path, content: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return str(path)

    for name, value in USED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(home))
    for name in ("AWS_SECURITY_TOKEN_OF_ANOTHER", "WANDB_API_KEY", "DB_PASSWORD", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, plant(name))
    monkeypatch.setenv("GOOGLE_CREDENTIALS", json.dumps({"private_key": plant("google"), "type": "service_account"}))
    monkeypatch.setenv("HTTPS_PROXY", "http://some%41one:planted%2Fproxy%27s@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    planted += ["planted%2Fproxy%27s", "planted/proxy's", "someAone:planted/proxy's"]
    for name, place in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        prefix = "profile " if place == "config" else ""
        settings = "".join(
            f"[{prefix}{profile}]\naws_access_key_id = {indented(plant(f'{place}-{profile}-id'))}\n"
            f"aws_secret_access_key = {indented(plant(f'{place}-{profile}-secret'))}\n"
            f"aws_session_token = {indented(plant(f'{place}-{profile}-token'))}\n"
            for profile in ("first", "second")
        )
        monkeypatch.setenv(name, write(home / place, settings))
    monkeypatch.setenv(
        "BOTO_CONFIG", write(home / "boto.cfg", f"[Credentials]\naws_secret_access_key = {indented(plant('boto'))}\n")
    )
    monkeypatch.setenv("AWS_CREDENTIAL_FILE", write(home / "ec2", f"AWSSecretKey={indented(plant('ec2'))}\n"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(home / "identity", plant("identity")))
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "planted-container'token%41")
    in_file = "its-own-file-planted'%41-in-a-container"  # with a line break it would be refused at once
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write(home / "container", in_file))
    planted += ["planted-container'token%41", in_file]
    login = {"accessToken": plant("sso"), "refreshToken": plant("refresh"), "clientSecret": plant("client")}
    write(home / ".aws/sso/cache/0123.json", json.dumps(login))
    assumed = {"Credentials": {"SecretAccessKey": plant("assumed"), "SessionToken": plant("assumed-token")}}
    write(home / ".aws/cli/cache/4567.json", json.dumps(assumed))
    older = {"Credentials": {"SecretAccessKey": plant("boto-cache"), "SessionToken": plant("boto-cache-token")}}
    write(home / ".aws/boto/cache/89ab.json", json.dumps(older))
    signed_in = {"accessKeyId": plant("login-id"), "secretAccessKey": plant("login"), "sessionToken": plant("session")}
    console = {"accessToken": signed_in, "refreshToken": plant("login-refresh"), "dpopKey": plant("dpop")}
    write(home / ".aws/login/cache/cdef.json", json.dumps(console))
    return planted


def told_of(planted: list[str], *answers: Answer, places: list[str]) -> list[str]:
    """Where one of the secrets, a line of it, or one of its encodings can be found."""
    words = [b"planted"] + [base64.b64encode(secret.encode()).rstrip(b"=") for secret in planted]
    told = {
        f"{number}: {answer.stderr}": (answer.stdout + answer.stderr).encode() for number, answer in enumerate(answers)
    }
    for place in places:
        store = open_store(place)
        told |= {store.locate(key): store.read(key) for key in store.list_keys("")}
    return [where for where, content in told.items() if any(word in content for word in words)]


def quoted(planted: list[str]) -> str:
    """What a library may say of them, in one line."""
    forms = (str, repr, json.dumps, lambda secret: repr(secret.encode()), lambda secret: quote(secret, safe=""),
             lambda secret: base64.b64encode(secret.encode()).decode())  # fmt: skip
    return " | ".join(form(secret) for secret in planted for form in forms)


def test_commands_that_succeed_tell_no_secret_of_any_place(
    job: Job, tiny: Tiny, everywhere: list[str], bucket: str, tmp_path: Path
) -> None:
    manifest = tmp_path / "sweep.json"
    base = json.loads(tiny(epochs=1, optimizer={"name": "sgd"}).read_text())
    manifest.write_text(json.dumps({"name": "small", "seeds": [0], "blocks": [{"base": base}]}))
    image, queue = ("--image", "job:x"), ("--queue", "queue")
    answers = [
        job("run", "--manifest", manifest, "--output", f"{bucket}/study"),
        job("report", f"{bucket}/study"),
        job("status", f"{bucket}/study"),
        job("plan", "--manifest", manifest, "--output", f"{bucket}/study"),
        job("doctor", "--to", "local", "--output", f"{bucket}/study"),
        *(job("submit", "--manifest", manifest, "--to", to, "--dry-run", "--output", f"{bucket}/study",
              "--experiment", "other", *options)
          for to, *options in (("local",), ("docker", *image), ("batch", *image, *queue),
                               ("kubernetes", *image, *queue))),
        job("stage", f"{bucket}/data", "--dataset", "none", "--no-weights"),
    ]  # fmt: skip
    assert [answer.exit_code for answer in answers] == [0] * len(answers), [answer.stderr for answer in answers]
    assert told_of(everywhere, *answers, places=[bucket]) == []


def test_commands_that_fail_tell_no_secret_that_a_server_or_a_library_quotes(
    job: Job, tiny: Tiny, everywhere: list[str], wire: FaultyS3, bucket: str, tmp_path: Path
) -> None:
    manifest, local = tiny(epochs=1), tmp_path / "out"
    away = wire.spoil(".*", "study", echo, times=ALWAYS)
    answers = [
        job("run", "--manifest", manifest, "--output", f"{bucket}/study"),
        job("run", "--manifest", manifest, "--output", local, "--set", f"model.weights={bucket}/study/w.pth"),
        job("report", f"{bucket}/study"),
        job("status", f"{bucket}/study"),
        job("submit", "--manifest", manifest, "--to", "local", "--dry-run", "--output", f"{bucket}/study"),
        job("submit", "--manifest", manifest, "--to", "local", "--output", f"{bucket}/study"),
        job("stage", f"{bucket}/study", "--no-weights", "--data", f"{bucket}/study"),
    ]
    assert [answer.exit_code for answer in answers] == [67, 67, 67, 67, 0, 67, 67], [each.stderr for each in answers]
    assert "AccessDenied" in answers[0].stderr
    away.times = 0
    wire.spoil(".*", "study", answer("503 Slow Down", "SlowDown", escape(quoted(everywhere))), times=ALWAYS)
    answers.append(
        job(
            "run",
            "--manifest",
            manifest,
            "--output",
            tmp_path / "second",
            "--set",
            f"model.weights={bucket}/study/w.pth",
        )
    )
    assert answers[-1].exit_code == 74
    assert "storage_trouble" in answers[-1].stderr
    answers += [job("report", local), job("status", local)]
    assert told_of(everywhere, *answers, places=[str(local), str(tmp_path / "second")]) == []


def test_traceback_of_a_bug_tells_no_secret(
    everywhere: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        try:
            json.loads("[]").index(quoted(everywhere))
        except ValueError as error:
            raise KeyError(awkward("GITHUB_TOKEN")) from error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert "in fail" in told
    assert "ValueError: " in told
    assert "KeyError: " in told
    assert told_of(everywhere, Answer(1, "", told), places=[]) == []


BUG = """
import logging, sys, threading, warnings
from job import cli

def app():
    logging.getLogger("botocore.credentials").warning("refresh failed: %r", {secret!r}, exc_info=ValueError({secret!r}))
    warnings.warn("deprecated: " + {secret!r})
    thread = threading.Thread(target=lambda: int({secret!r}))
    thread.start()
    thread.join()

cli.app = app
cli.main()
"""


def test_warnings_of_libraries_and_threads_tell_no_secret(everywhere: list[str], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(BUG.format(secret=awkward("GITHUB_TOKEN")))
    ended = subprocess.run([sys.executable, "-X", "faulthandler", program], capture_output=True, text=True, check=True)
    assert "botocore.credentials: refresh failed" in ended.stderr
    assert "deprecated" in ended.stderr
    assert "invalid literal for int()" in ended.stderr
    shown = "\n".join(line for line in ended.stderr.splitlines() if "target=lambda" not in line)  # the program itself
    assert told_of(everywhere, Answer(0, ended.stdout, shown), places=[]) == []


# Credentials that cannot be meant


def assert_refused(answer: Answer, *said: str) -> None:
    """At once, by name, and without the value."""
    assert answer.exit_code == 67, answer.stderr
    for words in said:
        assert words in answer.stderr
    assert "storage_trouble" not in answer.stderr
    assert "planted" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize(
    ("broken", "fault"),
    [("planted\nkey", "a line break"), ("planted-key\n", "a line break"), ("planted\r\nkey", "a line break"),
     (" planted-key", "blanks around it"), ("planted-key ", "blanks around it"),
     ("planted\x1bkey", "a control character")],
    ids=["inside", "at the end", "CRLF", "blank before", "blank behind", "escape"],
)  # fmt: skip
def test_credential_with_a_line_break_or_blanks_is_refused_at_once_by_its_name(
    job: Job,
    tiny: Tiny,
    wire: FaultyS3,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    broken: str,
    fault: str,
) -> None:
    for other, value in USED.items():
        monkeypatch.setenv(other, value)
    monkeypatch.setenv(name, broken)
    assert_refused(
        job("run", "--manifest", tiny(), "--output", f"{bucket}/study"), f"the variable {name} holds {fault}"
    )
    assert not wire.requests


@pytest.fixture
def without_variables(
    wire: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], None]:
    """No credentials in variables; the given text is AWS's config file."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def write(text: str) -> None:
        config.write_text(text)

    return write


def test_credential_with_a_line_break_in_a_file_is_named_with_file_and_profile(
    job: Job, tiny: Tiny, without_variables: Callable[[str], None], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "second")
    without_variables("[profile second]\naws_access_key_id = planted\naws_secret_access_key = planted-a\n  planted-b\n")
    told = job("run", "--manifest", tiny(), "--output", bucket)
    assert_refused(
        told, "aws_secret_access_key of profile second in", os.environ["AWS_CONFIG_FILE"], "holds a line break"
    )


SSO = """[profile p]
sso_session = s
sso_account_id = 1
sso_role_name = r
[sso-session s]
sso_region = us-east-1
sso_start_url = https://planted.awsapps.com/start
"""
PROCESS = "[default]\ncredential_process = {}\n"
BROKEN = "planted-1\nplanted-2"
PARTS = ("AccessKeyId", "SecretAccessKey", "SessionToken")
CHAINS: dict[str, tuple[str, dict[str, str], str]] = {
    "no such profile": ("", {"AWS_PROFILE": "mistyped"}, "set AWS_PROFILE to a profile"),
    "none": ("", {}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
    "half": ("", {"AWS_ACCESS_KEY_ID": "planted"}, "missing: AWS_SECRET_ACCESS_KEY; set what is missing"),
    "half in the file": ("[default]\naws_access_key_id = planted\n", {}, "missing: aws_secret_access_key"),
    "file that is none": ("planted, no = [ini", {}, "or let AWS_CONFIG_FILE"),
    "a folder as file": ("", {"AWS_CONFIG_FILE": "/"}, "AWS_CONFIG_FILE: / cannot be read: Is a directory"),
    "a folder as credentials": ("", {"AWS_SHARED_CREDENTIALS_FILE": "/"}, "AWS_SHARED_CREDENTIALS_FILE: / cannot be"),
    "SSO": (SSO, {"AWS_PROFILE": "p"}, "log in with `aws sso login --profile p`"),
    "process that fails": (PROCESS.format("sh -c 'echo planted-secret >&2; exit 3'"), {}, "of profile default failed"),
    "process that is missing": (PROCESS.format("/no/such-program"), {}, "/no/such-program: No such file"),
    "process without sense": (PROCESS.format("echo planted-by-a-process"), {}, "check the credential_process"),
    "process with a line break": (
        PROCESS.format(f"echo '{json.dumps({'Version': 1} | dict.fromkeys(PARTS, BROKEN))}'"), {},
        "aws_access_key_id from the credential_process of profile default holds a line break"),
    "no identity token": (
        "", {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token"},
        "/no/token: No such file"),
    "container's token": (
        "", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN": "planted-1\nplanted-2"},
        "AWS_CONTAINER_AUTHORIZATION_TOKEN holds a line break"),
    "container's token that is none": (
        "", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
             "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": sys.executable},
        "(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) cannot be read as a token: UnicodeDecodeError"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAINS)
def test_chain_that_gives_no_credentials_is_67_at_once_with_what_to_do(
    job: Job, tiny: Tiny, wire: FaultyS3, without_variables: Callable[[str], None], bucket: str,
    monkeypatch: pytest.MonkeyPatch, case: str,
) -> None:  # fmt: skip
    config, variables, said = CHAINS[case]
    without_variables(config)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wire.requests.clear()
    assert_refused(job("run", "--manifest", tiny(), "--output", bucket), said)
    assert not wire.requests


@pytest.mark.parametrize("command", ["submit", "status"])
def test_batch_asks_the_same_chain_and_says_the_same(
    job: Job, tiny: Tiny, wire: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-1\nplanted-2")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    arguments = {"submit": ("--manifest", tiny(), "--to", "batch", "--stack", "s"), "status": (bucket,)}[command]
    assert_refused(job(command, *arguments), "the variable AWS_SESSION_TOKEN holds a line break")
