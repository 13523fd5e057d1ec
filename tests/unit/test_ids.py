"""Run ids never change: not with a new version, and not because a field was added.

`tests/data/run-ids.json` and `tests/data/manifest-fields.json` were written by the program as it stood when the first
schema version was fixed (222684c). Neither is ever renewed. The first gets manifests that are bundled later; what a
bundled manifest said before it was changed keeps its id in `SEEN`.
"""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from job.manifest import Manifest, Since, Sweep, later_defaults, parse_manifest
from job.manifest.base import StrictModel, _is_later
from job.manifest.models import Model
from job.manifest.optimizers import Adam
from job.plan import Submission, as_sweep, build_plan, build_submission, parse_document
from job.runs import CheckpointDigest, RunResult, configuration_digest, run_id
from tests.conftest import ROOT

DATA = ROOT / "tests/data"
BUNDLED: dict[str, list[str]] = json.loads((DATA / "run-ids.json").read_text())
FIELDS: dict[str, dict[str, Any]] = json.loads((DATA / "manifest-fields.json").read_text())
"""The fields with a default of the first schema version, by class."""
EVERY_FIELD = {
    "optimizer": {"name": "sgd", "lr": 1e-05, "momentum": 0.9, "nesterov": True}, "epochs": 3, "batch_size": 16,
    "seed": 4294967295, "label_smoothing": 0.1, "augmentation": "crop_flip", "image_size": 64, "precision": "bf16",
    "dataset": {"name": "synthetic", "size": 16, "num_train": 40, "num_test": 20, "validation_fraction": 0.1},
    "model": {"weights": "s3://bucket/größe.pth", "freeze_backbone": True}, "deterministic": True,
    "schedule": {"name": "cosine", "warmup_epochs": 0.5, "final_fraction": 0.01},
}  # fmt: skip
FIRST_SMOKE = {
    "name": "smoke", "optimizer": {"name": "adam", "lr": 0.001}, "epochs": 3, "batch_size": 50, "seed": 0,
    "dataset": {"name": "synthetic", "size": 32, "num_train": 1000, "num_test": 500},
    "model": {"name": "resnet18", "weights": "none"},
}  # fmt: skip
"""The bundled smoke manifest until 2026-11-29; runs of it are in outputs."""
SEEN: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": {"name": "adam"}}, "mine-s0-63e6e4e0c8"),
    ({"optimizer": {"name": "adamw"}}, "mine-s0-a454f700bd"),
    ({"optimizer": {"name": "adamax"}}, "mine-s0-24b271165e"),
    ({"optimizer": {"name": "nadam"}}, "mine-s0-d27d8d508a"),
    ({"optimizer": {"name": "radam"}}, "mine-s0-3a326cb62a"),
    ({"optimizer": {"name": "adagrad"}}, "mine-s0-52360ec85c"),
    ({"optimizer": {"name": "adadelta"}}, "mine-s0-baddcaced8"),
    ({"optimizer": {"name": "rmsprop"}}, "mine-s0-3d15f78ed7"),
    ({"optimizer": {"name": "sgd"}}, "mine-s0-3b548d9e47"),
    ({"optimizer": {"name": "adafactor"}}, "mine-s0-37464dbab4"),
    ({"optimizer": {"name": "asgd"}}, "mine-s0-6ce21c56bc"),
    ({"optimizer": {"name": "rprop"}}, "mine-s0-2f286dbd37"),
    ({"optimizer": {"name": "muon"}}, "mine-s0-afac6863ef"),
    ({"optimizer": {"name": "adamwschedulefree"}}, "mine-s0-741a69cf29"),
    ({"optimizer": {"name": "prodigy"}}, "mine-s0-7143dde895"),
    ({"optimizer": {"name": "adabelief"}}, "mine-s0-a2ff10ad6b"),
    ({"optimizer": {"name": "adamp"}}, "mine-s0-a22d1fadd8"),
    ({"optimizer": {"name": "adan"}}, "mine-s0-7c95adaeac"),
    ({"optimizer": {"name": "adopt"}}, "mine-s0-4b13641123"),
    ({"optimizer": {"name": "lamb"}}, "mine-s0-3139147d07"),
    ({"optimizer": {"name": "laprop"}}, "mine-s0-affc539d4d"),
    ({"optimizer": {"name": "lars"}}, "mine-s0-28cc98463c"),
    ({"optimizer": {"name": "lion"}}, "mine-s0-2617b8295c"),
    ({"optimizer": {"name": "madgrad"}}, "mine-s0-3cc10ce45c"),
    ({"optimizer": {"name": "mars"}}, "mine-s0-80d532a861"),
    ({"optimizer": {"name": "nadamw"}}, "mine-s0-7b85f9eaec"),
    ({"optimizer": {"name": "novograd"}}, "mine-s0-af7fd0e65f"),
    ({"optimizer": {"name": "rmsproptf"}}, "mine-s0-e62b7dd44c"),
    ({"optimizer": {"name": "sgdw"}}, "mine-s0-6d51e86b85"),
    ({"dataset": {"name": "stl10"}}, "mine-s0-63e6e4e0c8"),
    ({"dataset": {"name": "cifar100"}}, "mine-s0-583d0a6688"),
    ({"dataset": {"name": "cifar10"}}, "mine-s0-030b822c23"),
    ({"dataset": {"name": "folder"}}, "mine-s0-12f329a14a"),
    ({"dataset": {"name": "synthetic"}}, "mine-s0-84777b653d"),
    ({"schedule": {"name": "none"}}, "mine-s0-63e6e4e0c8"),
    ({"schedule": {"name": "cosine"}}, "mine-s0-918b7c599e"),
    ({"schedule": {"name": "onecycle"}}, "mine-s0-c3bb619443"),
    ({"model": {}, "seed": 7}, "mine-s7-7c24dfc09c"),
    (EVERY_FIELD, "mine-s4294967295-ce37f0f018"),
    (FIRST_SMOKE, "smoke-s0-666c4544e2"),
]


