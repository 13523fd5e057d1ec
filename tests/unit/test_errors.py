"""The exit codes that the schedulers act on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from job import cli, errors
from job.errors import JobError
from tests.conftest import Answer

EXIT_CODES = {
    "JobError": 1,
    "UsageError": 2,
    "UnusablePlace": 2,
    "ManifestError": 65,
    "DataError": 66,
    "AccessDeniedError": 67,
    "ConflictError": 68,
    "OutOfMemoryError": 69,
    "IncompleteError": 3,
    "HostError": 71,
    "StorageError": 74,
    "ObjectMissing": 74,
    "ObjectExists": 74,
    "Interruption": 1,
    "TimeBudgetUsed": 75,
    "Terminated": 143,
}
PARENTS = {
    "UnusablePlace": "UsageError",
    "ObjectMissing": "StorageError",
    "ObjectExists": "StorageError",
    "TimeBudgetUsed": "Interruption",
    "Terminated": "Interruption",
}
"""All others stand directly below JobError."""


def tree(root: type[JobError] = JobError) -> dict[str, type[JobError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= tree(child)
    return found


def test_every_failure_has_the_exit_code_of_the_design() -> None:
    assert {name: failure.exit_code for name, failure in tree().items()} == EXIT_CODES


def test_tree_holds_every_exception_of_the_module() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == tree().keys()


@pytest.mark.parametrize("name", [name for name in EXIT_CODES if name != "JobError"])
def test_failure_stands_where_the_drawing_has_it(name: str) -> None:
    assert tree()[name].__bases__ == (tree()[PARENTS.get(name, "JobError")],)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_drawing_in_the_docstring_lists_the_failure_with_its_code(name: str) -> None:
    drawing = [line for line in errors.__doc__.splitlines() if re.search(rf"(^\s+|── |\(|, ){name}\b", line)]
    assert len(drawing) == 1
    if name not in ("Interruption", "ObjectMissing", "ObjectExists"):  # never what a run ends with
        assert re.search(rf"{name} +{EXIT_CODES[name]}\b", drawing[0])


@pytest.mark.parametrize(("name", "code"), EXIT_CODES.items())
def test_command_ends_with_the_code_of_the_failure_and_its_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    def fail() -> None:
        raise tree()[name]("what was wrong\nand what else")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert capsys.readouterr().err == "error: what was wrong\nerror: and what else\n"


def test_wrong_usage_of_the_command_line_ends_with_2(job: Callable[..., Answer], tmp_path: Path) -> None:
    assert job("run", "--no-such-option").exit_code == 2
    assert job("no-such-command").exit_code == 2


def test_faults_of_a_manifest_stay_apart_and_are_one_message() -> None:
    error = errors.ManifestError("a.json: one", "a.json: two")
    assert error.faults == ("a.json: one", "a.json: two")
    assert str(error) == "a.json: one\na.json: two"
