"""The command line as its user meets it: quick, documented, and useful without torch."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import pytest

from job import cli
from job.storage import open_store
from tests.conftest import ROOT, TINY, Answer
from tests.pace import slowness
from tests.processes import read_from, start_job, wait_for_end
from tests.records import make_manifest, make_result, store_results

COMMANDS = {name: cli.load_command(name) for name in cli.COMMANDS}
TRAIN, REPORT = ("torch", "torchvision", "torchmetrics", "safetensors"), ("pandas", "pyarrow", "scipy")
"""What only these extras bring; jinja2 comes with torch as well."""
Job = Callable[..., Answer]
Tiny = Callable[..., Path]
Without = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def without(tmp_path: Path) -> Without:
    """`job` in a process where some packages are not installed: its folder of packages has links to all the others."""

    def run(packages: Collection[str], *arguments: object) -> subprocess.CompletedProcess[str]:
        site = tmp_path / f"without {' '.join(packages)}"
        if not site.exists():
            site.mkdir()
            for path in Path(sysconfig.get_path("purelib")).iterdir():
                if re.split(r"[-.]", path.name.lower())[0] not in packages:
                    (site / path.name).symlink_to(path)
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
        command = [sys.executable, "-S", "-m", "job", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)

    return run


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    command = [sys.executable, "-m", "job", "--help"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5 * slowness()


def test_help_says_of_each_command_what_its_own_help_begins_with() -> None:
    """`job --help` imports no command, so it has these sentences from a table."""
    for name, (_, summary) in cli.COMMANDS.items():
        paragraph = " ".join(COMMANDS[name].help.partition("\n\n")[0].split())
        assert summary == re.split(r"(?<=\.)\s", paragraph)[0], name


def test_everything_but_run_works_without_torch(tiny: Tiny, tmp_path: Path, without: Without) -> None:
    assert without(TRAIN, "validate", tiny()).returncode == 0
    assert json.loads(without(TRAIN, "schema").stdout)["title"] == "Manifest"
    store_results(open_store(str(tmp_path / "study")), make_result(make_manifest("adam")))
    assert without(TRAIN, "report", tmp_path / "study").returncode == 0
    staged = without(TRAIN, "stage", tmp_path / "staged", "--no-weights", "--data", tmp_path)
    assert staged.returncode == 66  # it looked for the files, and found none
    run = without(TRAIN, "run", "--manifest", tiny(), "--output", tmp_path / "out")
    assert run.returncode == 2
    assert "is not installed; it belongs to the extra 'train': run `make install`" in run.stderr


def test_everything_but_report_works_without_its_extra(tiny: Tiny, tmp_path: Path, without: Without) -> None:
    """As in the image, which trains."""
    run = without(REPORT, "run", "--manifest", tiny(), "--output", tmp_path / "out", "--threads", "1")
    assert run.returncode == 0, run.stderr
    submit = ("submit", "--manifest", tiny(), "--to", "local", "--output", tmp_path / "out", "--dry-run")
    assert without(REPORT, *submit).returncode == 0


@pytest.mark.parametrize("package", ["jinja2", *REPORT])
def test_report_without_its_extra_says_what_to_install_before_it_writes(
    package: str, tmp_path: Path, without: Without
) -> None:
    store_results(open_store(str(tmp_path / "study")), make_result(make_manifest("adam")))
    report = without([package], "report", tmp_path / "study")
    assert report.returncode == 2
    assert f"{package} is not installed; it belongs to the extra 'report': run `make install`" in report.stderr
    assert "the container image has the extra 'train' alone" in report.stderr
    assert "Traceback" not in report.stderr
    assert not (tmp_path / "study/report").exists()


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


# Places

RUN, SUBMIT = ("run", "-m", "MANIFEST"), ("submit", "-m", "MANIFEST", "--to", "local")
PLACES: dict[tuple[str, str], tuple[str, ...]] = {
    ("run", "output"): (*RUN, "--output"),
    ("run", "data"): (*RUN, "--data"),
    ("run", "cache"): (*RUN, "--cache"),
    ("run", "manifest"): ("run", "--manifest"),
    ("plan", "manifest"): ("plan", "--manifest"),
    ("plan", "prices"): ("plan", "-m", "MANIFEST", "--prices"),
    ("plan", "output"): ("plan", "-m", "MANIFEST", "--output"),
    ("doctor", "manifest"): ("doctor", "--to", "local", "--manifest"),
    ("doctor", "output"): ("doctor", "--to", "local", "--output"),
    ("doctor", "data"): ("doctor", "--to", "local", "--data"),
    ("submit", "manifest"): ("submit", "--to", "local", "--manifest"),
    ("submit", "output"): (*SUBMIT, "--output"),
    ("submit", "data"): (*SUBMIT, "--data"),
    ("race", "manifest"): ("race", "--to", "local", "--manifest"),
    ("race", "output"): ("race", "--to", "local", "-m", "MANIFEST", "--output"),
    ("race", "data"): ("race", "--to", "local", "-m", "MANIFEST", "--output", "out", "--data"),
    ("predict", "run"): ("predict", "OUTPUT", "x.png"),
    ("predict", "images"): ("predict", "run"),
    ("export", "place"): ("export", "OUTPUT", "--to", "csv"),
    ("export", "into"): ("export", "study", "--to", "csv", "--into"),
    ("status", "output"): ("status",),
    ("logs", "output"): ("logs", "OUTPUT", "run"),
    ("cancel", "output"): ("cancel",),
    ("report", "output"): ("report",),
    ("report", "reference"): ("report", "study", "--reference"),
    ("stage", "destination"): ("stage",),
    ("stage", "data"): ("stage", "x", "--data"),
    ("stage", "cache"): ("stage", "x", "--cache"),
    ("validate", "manifests"): ("validate",),
}
"""The command that names a place, by command and parameter: the place comes last, or where OUTPUT stands."""


def with_place(command: tuple[str, ...], place: str, manifest: object) -> list[str]:
    filled = [place if word == "OUTPUT" else str(manifest) if word == "MANIFEST" else word for word in command]
    return filled if "OUTPUT" in command else [*filled, place]


def test_every_option_that_takes_a_place_is_tried_here() -> None:
    takers = {
        (name, parameter.name)
        for name, command in COMMANDS.items()
        for parameter in command.params
        if re.search(r"\b(folder|path|JSON file|s3://)", parameter.help or "", re.IGNORECASE)
    }
    assert takers == PLACES.keys()


@pytest.mark.parametrize(
    "place",
    [
        "s3:/bucket/x",
        "arn:aws:s3:::bucket/x",
        "s3//bucket/x",
        "bucket.s3.amazonaws.com/x",
        "https://host/x",
        "gs://b/x",
    ],
)
@pytest.mark.parametrize("command", PLACES.values(), ids=" ".join)
def test_what_is_no_place_is_refused_by_every_option(
    command: tuple[str, ...], place: str, job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first four trained into folders of these names."""
    manifest = tiny()
    monkeypatch.chdir(tmp_path)
    answer = job(*with_place(command, place, manifest))
    assert answer.exit_code == 2
    (line,) = answer.stderr.splitlines()
    assert place in line
    assert "accepted: a path, or s3://BUCKET/PREFIX" in line
    assert ("did you mean s3://bucket/x?" in line) == ("bucket" in place)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.json"]


