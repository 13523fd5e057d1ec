"""What installs this project's locks: every `pip install` that is written down, the Pythons here and their pips."""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHONS = ("3.11", "3.12", "3.13")
OLDEST_PIP = {"3.11": "22.3", "3.12": "23.2.1", "3.13": "24.2"}
"""What the first release of each Python brought (`ensurepip._PIP_VERSION` of 3.11.0, 3.12.0 and 3.13.0)."""
NEWEST_PIP = "26.3"
"""When this was written. Named, for a test must not depend on the day."""
PIP_SHA256 = {
    "22.3": "1daab4b8d3b97d1d763caeb01a4640a2250a0ea899e257b1e44b9eded91e15ab",
    "23.2.1": "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be",
    "24.2": "2cd581cf58ab7fcfca4ce8efa6dcacd0de5bf8d0a3eb9ec927e07405f4d9e2a2",
    "26.3": "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13",
}
WRITTEN_IN = (
    "Dockerfile", "Makefile", "*.md", ".pre-commit-config.yaml", ".ci/*", "docs/**/*.md", "infra/*", "job/**/*.py",
    "manifests/**/*", "pyproject.toml", "tests/README.md",
)  # fmt: skip
"""Where someone may be told to install something."""


def expand_makefile() -> str:
    """All that the Makefile would do, with its variables filled in. It does nothing."""
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(?=.*##)", text, re.MULTILINE)
    command = ["make", "--dry-run", "--always-make", f"PYTHON={sys.executable}", *targets]
    return subprocess.run(command, cwd=ROOT, env=_environment(), check=True, capture_output=True, text=True).stdout


def find_installs(text: str) -> list[str]:
    """Every `pip install` in a script, a Dockerfile, a page or a message, as one line each."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [" ".join(found.split()) for found in re.findall(r"[\w./$()-]*(?: -m)? ?\bpip3? install [^`&|;\n]*", joined)]


def written_installs() -> list[tuple[str, str]]:
    """Each `pip install` of this project, with the file that it stands in."""
    files = {path for pattern in WRITTEN_IN for path in ROOT.glob(pattern) if path.is_file()}
    texts = {str(path.relative_to(ROOT)): path.read_text(errors="replace") for path in files}
    texts["Makefile"] = expand_makefile()
    return [(name, install) for name in sorted(texts) for install in find_installs(texts[name])]


def installs_a_lock(install: str) -> bool:
    return re.search(r" (-r|--requirement)\b", install) is not None


def find_python(version: str) -> str:
    """The program of this Python version; skips where there is none that runs."""
    name = f"python{version}"
    for folder in os.get_exec_path():
        program = shutil.which(name, path=folder)
        if program and subprocess.run([program, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return program
    pytest.skip(f"there is no {name} on PATH that runs and can make a virtual environment")


def bring_pip(python: str, pip: str, folder: Path) -> str:
    """A program that is `python`, but whose virtual environments have this pip: a version, or `own` for Python's.

    Skips where pip is not here and cannot be downloaded.
    """
    program = folder / "python"
    program.write_text(
        f"""#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
{python} "$@" --without-pip || exit
for place; do :; done
cp -a {_unpack(python, pip)}/. "$place"/lib/python*/site-packages/
"""
    )
    program.chmod(0o755)
    return str(program)


@functools.cache
def _unpack(python: str, pip: str) -> Path:
    """A folder with this pip, compiled: else every environment of every test would compile it anew."""
    wheel = _own_pip(python) if pip == "own" else _download_pip(pip)
    folder = _shared() / f"{Path(python).name}-{pip}"
    subprocess.run([python, "-m", "zipfile", "--extract", wheel, folder], check=True)
    subprocess.run([python, "-m", "compileall", "-q", folder], check=False, env=_environment())
    return folder


@functools.cache
def _shared() -> Path:
    """A folder for all tests of this process, until its end."""
    folder = tempfile.mkdtemp(prefix="pips-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def _own_pip(python: str) -> Path:
    code = "import ensurepip, sysconfig; print(ensurepip.__path__[0], sysconfig.get_config_var('WHEEL_PKG_DIR') or '')"
    where = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return next(wheel for folder in where for wheel in Path(folder).rglob("pip-*.whl"))


@functools.cache
def _download_pip(version: str) -> Path:
    """The wheel of this pip, from where this machine gets its packages; skips where that cannot be."""
    folder = _shared()
    lock = folder / f"{version}.txt"
    lock.write_text(f"pip=={version} --hash=sha256:{PIP_SHA256[version]}\n")
    download = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--retries", "1"]
    command = [sys.executable, *download, "--timeout", "10", "--dest", str(folder), "-r", str(lock)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" not in done.stderr
        pytest.skip(f"pip {version} cannot be downloaded here: {done.stderr.strip().splitlines()[-1]}")
    return folder / f"pip-{version}-py3-none-any.whl"


def _environment() -> dict[str, str]:
    """Of a user who has set nothing: no pip, uv, make or coverage of the test's own."""
    ours = ("PIP_", "UV_", "PYTHON", "COV", "MAKE", "MFLAGS", "VIRTUAL_ENV", "IMAGE", "DOCKER", "BASE_IMAGE", "UPGRADE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def environment_with_index(url: str, folder: Path) -> dict[str, str]:
    """Of a user whose only index is the one at `url`."""
    return _environment() | {
        "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1", "UV_DEFAULT_INDEX": url,
        "UV_CACHE_DIR": str(folder / "uv"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