def manifest(kind: type[Manifest] = Manifest, /, **fields: Any) -> Manifest:
    document = {"name": "mine", "optimizer": {"name": "adam"}} | fields
    return kind.model_validate_json(json.dumps(document))


# What the ids are


@pytest.mark.parametrize(("fields", "expected"), SEEN, ids=[expected for _, expected in SEEN])
def test_run_id_is_what_it_always_was(fields: dict[str, Any], expected: str) -> None:
    assert run_id(manifest(**fields)) == expected


@pytest.mark.parametrize("name", BUNDLED)
def test_runs_of_the_bundled_manifests_have_the_ids_that_they_always_had(name: str) -> None:
    content = (ROOT / "manifests" / name).read_bytes()
    document = parse_document(content, source=name)
    found = (
        [run_id(document)]
        if isinstance(document, Manifest)
        else [run.run_id for run in build_plan(as_sweep(document), source=name).runs]
    )
    assert found == BUNDLED[name]


def test_every_bundled_manifest_has_its_ids_pinned() -> None:
    folder = ROOT / "manifests"
    there = {str(path.relative_to(folder)) for path in folder.glob("*/*.json")}
    assert there == set(BUNDLED), "pin the ids of a new one in tests/data/run-ids.json"


def test_records_of_version_1_belong_to_the_ids_that_they_lie_under() -> None:
    results = list((DATA / "version-1").glob("*/runs/*/result.json"))
    assert results
    for path in results:
        result = RunResult.model_validate_json(path.read_bytes())
        assert run_id(result.manifest) == result.run_id == path.parent.name
        assert run_id(parse_manifest((path.parent / "manifest.json").read_bytes(), source="x")) == result.run_id
        for digest in path.parent.glob("checkpoints/*.json"):
            found = CheckpointDigest.model_validate_json(digest.read_bytes())
            assert found.configuration == configuration_digest(result.manifest)


# Adding a field


class LaterAdam(Adam):
    """An optimizer that has learnt something."""

    clip_norm: Annotated[float, Field(ge=0), Since("0.2.0")] = 0.0


class LaterModel(Model):
    """A network that has."""

    dropout: Annotated[float, Since("0.2.0")] = 0.0


class Averaging(StrictModel):
    """A class that was not there before."""

    name: Literal["none", "ema"] = "none"


class LaterManifest(Manifest):
    """The manifest of a later version: fields in it and in what it holds, and a field that holds a new class."""

    optimizer: LaterAdam
    model: LaterModel = LaterModel()
    ema_decay: Annotated[float | None, Since("0.3.0")] = None
    averaging: Annotated[Averaging, Since("0.3.0")] = Averaging()
    milestones: Annotated[tuple[int, ...], Since("0.3.0")] = ()


class LaterSweep(Sweep):
    """A sweep that has one more field."""

    pairs: Annotated[int, Since("0.2.0")] = 1


class LaterSubmission(Submission):
    """A submission of such a sweep."""

    sweep: LaterSweep


NEW: dict[str, Any] = {
    "clip_norm": 0.0,
    "dropout": 0.0,
    "ema_decay": None,
    "averaging": {"name": "none"},
    "milestones": [],
}
ADAMS = [expected for fields, expected in SEEN if fields.get("optimizer", {"name": "adam"})["name"] == "adam"]


@pytest.mark.parametrize("expected", ADAMS)
def test_added_fields_leave_the_id_as_it_was_while_they_stand_at_their_defaults(expected: str) -> None:
    fields = next(fields for fields, found in SEEN if found == expected)
    assert run_id(manifest(LaterManifest, **fields)) == expected
    spelled = json.loads(manifest(LaterManifest, **fields).model_dump_json())
    assert spelled["optimizer"]["clip_norm"] == 0  # whoever reads the record sees the default
    assert run_id(LaterManifest.model_validate_json(json.dumps(spelled))) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": {"name": "adam", "clip_norm": 1.0}},
        {"model": {"dropout": 0.5}},
        {"ema_decay": 0.99},
        {"averaging": {"name": "ema"}},
        {"milestones": [3]},
    ],
    ids=str,
)
def test_added_field_with_another_value_is_another_run(fields: dict[str, Any]) -> None:
    assert run_id(manifest(LaterManifest, **fields)) != run_id(manifest())