@pytest.mark.parametrize("name", ["JOB_OUTPUT", "JOB_DATA", "JOB_CACHE", "JOB_MANIFEST"])
def test_what_is_no_place_is_refused_in_every_variable(
    name: str, job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_MANIFEST", str(tiny()))
    monkeypatch.setenv(name, "s3:/bucket/x")
    monkeypatch.chdir(tmp_path)
    answer = job("run")
    assert answer.exit_code == 2
    assert f"{name} s3:/bucket/x: is neither a path" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.json"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--time-budget", "0", "must be more than 0 seconds; leave the option out if you want no budget"),
        ("--time-budget", "-1", "must be more than 0 seconds"),
        ("--time-budget", "nan", "must be more than 0 seconds"),
        ("--time-budget", "inf", "must be a finite number"),
        ("--price-per-hour", "inf", "must be a finite number"),
        ("--checkpoint-age", "inf", "must be a finite number"),
    ],
)
def test_number_that_cannot_be_meant_is_refused_as_an_option_and_as_a_variable(
    option: str, value: str, said: str, job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of 0 meant none, and an infinite price reached the result."""
    run = ("run", "--manifest", tiny(), "--output", tmp_path / "out")
    variable = "JOB_" + option.removeprefix("--").replace("-", "_").upper()
    answer = job(*run, f"{option}={value}")
    assert answer.exit_code == 2
    assert answer.stderr.startswith(f"error: {option} {value}: {said}")
    monkeypatch.setenv(variable, value)
    answer = job(*run)
    assert answer.exit_code == 2
    assert answer.stderr.startswith(f"error: {variable} {value}: {said}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cache", ["s3://bucket/cache", "pvc://claim"])
def test_cache_is_a_folder_of_this_machine(cache: str, job: Job, tiny: Tiny, tmp_path: Path) -> None:
    answer = job("run", "--manifest", tiny(), "--cache", cache, "--output", tmp_path / "out")
    assert answer.exit_code == 2
    assert cache in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["status", "report", "stage", "cancel"])
def test_claim_is_named_by_its_folder_everywhere_but_in_submit(command: str, job: Job) -> None:
    answer = job(command, "pvc://claim/study")
    assert answer.exit_code == 2
    assert "elsewhere name the folder where it is mounted" in answer.stderr


def test_object_has_a_key(job: Job) -> None:
    for place in ("s3://bucket", "s3://bucket/folder/"):
        answer = job("validate", place)
        assert answer.exit_code == 2
        assert "names no object; must be s3://BUCKET/KEY" in answer.stderr


@pytest.mark.usefixtures("forked_children", "blank_report")
def test_home_folder_is_put_in_where_the_shell_did_not(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--output=~/x and variables reach a program as they are written."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    tiny().rename(home / "tiny.json")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    assert job("validate", "~/tiny.json").exit_code == 0
    run = ("run", "--manifest=~/tiny.json", "--data=~/data", "--cache=~/cache")
    answer = job(*run, "--output=~/out")
    assert answer.exit_code == 0, answer.stderr
    monkeypatch.setenv("JOB_OUTPUT", "~/out")
    again = job(*run)
    assert "run_already_complete" in again.stderr
    assert job("report", "~/out").stdout.strip() == f"{home}/out/report/index.html"
    (model,) = (home / "out").rglob("model.safetensors")
    model.rename(home / "w.safetensors")
    changed = ("--set", "model.weights=~/w.safetensors", "--set", "dataset.num_test=10")
    fine_tuned = job(*run, *changed)
    assert fine_tuned.exit_code == 0, fine_tuned.stderr
    written = [json.loads(path.read_text())["model"]["weights"] for path in (home / "out").rglob("manifest.json")]
    assert sorted(written) == ["none", "~/w.safetensors"]  # as in the manifest, of which it is a part
    swept = job("submit", "-m", "~/tiny.json", "--to", "local", "--output=~/sweep", "--set", "name=swept")
    assert swept.exit_code == 0, swept.stderr
    assert job("status", "~/sweep").exit_code == 0
    assert list(elsewhere.iterdir()) == []


# Nothing there


@pytest.mark.parametrize("where", ["missing", "empty", "something else", "a file", "bucket", "prefix"])
@pytest.mark.parametrize("command", [("status",), ("report",), ("cancel",), ("logs", "OUTPUT", "run")], ids=" ".join)
def test_place_without_runs_is_named_with_what_it_should_hold(
    where: str, command: tuple[str, ...], job: Job, bucket: str, tmp_path: Path
) -> None:
    place = {"bucket": bucket, "prefix": f"{bucket}/nothing"}.get(where, str(tmp_path / "place"))
    if where in ("empty", "something else"):
        (tmp_path / "place").mkdir()
    if where == "something else":
        (tmp_path / "place/photos").mkdir()
        (tmp_path / "place/photos/one.jpg").write_bytes(b"x")
    if where == "a file":
        (tmp_path / "place").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    answer = job(*with_place(command, place, ""))
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert answer.stderr.splitlines()[-1].startswith(f"error: {place}: ")
    assert "<experiment>/" in answer.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert open_store(bucket).list_keys("") == []


def test_file_that_an_option_names_and_is_not_there_is_wrong_usage(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    prices = job("plan", "--manifest", tiny(), "--prices", tmp_path / "absent.json")
    assert prices.exit_code == 2
    assert prices.stderr == f"error: --prices {tmp_path}/absent.json: no such file\n"
    instance = job("plan", "--manifest", tiny(), "--instance", "absent")
    assert instance.exit_code == 2
    assert prices.stdout == instance.stdout == ""  # not half of the answer
    reference = job("report", tmp_path, "--reference", "Lab-Report")
    assert reference.exit_code == 2
    assert "error: --reference Lab-Report: no such file; bundled: lab-report" in reference.stderr


def test_report_of_one_experiment_s_own_folder_says_where_to_look(job: Job, tmp_path: Path) -> None:
    store_results(open_store(str(tmp_path)), make_result(make_manifest("adam")))
    for place in (tmp_path / "default", next((tmp_path / "default/runs").iterdir())):
        answer = job("report", place)
        assert answer.exit_code == 2
        assert "this looks like the inside of one: name the folder above" in answer.stderr
        assert not (place / "report").exists()


# Standard input


def give(content: bytes, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    call = [sys.executable, "-m", "job", *arguments]
    return subprocess.run(call, input=content, capture_output=True, check=False, timeout=300)


def give_forked(content: bytes, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """The same to a command that imports torch."""
    pipe, log = folder / "pipe", folder / "log"
    os.mkfifo(pipe)
    process = start_job(*arguments, log=log, prepare=partial(read_from, pipe))
    pipe.write_bytes(content)
    return subprocess.CompletedProcess([], wait_for_end(process, seconds=300), stderr=log.read_bytes())


@pytest.mark.parametrize("command", [("validate", "-"), ("plan", "--manifest", "-"), ("run", "--manifest", "-"),
                                     ("submit", "--to", "local", "-m", "-")], ids=" ".join)  # fmt: skip
def test_manifest_is_read_from_standard_input(command: tuple[str, ...], tmp_path: Path) -> None:
    """Through a real pipe; submit's processes get the sweep from the output."""
    output = () if command[0] in ("validate", "plan") else ("--output", str(tmp_path / "out"))
    pipe = partial(give, arguments=(*command, *output))
    bad = pipe(json.dumps(TINY | {"epochs": 0}).encode())
    assert bad.returncode == 65
    assert b"error: standard input: " in bad.stderr
    assert b"epochs is 0; must be >= 1" in bad.stderr
    assert not (tmp_path / "out").exists()
    train = partial(give_forked, arguments=(*command, *output), folder=tmp_path) if command[0] == "run" else pipe
    good = train(json.dumps(TINY | {"epochs": 1}).encode())
    assert good.returncode == 0, good.stderr
    assert len(list((tmp_path / "out").rglob("result.json"))) == (1 if output else 0)
    if command[0] == "validate":
        assert good.stdout.startswith(b"standard input: valid, run id tiny-s0-")
        assert pipe(b"").stderr == b"error: standard input: is empty; must be a JSON object\n"


def test_standard_input_without_end_or_closed_is_refused() -> None:
    for redirection, said in (("< /dev/zero", "is too large"), ("<&-", "is closed; pipe a manifest into it")):
        command = f"{sys.executable} -m job validate - {redirection}"
        ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 65
        assert said in ended.stderr


# Terminals


def on_terminal(*arguments: object, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text that a command shows in a real pseudo-terminal, where rich draws; it must end with 0."""
    primary, secondary = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    process = start_job(*arguments, log=Path(os.ttyname(secondary)))
    shown = b""
    while (is_alive := process.is_alive()) or select.select([primary], [], [], 0)[0]:
        if select.select([primary], [], [], 0.05 if is_alive else 0)[0]:
            shown += os.read(primary, 65536)
    os.close(secondary)
    os.close(primary)
    assert wait_for_end(process, seconds=60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))  # without colours


def test_terminal_shows_a_bar_and_a_summary(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TINY["dataset"] | {"num_train": 800}  # the bar is drawn ten times a second, and an epoch may be shorter
    run = ("run", "--manifest", tiny(dataset=dataset), "--output", tmp_path / "out")
    text = on_terminal(*run, columns=120, monkeypatch=monkeypatch)
    assert "epoch 2/2" in text
    assert "test top-1" in text
    assert "artefacts" in text
    assert "epoch_finished" not in text


@pytest.mark.parametrize("columns", [40, 60])
def test_what_people_copy_is_whole_on_a_narrow_terminal(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths and run ids longer than a line: the terminal wraps them itself, and gives them back whole."""
    show = partial(on_terminal, columns=columns, monkeypatch=monkeypatch)
    name, folder = "a-name-as-long-as-a-name-may-be-at-most", tmp_path / "a-folder-with-a-long-name" / "and-one-below"
    weights = str(tmp_path / "weights-with-a-long-name-too" / "w.pth")
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps(TINY | {"name": name, "epochs": 1}))
    ran = show("run", "--manifest", manifest, "--output", folder)
    (run_folder,) = (folder / "default/runs").iterdir()
    assert f" {run_folder}\r\n" in ran
    assert f" {run_folder.name}\r\n" in ran
    assert show("report", folder).endswith(f"{folder}/report/index.html\r\n")
    block = {"base": TINY, "vary": {"model.weights": ["none", weights]}}
    manifest.write_text(json.dumps({"name": name, "blocks": [block]}))
    planned = show("plan", "--manifest", manifest)
    assert json.dumps(weights) in planned
    assert f"{name}: 2 runs" in planned
    manifest.write_text(json.dumps(TINY | {"name": name, "epochs": 1}))
    submitted = show("submit", "-m", manifest, "--to", "local", "--output", folder)
    assert f"see: job status {folder}\r\n" in submitted
    assert f"done: {run_folder.name}\r\n" in submitted
    summary = ran[ran.index(run_folder.name) :]  # the bar before it may cut its numbers: it is gone in a moment
    assert "…" not in summary + planned
