"""Run ids, the keys of a run's files, and their records: what run, status and report agree on."""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job import runs
from job.cli.options import check_experiment
from job.errors import ManifestError, UsageError
from job.manifest import Manifest, parse_manifest
from job.plan import job_key, plan_key, submission_key
from job.runs import (
    AttemptRecord,
    BestEpoch,
    CheckpointDigest,
    Diagnostics,
    Divergence,
    Efficiency,
    Environment,
    EpochRecord,
    GradientCheck,
    GroupDiagnostics,
    Progress,
    Record,
    RightImages,
    RunKeys,
    RunResult,
    Scores,
    Timings,
    checkpoint_digest_key,
    configuration_digest,
    is_result_key,
    run_id,
)

NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
NAMES = st.from_regex(NAME, fullmatch=True)
SEEDS = st.integers(0, 2**32 - 1)


def manifest(**fields: object) -> Manifest:
    document = {"name": "mine", "optimizer": {"name": "adam"}} | fields
    return parse_manifest(json.dumps(document).encode(), source="test")


def keys_of(keys: RunKeys) -> dict[str, str]:
    names = [name for name, value in vars(RunKeys).items() if isinstance(value, property) and name != "prefix"]
    return {name: getattr(keys, name) for name in names} | {
        "plot": keys.plot("loss"),
        "checkpoint": keys.checkpoint(epoch=3, step=0),
        "checkpoint_within": keys.checkpoint(epoch=3, step=17),
        "checkpoint_digest": checkpoint_digest_key(keys.checkpoint(epoch=3, step=0)),
    }


# Run ids


def test_run_id_is_name_seed_and_the_digest_of_the_canonical_manifest() -> None:
    resolved = json.loads(manifest(seed=3).model_dump_json())
    del resolved["name"], resolved["normalization"], resolved["model"]["batch_norm"]  # later fields, at their defaults
    canonical = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
    assert run_id(manifest(seed=3)) == f"mine-s3-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


@settings(deadline=None)
@given(NAMES, SEEDS)
def test_run_id_is_one_plain_component_of_a_path(name: str, seed: int) -> None:
    found = run_id(manifest(name=name, seed=seed))
    assert re.fullmatch(rf"{re.escape(name)}-s{seed}-[0-9a-f]{{10}}", found)
    assert len(found) <= 63  # also a label in Kubernetes and a job name in Batch


def test_name_is_no_part_of_the_digest() -> None:
    assert configuration_digest(manifest(name="one")) == configuration_digest(manifest(name="two"))
    assert run_id(manifest(name="one")) != run_id(manifest(name="two"))


def test_seed_is_part_of_the_digest_unless_it_is_ignored() -> None:
    assert configuration_digest(manifest(seed=0)) != configuration_digest(manifest(seed=1))
    ignored = frozenset({"name", "seed"})
    assert configuration_digest(manifest(seed=0), ignore=ignored) == configuration_digest(
        manifest(seed=1), ignore=ignored
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 11},
        {"batch_size": 51},
        {"optimizer": {"name": "adam", "lr": 0.002}},
        {"optimizer": {"name": "adamw"}},
        {"dataset": {"name": "cifar100"}},
        {"model": {"weights": "none"}},
        {"schedule": {"name": "cosine"}},
        {"label_smoothing": 0.1},
        {"augmentation": "flip"},
        {"image_size": 96},
        {"normalization": "none"},
        {"model": {"batch_norm": "running"}},
        {"precision": "fp32"},
        {"deterministic": True},
    ],
    ids=str,
)
def test_every_field_is_part_of_the_digest(fields: dict[str, object]) -> None:
    assert configuration_digest(manifest(**fields)) != configuration_digest(manifest())


def test_defaults_spelled_out_and_other_spellings_of_numbers_give_the_same_digest() -> None:
    spelled = json.loads(manifest().model_dump_json())
    assert len(spelled) > 10
    assert run_id(parse_manifest(json.dumps(spelled, indent=3).encode(), source="spelled")) == run_id(manifest())
    backwards = dict(reversed(spelled.items()))
    assert run_id(parse_manifest(json.dumps(backwards).encode(), source="backwards")) == run_id(manifest())
    integer = {"name": "adam", "lr": 1e-3, "weight_decay": 0}
    assert run_id(manifest(optimizer=integer)) == run_id(manifest())


