"""The set-up does not depend on the day: what is locked is installed as it stands, whatever has come out since.

The installations are real, by the Makefile and by every other command that is written down, from an index on this
machine. It has the locked releases and a newer one of each.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.install import (
    NEWEST_PIP,
    OLDEST_PIP,
    PYTHONS,
    bring_pip,
    environment_with_index,
    find_installs,
    find_python,
    installs_a_lock,
    written_installs,
)
from tests.local_index import Release, read_lock, serve_index, write_lock

pytestmark = pytest.mark.real_network  # what is installed is to be found without PYTHONPATH

LOCKS = {path.stem: path for path in (ROOT / "requirements").glob("*.txt")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLS = written_installs()
LOCK_FLAGS = {"--no-deps", "--require-hashes", "--only-binary :all:"}
CASES = [(version, pip) for version in PYTHONS for pip in ("oldest", "newest")]
"""Pythons, and which pip their virtual environments have."""

TRAP = (
    Release("asks", "1.0", requires=("has-extra[more]>=1",)),
    Release("has-extra", "1.0", requires=('more-of-it>=1; extra == "more"',), extras=("more",)),
    Release("more-of-it", "1.0"),
)
"""As pytest-cov asked for coverage[toml] and the lock had coverage alone: pip up to 23.2 looks for the extra anew."""

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "job"
version = "0"
dependencies = {dependencies}
[project.optional-dependencies]
train = []
report = []
kubernetes = []
optimizers = []
onnx = []
tensorboard = []
mlflow = []
wandb = []
dev = []
"""
BACKEND = """
import sys
from pathlib import Path
import tomllib
import zipfile
sys.path.insert(0, {root!r})
from tests.local_index import Release, write_wheel
def build_editable(folder, config_settings=None, metadata_directory=None):
    requires = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    write_wheel(Release("job", "0", requires=tuple(requires)), Path("build"))
    return Path("build/simple/job/job-0-py3-none-any.whl").rename(Path(folder, "job-0-py3-none-any.whl")).name
"""


class Checkout:
    """A project with this one's Makefile, made-up locks, and one index for all that is installed."""

    def __init__(self, folder: Path, index: Path, url: str) -> None:
        self.folder, self.index = folder, index
        self.environment = environment_with_index(url, folder)
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "backend.py").write_text(BACKEND.format(root=str(ROOT)))
        self.ask_for([])
        for name in LOCKS:
            self.lock(TRAP, name)

    def ask_for(self, dependencies: list[str]) -> None:
        """In pyproject.toml."""
        (self.folder / "pyproject.toml").write_text(PYPROJECT.format(dependencies=json.dumps(dependencies)))

    def lock(self, releases: tuple[Release, ...] | list[Release], name: str = "dev") -> None:
        write_lock(releases, self.folder / "requirements" / f"{name}.txt", index=self.index)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True
        )

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *arguments)

    def packages(self, environment: str) -> Path:
        (folder,) = (self.folder / environment).glob("lib/python*/site-packages")
        return folder

    def forget(self, environment: str) -> None:
        """Take out of an environment what was installed: a made-up package is nothing but its metadata."""
        for name in self.installed(environment):
            (metadata,) = self.packages(environment).glob(f"{name.replace('-', '_')}-*.dist-info")
            shutil.rmtree(metadata)

    def installed(self, environment: str = ".venv") -> dict[str, str]:
        """Versions by name, without pip and this project."""
        packages = distributions(path=[str(self.packages(environment))])
        found = {one.name.lower().replace("_", "-"): one.version for one in packages}
        return {name: version for name, version in found.items() if name not in ("pip", "job")}

    def locked(self, name: str = "dev") -> dict[str, str]:
        """Versions by name, in a lock."""
        return dict(
            re.findall(r"^([\w.-]+)==([\w.]+)", (self.folder / f"requirements/{name}.txt").read_text(), re.MULTILINE)
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    for name in ("project", "index"):
        (tmp_path / name).mkdir()
    with serve_index(tmp_path / "index") as url:
        yield Checkout(tmp_path / "project", tmp_path / "index", url)


def bring(version: str, pip: str, folder: Path) -> str:
    pip = {"oldest": OLDEST_PIP[version], "newest": NEWEST_PIP}.get(pip, pip)
    folder.mkdir()
    return bring_pip(find_python(version), pip, folder)


def in_environment(install: str, environment: str) -> list[str]:
    """The command for made-up locks, in a virtual environment of the test's."""
    arguments = re.sub(r"^\S*(python -m pip|pip) install", "", install).replace("/build/", "requirements/")
    return [f"{environment}/bin/python", "-m", "pip", "install", *arguments.split()]


def pip_installs_of_locks() -> list[str]:
    return sorted({install for _, install in INSTALLS if installs_a_lock(install) and "/uv " not in install})


def test_every_place_that_installs_is_found() -> None:
    places = {
        (name, lock) for name, install in INSTALLS for lock in re.findall(r" (?:-r|--requirement) (\S+)", install)
    }
    assert places >= {
        ("Makefile", "requirements/dev.txt"),
        ("Makefile", "requirements/audit.txt"),
        ("Dockerfile", "/build/train.txt"),
        ("Dockerfile", "/build/build.txt"),
        ("CONTRIBUTING.md", "requirements/report.txt"),
        ("CONTRIBUTING.md", "requirements/build.txt"),
    }


@pytest.mark.parametrize(("place", "install"), INSTALLS)
def test_whatever_is_installed_is_locked_and_not_resolved(place: str, install: str) -> None:
    if installs_a_lock(install):
        assert [flag for flag in sorted(LOCK_FLAGS) if flag not in install] == [], f"{place}: {install}"
    else:  # this project itself: what it requires and what builds it come from the locks
        assert install.split()[-1] == ".", f"{place}: {install}"
        assert "--no-deps" in install, f"{place}: {install}"
        assert "--no-build-isolation" in install, f"{place}: {install}"


@pytest.mark.parametrize(("version", "pip"), CASES)
def test_every_command_installs_the_lock_although_a_newer_release_is_there(
    version: str, pip: str, checkout: Checkout, tmp_path: Path
) -> None:
    python = bring(version, pip, tmp_path / "python")
    assert checkout.run(python, "-m", "venv", "here").returncode == 0
    for install in pip_installs_of_locks():
        done = checkout.run(*in_environment(install, "here"))
        assert (done.returncode, done.stderr) == (0, ""), install
        assert checkout.installed("here") == checkout.locked(), install
        checkout.forget("here")


def test_a_command_that_lets_the_resolver_in_fails(checkout: Checkout, tmp_path: Path) -> None:
    """Otherwise the test above would hold nothing."""
    python = bring("3.11", "oldest", tmp_path / "python")
    assert checkout.run(python, "-m", "venv", "here").returncode == 0
    for install in pip_installs_of_locks():
        done = checkout.run(*in_environment(install.replace("--no-deps ", ""), "here"))
        assert done.returncode == 1, install
        assert "In --require-hashes mode, all requirements must have their versions pinned" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("version", "pip"), [("3.11", "oldest"), ("3.12", "oldest"), ("3.13", "newest")])