def test_bundled_sweeps_of_a_later_version_have_the_same_ids() -> None:
    for name in ("optimizers", "attributes", "smoke"):
        path = ROOT / f"manifests/sweeps/{name}.json"
        sweep = parse_document(path.read_bytes(), source=name)
        assert isinstance(sweep, Sweep)
        plan = build_plan(sweep, source=name)
        for run in plan.runs:
            if run.manifest.optimizer.name == "adam":
                assert run_id(LaterManifest.model_validate_json(run.manifest.model_dump_json())) == run.run_id


def test_submission_to_older_containers_holds_nothing_that_they_do_not_know() -> None:
    """They expand the sweep themselves, and refuse unknown fields: at its default a new one is not told to them."""
    source = (ROOT / "manifests/sweeps/smoke.json").read_bytes()
    sweep = parse_document(source, source="smoke")
    assert isinstance(sweep, Sweep)
    submission = build_submission(sweep, build_plan(sweep, source="smoke").run_ids, per_container=2)
    document = submission.model_dump()
    told = LaterSubmission.model_validate(document)
    assert told.sweep.pairs == 1
    assert told.id == submission.id
    of_block = {"ranges", "num_samples", "sampling_seed", "configurations"}
    later: Any = {"replaces": True, "auto_precision": True, "sweep": {"blocks": {"__all__": of_block}}}
    assert told.as_json() == submission.as_json() == submission.model_dump_json(indent=1, exclude=later)
    assert Submission.model_validate_json(told.as_json()) == submission
    other = LaterSubmission.model_validate(document | {"sweep": document["sweep"] | {"pairs": 2}})
    assert other.id != submission.id


# The rule, for who adds the next field


def models(*roots: object) -> set[type[BaseModel]]:
    """Every model that a document of these types can hold."""
    found: set[type[BaseModel]] = set()
    waiting = list(roots)
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.add(kind)
                waiting += [field.annotation for field in kind.model_fields.values()]
        else:
            waiting += typing.get_args(kind)
    return found


def inherited_fields(kind: type[BaseModel]) -> dict[str, Any]:
    """The fields that a later class shares with classes of the first version: they count in its ids as in theirs."""
    shared = {
        name for base in kind.__mro__[1:] if base is not BaseModel for name in getattr(base, "__annotations__", {})
    }
    siblings = [
        FIELDS[other.__name__] for other in KINDS if other.__name__ in FIELDS and issubclass(other, kind.__mro__[1])
    ]
    return {name: fields[name] for fields in siblings for name in shared & fields.keys()}


def faults(kind: type[BaseModel], *, name: str | None = None) -> list[str]:
    """What is wrong with the fields of a model."""
    first = FIELDS.get(name or kind.__name__) or inherited_fields(kind)
    found = []
    for field_name, field in kind.model_fields.items():
        what = f"{kind.__name__}.{field_name}"
        if field_name in first:
            default = field.get_default(call_default_factory=True)
            dumped = (
                default.model_dump(mode="json", exclude=later_defaults(default))
                if isinstance(default, BaseModel)
                else json.loads(json.dumps(default))
            )
            if dumped != first[field_name]:
                found.append(f"{what}: its default is part of every run id, and must stay {first[field_name]!r}")
            if _is_later(field):
                found.append(f"{what}: is of the first version, so it must not be marked Since")
        elif not field.is_required() and not _is_later(field):
            found.append(f"{what}: came later; mark it with Since, as job/manifest/base.py says")
    return found + [
        f"{kind.__name__}.{gone}: must not go; manifests name it" for gone in first.keys() - kind.model_fields
    ]


KINDS = sorted(models(Manifest, Sweep), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_is_of_the_first_version_or_marked_as_added_later(kind: type[BaseModel]) -> None:
    assert faults(kind) == []


def test_every_class_of_the_first_version_is_looked_at() -> None:
    assert {kind.__name__ for kind in KINDS} >= FIELDS.keys() - {"DatasetModel"}  # the base of the data sets


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_norm": (float, 0.0)}, "mark it with Since"),
        ({"epochs": (int, 20)}, "must stay 10"),
        ({"epochs": (Annotated[int, Since("0.2.0")], 10)}, "must not be marked"),
    ],
)
def test_rule_notices_who_breaks_it(fields: dict[str, Any], message: str) -> None:
    broken = create_model("Broken", __base__=Manifest, **fields)
    (fault,) = faults(broken, name="Manifest")
    assert message in fault


def test_field_that_is_gone_is_noticed() -> None:
    class Manifest(StrictModel):
        name: str

    assert len(faults(Manifest)) == len(FIELDS["Manifest"])


def test_manifest_and_sweep_files_say_where_the_rule_is() -> None:
    for name in ("models", "optimizers"):
        assert "job.manifest.base" in (Path(ROOT) / f"job/manifest/{name}.py").read_text().partition('"""\n')[0]