# Keys


@settings(deadline=None)
@given(NAMES, NAMES, SEEDS)
def test_every_key_stays_below_the_prefix(experiment: str, name: str, seed: int) -> None:
    keys = RunKeys(experiment, run_id(manifest(name=name, seed=seed)))
    found = keys_of(keys)
    assert keys.prefix.startswith(f"{experiment}/runs/{name}-s")
    for key in found.values():
        assert key.startswith(f"{keys.prefix}/")
        assert posixpath.normpath(key) == key.rstrip("/")
        assert key.isascii()
    assert len(set(found.values())) == len(found)


TRICKS = st.text(st.sampled_from("./\\\0\n:~%-a9٣é\u202e"), max_size=4) | st.text()


@settings(deadline=None)
@given(NAMES | TRICKS, NAMES | TRICKS, SEEDS)
@example("..", "a", 0)
@example("a", "..", 0)
@example("a\n", "a", 0)
def test_no_name_that_is_accepted_leads_a_key_out_of_the_experiment(experiment: str, name: str, seed: int) -> None:
    try:
        check_experiment(experiment)
        keys = keys_of(RunKeys(experiment, run_id(manifest(name=name, seed=seed))))
    except (UsageError, ManifestError):
        assert not (re.fullmatch(NAME, experiment) and re.fullmatch(NAME, name))
        return
    for key in (*keys.values(), plan_key(experiment), submission_key(experiment, "ab"), job_key(experiment, "ab")):
        assert posixpath.normpath(posixpath.join("/output", key)).startswith(f"/output/{experiment}/")
        assert re.fullmatch(r"[a-z0-9._/-]+", key)


def test_keys_are_those_of_the_design() -> None:
    assert keys_of(RunKeys("first", "adam-s0-0123456789")) == {
        "manifest": "first/runs/adam-s0-0123456789/manifest.json",
        "environment": "first/runs/adam-s0-0123456789/environment.json",
        "progress": "first/runs/adam-s0-0123456789/progress.json",
        "history": "first/runs/adam-s0-0123456789/history.jsonl",
        "model": "first/runs/adam-s0-0123456789/model.safetensors",
        "predictions": "first/runs/adam-s0-0123456789/predictions.npz",
        "samples": "first/runs/adam-s0-0123456789/samples.npz",
        "onnx": "first/runs/adam-s0-0123456789/model.onnx",
        "log": "first/runs/adam-s0-0123456789/log.jsonl",
        "result": "first/runs/adam-s0-0123456789/result.json",
        "plot": "first/runs/adam-s0-0123456789/plots/loss.png",
        "checkpoints": "first/runs/adam-s0-0123456789/checkpoints/",
        "checkpoint": "first/runs/adam-s0-0123456789/checkpoints/epoch-0003.pt",
        "checkpoint_within": "first/runs/adam-s0-0123456789/checkpoints/epoch-0003_step-000017.pt",
        "checkpoint_digest": "first/runs/adam-s0-0123456789/checkpoints/epoch-0003.json",
    }


ages = st.tuples(st.sampled_from([0, 1, 2, 9, 10, 99, 100, 999, 1000, 9_999]), st.sampled_from([0, 1, 9, 10, 999_999]))


@given(st.lists(ages, unique=True))
def test_keys_of_checkpoints_sort_by_age(found: list[tuple[int, int]]) -> None:
    keys = RunKeys("first", "adam-s0-0123456789")
    by_key = sorted(found, key=lambda age: keys.checkpoint(epoch=age[0], step=age[1]))
    assert by_key == sorted(found)


def test_checkpoint_within_the_next_epoch_is_younger_than_that_of_the_whole_epoch() -> None:
    keys = RunKeys("first", "adam-s0-0123456789")
    order = [keys.checkpoint(epoch=epoch, step=step) for epoch, step in [(2, 99), (3, 0), (3, 1), (3, 20), (4, 0)]]
    assert sorted(order) == order


