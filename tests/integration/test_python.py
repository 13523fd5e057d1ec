"""What `import job` offers: it costs nothing before it is used, and does what the commands do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from job import api
from job.errors import ManifestError, UsageError
from job.manifest import Manifest
from tests.conftest import NARROW_PATH, ROOT, TINY, Answer

Job = Callable[..., Answer]
SMOKE = ROOT / "manifests/sweeps/smoke.json"


def run_python(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": NARROW_PATH}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_of_the_package_imports_nothing_of_it() -> None:
    program = """
import sys
before = set(sys.modules)
import job
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] != "importlib"))
"""
    assert run_python(program) == "['job']\n"


def test_plan_and_submit_can_be_called_before_and_after_their_modules_are_imported() -> None:
    program = f"""
import job
first = job.plan({str(SMOKE)!r})
import job.plan, job.submit.options
from job.plan import build_plan
assert job.plan({str(SMOKE)!r}) == first
assert job.submit.options.Options
sent = job.submit({str(SMOKE)!r}, to="local", output="/nowhere/study", dry_run=True)
assert sum(len(container) for container in sent.containers) == len(first.runs)
assert {{"plan", "submit", "load_runs", "load_model"}} <= set(dir(job))
assert not hasattr(job, "no_such_thing")
import sys
assert not {{"torch", "pandas"}} & sys.modules.keys()
print(len(first.runs))
"""
    assert int(run_python(program)) == 6


def test_plan_is_what_the_command_prints_from_a_file_a_dict_or_a_manifest(job: Job) -> None:
    printed = json.loads(job("plan", "--manifest", SMOKE, "--json").stdout)
    assert api.plan(SMOKE).model_dump(mode="json") == printed
    assert api.plan(json.loads(SMOKE.read_text())).model_dump(mode="json") == printed
    assert len(api.plan(str(SMOKE), overrides=["seeds=[0]"]).runs) == 3
    assert api.plan(Manifest.model_validate(TINY)).run_ids == api.plan(TINY).run_ids


def test_dry_run_gives_the_request_that_the_command_prints(tmp_path: Path, job: Job) -> None:
    printed = job(
        "submit", "--manifest", SMOKE, "--to", "local", "--output", tmp_path, "--dry-run", "--jobs", "2"
    ).stdout
    sent = api.submit(SMOKE, to="local", output=tmp_path, dry_run=True, jobs=2)
    assert sent.request == printed
    assert sent.ended == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "nowhere"}, "to=nowhere: "),
        ({"to": "local", "jobs": 0}, "jobs is 0"),
        ({"to": "local", "no_such": 1}, "no_such"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        api.submit(TINY, **options)


def test_faults_of_a_manifest_are_all_named() -> None:
    with pytest.raises(ManifestError) as raised:
        api.plan(TINY | {"epochs": 0, "batch_size": 1})
    assert len(raised.value.faults) == 2
    with pytest.raises(ManifestError, match="must hold what JSON can hold"):
        api.plan(TINY | {"epochs": object()})


def test_submit_trains_and_says_how_containers_ended(tmp_path: Path, forked_children: None) -> None:
    sent = api.submit(TINY, to="local", output=tmp_path / "out", jobs=1)
    assert [(one.index, one.exit_code) for one in sent.ended] == [(0, 0)]
    again = api.submit(TINY, to="local", output=tmp_path / "out")
    assert (again.containers, again.num_done) == ([], 1)
    runs = api.load_runs(tmp_path / "out").runs
    assert list(runs["run_id"]) == sent.containers[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own packages
def test_tour_goes_from_a_sweep_to_the_answer_of_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", NARROW_PATH)
    notebook = nbformat.read(ROOT / "docs/tour.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources=resources).execute()
    results = list(tmp_path.glob("tour/tour/runs/*/result.json"))
    assert len(results) == 4
    said = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in said if output.output_type == "error"]
    assert "(0, 0), (1, 0), (2, 0), (3, 0)" in str(said).replace("\\n ", "")
