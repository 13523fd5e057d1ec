"""The commands that documents tell people to give: each is run here, or says why not."""

from __future__ import annotations

import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from job.storage import open_store
from job.storage.staged import FOLDERS, SUMS_NAME
from tests.conftest import NARROW_PATH, ROOT, Answer
from tests.documents import PAGES, Command, all_commands, blocks, words_of_job
from tests.records import make_manifest, make_result, store_results

Job = Callable[..., Answer]
FOUND = all_commands()
MORE_EXPERIMENTS = ("tuning", "optimizers")
"""Of which documents speak, beside that of the smoke sweep."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with runs of the smoke sweep, really trained on few images, and two experiments more."""
    output = tmp_path_factory.mktemp("finished")
    fields = ("seeds=[0]", "epochs=1", "dataset.size=16", "dataset.num_train=40", "dataset.num_test=20")
    command = [sys.executable, "-m", "job", "run", "--manifest", str(ROOT / "manifests/sweeps/smoke.json")]
    command += [*(f"--set={field}" for field in fields), "--output", str(output), "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=os.environ | {"PYTHONPATH": NARROW_PATH})
    for path in [*output.glob("*/runs/*/model.*"), *output.glob("*/runs/*/checkpoints/*")]:
        path.unlink()  # half a gigabyte, which no command here reads
    for experiment in MORE_EXPERIMENTS:
        store_results(open_store(str(output)), make_result(make_manifest("adam"), experiment=experiment))
    return output


@pytest.fixture
def checkout(
    finished: Path,
    tmp_path: Path,
    bucket: str,
    blank_report: None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder to follow the documents in: the repository's, and outputs that runs wrote to, here and in S3.

    What a command does not name is not there, for each experiment has a chapter in every report.
    """
    place = tmp_path / "checkout"
    place.mkdir()
    for name in ("manifests", "docs", "tests", "infra", "Makefile", "pyproject.toml", "requirements", "Dockerfile"):
        (place / name).symlink_to(ROOT / name)
    in_s3, wanted = open_store(bucket), request.node.callspec.id
    unnamed = [experiment for experiment in MORE_EXPERIMENTS if experiment not in wanted]
    for output in ("study", "runs"):
        shutil.copytree(finished, place / output, ignore=lambda _folder, _names: unnamed)
        is_in_s3 = wanted in PAGES or ("s3://" in wanted and output in wanted)
        for path in filter(Path.is_file, (place / output).rglob("*") if is_in_s3 else ()):
            in_s3.write(f"{output}/{path.relative_to(place).relative_to(output).as_posix()}", path.read_bytes())
    in_s3.write(
        f"data/{FOLDERS['stl10']}/{SUMS_NAME}", b"{}"
    )  # as `job stage` leaves it, which the documents give first
    for folder in ("photos/train/a", "photos/test/a"):
        (place / folder).mkdir(parents=True)
    (place / "weights").mkdir()
    (place / "weights/resnet18-imagenet.pth").touch()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PYTHONPATH", NARROW_PATH)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # of the make that runs the tests
        monkeypatch.delenv(name, raising=False)
    return place


def _job(command: Command, job: Job) -> None:
    """As it is written."""
    name, *arguments = words_of_job(command) or []
    arguments = [next(Path("study/smoke/runs").iterdir()).name if word == "RUN_ID" else word for word in arguments]
    answer = job(name, *arguments)
    assert answer.exit_code == 0, answer.stderr


def _job_dry(command: Command, job: Job) -> None:
    """What it would send, without sending it."""
    _job(Command(command.document, (*command.words, "--dry-run")), job)


def _job_validated(command: Command, job: Job) -> None:
    """Whether it would begin: its manifest, with the settings that it makes."""
    words = words_of_job(command) or []
    settings = [word for at, word in enumerate(words) if word == "--set" or words[at - 1] == "--set"]
    answer = job("validate", words[words.index("--manifest") + 1], *settings)
    assert answer.exit_code == 0, answer.stderr


def _process(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _make_dry(command: Command, job: Job) -> None:
    """make's own dry run: targets and what they need are there."""
    _process("make", "--dry-run", *command.words[1:])


def _collected(command: Command, job: Job) -> None:
    _process(sys.executable, "-m", "pytest", "--collect-only", "-q", "--rootdir", str(ROOT), *command.words[1:])


def _options_known(command: Command, job: Job) -> None:
    """In this process, which has imported most of what these modules do."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said):
        patched.setattr(sys, "argv", [command.words[2], "--help"])
        patched.delitem(sys.modules, command.words[2], raising=False)  # another test's import of it, which runpy minds
        with pytest.raises(SystemExit) as end:
            runpy.run_module(command.words[2], run_name="__main__")
    assert not end.value.code
    assert {word for word in command.words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", said.getvalue()))


def _as_it_stands(command: Command, job: Job) -> None:
    _process(*command.words)


How = Callable[[Command, Job], None] | str
WAYS: dict[str, How] = {
    r"job report .*--fail-unless .*": "depends on what the runs show; with runs that show it, it is done by "
    "integration/test_report.py::test_script_can_ask_whether_something_is_shown",
    r"job plan .*--prices aws\b.*": "asks AWS; a stub of its price list is asked by "
    "integration/test_prices.py::test_plan_asks_aws_for_the_prices_of_its_region",
    r"job doctor .*--to local .*": _job,
    r"job doctor .*--to batch .*": "looks at a stack in AWS; moto's services are looked at by "
    "integration/test_doctor.py::test_account_that_is_ready_is_ok_in_every_line_and_the_bucket_is_as_it_was",
    r"job doctor .*--to kubernetes .*": "looks at a cluster; a stub of one is looked at by "
    "integration/test_doctor.py::test_cluster_that_is_ready_is_ok_in_every_line",
    r"job doctor .*--to docker .*": "looks at the engine of this machine; a program in its place is asked by "
    "integration/test_doctor.py::test_docker_is_asked_for_its_engine_the_image_and_the_gpu",
    r"job (predict|export) .*RUN_ID.*": "needs a network, which the runs here are without; with one it is done by "
    "integration/test_after_the_answer.py::test_pictures_of_the_test_set_get_the_classes_that_the_run_recorded and "
    "integration/test_after_the_answer.py::test_onnx_computes_the_logits_of_the_network_for_any_number_of_pictures",
    r"job export .*--to (mlflow|wandb-offline) .*": "wants the weights, which the runs here are without; done by "
    "integration/test_trackers.py::test_second_export_changes_nothing_and_adds_what_is_new",
    r"job export .*": _job,
    r"job (plan|validate|schema|status|report|logs|cancel)\b.*": _job,
    r"job race .*--watch": "runs a whole sweep; a smaller one is done by "
    "integration/test_race.py::test_race_whose_controller_is_killed_is_carried_on_by_another_process",
    r"job submit .*--dry-run.*": _job,
    r"job submit .*--to batch .*": "needs a stack in AWS; with moto's it is done by "
    "unit/test_infra.py::test_submit_reads_queue_roles_bucket_image_and_sizes_from_the_stack",
    r"job submit .*--(to (local|kubernetes)|settings)\b.*": _job_dry,
    r"job run .*": _job_validated,  # trains; a smaller one is what `finished` is made by
    r"job stage .*--dataset folder .*": "its photographs are those of whoever reads; with others it is done by "
    "integration/test_stage_own_images.py::test_stage_says_where_the_object_is_and_how_runs_take_it",
    r"job stage .*": "downloads gigabytes; with small files it is done by "
    "integration/test_stage.py::test_stage_says_where_it_put_the_files",
    r"make .*": _make_dry,
    r"pytest .*": _collected,
    r"python -m tests\.(benchmarks\.|simulation|races).*": _options_known,
    r"tar .*|mkdir .*": _as_it_stands,
    r"docker run .*--manifest .*": _job_validated,  # container/test_image.py runs the image itself
    r"docker run .*--entrypoint .*": "needs the image; the command in it is Debian's own",
    r"aws .*": "needs an AWS account; parameters and outputs are held to the template by "
    "unit/test_deploy.py::test_targets_name_parameters_outputs_and_resources_of_the_template",
    r"wandb sync .*": "needs wandb's server; what it would read is read by "
    "integration/test_trackers.py::test_every_epoch_is_there_once_with_step_time_and_value",
    r"(helm|kubectl) .*": "needs a cluster; the page is read by "
    "unit/test_infra.py::test_the_kubernetes_note_holds_what_pods_expect",
    r"pip install .*": "installs; from an index of its own it is done by "
    "integration/test_setup.py::test_every_command_installs_the_lock_although_a_newer_release_is_there",
    r"git clone .*": "downloads; programs in the place of the scripts are run by "
    "integration/test_peers.py::test_second_epoch_of_a_published_script_counts_from_its_first_batch_to_its_last",
    r"git tag .*": "would leave a tag in this repository",
    r"\. \.venv/bin/activate|\.venv/bin/pre-commit install|\.ci/start-docker": "changes this machine or this checkout",
}
"""By the whole command, the first that fits: how it is run here, or why it is not."""


def find_way(command: Command) -> str:
    """The pattern that a command falls under."""
    return next((pattern for pattern in WAYS if re.fullmatch(pattern, str(command))), "")


def test_every_command_is_run_or_says_why_not() -> None:
    assert [text for text, command in FOUND.items() if not find_way(command)] == []
    assert WAYS.keys() - {find_way(command) for command in FOUND.values()} == set(), "no document has such a command"


def test_reasons_name_tests_that_are_there() -> None:
    for how in WAYS.values():
        for file, name in re.findall(r"([\w/]+\.py)::(\w+)", how) if isinstance(how, str) else []:
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(), name


RUN_HERE = list(
    {str(words_of_job(one) or one): one for one in FOUND.values() if callable(WAYS.get(find_way(one)))}.values()
)
"""Once where two differ in the name of a bucket alone."""


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN_HERE, ids=str)
def test_command_does_what_it_is_written_for(command: Command, checkout: Path, job: Job) -> None:
    if command.words[0] == "make" and shutil.which("make") is None:
        pytest.skip("there is no make here")
    how: Any = WAYS[find_way(command)]
    how(command, job)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_that_is_shown_runs(page: str, checkout: Path) -> None:
    for block in blocks(page, "python"):
        names: dict[str, Any] = {}
        exec(block.replace("my-bucket", "bucket"), names)
        assert len(names["runs"].runs) == len(list(Path("study").glob("*/runs/*")))
