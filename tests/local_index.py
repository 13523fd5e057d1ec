"""A package index on this machine, for tests of the installation: made-up wheels, a few hundred bytes each.

Of every package there is also a newer release, which nobody locked: what looks around for packages finds it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import threading
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


@dataclass(frozen=True)
class Release:
    """One release of a package, and what it says of itself."""

    name: str
    version: str
    marker: str = ""
    """Where it is wanted, in the lock."""
    requires: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def newer(self) -> Release:
        """What came out after it was locked."""
        major = self.version.partition(".")[0]
        return replace(self, version=f"{int(major) + 1}.0")


def read_lock(path: Path) -> list[Release]:
    """The releases that a requirements file names; what they require is taken from the packages installed here."""
    releases = []
    for name, version, marker in re.findall(r"^([\w.-]+)==([\w.]+)(?: ; (.*))? \\$", path.read_text(), re.MULTILINE):
        release = Release(name, version, marker)
        try:
            installed = distribution(release.name)
        except PackageNotFoundError:  # of another platform, or of make audit
            releases.append(release)
            continue
        extras = tuple(installed.metadata.get_all("Provides-Extra") or ())
        releases.append(replace(release, requires=tuple(installed.requires or ()), extras=extras))
    return releases


def write_wheel(release: Release, index: Path) -> str:
    """Put its wheel into the index; its SHA-256. The same release has the same bytes each time."""
    stem = f"{release.name.replace('-', '_').replace('.', '_')}-{release.version}"
    files = {
        "METADATA": "\n".join(
            [
                "Metadata-Version: 2.1", f"Name: {release.name}", f"Version: {release.version}",
                *(f"Requires-Dist: {requirement}" for requirement in release.requires),
                *(f"Provides-Extra: {extra}" for extra in release.extras), "",
            ]
        ),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }  # fmt: skip
    record = [f"{stem}.dist-info/{name},sha256={_digest(text)},{len(text)}" for name, text in files.items()]
    files["RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""])
    wheel = index / "simple" / release.name / f"{stem}-py3-none-any.whl"
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/{name}"), text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def write_lock(releases: Iterable[Release], path: Path, *, index: Path) -> None:
    """Lock `releases` in `path`, and put them and their newer releases into the index."""
    lines = []
    for release in releases:
        write_wheel(release.newer, index)
        marker = f" ; {release.marker}" if release.marker else ""
        lines.append(f"{release.name}=={release.version}{marker} \\\n    --hash=sha256:{write_wheel(release, index)}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


class _Quiet(SimpleHTTPRequestHandler):
    """Its listing of a folder is what PEP 503 asks of an index."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_index(folder: Path) -> Iterator[str]:
    """The URL under which pip and uv find what is in `folder`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple/"
        server.shutdown()