def test_make_install_installs_all_that_is_locked_and_it_is_whole(
    version: str, pip: str, checkout: Checkout, tmp_path: Path
) -> None:
    """Made-up wheels, but with the names, versions, markers and requirements of requirements/dev.txt; and the trap."""
    locked = [*read_lock(LOCKS["dev"]), *TRAP]
    checkout.lock(locked)
    checkout.ask_for(PROJECT["dependencies"])
    python = bring(version, pip, tmp_path / "python")
    done = checkout.make("install", f"PYTHON={python}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No broken requirements found" in done.stdout
    where = {"python_version": version, "python_full_version": f"{version}.0"}
    wanted = {one.name: one.version for one in locked if not one.marker or Marker(one.marker).evaluate(where)}
    assert checkout.installed() == wanted


def test_make_audit_installs_its_lock(checkout: Checkout, tmp_path: Path) -> None:
    python = bring("3.11", "own", tmp_path / "python")
    done = checkout.make("audit", f"PYTHON={python}")
    assert "checkov" in done.stderr  # which is not among the made-up packages: it came as far as this
    assert checkout.installed(".venv-audit") == checkout.locked("audit")


@pytest.fixture
def python(tmp_path: Path) -> str:
    return bring(f"{sys.version_info.major}.{sys.version_info.minor}", "own", tmp_path / "python")


def test_what_is_installed_is_not_installed_again(checkout: Checkout, python: str) -> None:
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    assert "Nothing to be done" in checkout.make("install", f"PYTHON={python}").stdout
    assert "Nothing to be done" in checkout.make("install").stdout


def test_installation_that_ended_halfway_begins_anew(checkout: Checkout, python: str) -> None:
    lock = checkout.folder / "requirements/dev.txt"
    good = lock.read_text()
    lock.write_text(re.sub(r"(more-of-it.*\n.*sha256:)\w{64}", r"\g<1>" + "0" * 64, good))
    failed = checkout.make("install", f"PYTHON={python}")
    assert failed.returncode != 0
    assert "DO NOT MATCH THE HASHES" in failed.stderr
    lock.write_text(good)
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    assert checkout.installed() == checkout.locked()


def test_what_is_no_longer_locked_goes(checkout: Checkout, python: str) -> None:
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    checkout.lock(TRAP[1:])
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    assert "asks" not in checkout.installed()


def test_changed_pyproject_does_not_install_the_lock_again(checkout: Checkout, python: str) -> None:
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    checkout.ask_for(["asks>=1"])
    done = checkout.make("install", f"PYTHON={python}")
    assert done.returncode == 0
    assert "--editable" in done.stdout
    assert "dev.txt" not in done.stdout


def test_requirement_that_is_not_locked_is_answered_with_make_lock(checkout: Checkout, python: str) -> None:
    checkout.ask_for(["asks>=1", "nowhere-else>=1"])
    done = checkout.make("install", f"PYTHON={python}")
    assert done.returncode != 0
    assert "job 0 requires nowhere-else, which is not installed" in done.stdout
    assert "make lock" in done.stderr
    assert checkout.make("install", f"PYTHON={python}").returncode != 0


def test_other_python_begins_anew_and_is_kept(checkout: Checkout, python: str) -> None:
    other = find_python("3.13" if sys.version_info < (3, 13) else "3.12")
    assert checkout.make("install", f"PYTHON={python}").returncode == 0
    assert checkout.make("install", f"PYTHON={other}").returncode == 0
    assert checkout.installed() == checkout.locked()
    assert "Nothing to be done" in checkout.make("install").stdout
    assert len(list((checkout.folder / ".venv/lib").iterdir())) == 1


def test_python_that_is_too_old_is_refused_with_what_to_do(checkout: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    pretends = "import sys\nsys.version_info = (3, 10, 13)\nexec(sys.argv[sys.argv.index('-c') + 1])\n"
    old.write_text(f"#!{sys.executable}\n{pretends}")
    old.chmod(0o755)
    done = checkout.make("install", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"{old} is Python 3.10; job needs 3.11 or later: make install PYTHON=python3.12" in done.stderr
    assert not (checkout.folder / ".venv").exists()


@pytest.fixture
def lock(checkout: Checkout) -> Checkout:
    """A checkout with an environment that has uv, in which everything asks for `asks`."""
    for name in ("hatchling", "checkov"):
        checkout.lock([*TRAP, Release(name, "1.0")], {"hatchling": "build", "checkov": "audit"}[name])
    checkout.ask_for(["asks>=1"])
    program = shutil.which("uv", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("uv is not installed beside this Python")
    binaries = checkout.folder / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "uv").symlink_to(program)
    (checkout.folder / f".venv/.locked-{sys.version_info.major}.{sys.version_info.minor}").touch()
    return checkout


def test_make_lock_keeps_what_is_locked_although_newer_releases_are_there(lock: Checkout) -> None:
    lock.ask_for(["asks>=1", "hatchling>=1"])
    done = lock.make("lock", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    assert lock.locked() == {"asks": "1.0", "has-extra": "1.0", "more-of-it": "1.0", "hatchling": "2.0"}
    assert lock.locked("build") == {"hatchling": "2.0"}  # as in dev.txt, though 1.0 was locked here and would do
    assert lock.locked("audit") == {"checkov": "1.0"}


def test_make_upgrade_takes_the_newest(lock: Checkout) -> None:
    done = lock.make("upgrade", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    assert lock.locked() == {"asks": "2.0", "has-extra": "2.0", "more-of-it": "2.0"}
    assert lock.locked("audit") == {"checkov": "2.0"}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_every_line_of_a_lock_is_a_version_with_hashes_and_names_no_registry(name: str) -> None:
    text = LOCKS[name].read_text()
    assert not re.search(r"https?:|index-url|find-links", text)
    entries = re.findall(r"^[^ #\n].*(?:\n    .*)*", text, re.MULTILINE)
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[\w.]+( ; [^\n]+?)? \\\n", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize("name", ["report", "build", "train"])
def test_what_is_shipped_is_what_is_tested(name: str) -> None:
    tested = {(one.name, one.version, one.marker) for one in read_lock(LOCKS["dev"])}
    assert {(one.name, one.version) for one in read_lock(LOCKS[name])} <= {tested_one[:2] for tested_one in tested}


@pytest.mark.parametrize(
    ("name", "extras"),
    [("report", ["report"]), ("train", ["train"]), ("dev", sorted(PROJECT["optional-dependencies"]))],
)
def test_locks_hold_what_pyproject_asks_for(name: str, extras: list[str]) -> None:
    """`pip check` sees no extras."""
    versions: dict[str, list[str]] = {}
    for one in read_lock(LOCKS[name]):
        versions.setdefault(one.name, []).append(one.version)
    asked = PROJECT["dependencies"] + [asked for extra in extras for asked in PROJECT["optional-dependencies"][extra]]
    for requirement in map(Requirement, asked):
        found = versions.get(requirement.name, [])
        assert found, f"{requirement.name} is not in {name}.txt: make lock"
        assert all(requirement.specifier.contains(version) for version in found), f"{requirement}: make lock"


def test_wheel_tells_type_checkers_that_it_is_typed(tmp_path: Path) -> None:
    """https://peps.python.org/pep-0561/#packaging-type-information"""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "job/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_image_installs_nothing_that_only_the_report_needs() -> None:
    """jinja2 comes with torch."""
    report = {Requirement(asked).name for asked in PROJECT["optional-dependencies"]["report"]} - {"jinja2"}
    assert report == {"pandas", "pyarrow", "scipy"}
    assert not report & {release.name for release in read_lock(LOCKS["train"])}


def test_installs_are_found_wherever_they_stand() -> None:
    text = "RUN a \\\n && /x/bin/pip install -q \\\n   --requirement /build/a.txt \\\n && b\n`pip install 'job[train]'`"
    assert find_installs(text) == [
        "/x/bin/pip install -q --requirement /build/a.txt",
        "pip install 'job[train]'",
    ]