def test_last_epoch_that_a_manifest_allows_keeps_the_order() -> None:
    last = Manifest.model_json_schema()["properties"]["epochs"]["maximum"]
    keys = RunKeys("first", "adam-s0-0123456789")
    assert keys.checkpoint(epoch=last - 1, step=5) < keys.checkpoint(epoch=last, step=0)
    assert keys.checkpoint(epoch=999, step=0) < keys.checkpoint(epoch=last, step=0)


def test_result_key_is_known_among_all_others() -> None:
    keys = RunKeys("first", "adam-s0-0123456789")
    assert is_result_key(keys.result)
    assert [name for name, key in keys_of(keys).items() if is_result_key(key)] == ["result"]


@pytest.mark.parametrize(
    "key",
    [
        "result.json",
        "first/result.json",
        "first/runs/result.json",
        "first/runs/adam/plots/result.json",
        "a/first/runs/adam/result.json",
        "first/other/adam/result.json",
        "first/runs/adam/result.json.old",
        "report/index.html",
        "",
    ],
)
def test_key_that_only_resembles_a_result_is_none(key: str) -> None:
    assert not is_result_key(key)


# Records

SCORES = Scores(loss=0.5, top1=0.8, top5=0.99)
GROUP = GroupDiagnostics(
    num_weights=5130,
    gradient_norm=[1.5, None],
    update_norm=[0.1, 0.2],
    weight_norm=[10.0, 10.5],
    update_to_weight=[0.01, 0.02],
    update_rms=[1e-5, 1e-6],
    distance_from_start=0.25,
)
DIAGNOSTICS = Diagnostics(steps=[0, 10], backbone=None, fc=GROUP)
EPOCH = EpochRecord(
    epoch=1,
    train=Scores(loss=None, top1=0.1),
    test=SCORES,
    validation=SCORES,
    learning_rate=0.001,
    diagnostics=DIAGNOSTICS,
    train_seconds=1.25,
    evaluate_seconds=0.5,
    train_images_per_second=4000.0,
    evaluate_images_per_second=16000.0,
)
TIMINGS = Timings(startup=1.0, staging=2.0, train=3.0, evaluate=4.0, upload=5.0, total=15.0)
BEST = BestEpoch(epoch=1, chosen_on="validation", test=SCORES)
DIVERGENCE = Divergence(epoch=2, step=7)
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
RIGHT = RightImages(epoch=1, num_images=11, bits="oCA=", test_sha256="a1" * 32)
"""Of the images 0 to 10, 0, 2 and 10 were right: 1010 0000 001 and five bits that are not used."""
ATTEMPT = AttemptRecord(
    number=2,
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=90),
    seconds=90.0,
    instance_type="g5.xlarge",
    zone="eu-west-1a",
    market="spot",
    usd_per_hour=0.5,
)
RESULT = RunResult(
    run_id="mine-s0-0123456789",
    experiment="first",
    attempt_id="abc",
    manifest=manifest(optimizer={"name": "sgd", "momentum": 0.9, "nesterov": True}),
    status="diverged",
    divergence=DIVERGENCE,
    classes=["cat", "dög"],
    num_train=4000,
    num_validation=1000,
    num_test=8000,
    num_parameters=11_181_642,
    final=SCORES,
    best=BEST,
    class_accuracy=[0.75, None],
    confusion=[[3, 1], [0, 0]],
    test_right=RIGHT,
    history=[EPOCH],
    timings=TIMINGS,
    train_images_per_second=None,
    peak_memory_bytes=2**33,
    attempts=2,
    attempt_records=[ATTEMPT],
    lost_seconds=0.5,
    estimated_cost_usd=0.0125,
    finished_at=NOON,
)
EXAMPLES: list[Record] = [
    SCORES,
    GROUP,
    DIAGNOSTICS,
    EPOCH,
    TIMINGS,
    BEST,
    DIVERGENCE,
    GradientCheck(precision="bf16", num_images=4, parameter="fc.bias", error=0.1, repeats=True, passed=True),
    Efficiency(flop_per_image=2, achieved_flops=1.5, peak_flops=3.0, utilisation_fraction=0.5, energy_joules=None),
    RIGHT,
    RESULT,
    CheckpointDigest(size_bytes=1, sha256="00", configuration="0123456789", precision="bf16"),
    ATTEMPT,
    Progress(
        run_id="mine-s0-0123456789",
        state="failed",
        attempt=1,
        epoch=0,
        step=3,
        num_epochs=10,
        num_steps=100,
        updated_at=NOON,
        error="m.json: name is missing",
        exit_code=65,
    ),
    Environment(
        package_version="0.1",
        python="3.11",
        platform="Linux",
        packages={"torch": "2.11"},
        device="cpu",
        driver=None,
        cuda=None,
        cpu_capability="AVX2",
        num_threads=2,
        precision="fp32",
        git_sha=None,
        image_digest=None,
        instance_type=None,
        data_sha256="00",
        weights_sha256=None,
    ),
]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 4.5], 2.5),
        ([1.0, None, 2.0], 1.5),
        ([math.inf, 1.0], 1.0),
        ([math.inf, -math.inf, 3.0], 3.0),
        ([math.nan, 2.0], 2.0),
        ([1e16, 1.0, -1e16], 1 / 3),
        ([None, math.inf, None], None),
    ],
)
def test_mean_of_an_epoch_is_over_what_is_finite(values: list[float | None], expected: float | None) -> None:
    group = GROUP.model_copy(update={"update_norm": values})
    diagnostics = Diagnostics(steps=[10 * place for place in range(len(values))], backbone=None, fc=group)
    assert diagnostics.mean("fc", "update_norm") == expected
    assert diagnostics.mean("backbone", "update_norm") is None


