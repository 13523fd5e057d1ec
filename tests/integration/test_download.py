"""Data and weights come over HTTP, are verified, kept, and not downloaded twice; no request leaves the machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import socket
import ssl
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import get_args

import numpy as np
import pytest
import torch
import torchvision
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from job.errors import DataError, HostError
from job.manifest.models import Model
from job.storage import FolderStore
from job.training.inputs import download
from job.training.inputs.datasets import STAGED, cifar100
from job.training.inputs.files import BinaryFiles
from job.training.inputs.weights import IMAGENET_SHA256, imagenet_url, load_weights, stage_imagenet
from tests.conftest import ROOT, Answer
from tests.unit.test_cifar100 import TRAIN_IMAGES, write_cifar100

Job = Callable[..., Answer]
FOLDER = "cifar-100-binary"


@dataclass
class Site:
    """A web server with `pages`, and what was asked of it."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    missing_bytes: int = 0
    """So many bytes less are sent than announced."""
    answering: Event = field(default_factory=Event)
    """Until it is set nothing is sent after the first half of a page."""
    moved: dict[str, str] = field(default_factory=dict)
    """Where pages are now."""


@contextmanager
def serve(certificate: Path | None = None) -> Iterator[Site]:
    """A `Site` until the block ends, over TLS where there is a certificate with its key."""

    site: Site

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(self.path)
            content = site.pages.get(self.path, b"")
            self.send_response(302 if self.path in site.moved else 200 if self.path in site.pages else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Location", site.moved.get(self.path, ""))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            assert site.answering.wait(30)
            self.wfile.write(content[len(content) // 2 : len(content) - site.missing_bytes])

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: a client that has hung up is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site = Site(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}")
    site.answering.set()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as site:
        yield site


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.now(UTC) - timedelta(days=1)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, start + timedelta(9))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + signed.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def tls_site(site: Site, certificate: Path) -> Iterator[Site]:
    with serve(certificate) as tls_site:
        tls_site.pages = site.pages
        yield tls_site


@pytest.fixture(autouse=True)
def _no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to any other host fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int]) -> None:
        assert address[0] == "127.0.0.1", f"connection to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that is not there yet."""
    return tmp_path / "home/.cache/job"


def publish(site: Site, archive: bytes) -> BinaryFiles:
    """CIFAR-100 with `archive` at the local site, and its MD5."""
    site.pages["/data.tar.gz"] = archive
    return replace(cifar100.FILES, url=f"{site.url}/data.tar.gz", archive_md5=hashlib.md5(archive).hexdigest())


