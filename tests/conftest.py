"""What the tests share: the command in this process, a real S3 API over HTTP, and a run small enough for seconds."""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
import structlog

from job.cli import main
from job.signals import ENDING_SIGNALS
from job.submit.registry import BACKENDS
from tests import spool_backend

if TYPE_CHECKING:
    from tests.models.faulty_s3 import FaultyS3

with suppress(ImportError):  # moto and hypothesis are not needed by tests/gpu, which run where they are missing
    import hypothesis

    # how long an example takes to draw and to run depends on what else the machine does
    at_any_speed: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    # a change is not held up by an example that another change would have met as well; developers look for new ones
    hypothesis.settings.register_profile("ci", derandomize=True, **at_any_speed)
    hypothesis.settings.register_profile("developer", **at_any_speed)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "developer"))

for number in ENDING_SIGNALS:  # a shell starts what it runs in the background to ignore some, and job keeps to that
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
"""Photographs and weights of the development machines; tests that use them skip where they are missing."""
BUCKET = "bucket"
NARROW_PATH = os.pathsep.join(filter(None, [str(ROOT / "tests/startup"), str(ROOT), os.environ.get("PYTHONPATH", "")]))
"""PYTHONPATH with which a process trains the narrow network, and leaves its figures blank."""

TINY: dict[str, Any] = {
    "name": "tiny",
    "optimizer": {"name": "adam", "lr": 0.001},
    "epochs": 2,
    "batch_size": 20,
    "dataset": {"name": "synthetic", "size": 16, "num_train": 40, "num_test": 20},
    "model": {"weights": "none"},
}
"""Two steps an epoch: about a second on one core. With images of 16 pixels `auto` is fp32 on every CPU."""
TINY_BF16 = {"precision": "bf16", "dataset": TINY["dataset"] | {"size": 32}}
"""What lets it train in bf16."""
CPU_FLAGS = Path("/proc/cpuinfo")
HAS_BF16 = CPU_FLAGS.is_file() and not {"avx512_bf16", "amx_tile"}.isdisjoint(CPU_FLAGS.read_text().split())
in_each_precision = pytest.mark.parametrize(
    "precision_fields",
    [
        pytest.param({}, id="fp32"),
        pytest.param(
            TINY_BF16,
            id="bf16",
            marks=pytest.mark.skipif(
                not (HAS_BF16 or os.environ.get("TEST_BF16")),
                reason="this CPU has no bf16 instructions; with TEST_BF16=1 they are emulated, slowly",
            ),
        ),
    ],
)
"""For every promise of equal bits: it holds in both, and a CPU may have both."""


Tiny = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """pyproject.toml sets pytest-timeout's `timeout`; tests/gpu run without that plugin too."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "Seconds; without pytest-timeout it has no effect.")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage, and every run asks for one, walks through it again."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries tell of leaks at Python's end


def pytest_sessionfinish() -> None:
    """What coverage has counted is written now: pytest-xdist kills a worker that takes over 10 s to end."""
    if (coverage := sys.modules.get("coverage")) and (counting := coverage.Coverage.current()):
        counting.stop()
        counting.save()


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture(autouse=True)
def _own_process_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[None]:
    """No test sees another's signal handlers, log context, cache or credentials; its processes are narrow."""
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for name in [name for name in os.environ if name.startswith(("JOB_", "AWS_"))]:
        if name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("JOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JOB_THREADS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    if request.node.get_closest_marker("real_network") is None:
        monkeypatch.setenv("PYTHONPATH", NARROW_PATH)
    if request.node.get_closest_marker("real_figures") is not None:
        monkeypatch.setenv("REAL_FIGURES", "yes")
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _descriptions_of_services() -> Iterator[None]:
    """Each is read once: botocore would parse megabytes of JSON for every client of a session of its own."""
    create, loaders = botocore.session.create_loader, dict[str | None, Any]()

    def find(search_path: str | None = None) -> Any:
        loader = loaders.setdefault(search_path, create(search_path))
        loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # boto3's sessions add theirs again and again
        return loader

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(botocore.session, "create_loader", find)
        yield


@pytest.fixture
def job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[..., Answer]:
    """Runs the command line in this process: `job("run", "--manifest", path)`. `run` trains the narrow network."""
    is_narrow = request.node.get_closest_marker("real_network") is None

    def call(*arguments: object) -> Answer:
        if arguments[0] == "run" and is_narrow:
            from tests.narrow import use_narrow_network

            use_narrow_network(monkeypatch)
        monkeypatch.setattr(sys, "argv", ["job", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def forked_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What `job submit --to local` starts is forked as in `processes.py`: processes as real, and started at once."""
    from tests.processes import start_child

    monkeypatch.setattr(
        "job.submit.processes._start", lambda command: start_child(command, log=tmp_path / "children.log")
    )


@pytest.fixture
def blank_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a report's figures are blank, for what a test says of its text, its tables and its exit code."""
    from tests.narrow import BLANK

    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>\n'
    monkeypatch.setattr("job.report.render.chapter.render_svg", lambda _figure: svg)
    monkeypatch.setattr("job.plots.render", lambda _figure, _format="png": BLANK)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny manifest, with top-level fields replaced, and gives its path."""

    def write(**fields: object) -> Path:
        path = tmp_path / "tiny.json"
        path.write_text(json.dumps(TINY | fields))
        return path

    return write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, 64 KiB large."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 API over HTTP in this process (moto)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The back end `spool`, in the registry as its author would put it there. It takes jobs as files in this folder."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setenv("SPOOL", str(folder))
    monkeypatch.setitem(BACKENDS, "spool", spool_backend.ENTRY)
    return folder


@pytest.fixture(scope="session")
def buckets(s3_endpoint: str) -> Any:
    """boto3's resource of that server, built once: to read its service's description takes longer than many a test."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        # in a session of its own: the default one keeps the credentials that it once found
        session = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        return session.resource("s3", endpoint_url=s3_endpoint)


@pytest.fixture
def bucket(s3_endpoint: str, buckets: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty bucket, with the environment that leads boto3 to it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    container = buckets.Bucket(BUCKET)
    container.create()
    yield f"s3://{BUCKET}"
    container.objects.all().delete()
    container.delete()


@pytest.fixture
def capturable_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's and timm's capturable implementations run anywhere; they let them run only where graphs are."""
    from job.manifest.optimizers import OPTIMIZERS
    from job.training.engine.optimizers import find_class

    names = {find_class(kind).__module__ for kind in OPTIMIZERS.values()}
    for module in (sys.modules[name] for name in names | {"torch.optim.optimizer", "timm.optim._helpers"}):
        if hasattr(module, "_get_capturable_supported_devices"):
            monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda *_, **__: ["cpu", "cuda"])


@pytest.fixture(scope="session")
def faulty_server() -> Iterator[FaultyS3]:
    from tests.models.faulty_s3 import serve_faulty_s3

    with serve_faulty_s3() as server:
        yield server


@pytest.fixture
def wire(faulty_server: FaultyS3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> FaultyS3:
    """The server that boto3 reaches now, without faults yet. Retries do not wait."""
    faulty_server.requests.clear()
    faulty_server._rules.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty_server.endpoint)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    return faulty_server