def test_there_is_an_example_of_every_record() -> None:
    defined = {v for v in vars(runs).values() if isinstance(v, type) and issubclass(v, Record) and v is not Record}
    assert {type(example) for example in EXAMPLES} == defined


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_record_survives_its_json(record: Record) -> None:
    written = record.model_dump_json()
    again = type(record).model_validate_json(written)
    assert again == record
    assert again.model_dump_json() == written


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_reader_ignores_fields_that_a_later_version_added(record: Record) -> None:
    document = json.loads(record.model_dump_json())
    later = _with_new_fields(document)
    assert later != document
    assert type(record).model_validate_json(json.dumps(later)) == record


def _with_new_fields(value: Any) -> Any:
    """`value` with one more field in every record; the manifest is no record, it is strict."""
    if isinstance(value, list):
        return [_with_new_fields(item) for item in value]
    if not isinstance(value, dict):
        return value
    later = {key: item if key in ("manifest", "packages") else _with_new_fields(item) for key, item in value.items()}
    return later | {"added_later": {"x": 1}}


def test_loss_that_is_not_finite_is_written_as_null() -> None:
    written = Scores(loss=float("nan"), top1=0.1).model_dump_json()
    assert json.loads(written)["loss"] is None
    assert Scores.model_validate_json(written).loss is None


def test_times_carry_their_zone() -> None:
    assert json.loads(RESULT.model_dump_json())["finished_at"] == "2026-01-02T12:00:00.123456Z"


@pytest.mark.parametrize("written", ["2026-01-02T12:00:00", "2026-01-02T12:00:00Z", "2026-01-02T17:30:00+05:30"])
def test_time_without_a_zone_is_taken_as_utc(written: str) -> None:
    result = RunResult.model_validate_json(json.dumps(json.loads(RESULT.model_dump_json()) | {"finished_at": written}))
    assert result.finished_at == datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_every_file_of_a_run_carries_the_version_of_its_schema() -> None:
    for record in EXAMPLES:
        if isinstance(record, RunResult | Progress | Environment | EpochRecord | CheckpointDigest):
            assert json.loads(record.model_dump_json())["schema_version"] == 1
