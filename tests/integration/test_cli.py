"""The command line as its user meets it: quick, documented, and useful without torch."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from job.cli import app
from tests.conftest import ROOT, Answer

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "torchmetrics", "safetensors"):
    sys.modules[name] = None  # importing it fails, as where the extra is not installed
from job.cli import main
sys.argv[0] = "job"
main()
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    command = [sys.executable, "-m", "job", "--help"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_everything_but_run_works_without_torch(tiny: Callable[..., Path], tmp_path: Path) -> None:
    assert without_torch("validate", tiny()).returncode == 0
    assert json.loads(without_torch("schema").stdout)["title"] == "Manifest"
    (tmp_path / "empty").mkdir()
    assert without_torch("report", tmp_path / "empty").returncode == 0
    staged = without_torch("stage", tmp_path / "staged", "--no-weights", "--data", tmp_path)
    assert staged.returncode == 66  # it looked for the files, and found none
    run = without_torch("run", "--manifest", tiny(), "--output", tmp_path / "out")
    assert run.returncode == 2
    assert "is not installed; it belongs to the extra 'train': run `make install`" in run.stderr


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = re.findall(r"\bjob (run|plan|submit|status|logs|cancel|report|stage|validate|schema)\b", README)
    assert set(named) == set(COMMANDS)


def test_every_option_of_run_is_in_the_readme_with_its_variable() -> None:
    documented = set(re.findall(r"^\| `(--[a-z-]+)[^|]*\| (?:`([A-Z_]+)`)?", README, re.MULTILINE))
    options = set()
    for parameter in COMMANDS["run"].params:
        variables = parameter.envvar if isinstance(parameter.envvar, list) else [parameter.envvar or ""]
        options.add((parameter.opts[0], variables[0]))
        assert all(variable in README for variable in variables)
    assert documented == options


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_readme_names_no_option_that_a_command_does_not_have(name: str) -> None:
    known = {option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
    for line in re.findall(rf"^(?:\s*)(?:JOB_\w+=\S+ )*job {name}\b(.*(?:\\\n.*)*)", README, re.MULTILINE):
        used = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", line.partition("#")[0]))
        assert used <= known, line


def test_every_manifest_named_in_the_readme_is_bundled() -> None:
    for name in re.findall(r"manifests/((?:jobs|sweeps)/\w+\.json)", README):
        assert (ROOT / "manifests" / name).is_file()


def test_version_is_the_package_s(job: Callable[..., Answer]) -> None:
    from job import __version__

    assert job("--version").stdout.strip() == f"job {__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--manifest", "x.json", "--epochs", "3"),
        ("frobnicate",),
        ("run", "-m", "x.json", "--threads", "0"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], job: Callable[..., Answer]) -> None:
    assert job(*arguments).exit_code == 2


def test_experiment_name_cannot_leave_the_output(job: Callable[..., Answer], tiny: Callable[..., Path]) -> None:
    answer = job("run", "--manifest", tiny(), "--experiment", "../up")
    assert answer.exit_code == 2
    assert "../up" in answer.stderr


def test_terminal_shows_a_bar_and_a_summary(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """In a real pseudo-terminal, where rich draws."""
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "job", "run", "--manifest", str(tiny()), "--output", str(tmp_path / "out")]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=secondary, stderr=secondary, env=environment)
    os.close(secondary)
    shown = b""
    while True:
        try:
            shown += os.read(primary, 65536)
        except OSError:  # the other end is closed
            break
    os.close(primary)
    assert process.wait() == 0
    text = shown.decode(errors="replace")
    assert "epoch 2/2" in text
    assert "test top-1" in text
    assert "artefacts" in text
    assert "epoch_finished" not in text