def pack(folder: Path, *, prefix: str = "", members: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """The official layout, with `members` before it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        archive.add(folder, f"{prefix}{FOLDER}")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_cifar100(tmp_path / "official")
    (folder / "batches.meta.txt").write_text("not needed")
    return folder


@pytest.fixture
def files(site: Site, folder: Path) -> BinaryFiles:
    return publish(site, pack(folder))


def contents(place: Path) -> list[str]:
    """All files below `place`, hidden ones too."""
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


def test_download_leaves_the_verified_files_and_their_digests(files: BinaryFiles, folder: Path, cache: Path) -> None:
    found = files.locate(None, cache=cache)
    assert found == cache / FOLDER
    assert contents(cache) == sorted(f"{FOLDER}/{name}" for name in ("SHA256SUMS.json", *files.names))
    digests = json.loads((found / "SHA256SUMS.json").read_text())
    assert digests == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files.names}
    np.testing.assert_array_equal(cifar100.load(found).train_images, TRAIN_IMAGES)


def test_second_time_nothing_is_downloaded(site: Site, files: BinaryFiles, cache: Path) -> None:
    files.locate(None, cache=cache)
    assert site.requests == ["/data.tar.gz"]
    files.locate(None, cache=cache)
    assert site.requests == ["/data.tar.gz"]


def test_unpacking_that_was_cut_short_is_done_again(site: Site, files: BinaryFiles, cache: Path, folder: Path) -> None:
    write_cifar100(cache / FOLDER)
    (cache / FOLDER / "test.bin").write_bytes((folder / "test.bin").read_bytes()[:-3074])  # whole records, but fewer
    found = files.locate(None, cache=cache)
    assert (found / "test.bin").read_bytes() == (folder / "test.bin").read_bytes()


def test_file_that_changed_in_the_cache_is_found(files: BinaryFiles, cache: Path) -> None:
    path = files.locate(None, cache=cache) / "train.bin"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="corrupt: sha256") as caught:
        files.locate(None, cache=cache)
    assert str(caught.value).startswith(f"{path}: ")
    path.unlink()  # as the message says
    assert files.locate(None, cache=cache) == path.parent


def test_no_progress_bar_is_written_where_there_is_no_terminal(
    files: BinaryFiles, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.locate(None, cache=cache)
    captured = capsys.readouterr()
    assert "data_download_started" in captured.out + captured.err
    assert "%|" not in captured.out + captured.err


@pytest.mark.parametrize("damage", ["changed", "cut short"])
def test_wrong_checksum_leaves_nothing_behind(site: Site, files: BinaryFiles, cache: Path, damage: str) -> None:
    archive = site.pages["/data.tar.gz"]
    if damage == "changed":
        site.pages["/data.tar.gz"] = archive[:-9] + bytes([archive[-9] ^ 1]) + archive[-8:]
    else:
        site.missing_bytes = 100
    with pytest.raises(DataError) as caught:
        files.locate(None, cache=cache)
    assert caught.value.exit_code == 66
    assert files.url in str(caught.value)
    assert contents(cache) == []
    site.missing_bytes, site.pages["/data.tar.gz"] = 0, archive
    assert files.locate(None, cache=cache) == cache / FOLDER


@pytest.mark.parametrize("fault", ["not there", "no server"])
def test_failed_download_says_what_else_can_be_done(site: Site, files: BinaryFiles, cache: Path, fault: str) -> None:
    if fault == "not there":
        site.pages.clear()
    else:
        files = replace(files, url="http://127.0.0.1:1/data.tar.gz")
    with pytest.raises(DataError) as caught:
        files.locate(None, cache=cache)
    assert caught.value.exit_code == 66
    assert files.url in str(caught.value)
    assert ("404" if fault == "not there" else "refused") in str(caught.value)
    assert "--data" in str(caught.value)
    assert "job stage" in str(caught.value)
    assert contents(cache) == []


def test_server_that_falls_silent_is_given_up(
    site: Site, files: BinaryFiles, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert download.TIMEOUT_SECONDS == 60
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    site.answering.clear()
    with pytest.raises(DataError, match=r"cannot be downloaded \(no answer for 0 s\)") as caught:
        files.locate(None, cache=cache)
    assert caught.value.exit_code == 66
    assert contents(cache) == []


def test_full_disk_is_a_fault_of_this_host_and_not_of_the_data(files: BinaryFiles, small_disk: Path) -> None:
    for cache in (small_disk, small_disk / "below"):
        with pytest.raises(HostError, match="the disk is full") as caught:
            files.locate(None, cache=cache)
        assert caught.value.exit_code == 71
        assert contents(small_disk) == []


def test_certificate_that_nobody_vouches_for_is_refused(tls_site: Site, files: BinaryFiles, cache: Path) -> None:
    with pytest.raises(DataError, match="certificate verify failed") as caught:
        replace(files, url=f"{tls_site.url}/data.tar.gz").locate(None, cache=cache)
    assert caught.value.exit_code == 66
    assert contents(cache) == []


@pytest.mark.parametrize("target", ["within TLS", "out of TLS", "file"])
def test_redirect_is_followed_only_within_tls(
    tls_site: Site, site: Site, files: BinaryFiles, cache: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    moved = {"within TLS": f"{tls_site.url}/data.tar.gz", "out of TLS": files.url, "file": certificate.as_uri()}
    tls_site.moved["/old.tar.gz"] = moved[target]
    moved_files = replace(files, url=f"{tls_site.url}/old.tar.gz")
    if target == "within TLS":
        assert moved_files.locate(None, cache=cache) == cache / FOLDER
        return
    with pytest.raises(DataError, match=r"redirected out of TLS, to http://|'file://.*' is not allowed") as caught:
        moved_files.locate(None, cache=cache)
    assert caught.value.exit_code == 66
    assert site.requests == []
    assert contents(cache) == []


def test_everything_that_is_downloaded_comes_over_tls_and_has_a_digest() -> None:
    """Nothing else opens a URL: what it opens is a `BinaryFiles` or torchvision's weights."""
    for files in STAGED.values():
        assert files.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{32}", files.archive_md5)
    for network in get_args(Model.model_fields["name"].annotation):
        assert re.fullmatch(rf"https://\S+/{network}-[0-9a-f]{{8}}\.pth", imagenet_url(network))
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in IMAGENET_SHA256.values())
    opening = re.compile(r"urlopen|build_opener|urlretrieve|download_url|requests\.\w|httpx|http\.client\.HTTPS?C")
    found = [path.name for path in (ROOT / "job").rglob("*.py") if opening.search(path.read_text())]
    assert found == ["download.py"]
    using = [path.name for path in (ROOT / "job").rglob("*.py") if "import receive" in path.read_text()]
    assert sorted(using) == ["files.py", "weights.py"]


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 0 if fields else 4
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def test_members_that_lead_out_of_the_archive_are_not_written(
    site: Site, folder: Path, cache: Path, tmp_path: Path
) -> None:
    absolute = tmp_path / "absolute"
    evil = (member("../evil"), member(f"{FOLDER}/../../evil"), member(str(absolute)), member(f"{FOLDER}/sub/train.bin"))
    found = publish(site, pack(folder, members=evil)).locate(None, cache=cache)
    assert not absolute.exists()
    assert not [path for path in tmp_path.rglob("*") if path.name == "evil"]
    assert contents(found) == sorted(["SHA256SUMS.json", *cifar100.FILES.names])


