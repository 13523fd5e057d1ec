"""What the documents say is so: commands and options exist, links lead somewhere, pages are what they describe."""

from __future__ import annotations

import re
import tomllib

import pytest

from job import cli, errors
from job.manifest import Manifest
from job.plan import as_sweep, build_plan, parse_document
from job.sampling import draw_samples
from tests import manifest_page, optimizers_page
from tests.conftest import ROOT
from tests.documents import (
    DOCUMENTS,
    PAGES,
    Command,
    all_commands,
    anchors,
    blocks,
    commands,
    find_target,
    links,
    mentions,
    read,
    words_of_job,
)

COMMANDS = {name: cli.load_command(name) for name in cli.COMMANDS}
OPTIONS = "docs/outputs-and-exit-codes.md"


OF_JOB = [command for command in all_commands().values() if words_of_job(command)]


# Commands and options that are written down exist


def test_readme_is_read_in_minutes() -> None:
    assert len(read("README.md").splitlines()) <= 150


def test_every_command_is_in_the_readme() -> None:
    assert {words[1].strip("`") for words in mentions("README.md") if len(words) > 1} >= set(COMMANDS)


@pytest.mark.parametrize("command", OF_JOB, ids=str)
def test_command_line_of_job_is_one_that_it_takes(command: Command) -> None:
    """By the parsers that `job` itself has, values included."""
    name, *arguments = words_of_job(command) or []
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES)
def test_options_named_in_the_text_exist(page: str) -> None:
    for words in mentions(page):
        if words[1:2] == ("--help",) or len(words) == 1 or words[1].isupper():  # `job COMMAND --help`
            continue
        known = {
            option for parameter in COMMANDS[words[1]].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        used = {word for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help"}, words


def test_every_option_of_run_is_described_with_its_variable() -> None:
    page = read(OPTIONS)
    documented = set(re.findall(r"^\| `(--[a-z-]+)[^|]*\| (?:`([A-Z_]+)`)?", page, re.MULTILINE))
    options = set()
    for parameter in COMMANDS["run"].params:
        variables = parameter.envvar if isinstance(parameter.envvar, list) else [parameter.envvar or ""]
        options.add((parameter.opts[0], variables[0]))
        assert all(variable in page for variable in variables)
    assert documented == options


def test_every_exit_code_is_described() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|.*\| (.*) \|$", read(OPTIONS), re.MULTILINE)
    described = {int(code): again for codes, again in rows for code in codes.split(", ")}
    found = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert found | {0, 141} == described.keys()
    assert {code for code, again in described.items() if again != "no"} == {71, 74, 75, 143}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):(?=.*##)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", read(document)))
    for command in commands(document):
        if command.words[0] == "make":
            named |= {word for word in command.words[1:] if "=" not in word}
    assert named <= targets


# Links and names of files


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_what_is_there(document: str) -> None:
    for link in links(document):
        if "://" in link:
            continue
        target, _, anchor = find_target(document, link), *link.partition("#")[1:]
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_text_are_there(page: str) -> None:
    for name in re.findall(r"`((?:job|tests|docs|infra|manifests|requirements|\.ci)/[\w./-]+)`", read(page)):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_architecture_names_every_module_of_the_rooms() -> None:
    page = read("docs/architecture.md")
    for room in ("training", "submit", "report", "report/read", "report/analysis", "report/render", "trackers"):
        table = page[page.index(f"in `{room.partition('/')[0]}/`") :].partition("\n\n")[0]
        for path in (ROOT / "job" / room).iterdir():
            name = path.name if path.suffix == ".py" else f"{path.name}/"
            is_code = path.suffix == ".py" or any(path.glob("*.py"))
            assert not is_code or name == "__init__.py" or f"`{name}`" in table, f"{room}/{name}"


def test_layers_are_those_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [re.sub(r"job\.", "", line) for line in contracts[0]["layers"]]
    assert "```\n" + "\n".join(layers) + "\n```" in read("docs/architecture.md")


# The manifest


def test_page_of_the_manifest_is_what_the_models_give() -> None:
    page = read("docs/manifest.md")
    assert page == manifest_page.renew(page), "run make docs"


def test_table_of_the_optimizers_is_what_the_models_give() -> None:
    page = read("docs/optimizers.md")
    assert page == optimizers_page.renew(page), "run make docs"


def test_page_of_the_manifest_describes_every_field_of_every_class() -> None:
    page = read("docs/manifest.md")
    for name, schema in Manifest.model_json_schema()["$defs"].items():
        for field, content in schema["properties"].items():
            row = f"| `{field}` | "
            assert row in page, f"{name}.{field}"
            assert content.get("description", "").replace("\n", " ") in page, f"{name}.{field}"


@pytest.mark.parametrize("page", PAGES)
def test_manifests_and_sweeps_that_are_shown_are_valid(page: str) -> None:
    for block in blocks(page, "json"):
        if block.startswith('{"name"'):
            document = parse_document(block.encode(), source=page)
            assert isinstance(document, Manifest) or build_plan(draw_samples(as_sweep(document)), source=page).runs


def test_example_is_small_enough_to_be_sent_around() -> None:
    assert (ROOT / "docs/example-report/index.html").stat().st_size < 600_000
    pictures = list((ROOT / "docs/example-report").glob("*.png"))
    assert len(pictures) == 5
    assert all(picture.stat().st_size < 100_000 for picture in pictures)
