"""The table in docs/optimizers.md, from what each optimizer says of itself. `make docs` writes it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from job.manifest import library
from job.manifest.attributes import OptimizerModel
from job.manifest.optimizers import NOT_TO_BE_HAD, OPTIMIZERS
from job.report.analysis.reasons.predictions import Start, predict_first_step
from tests.conftest import ROOT
from tests.records import make_manifest

PAGE = ROOT / "docs/optimizers.md"
MARK = "<!-- From here on `make docs` writes this file, from the models in job/manifest. -->\n"
ENGINE = {"muon": "muon.py", "adamwschedulefree": "schedule_free.py averaging.py", "prodigy": "prodigy.py"}
"""The files of those that neither torch's nor timm's class alone carries out."""


def renew(page: str) -> str:
    """`page` with everything below the mark made anew; what people wrote above it stays."""
    written, mark, _ = page.partition(MARK)
    assert mark, f"{PAGE} has lost the line {MARK}"
    return written + MARK + "\n" + "\n".join(_render())


def _render() -> Iterator[str]:
    yield from ("## All of them", "")
    yield "| `name` | class | whose | first step | step in a CUDA graph | lines in files |"
    yield "|---|---|---|---|---|---|"
    for name, kind in OPTIMIZERS.items():
        yield "| " + " | ".join(_cells(name, kind)) + " |"
    yield from ("", "## What is not to be had", "", "| optimizer | why |", "|---|---|")
    for name, reason in NOT_TO_BE_HAD.items():
        yield f"| `{name}` | {reason} |"
    yield ""


def _cells(name: str, kind: type[OptimizerModel]) -> Iterator[str]:
    yield f"[`{name}`](manifest.md#optimizer-{name})"
    yield kind.__name__
    yield {"torch": "torch", "timm": "timm", "job": "this program"}[kind.library]
    predicted = predict_first_step(make_manifest(name), start=Start(0.01, 0.1), num_steps=10) is not None
    yield "predicted" if predicted else "not predicted"
    yield "yes" if kind.is_capturable else "no: launched kernel by kernel"
    yield _count_lines(name, kind)


def _count_lines(name: str, kind: type[OptimizerModel]) -> str:
    """Of data or code that this optimizer alone needs to be trained, and in how many files."""
    if kind.library == "timm":
        return f"{_count_data(name)} of data in 2"
    num_lines, engine = len(inspect.getsource(kind).splitlines()), ENGINE.get(name, "").split()
    for file in engine:
        num_lines += len((ROOT / "job/training/engine" / file).read_text(encoding="utf-8").splitlines())
    return f"{num_lines} in {1 + len(engine)}"


def _count_data(name: str) -> int:
    """Its entry, its arguments of its own, and its line in the frozen file."""
    num_lines = 1
    for node in ast.walk(ast.parse(inspect.getsource(library))):
        is_entry = isinstance(node, ast.Call) and ast.unparse(node).startswith(f"Entry('{name}'")
        if is_entry and isinstance(node, ast.expr):
            num_lines += _height(node)
        if isinstance(node, ast.Dict):
            own = [value for key, value in zip(node.keys, node.values, strict=True)
                   if isinstance(key, ast.Constant) and str(key.value).startswith(f"{name}.")]  # fmt: skip
            num_lines += sum(map(_height, own))
    return num_lines


def _height(node: ast.expr) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
