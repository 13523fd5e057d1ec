"""Random blocks: what is drawn, that it stays the same, and what containers get of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job.api import plan as make_plan
from job.errors import ManifestError
from job.manifest import Sweep, expand
from job.plan import SweepPlan, build_plan, build_submission, parse_document
from job.sampling import draw_samples

RANGES: dict[str, Any] = {
    "optimizer.lr": {"log_uniform": [1e-5, 0.1]},
    "optimizer.weight_decay": {"uniform": [0, 0.1]},
    "batch_size": {"choice": [32, 64]},
}


def read(ranges: dict[str, Any] = RANGES, **fields: Any) -> Sweep:
    block = {"base": {"optimizer": {"name": "adamw"}}, "design": "random", "ranges": ranges, "num_samples": 6} | fields
    document = parse_document(json.dumps({"name": "test", "blocks": [block]}).encode(), source="s.json")
    assert isinstance(document, Sweep)
    return document


def draw(ranges: dict[str, Any] = RANGES, **fields: Any) -> list[dict[str, Any]]:
    return [configuration.varied for configuration in expand(draw_samples(read(ranges, **fields)), source="s.json")]


def faults(**fields: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        draw(**fields)
    return list(caught.value.faults)


def test_the_same_block_is_drawn_the_same_by_every_supported_version_of_scipy() -> None:
    """A version that draws otherwise would train a sweep that is submitted again from its file a second time."""
    assert [drawn["optimizer.lr"] for drawn in draw()] == [0.0004363, 0.01359, 0.007069, 2.219e-05, 6.642e-05, 0.002117]
    assert [drawn["batch_size"] for drawn in draw()] == [64, 32, 64, 32, 32, 64]


def test_values_are_short_within_their_range_and_evenly_spread() -> None:
    drawn = draw(num_samples=64)
    rates = [configuration["optimizer.lr"] for configuration in drawn]
    assert all(1e-5 <= rate <= 0.1 and len(f"{rate:.15g}".lstrip("0.").split("e")[0].replace(".", "")) <= 4
               for rate in rates)  # fmt: skip
    decades = [math.floor(math.log10(rate)) for rate in rates]
    assert all(15 <= decades.count(decade) <= 17 for decade in (-5, -4, -3, -2))
    decays = [configuration["optimizer.weight_decay"] for configuration in drawn]
    assert all(15 <= sum(start <= decay < start + 0.025 for decay in decays) <= 17 for start in (0, 0.025, 0.05, 0.075))
    assert [configuration["batch_size"] for configuration in drawn].count(32) == 32


def test_rounding_never_leaves_the_range() -> None:
    drawn = draw({"optimizer.lr": {"uniform": [0.123456, 0.123457]}}, num_samples=8)
    assert {configuration["optimizer.lr"] for configuration in drawn} <= {0.123456, 0.123457}


def test_more_samples_keep_those_that_were_drawn_and_another_seed_draws_others() -> None:
    assert draw(num_samples=20)[:6] == draw()
    assert not {drawn["optimizer.lr"] for drawn in draw(sampling_seed=1)} & {drawn["optimizer.lr"] for drawn in draw()}


def test_what_is_sent_and_stored_holds_the_values_and_no_range() -> None:
    sweep = draw_samples(read())
    plan = build_plan(sweep, source="s.json")
    sent = build_submission(sweep, plan.run_ids, per_container=1).as_json()
    assert "ranges" not in sent
    assert '"design": "listed"' in sent
    again = parse_document(sent.encode(), source="submission.json")
    assert not isinstance(again, Sweep)
    assert SweepPlan.model_validate_json(plan.model_dump_json()).run_ids == plan.run_ids
    assert build_plan(again.sweep, source="submission.json").run_ids == plan.run_ids  # type: ignore[union-attr]


def test_random_block_that_python_hands_over_is_drawn_as_from_a_file() -> None:
    block = {"base": {"optimizer": {"name": "adamw"}}, "design": "random", "ranges": RANGES, "num_samples": 6}
    planned = make_plan({"name": "test", "blocks": [block]})
    assert planned.run_ids == build_plan(draw_samples(read()), source="s.json").run_ids


def test_sweep_without_random_blocks_is_the_one_that_came_and_needs_no_scipy(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    block = {"base": {"optimizer": {"name": "adam"}}, "design": "listed", "configurations": [{"optimizer.lr": 0.1}]}
    path.write_text(json.dumps({"name": "test", "blocks": [block]}))
    code = (
        "import sys; sys.modules.update({'scipy': None, 'scipy.stats': None}); from job.cli.options import read_sweep; "
        "print(read_sweep(sys.argv[1], []).blocks[0].configurations)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[{'optimizer.lr': 0.1}]\n"


def test_machine_without_scipy_is_told_which_extra_brings_it(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    block = {"base": {"optimizer": {"name": "adam"}}, "design": "random", "ranges": RANGES, "num_samples": 2}
    path.write_text(json.dumps({"name": "test", "blocks": [block]}))
    code = (
        "import sys; sys.modules.update({'scipy': None, 'scipy.stats': None}); from job.cli import main; "
        "sys.argv[1:] = ['validate', sys.argv[1]]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "scipy is not installed; it belongs to the extra 'report'" in done.stderr.replace(".stats", "")


def test_faults_of_ranges_are_named_together() -> None:
    ranges = {
        "a": {"uniform": [2, 1]}, "b": {"log_uniform": [0, 1]}, "c": {"choice": []}, "d": {}, "e": {"unifrm": [0]},
        "f": {"uniform": [0, "x"]}, "g": {"uniform": [0, 1], "choice": [1]},
    }  # fmt: skip
    assert faults(ranges=ranges) == [
        "s.json: blocks[0].ranges.a: uniform is [2.0, 1.0]; must be the least value and a larger one",
        "s.json: blocks[0].ranges.b: log_uniform is [0.0, 1.0]; must be > 0",
        "s.json: blocks[0].ranges.c: choice is []; must have at least 1 value",
        "s.json: blocks[0].ranges.d: must have one of log_uniform, uniform, choice; has none",
        "s.json: blocks[0].ranges.e.unifrm is not known; did you mean 'uniform'? "
        "accepted: log_uniform, uniform, choice",
        's.json: blocks[0].ranges.f.uniform[1] is "x"; must be a valid number',
        "s.json: blocks[0].ranges.g: must have one of log_uniform, uniform, choice; has uniform, choice",
    ]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"num_samples": None}, "design is 'random'; num_samples is missing"),
        ({"ranges": {}}, "design is 'random'; ranges is missing"),
        ({"vary": {"optimizer.lr": [1]}}, "design is 'random'; vary belongs to 'grid' and 'one_at_a_time'"),
        ({"design": "grid", "ranges": {}}, "design is 'grid'; num_samples belongs to 'random'"),
        ({"design": "listed", "ranges": {}, "num_samples": None}, "design is 'listed'; configurations is missing"),
        ({"ranges": {"optimizer.lrr": {"uniform": [0, 1]}}}, "optimizer.lrr is not known; did you mean 'lr'?"),
        ({"ranges": {"epochs": {"uniform": [1, 9]}}, "num_samples": 1}, "must be a valid integer"),
        ({"ranges": {"seed": {"choice": [1]}}}, "seed stands in defaults, base or vary"),
        ({"num_samples": 10001}, "num_samples is 10001; must be <= 10000"),
        ({"design": "listed", "ranges": {}, "num_samples": None,
          "configurations": [{"batch_size": 8, "batch_size.x": 1}]},
         "blocks[0].configurations: batch_size.x"),
    ],
)  # fmt: skip
def test_fault_of_a_block_says_which_field_and_design(fields: dict[str, Any], fault: str) -> None:
    assert fault in "\n".join(faults(**fields))