def test_link_in_place_of_a_file_is_not_followed(site: Site, folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "train.bin").unlink()
    link = member(f"{FOLDER}/train.bin", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret"))
    with pytest.raises(DataError, match=f"not the archive of cifar100: holds no {FOLDER}/train.bin"):
        publish(site, pack(folder, members=(link,))).locate(None, cache=cache)


def test_run_on_a_hostile_archive_ends_with_66_and_writes_nothing_beside_its_folders(
    job: Job, tiny: Callable[..., Path], site: Site, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("test.bin", "train.bin"):
        (folder / name).unlink()
    evil = tuple(
        member(name, type=kind, linkname=str(tmp_path))
        for name in ("../evil", str(tmp_path / "absolute"), f"{FOLDER}/train.bin", f"{FOLDER}/test.bin", FOLDER)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    )
    monkeypatch.setattr(cifar100, "FILES", publish(site, pack(folder, members=evil)))
    manifest = tiny(dataset={"name": "cifar100"})
    before = set(tmp_path.iterdir())
    answer = job("run", "--manifest", manifest, "--output", tmp_path / "out", "--cache", tmp_path / "work")
    assert answer.exit_code == 66
    assert f"not the archive of cifar100: holds no {FOLDER}/train.bin" in answer.stderr
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out", tmp_path / "work"}
    assert contents(tmp_path / "work") == [f"{FOLDER}/fine_label_names.txt"]
    assert {path.name for path in (tmp_path / "out").rglob("*.*")} == {"log.jsonl", "manifest.json", "progress.json"}


def test_leading_dot_in_the_members_names_does_not_matter(site: Site, folder: Path, cache: Path) -> None:
    assert publish(site, pack(folder, prefix="./")).locate(None, cache=cache) == cache / FOLDER


@pytest.mark.parametrize(
    "archive",
    [b"", b"<html>moved</html>", gzip.compress(b"no tar"), gzip.compress(bytes(2048))[:-9], b"\x1f\x8b"],
    ids=["empty", "a page", "no tar inside", "cut off", "only the magic bytes"],  # gzip's bytes hold the time
)
def test_archive_that_cannot_be_unpacked_is_an_error_of_the_data(site: Site, cache: Path, archive: bytes) -> None:
    files = publish(site, archive)
    with pytest.raises(DataError) as caught:
        files.locate(None, cache=cache)
    assert files.url in str(caught.value)
    assert contents(cache) == []


@pytest.fixture
def weights(site: Site) -> str:
    """The URL of a small file of weights, named after its SHA-256 as torchvision's are."""
    buffer = io.BytesIO()
    torch.save({"fc.bias": torch.arange(10.0)}, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    site.pages[f"/models/resnet18-{digest[:8]}.pth"] = buffer.getvalue()
    return f"{site.url}/models/resnet18-{digest[:8]}.pth"


def bias(url: str, cache: Path, data: Path | None = None) -> list[float]:
    loaded = load_weights(Model(), data=str(data) if data else None, cache=cache, url=url)
    assert loaded is not None
    return loaded.state["fc.bias"].tolist()


def test_imagenet_weights_come_from_torchvision_and_carry_their_hash() -> None:
    assert torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url == imagenet_url("resnet18")
    assert imagenet_url("resnet18") == "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def test_weights_are_downloaded_once(site: Site, weights: str, cache: Path) -> None:
    assert bias(weights, cache) == list(range(10))
    assert bias(weights, cache) == list(range(10))
    assert len(site.requests) == 1
    assert contents(cache) == [Path(weights).name]


def test_weights_with_another_hash_are_refused(site: Site, weights: str, cache: Path) -> None:
    path = weights.removeprefix(site.url)
    good = site.pages[path]
    site.pages[path] = good + b"!"
    with pytest.raises(DataError, match="corrupt: sha256") as caught:
        bias(weights, cache)
    assert caught.value.exit_code == 66
    assert weights in str(caught.value)
    assert contents(cache) == []
    site.pages[path] = good
    assert bias(weights, cache) == list(range(10))


def test_weights_that_are_not_there_say_what_else_can_be_done(site: Site, weights: str, cache: Path) -> None:
    site.pages.clear()
    with pytest.raises(DataError, match=r"404.*job stage.*model\.weights") as caught:
        bias(weights, cache)
    assert caught.value.exit_code == 66


def test_weights_that_changed_in_the_cache_are_found(weights: str, cache: Path) -> None:
    bias(weights, cache)
    path = cache / Path(weights).name
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="corrupt: sha256") as caught:
        bias(weights, cache)
    assert str(caught.value).startswith(f"{path}: ")
    path.unlink()
    assert bias(weights, cache) == list(range(10))


def test_weights_that_torchvision_has_downloaded_before_are_used(
    site: Site, weights: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    own = tmp_path / "torch/hub/checkpoints" / Path(weights).name
    own.parent.mkdir(parents=True)
    own.write_bytes(site.pages[weights.removeprefix(site.url)])
    assert bias(weights, cache) == list(range(10))
    assert site.requests == []
    own.write_bytes(b"!")
    with pytest.raises(DataError, match="corrupt: sha256"):
        bias(weights, cache)


def test_torchvision_s_own_file_is_checked_by_its_whole_digest(cache: Path) -> None:
    """Its name's eight digits can be forged in minutes."""
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"!")
    with pytest.raises(DataError, match=IMAGENET_SHA256["resnet18-f37072fd.pth"]):
        load_weights(Model(), data=None, cache=cache)


def test_staged_weights_are_taken_before_any_download(site: Site, weights: str, cache: Path, tmp_path: Path) -> None:
    place = stage_imagenet(FolderStore(tmp_path / "staged"), weights, data=None, cache=tmp_path / "other")
    assert place == str(tmp_path / "staged" / Path(weights).name)
    site.requests.clear()
    assert bias(weights, cache, tmp_path / "staged") == list(range(10))
    assert site.requests == []
    assert contents(cache) == [Path(weights).name]


def test_corrupt_staged_weights_do_not_reach_the_cache(weights: str, cache: Path, tmp_path: Path) -> None:
    staged = Path(stage_imagenet(FolderStore(tmp_path / "staged"), weights, data=None, cache=tmp_path / "other"))
    good = staged.read_bytes()
    staged.write_bytes(b"!" + good[1:])
    with pytest.raises(DataError, match="corrupt: sha256") as caught:
        bias(weights, cache, staged.parent)
    assert str(caught.value).startswith(f"{staged}: ")
    staged.write_bytes(good)
    assert bias(weights, cache, staged.parent) == list(range(10))


def test_data_without_staged_weights_leads_to_the_download(site: Site, weights: str, cache: Path, folder: Path) -> None:
    assert bias(weights, cache, folder) == list(range(10))
    assert len(site.requests) == 1
