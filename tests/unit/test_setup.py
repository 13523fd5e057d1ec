"""The set-up as the page tells it: what the runs recorded, what differs, and a sweep that gives the same runs again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.manifest import Manifest, Sweep
from job.plan import build_plan, parse_document
from job.report.analysis.reproduction import Reproduction, build_reproduction
from job.report.analysis.setup import describe_setup
from job.runs import RunResult, run_id
from tests.records import CLASSES, build_study, made_by, make_manifest, make_result

FOLDER: dict[str, Any] = {"dataset": {"name": "folder"}, "model": {"weights": "weights/resnet18.pth"}}


def lines_of(folder: Path, *results: RunResult) -> dict[str, str]:
    setup = describe_setup(build_study(folder, *results))
    assert len({line.name for line in setup.lines}) == len(setup.lines)
    return {line.name: line.value for line in setup.lines}


def planned_ids(made: Reproduction) -> list[str]:
    """The ids of all runs that `job submit` would send of the sweeps."""
    found = []
    for name, content in made.sweeps.items():
        sweep = parse_document(content.encode(), source=name)
        assert isinstance(sweep, Sweep)
        found += [run.run_id for run in build_plan(sweep, source=name).runs]
    return sorted(found)


def test_facts_are_those_of_the_records(tmp_path: Path) -> None:
    results = [
        made_by(make_result(make_manifest(name, seed=seed)), python="3.12.4")
        for name in ("adam", "adagrad")
        for seed in (0, 1)
    ]
    results[0] = results[0].model_copy(update={"finished_at": datetime(2026, 1, 2, 8, 30, tzinfo=UTC)})
    assert lines_of(tmp_path, *results) == {
        "Network": "resnet18, fc replaced by 10 outputs, 11,181,642 parameters",
        "First weights": "imagenet (SHA-256 eeeeeeeeee…)",
        "Trained": "all weights, BatchNorm with the statistics of the batch",
        "Data set": "stl10: 5,000 training, 1,000 test images (SHA-256 dddddddddd…)",
        "Classes": f"10: {', '.join(CLASSES[:-1])} and {CLASSES[-1]}",
        "Input": "96x96 pixels, RGB",
        "Normalisation": "pixels / 255, then ImageNet's mean off and divided by its standard deviation, channel by "
        "channel",
        "Augmentation": "none",
        "Loss": "mean cross entropy",
        "Adagrad": "lr 0.001 (torch: 0.01), lr_decay 0, weight_decay 0, initial_accumulator_value 0, eps 1e-10",
        "Adam": "lr 0.001, betas (0.9, 0.999), eps 1e-08, weight_decay 0, amsgrad false, decoupled_weight_decay false",
        "Learning rate schedule": "none",
        "Batch size": "50",
        "Epochs": "4",
        "Seeds": "0 and 1",
        "Device": "CPU, 1 thread",
        "Precision": "fp32",
        "Versions": "job 1, Python 3.12.4, torch 2.15.0, torchvision 0.30.0",
        "Code": "commit aaaaaaa",
        "Finished": "2026-01-01 00:00 UTC to 2026-01-02 08:30 UTC",
    }


def test_what_differs_between_the_runs_is_told_with_how_many_have_it(tmp_path: Path) -> None:
    results = [
        made_by(make_result(make_manifest("adam", seed=0, normalization="none", image_size=64)), torch="2.11.0"),
        made_by(make_result(make_manifest("adam", seed=1, epochs=7, label_smoothing=0.1))),
        make_result(make_manifest("adam", seed=2, model={"freeze_backbone": True}, lr=0.1)),
    ]
    lines = lines_of(tmp_path, *results)
    assert lines["Normalisation"].endswith("channel by channel (2 runs) and pixels / 255, so between 0 and 1 (1 run)")
    assert lines["Input"] == "96x96 pixels, RGB (2 runs) and 64x64 pixels, RGB, resized from 96x96 (1 run)"
    assert lines["Epochs"] == "4 (2 runs) and 7 (1 run)"
    assert lines["Loss"] == "mean cross entropy (2 runs) and mean cross entropy, label smoothing 0.1 (1 run)"
    assert "fc alone, BatchNorm with the running statistics (1 run)" in lines["Trained"]
    assert set(lines["Versions"].removesuffix(" (1 run)").split(" (1 run) and ")[-1].split(" (1 run), ")) <= {
        "not recorded", "job 1, Python 3.12, torch 2.11.0, torchvision 0.30.0",
        "job 1, Python 3.12, torch 2.15.0, torchvision 0.30.0",
    }  # fmt: skip
    assert lines["Device"] == "CPU, 1 thread (2 runs) and not recorded (1 run)"
    assert lines["Adam"].startswith("lr ")
    assert "; also run with lr " in lines["Adam"]


def test_sweep_gives_the_very_runs_of_the_experiment(tmp_path: Path) -> None:
    manifests = [
        make_manifest(name, seed=seed, name=run_name, **fields)
        for seed in (0, 3)
        for name, run_name, fields in (
            ("adam", None, {}),
            ("adam", "mine", {"betas": (0.8, 0.999), "weight_decay": 0.01}),
            ("adadelta", None, FOLDER | {"normalization": "none"}),
            ("sgd", None, {"momentum": 0.9, "schedule": {"name": "cosine", "warmup_epochs": 1.0}, "precision": "fp32"}),
            ("rmsprop", None, {"schedule": {"name": "none", "warmup_epochs": 1.0}}),
            ("adamax", None, {"lr": 0.002, "epochs": 10, "batch_size": 50}),
        )
    ]
    setup = describe_setup(build_study(tmp_path, *map(make_result, (own for own in manifests if own.name == "adam"))))
    assert planned_ids(setup.reproduction) == sorted(run_id(own) for own in manifests if own.name == "adam")
    made = build_reproduction(manifests, experiment="default", commit=None)
    assert list(made.sweeps) == ["default.json"]
    assert planned_ids(made) == sorted(map(run_id, manifests))
    assert json.loads(made.sweeps["default.json"])["seeds"] == [0, 3]


def test_configurations_with_other_seeds_are_in_another_sweep() -> None:
    manifests = [make_manifest("adam", seed=seed) for seed in (0, 1, 2)] + [make_manifest("sgd", seed=0)]
    made = build_reproduction(manifests, experiment="mine", commit=None)
    assert planned_ids(made) == sorted(map(run_id, manifests))
    assert list(made.sweeps) == ["mine-1.json", "mine-2.json"]
    assert "Not all configurations have the same seeds" in made.remarks[0]


def test_commands_name_the_commit_the_data_and_the_published_study(tmp_path: Path) -> None:
    manifest = make_manifest("adam", precision="fp32", **FOLDER)
    study = build_study(tmp_path, made_by(make_result(manifest, experiment="lab")))
    made = describe_setup(study, reference="lab-report").reproduction
    assert made.commands == [
        f"git checkout {'a' * 40}",
        "job submit --manifest lab.json --to local --output study --data DATA",
        "job report study --experiment lab --reference lab-report",
    ]
    assert made.remarks == ["DATA is the folder with the images; a run records their digest, not where they lay."]


@pytest.mark.parametrize("commits", [("a" * 40, "b" * 40), (None, "a" * 40)])
def test_commit_is_checked_out_only_where_it_made_all_runs(tmp_path: Path, commits: tuple[str | None, str]) -> None:
    results = [
        made_by(make_result(make_manifest("adam", seed=seed)), git_sha=commit) for seed, commit in enumerate(commits)
    ]
    made = describe_setup(build_study(tmp_path, *results)).reproduction
    assert made.commands[0].startswith("job submit")
    assert made.remarks[0].startswith("No one commit made all runs, or none is recorded")


def test_commit_with_changes_of_its_own_is_checked_out_without_them_and_this_is_said(tmp_path: Path) -> None:
    result = made_by(make_result(make_manifest("adam", precision="fp32")), git_sha=f"{'a' * 40}-dirty")
    made = describe_setup(build_study(tmp_path, result)).reproduction
    assert made.commands[0] == f"git checkout {'a' * 40}"
    assert made.remarks == [
        "The runs were made by this commit with changes that were not committed; what they were is not recorded."
    ]


def test_hostile_names_are_quoted_for_the_shell() -> None:
    made = build_reproduction(
        [Manifest.model_validate(make_manifest("adam").model_dump())], experiment="a; rm -rf x", commit="$(x)",
        reference="`y`",
    )  # fmt: skip
    assert made.commands == [
        "git checkout '$(x)'",
        "job submit --manifest 'a; rm -rf x.json' --to local --output study",
        "job report study --experiment 'a; rm -rf x' --reference '`y`'",
    ]
