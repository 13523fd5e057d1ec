"""What must stay secret reaches neither the streams of a command nor anything that it writes, however it ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from job.storage import open_store
from tests.conftest import Answer

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
