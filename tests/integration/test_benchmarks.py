"""`make bench` with tiny numbers: what it writes can be trusted. About ten seconds on one core."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.speed import add_ratios, main
from tests.benchmarks.startup import measure_startup
from tests.benchmarks.tables import render_markdown

NUM_IMAGES = 20
OPTIONS = ["--device", "cpu", "--num-images", str(NUM_IMAGES), "--image-size", "32", "--batch-size", "10"]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    main([*OPTIONS, "--repeats", "1", "--no-compile", "--only", "speed", "--output", str(folder)])
    return folder


@pytest.fixture
def document(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "speed.json").read_text())
    return found


def test_every_variant_is_measured_or_says_why_not(document: dict[str, Any]) -> None:
    cells = [(row["name"], row[part]) for row in document["rows"] for part in ("train", "evaluate") if row[part]]
    skipped = {name: cell["skipped"] for name, cell in cells if "skipped" in cell}
    assert skipped["(c) + CUDA graph"] == "CUDA graphs need a GPU"
    assert skipped["(c) torch.compile instead of the graph"] == "--no-compile"
    measured = [(name, cell) for name, cell in cells if name not in skipped]
    assert len(measured) >= 13  # with bf16, autocast as well
    for name, cell in measured:
        assert cell["images_per_second"] == pytest.approx(NUM_IMAGES / cell["seconds"][0]), name
        assert cell["agrees"], name


def test_epoch_is_computed_from_both_rates(document: dict[str, Any]) -> None:
    product = document["rows"][-1]
    rates = [product[part]["images_per_second"] for part in ("train", "evaluate")]
    assert product["epoch"]["seconds"] == pytest.approx(5000 / rates[0] + 8000 / rates[1])
    ratio = document["rows"][0]["epoch"]["seconds"] / product["epoch"]["seconds"]
    assert product["epoch"]["ratio_to_batch_1"] == pytest.approx(ratio)


def test_floor_is_the_arithmetic_at_the_rate_of_the_matrix_product(document: dict[str, Any]) -> None:
    floor = document["floor"]
    flop = floor["flop_per_image"]
    assert flop["train"] / flop["evaluate"] == pytest.approx(2.9, abs=0.1)  # backward is twice forward, nearly
    (row,) = floor["rows"]
    flops = 2 * floor["matrix_size"] ** 3 / floor["probes"]["matrix product"][0]
    for part in ("train", "evaluate"):
        assert row[part]["images_per_second"] == pytest.approx(flops / flop[part])
        product = document["rows"][-1][part]
        assert product["floor_fraction"] == pytest.approx(product["images_per_second"] * flop[part] / flops)


def test_table_holds_the_numbers_of_the_json(output: Path, document: dict[str, Any]) -> None:
    lines = (output / "speed.md").read_text().splitlines()
    table = {cells[1].strip(): cells for cells in (line.split("|") for line in lines if line.startswith("| ("))}
    assert list(table) == [row["name"] for row in [*document["rows"], *document["floor"]["rows"]]]
    for row in document["rows"]:
        for part, column in (("train", 2), ("evaluate", 5)):
            shown, cell = table[row["name"]][column].strip(), row[part]
            if cell is None:
                assert shown == ""
            elif "skipped" in cell:
                assert shown == f"skipped: {cell['skipped']}"
            else:
                assert float(shown.split()[0].replace(",", "")) == pytest.approx(cell["images_per_second"], rel=0.006)


def test_loss_that_differs_is_said(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    changed["rows"][-1]["train"]["loss"] *= 1 + 2 * changed["rows"][-1]["train"]["tolerance"]
    add_ratios(changed["rows"], floor=changed["floor"]["rows"][0])
    assert "**(c) the product: loss of the first step is" in render_markdown(changed)
    assert "**" not in render_markdown(document)


def test_first_step_comes_after_the_imports_and_before_the_end() -> None:
    rows = measure_startup(device_name="cpu", num_repeats=1, imports={"interpreter": "pass"})
    seconds = {row["name"]: row["median"] for row in rows}
    assert (
        0
        < seconds["interpreter"]
        < seconds["`job run`: first step begins"]
        < seconds["`job run`: exit, after two steps"]
    )
    begins, staging = (seconds[f"`job run`: staging {what}"] for what in ("begins", "alone"))
    assert 0 < begins + staging < seconds["`job run`: first step begins"] + 0.5  # the kernel's clock ticks coarsely
