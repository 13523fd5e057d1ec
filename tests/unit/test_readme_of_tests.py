"""The table of scenarios names tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.conftest import ROOT

README = (ROOT / "tests/README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\d+\. .*)\n((?:(?!^### ).*\n?)*)", README, re.MULTILINE))


def test_every_test_of_the_scenarios_exists() -> None:
    for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", README):
        assert name in _functions(file), f"{file}::{name}"


@cache
def _functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_scenario_names_its_code_or_state_and_a_test() -> None:
    assert [int(title.partition(".")[0]) for title in SECTIONS] == list(range(1, len(SECTIONS) + 1))
    for title, section in SECTIONS.items():
        table = section.partition("|---|---|---|\n")[2]
        rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
        assert rows, title
        for row in rows:
            assert len(row) == 3, row
            assert re.fullmatch(r"`[\w/]+\.py::test_\w+`(, `[\w/]+\.py::test_\w+`)*", row[2]), row
