"""The sweep that `job report --next` proposes: what is in it, why, and that its runs go with those that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from job.manifest import Manifest, parse_json_object, validate
from job.manifest.sweep import Sweep
from job.plan import build_plan
from job.report.analysis.next import Part, Proposal, propose_next
from job.report.analysis.study import build_studies
from job.report.read.load import read_runs
from job.runs import RunResult
from job.storage import FolderStore
from job.submit.status import find_done
from tests.conftest import Answer
from tests.records import build_study, make_manifest, make_result, store_results

Job = Callable[..., Answer]
LOW, HIGH = [0.6] * 6, [0.9] * 6
UNCERTAIN = (0.9, 0.35, 0.7)
OF_THE_MANIFEST = ("lr", "alpha", "rho", "eps", "schedule", "batch_size", "momentum", "name", "weight_decay")


def runs(optimizer: str, *, seeds: Sequence[int] = (0, 1, 2), **options: Any) -> list[RunResult]:
    fields = {key: options.pop(key) for key in list(options) if key in OF_THE_MANIFEST}
    tops = options.pop("tops", None)
    return [
        make_result(
            make_manifest(optimizer, seed=seed, epochs=6, **fields),
            experiment="study",
            **{"first_step": 0.05} | options | ({"top1": [tops[place]] * 6} if tops else {}),
        )
        for place, seed in enumerate(seeds)
    ]


def propose(folder: Path, *results: Sequence[RunResult]) -> Proposal | None:
    return propose_next([build_study(folder, *(result for family in results for result in family))])


def parts(folder: Path, kind: str, *results: Sequence[RunResult]) -> list[Part]:
    proposal = propose(folder, *results)
    return [part for part in proposal.parts if part.kind == kind] if proposal else []


def manifests(proposal: Proposal) -> list[Manifest]:
    return [run.manifest for run in build_plan(proposal.sweep, source="next.json").runs]


def test_nothing_is_proposed_where_nothing_is_open(tmp_path: Path) -> None:
    assert propose(tmp_path / "a", runs("adam", top1=HIGH), runs("adagrad", top1=HIGH)) is None
    assert propose(tmp_path / "b", runs("adam", top1=HIGH)) is None


# More seeds


def test_pair_that_is_not_decided_gets_more_seeds_and_decided_ones_do_not(tmp_path: Path) -> None:
    proposal = propose(tmp_path, runs("adam", top1=HIGH), runs("sgd", tops=UNCERTAIN), runs("adagrad", top1=[0.2] * 6))
    assert proposal is not None
    (part,) = [part for part in proposal.parts if part.kind == "more seeds"]
    assert part.what == "Adam and SGD"
    assert part.why.startswith("Whether Adam or SGD is better is not known: +25.0 [")
    assert len(proposal.sweep.seeds) == part.num_seeds > 3
    assert proposal.sweep.seeds[:3] == [0, 1, 2]


def test_number_of_seeds_is_that_of_the_judgement_up_to_three_times_those_that_ran(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs("adam", tops=(0.90, 0.91, 0.90)), *runs("sgd", tops=(0.89, 0.88, 0.90)))
    assert study.judgement is not None
    needed = study.judgement.seeds_needed
    (part,) = [part for part in (propose_next([study]) or pytest.fail("nothing")).parts if part.kind == "more seeds"]
    if needed is None:
        assert part.num_seeds == 6
        assert "is not known well enough" in part.why
    else:
        assert part.num_seeds == min(9, max(4, needed.likely))
        assert f"takes about {max(4, needed.likely)} seeds" in part.why


def test_one_seed_becomes_three(tmp_path: Path) -> None:
    proposal = propose(tmp_path, runs("adam", seeds=[7], top1=HIGH), runs("sgd", seeds=[7], top1=LOW))
    assert proposal is not None
    assert proposal.sweep.seeds == [7, 0, 1]
    assert "3 common seeds tell how much seeds differ" in proposal.parts[0].why


def test_configurations_without_a_common_seed_are_run_with_each_other_s(tmp_path: Path) -> None:
    proposal = propose(tmp_path, runs("adam", seeds=[0, 1], top1=HIGH), runs("sgd", seeds=[2, 3], top1=LOW))
    assert proposal is not None
    assert "they have no seed in common" in proposal.parts[0].why
    assert proposal.sweep.seeds == [0, 1, 2, 3]
    assert len(manifests(proposal)) == 8


def test_value_of_an_attribute_that_is_not_decided_gets_more_seeds(tmp_path: Path) -> None:
    (part,) = parts(
        tmp_path, "more seeds", runs("adam", seeds=range(4), top1=HIGH), runs("adam", eps=0.01, tops=UNCERTAIN)
    )
    assert part.what == "Adam and Adam eps 0.01"


# A wider range


@pytest.mark.parametrize(
    ("best", "values"),
    [
        pytest.param(0.01, {0.03, 0.1}, id="the largest is the best"),
        pytest.param(0.0001, {3.3e-5, 1e-5}, id="the smallest is the best"),
        pytest.param(0.001, set(), id="the best lies within"),
    ],
)
def test_range_is_widened_beyond_the_best_learning_rate(best: float, values: set[float], tmp_path: Path) -> None:
    tried = [runs("adam", lr=lr, top1=HIGH if lr == best else LOW) for lr in (0.0001, 0.001, 0.01)]
    found = parts(tmp_path, "wider range", *tried)
    new = {manifest.optimizer.lr for part in found for manifest in part.manifests} - {best}
    assert new == values
    for part in found:
        assert f"The best lr of Adam is the {'largest' if best > 0.001 else 'smallest'} that was tried" in part.why


@pytest.mark.parametrize(
    ("optimizer", "field", "tried", "values"),
    [
        ("rmsprop", "alpha", (0.9, 0.99), [1 - 0.01 / 3, 0.999]),
        ("rmsprop", "alpha", (0.99, 0.9), [0.7, 0.0]),
        ("adadelta", "rho", (0.9, 0.99), [1 - 0.01 / 3, 0.999]),
        ("rmsprop", "momentum", (0.5, 0.0), []),
        ("adam", "eps", (1e-8, 0.01), [0.03, 0.1]),
        ("adam", "weight_decay", (0.1, 0.0), []),
    ],
)
def test_range_of_other_attributes_is_widened_on_their_own_scale(
    optimizer: str, field: str, tried: tuple[float, float], values: list[float], tmp_path: Path
) -> None:
    """The second of `tried` is the best one."""
    varied: list[dict[str, Any]] = [{field: value} for value in tried]
    results = [runs(optimizer, top1=top1, **fields) for fields, top1 in zip(varied, (LOW, HIGH), strict=True)]
    found = parts(tmp_path, "wider range", *results)
    new = [getattr(manifest.optimizer, field) for part in found for manifest in part.manifests[1:]]
    assert new == pytest.approx(values)


def test_range_is_not_widened_where_values_are_practically_equal(tmp_path: Path) -> None:
    assert not parts(tmp_path, "wider range", runs("adam", lr=0.01, top1=HIGH), runs("adam", lr=0.001, top1=HIGH))


# An intervention


def test_untested_reason_gets_its_intervention_once(tmp_path: Path) -> None:
    large, others = runs("rmsprop", first_step=0.5, top1=LOW), runs("adam", top1=HIGH)
    found = parts(tmp_path / "a", "intervention", large, others)
    assert [part.what for part in found] == ["RMSprop with lr 0.0001", "RMSprop with one epoch of warm-up"]
    assert "“RMSprop begins with a very large step” is not tested" in found[1].why
    warm: dict[str, Any] = {"schedule": {"name": "none", "warmup_epochs": 1.0}}
    tested = [*runs("rmsprop", top1=[0.8] * 6, **warm), *runs("rmsprop", lr=0.0001, top1=[0.8] * 6)]
    assert not parts(tmp_path / "b", "intervention", large, others, tested)


def test_intervention_that_decided_nothing_gets_more_seeds(tmp_path: Path) -> None:
    large, others = runs("rmsprop", seeds=range(4), first_step=0.5, top1=LOW), runs("adam", top1=HIGH)
    warm = runs("rmsprop", tops=UNCERTAIN, schedule={"name": "none", "warmup_epochs": 1.0})
    found = parts(tmp_path, "more seeds", large, others, warm)
    assert any(
        "The test of “Adam beside RMSprop” and “RMSprop begins with a very large step” is not decided" in part.why
        for part in found
    )


# The sweep


def test_new_runs_keep_the_setting_and_the_existing_ones_their_ids(tmp_path: Path) -> None:
    own: dict[str, Any] = {"batch_size": 20, "schedule": {"name": "cosine", "final_fraction": 0.1}}
    large, others = runs("rmsprop", name="my-rms", first_step=0.5, top1=LOW, **own), runs("adam", top1=HIGH, **own)
    proposal = propose(tmp_path, large, others)
    assert proposal is not None
    planned = manifests(proposal)
    assert {(manifest.batch_size, manifest.epochs, manifest.dataset.name) for manifest in planned} == {(20, 6, "stl10")}
    assert {manifest.schedule.name for manifest in planned} == {"cosine"}
    ids = set(build_plan(proposal.sweep, source="next.json").run_ids)
    assert {result.run_id for result in large} < ids
    assert all(run_id.startswith(("my-rms-s", "adam-s")) for run_id in ids)


def test_document_is_a_valid_sweep_of_the_same_name(tmp_path: Path) -> None:
    import json

    proposal = propose(tmp_path, runs("rmsprop", first_step=0.5, top1=LOW), runs("adam", tops=UNCERTAIN))
    assert proposal is not None
    document = parse_json_object(json.dumps(proposal.as_json()).encode(), source="next.json")
    sweep = validate(document, Sweep, source="next.json")
    assert sweep == proposal.sweep
    assert sweep.name == "study"


# The command


@pytest.mark.usefixtures("blank_report")
def test_report_plan_and_submit_agree_on_what_is_left_to_run(job: Job, tmp_path: Path) -> None:
    output, path = tmp_path / "out", tmp_path / "next.json"
    results = [*runs("rmsprop", first_step=0.5, top1=LOW), *runs("adam", top1=HIGH)]
    store_results(FolderStore(output), *results)
    answer = job("report", output, "--next", path)
    assert answer.exit_code == 0, answer.stderr
    assert f"{path}: 6 new runs; 3 of its runs have a result and are not run again" in answer.stdout
    assert "intervention  RMSprop with one epoch of warm-up: " in answer.stdout
    assert job("validate", path).exit_code == 0
    assert "study: 9 runs, 3 configurations" in " ".join(job("plan", "--manifest", path).stdout.split())
    (study,) = build_studies(read_runs(FolderStore(output)))
    planned = build_plan((propose_next([study]) or pytest.fail("nothing")).sweep, source="next.json")
    assert len(set(planned.run_ids) - {result.run_id for result in results}) == 6
    done = find_done(planned.run_ids, FolderStore(output), experiment="study")  # what `job submit` leaves out
    assert done == {result.run_id for result in results if result.manifest.optimizer.name == "rmsprop"}


@pytest.mark.usefixtures("blank_report")
def test_answered_study_writes_no_sweep(job: Job, tmp_path: Path) -> None:
    store_results(FolderStore(tmp_path / "out"), *runs("adam", top1=HIGH), *runs("adagrad", top1=HIGH))
    answer = job("report", tmp_path / "out", "--next", tmp_path / "next.json")
    assert answer.exit_code == 0
    assert "nothing is open that another sweep would settle" in answer.stdout
    assert not (tmp_path / "next.json").exists()


@pytest.mark.usefixtures("blank_report")
def test_experiment_has_to_be_named_where_there_are_several(job: Job, tmp_path: Path) -> None:
    other = [result.model_copy(update={"experiment": "other"}) for result in runs("adam", top1=HIGH)]
    store_results(FolderStore(tmp_path / "out"), *runs("rmsprop", first_step=0.5, top1=LOW), *runs("adam"), *other)
    answer = job("report", tmp_path / "out", "--next", tmp_path / "next.json")
    assert answer.exit_code == 2
    assert "name it with --experiment: other, study" in answer.stderr
    assert job("report", tmp_path / "out", "--next", tmp_path / "next.json", "--experiment", "study").exit_code == 0
    assert (tmp_path / "next.json").exists()


@pytest.mark.parametrize("path", ["s3://bucket/next.json", "missing/next.json", "."])
def test_place_that_cannot_hold_the_sweep_is_refused_before_anything_is_written(
    path: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store_results(FolderStore(tmp_path / "out"), *runs("adam"))
    answer = job("report", tmp_path / "out", "--next", path)
    assert answer.exit_code == 2
    assert "--next" in answer.stderr
    assert not (tmp_path / "out/report").exists()
