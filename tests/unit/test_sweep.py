"""Sweeps: what they expand to, what is one run, and what is wrong with them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.errors import ManifestError
from job.manifest import Manifest, Sweep
from job.manifest.optimizers import Adam
from job.plan import Submission, SweepPlan, as_sweep, build_plan, build_submission, parse_document, select_manifests
from job.runs import configuration_digest, run_id
from tests.conftest import ROOT
from tests.pace import slowness

ADAM: dict[str, Any] = {"optimizer": {"name": "adam", "lr": 0.001}}


def sweep(*blocks: dict[str, Any], overrides: tuple[str, ...] = (), **fields: Any) -> Sweep:
    content = json.dumps({"name": "test", "blocks": list(blocks)} | fields).encode()
    document = parse_document(content, source="sweep.json", overrides=overrides)
    assert isinstance(document, Sweep)
    return document


def plan(*blocks: dict[str, Any], overrides: tuple[str, ...] = (), **fields: Any) -> SweepPlan:
    return build_plan(sweep(*blocks, overrides=overrides, **fields), source="sweep.json")


def faults(*blocks: dict[str, Any], **fields: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        plan(*blocks, **fields)
    assert caught.value.exit_code == 65
    return list(caught.value.faults)


def adam(manifest: Manifest) -> Adam:
    assert isinstance(manifest.optimizer, Adam)
    return manifest.optimizer


def test_grid_is_every_combination() -> None:
    vary = {"optimizer.lr": [0.1, 0.2], "optimizer.weight_decay": [0.0, 0.5]}
    runs = plan({"base": ADAM, "vary": vary}).runs
    seen = [(adam(run.manifest).lr, adam(run.manifest).weight_decay) for run in runs]
    assert seen == [(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]
    assert runs[1].varied == {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.5}


def test_one_at_a_time_is_the_base_and_each_value_alone() -> None:
    vary = {"optimizer.lr": [0.1, 0.001], "optimizer.betas": [[0.5, 0.9]], "batch_size": [10]}
    runs = plan({"base": ADAM, "design": "one_at_a_time", "vary": vary}).runs
    assert [run.varied for run in runs] == [
        {}, {"optimizer.lr": 0.1}, {"optimizer.betas": [0.5, 0.9]}, {"batch_size": 10},
    ]  # lr 0.001 is the base, and one run with it  # fmt: skip
    assert adam(runs[2].manifest).betas == (0.5, 0.9)
    assert runs[3].manifest.batch_size == 10


def test_seeds_are_paired_and_come_seed_by_seed() -> None:
    runs = plan({"base": ADAM, "vary": {"optimizer.lr": [0.1, 0.2]}}, seeds=[7, 3]).runs
    assert [run.manifest.seed for run in runs] == [7, 7, 3, 3]
    without_seed = [configuration_digest(run.manifest, ignore=frozenset({"name", "seed"})) for run in runs]
    assert without_seed[:2] == without_seed[2:]


def test_defaults_are_merged_field_by_field_under_the_base() -> None:
    defaults = {"epochs": 3, "dataset": {"name": "synthetic", "size": 16}, "model": {"weights": "none"}}
    [run] = plan({"base": ADAM | {"dataset": {"size": 24}, "epochs": 5}}, defaults=defaults).runs
    assert run.manifest.epochs == 5
    assert run.manifest.dataset.model_dump()["size"] == 24
    assert run.manifest.dataset.name == "synthetic"


def test_same_configuration_is_one_run_whatever_it_is_called() -> None:
    named = [{"base": ADAM | {"name": name}} for name in ("first", "second")]
    [run] = plan(*named, {"base": {"optimizer": {"name": "adam"}}}).runs
    assert run.manifest.name == "first"


def test_runs_are_named_after_their_optimizer() -> None:
    [run] = plan({"base": {"optimizer": {"name": "sgd", "lr": 0.1}}}).runs
    assert run.run_id.startswith("sgd-s0-")


def test_planned_run_has_the_id_of_the_same_manifest_run_alone() -> None:
    [run] = plan({"base": ADAM}, seeds=[4]).runs
    assert run.run_id == run_id(Manifest.model_validate({"name": "adam", "seed": 4} | ADAM))


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6), st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_run_ids_are_distinct(rates: list[float], seeds: list[int]) -> None:
    runs = plan({"base": ADAM, "vary": {"optimizer.lr": rates}}, seeds=seeds).runs
    assert len({run.run_id for run in runs}) == len(runs) == len(set(rates)) * len(seeds)


def test_settings_change_every_configuration_and_the_sweep_itself() -> None:
    runs = plan(
        {"base": ADAM | {"epochs": 4}, "vary": {"optimizer.lr": [0.1, 0.2]}},
        overrides=("epochs=2", "dataset.name=cifar100", "seeds=[5]", "name=other"),
    ).runs
    assert {(run.manifest.epochs, run.manifest.dataset.name, run.manifest.seed) for run in runs} == {(2, "cifar100", 5)}
    assert {run.manifest.optimizer.lr for run in runs} == {0.1, 0.2}


def test_field_is_varied_within_each_varied_object_whatever_their_order() -> None:
    vary = {"optimizer.lr": [0.1, 0.2], "optimizer": [{"name": "adam"}, {"name": "sgd", "momentum": 0.5}]}
    runs = plan({"vary": vary}).runs
    found = [(run.manifest.optimizer.name, run.manifest.optimizer.lr) for run in runs]
    assert sorted(found) == [("adam", 0.1), ("adam", 0.2), ("sgd", 0.1), ("sgd", 0.2)]
    assert [run.varied["optimizer.lr"] for run in runs] == [run.manifest.optimizer.lr for run in runs]
    assert all("lr" not in run.varied["optimizer"] for run in runs)


def test_every_fault_is_named_once_with_its_block() -> None:
    vary = {"optimizer.lr": [-1.0, 0.1], "optimizer.momentun": [0.9]}
    seen = faults({"base": ADAM}, {"base": {"optimizer": {"name": "sgd"}}, "vary": vary}, seeds=[0, 1, 2])
    assert len(seen) == 2
    assert any("sweep.json: blocks[1]: optimizer.lr is -1.0; must be > 0" in fault for fault in seen)
    assert any("optimizer.momentun is not known; did you mean 'momentum'?" in fault for fault in seen)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": []}, "blocks is []"),
        ({"seeds": []}, "seeds is []"),
        ({"seeds": [1, 1]}, "must differ"),
        ({"seeds": [-1]}, "seeds[0] is -1"),
        ({"seeds": ["1"]}, 'seeds[0] is "1"'),
        ({"name": "Not A Name"}, "name is"),
        ({"block": []}, "block is not known; did you mean 'blocks'?"),
        ({"blocks": [{"base": ADAM, "desing": "grid"}]}, "blocks[0].desing is not known; did you mean 'design'?"),
        ({"blocks": [{"base": ADAM, "design": "all"}]}, "must be 'grid', 'one_at_a_time', 'random' or 'listed'"),
        ({"blocks": [{"base": ADAM, "vary": {"optimizer.lr": []}}]}, "blocks[0].vary"),
        ({"blocks": [{"base": ADAM, "vary": {"optimizer.lr": 0.1}}]}, "blocks[0].vary"),
        ({"blocks": [{"base": ADAM, "vary": {"epochs.more": [1]}}], "defaults": {"epochs": 1}}, "it has no fields"),
        ({"blocks": [{"base": {"epochs": 3}}]}, "optimizer is missing"),
        ({"blocks": [{"base": ADAM | {"seed": 3}}]}, "seed stands in"),
        ({"blocks": [{"base": ADAM, "vary": {"seed": [1, 2]}}]}, "seed stands in"),
        ({"defaults": {"seed": 3}}, "seed stands in"),
        ({"blocks": [{"base": ADAM, "vary": {"epochs": list(range(1, 3002))}}], "seeds": [1, 2, 3, 4]}, "12004 runs"),
        ({"blocks": [{"base": ADAM, "vary": {key: [1] * 300 for key in ("a", "b", "c", "d")}}]}, "at most 10000"),
    ],
)  # fmt: skip
def test_wrong_sweep_is_refused_with_its_field(fields: dict[str, Any], message: str) -> None:
    document = {"blocks": [{"base": ADAM}]} | fields
    blocks = document.pop("blocks")
    assert message in "\n".join(faults(*blocks, **document))


def test_ten_thousand_configurations_are_planned_in_seconds() -> None:
    vary = {
        "optimizer.lr": [0.001 * (1 + i) for i in range(100)],
        "optimizer.weight_decay": [i / 50 for i in range(50)],
    }
    start = time.process_time()
    assert len(plan({"base": ADAM, "vary": vary}, seeds=[0, 1]).runs) == 10_000
    assert time.process_time() - start < 20 * slowness()


@pytest.mark.parametrize("path", sorted((ROOT / "manifests/sweeps").glob("*.json")), ids=lambda path: path.stem)
def test_bundled_sweeps_are_valid_and_named_after_their_file(path: Path) -> None:
    document = parse_document(path.read_bytes(), source=path.name)
    assert isinstance(document, Sweep)
    assert document.name == path.stem
    assert build_plan(document, source=path.name).runs


def test_bundled_attributes_vary_every_attribute_that_matters_of_each_optimizer() -> None:
    """At three to five values each with the base; switches have two."""
    document = parse_document((ROOT / "manifests/sweeps/attributes.json").read_bytes(), source="attributes.json")
    assert isinstance(document, Sweep)
    assert len(document.seeds) == 3
    for block in document.blocks:
        runs = [run.manifest for run in build_plan(Sweep(name="one", blocks=[block]), source="").runs]
        attributes = set(type(runs[0].optimizer).model_fields) - {"name", "decoupled_weight_decay"}
        assert {f"optimizer.{name}" for name in attributes} == set(block.vary)
        for path, values in block.vary.items():
            assert len(values) == 1 if values == [True] else 2 <= len(values) <= 5, path


def test_container_is_told_its_runs_by_index() -> None:
    document = sweep({"base": ADAM, "vary": {"optimizer.lr": [0.1, 0.2, 0.3]}})
    planned = build_plan(document, source="")
    submission = build_submission(document, planned.run_ids[1:] + planned.run_ids[:1], per_container=2)
    read = parse_document(submission.model_dump_json().encode(), source="submission.json")
    assert isinstance(read, Submission)
    assert read == submission
    assert as_sweep(read) == document
    rates = [
        [one.optimizer.lr for one in select_manifests(read, planned, index=index, source="")] for index in (0, 1, None)
    ]
    assert rates == [[0.2, 0.3], [0.1], [0.2, 0.3, 0.1]]


def test_index_beyond_the_containers_is_refused() -> None:
    document = sweep({"base": ADAM})
    with pytest.raises(ManifestError, match="index 1 is beyond its 1 parts"):
        select_manifests(document, build_plan(document, source=""), index=1, source="sweep.json")


def test_submission_of_another_version_s_expansion_is_refused() -> None:
    document = sweep({"base": ADAM})
    submission = Submission(sweep=document, containers=[["adam-s0-0123456789"]])
    with pytest.raises(ManifestError, match="adam-s0-0123456789 is not a run of its sweep; submit again"):
        select_manifests(submission, build_plan(document, source=""), index=0, source="s3://bucket/it.json")


def test_settings_belong_to_the_command_that_submits() -> None:
    submission = Submission(sweep=sweep({"base": ADAM}), containers=[])
    with pytest.raises(ManifestError, match="--set belongs to the command that submits"):
        parse_document(submission.model_dump_json().encode(), source="x", overrides=("epochs=1",))


def test_same_submission_has_the_same_id_and_another_one_another() -> None:
    document = sweep({"base": ADAM}, seeds=[0, 1])
    runs = build_plan(document, source="").run_ids
    one, same, other = (build_submission(document, part, per_container=1) for part in (runs, runs, runs[:1]))
    assert one.id == same.id != other.id
