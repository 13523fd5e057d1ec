"""Only like is compared with like: settings, code, versions, image, precision, data; and machines, for times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from job.report.analysis.origins import find_differences
from job.report.read.frames import FACTS
from job.report.read.rows import read_origin
from job.runs import RunResult
from tests.records import build_study, diverged, made_by, make_environment, make_manifest, make_result

NOISE = (0.0, 0.004, -0.003)


def runs_of(name: str, score: float, *, spread: float = 1.0, **fields: Any) -> list[RunResult]:
    return [
        make_result(make_manifest(name, seed=seed, **fields), accuracy=score + spread * noise)
        for seed, noise in enumerate(NOISE)
    ]


def made(runs: list[RunResult], **facts: Any) -> list[RunResult]:
    return [made_by(run, **facts) for run in runs]


def test_more_epochs_for_one_optimizer_decide_nothing(tmp_path: Path) -> None:
    results = runs_of("adam", 0.95, epochs=20, spread=2) + runs_of("adagrad", 0.80, epochs=2)
    verdict = build_study(tmp_path, *results).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith("Not yet known: Adam")
    assert verdict.sentence.endswith("but not in the optimizer alone: epochs 20 against 2.")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"augmentation": "flip"}, "augmentation flip against none"),
        ({"batch_size": 100}, "batch_size 100 against 50"),
        ({"precision": "bf16"}, "precision bf16 against auto"),
        ({"schedule": {"name": "cosine"}}, "schedule cosine against none"),
        ({"label_smoothing": 0.1}, "label_smoothing 0.1 against 0"),
        ({"model": {"weights": "none"}}, "model.weights none against imagenet"),
    ],
)
def test_other_settings_are_named_and_decide_nothing(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    results = runs_of("adam", 0.95, spread=2, **fields) + runs_of("adagrad", 0.80)
    verdict = build_study(tmp_path, *results).verdict
    assert not verdict.decided
    assert f"not in the optimizer alone: {told}." in verdict.sentence


def test_optimizers_are_compared_under_the_settings_that_they_share(tmp_path: Path) -> None:
    """Adam has runs of 20 epochs as well, SGD only such ones; Adam and Adagrad are compared over 2 epochs."""
    results = runs_of("adam", 0.95, epochs=20) + runs_of("adam", 0.70, epochs=2, spread=2)
    results += runs_of("adagrad", 0.80, epochs=2) + runs_of("sgd", 0.97, epochs=20)
    study = build_study(tmp_path, *results)
    # Both settings have two optimizers: the one with the best configuration is taken.
    assert [each.optimizer for each in study.shown] == ["sgd", "adam", "adagrad"]
    assert "Adagrad is not compared: it was run under other settings only (epochs 2 against 20)." in study.verdict.notes
    more = runs_of("rmsprop", 0.75, epochs=2, spread=3)
    study = build_study(tmp_path / "more", *results, *more)
    verdict = study.verdict
    assert verdict.sentence.startswith("Adagrad 80.0 % [")
    assert "points over RMSprop" in verdict.sentence
    assert "SGD is not compared: it was run under other settings only (epochs 20 against 2)." in verdict.notes
    assert [each.optimizer for each in study.shown] == ["adagrad", "rmsprop", "adam", "sgd"]
    assert study.standings[0].configuration.label == "SGD epochs 20"
    behind = study.standings[0].behind
    assert behind is not None
    assert behind.unlike == ("epochs 20 against 2",)
    assert not behind.decided


def test_settings_that_were_open_to_all_may_differ_and_are_told(tmp_path: Path) -> None:
    results = runs_of("adam", 0.95, epochs=20, spread=2) + runs_of("adam", 0.90, epochs=2)
    results += runs_of("adagrad", 0.70, epochs=20) + runs_of("adagrad", 0.80, epochs=2)
    verdict = build_study(tmp_path, *results).verdict
    assert verdict.decided
    assert any("they differ: " in note and "in epochs 20 against 2" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("fact", "ours", "theirs", "told"),
    [
        ("torch", "2.11.0", "2.15.0", "torch 2.11.0 against 2.15.0"),
        ("torchvision", "0.26.0", "0.30.0", "torchvision 0.26.0 against 0.30.0"),
        ("git_sha", "1234567" + 33 * "0", "89abcde" + 33 * "0", "code 1234567 against 89abcde"),
        ("git_sha", 40 * "a" + "-dirty", 40 * "a", "code aaaaaaa-dirty against aaaaaaa"),
        ("image_digest", "sha256:aaaaaaaaa", "sha256:bbbbbbbbb", "image aaaaaaa against bbbbbbb"),
        ("precision", "bf16", "fp32", "precision bf16 against fp32"),
        ("device", "NVIDIA L4", "cpu", "device GPU against CPU"),
        ("data_sha256", "a" * 64, "b" * 64, "data aaaaaaa against bbbbbbb"),
        ("weights_sha256", "a" * 64, "b" * 64, "weights aaaaaaa against bbbbbbb"),
        ("package_version", "0.1", "0.2", "job 0.1 against 0.2"),
    ],
)
def test_runs_that_were_made_otherwise_decide_nothing(
    tmp_path: Path, fact: str, ours: str, theirs: str, told: str
) -> None:
    results = made(runs_of("adam", 0.95, spread=2), **{fact: ours}) + made(runs_of("adagrad", 0.8), **{fact: theirs})
    study = build_study(tmp_path, *results)
    assert not study.verdict.decided
    assert f"not in the optimizer alone: {told}." in study.verdict.sentence
    assert study.verdict.notes[0].startswith("Not all runs were made alike: ")
    value, other = told.split(" ", 1)[1].split(" against ")
    assert value in study.standings[0].made_with
    assert other in study.standings[1].made_with


def test_runs_that_were_made_alike_within_each_seed_are_compared_and_the_mixture_is_told(tmp_path: Path) -> None:
    results = []
    for name, score, spread in (("adam", 0.95, 2), ("adagrad", 0.80, 1)):
        runs = runs_of(name, score, spread=spread)
        results += [made_by(runs[0], torch="2.11.0"), *made(runs[1:], torch="2.15.0")]
    study = build_study(tmp_path, *results)
    assert study.verdict.decided
    assert study.verdict.notes[0] == "Not all runs were made alike: torch 2.15.0 (4 runs) and 2.11.0 (2 runs)."
    assert study.standings[0].made_with == "torch 2.11.0 and 2.15.0"


def test_runs_that_were_all_made_alike_need_no_word(tmp_path: Path) -> None:
    study = build_study(tmp_path, *made(runs_of("adam", 0.95, spread=2)), *made(runs_of("adagrad", 0.8)))
    assert study.verdict.decided
    assert study.verdict.notes == ()
    assert not study.was_made_differently


def test_what_is_not_recorded_is_said_to_be_unknown(tmp_path: Path) -> None:
    study = build_study(tmp_path, *made(runs_of("adam", 0.95)), *runs_of("adagrad", 0.8))
    assert study.verdict.notes[0] == "What made 3 runs of 6 is not recorded."
    assert [line.made_with for line in study.standings] == ["recorded", "not recorded"]
    half = runs_of("adam", 0.95)
    study = build_study(tmp_path / "half", made_by(half[0], git_sha=None), *made(half[1:]))
    assert study.verdict.notes[0] == "Not all runs were made alike: code aaaaaaa (2 runs) and not recorded (1 run)."
    assert study.standings[0].made_with == "code not recorded and aaaaaaa"
    nothing = build_study(tmp_path / "nothing", *runs_of("adam", 0.95))
    assert any("made them is not recorded" in fact for fact in nothing.facts)


def test_every_recorded_fact_is_read_and_compared() -> None:
    ours = read_origin(make_environment())
    assert ours.keys() == FACTS.keys()
    assert find_differences([(ours, ours)]) == []
    assert find_differences([(ours, read_origin(None))]) == []
    changed = make_environment(torch="1", torchvision="2", git_sha="3", image_digest=None, precision="bf16")
    assert len(find_differences([(ours, read_origin(changed))])) == 4


def test_two_names_of_one_configuration_are_one_and_diverged_where_one_did(tmp_path: Path) -> None:
    results = [
        make_result(make_manifest("adam", name=name), accuracy=score) for name, score in (("a", 0.8), ("b", 0.9))
    ]
    lost = diverged(make_result(make_manifest("adam", name="c", seed=1), accuracy=0.99), epoch=3)
    other = make_result(make_manifest("adam", name="d", seed=1), accuracy=0.7)
    (line,) = build_study(tmp_path, *results, lost, other).standings
    assert line.configuration.scores == {0: pytest.approx(0.85)}
    assert line.configuration.fate == "1 of 2 seeds diverged"


def with_speed(runs: list[RunResult], *speeds: float) -> list[RunResult]:
    return [run.model_copy(update={"train_images_per_second": speed}) for run, speed in zip(runs, speeds, strict=True)]


def test_times_of_a_machine_whose_speed_varied_are_not_compared(tmp_path: Path) -> None:
    results = with_speed(runs_of("adam", 0.9), 24, 12, 4) + with_speed(runs_of("adagrad", 0.8), 20, 20, 20)
    study = build_study(tmp_path, *results)
    assert study.times_apart == (
        "Times are not compared: the images per second of the same work differ 6.0-fold between runs (4 to 24)."
    )


def test_times_of_one_quiet_machine_are_compared(tmp_path: Path) -> None:
    results = with_speed(runs_of("adam", 0.9), 24, 20, 22) + with_speed(runs_of("adagrad", 0.8), 20, 20, 29)
    assert build_study(tmp_path, *results).times_apart is None


def test_other_work_may_take_other_times(tmp_path: Path) -> None:
    results = with_speed(runs_of("adam", 0.9), 24, 20, 22)
    results += with_speed(runs_of("adam", 0.8, image_size=32), 240, 200, 220)
    assert build_study(tmp_path, *results).times_apart is None


@pytest.mark.parametrize(
    ("fact", "values", "told"),
    [
        ("device", ("NVIDIA L4", "NVIDIA H100"), "different devices (NVIDIA H100 and NVIDIA L4)"),
        ("instance_type", ("g6.xlarge", "g5.xlarge"), "different instance types (g5.xlarge and g6.xlarge)"),
        ("num_threads", (1, 4), "different numbers of threads (1 and 4)"),
    ],
)
def test_times_of_different_machines_are_not_compared(
    tmp_path: Path, fact: str, values: tuple[object, object], told: str
) -> None:
    results = made(runs_of("adam", 0.9), **{fact: values[0]}) + made(runs_of("adagrad", 0.8), **{fact: values[1]})
    study = build_study(tmp_path, *results)
    assert study.times_apart == f"Times are not compared: the runs had {told}."
