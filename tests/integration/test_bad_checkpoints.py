"""A checkpoint that is damaged, hostile or another's is never trained on: the run ends as the uninterrupted one did."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from job.runs import CheckpointDigest
from job.storage import FolderStore
from job.training.record.checkpoints import checkpoint_artefacts
from tests.conftest import TINY, Answer, in_each_precision
from tests.results import metrics, result_in
from tests.unit.test_model import Bomb, zip_file

Job = Callable[..., Answer]
Damage = Callable[[Path], object]
pytestmark = in_each_precision


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the uninterrupted runs left, a folder for each precision."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def whole(wholes: Path, precision_fields: dict[str, Any]) -> Path:
    """Its last two checkpoints are those of the second and of the third epoch."""
    return wholes / precision_fields.get("precision", "fp32")


@pytest.fixture
def run(job: Job, tiny: Callable[..., Path], whole: Path, precision_fields: dict[str, Any]) -> Callable[[Path], Answer]:
    manifest = TINY | precision_fields | {"optimizer": {"name": "sgd"}, "epochs": 3}

    def call(output: Path) -> Answer:
        return job("run", "--manifest", tiny(**manifest), "--output", output, "--checkpoint-interval", "0")

    if not whole.exists():
        assert call(whole).exit_code == 0
    return call


@pytest.fixture
def stopped(run: Callable[[Path], Answer], whole: Path, tmp_path: Path) -> Path:
    """The checkpoints of that run as it would have left them, had it been killed just before it published."""
    output = tmp_path / "out"
    shutil.copytree(whole, output, copy_function=os.link)
    for name in ("result.json", "model.safetensors", "predictions.npz", "plots/loss.png"):
        next(output.glob(f"*/runs/*/{name}")).unlink()
    return output


def replace(path: Path, content: bytes) -> None:
    """Another file in its place: what is there is a link to what the other tests need."""
    path.unlink()
    path.write_bytes(content)


def change(suffix: str, how: Callable[[bytes], bytes]) -> Damage:
    return lambda checkpoint: replace(checkpoint.with_suffix(suffix), how(checkpoint.with_suffix(suffix).read_bytes()))


def forge(how: Callable[[dict[str, Any]], object]) -> Damage:
    """What it says is another, and its digest is the one of what it says."""

    def damage(checkpoint: Path) -> None:
        content = how(torch.load(checkpoint, weights_only=True))
        configuration = CheckpointDigest.model_validate_json(checkpoint.with_suffix(".json").read_bytes()).configuration
        for key, forged in checkpoint_artefacts("x.pt", zip_file(content), configuration=configuration).items():
            replace(checkpoint.with_suffix(Path(key).suffix), forged)

    return damage


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def with_bomb(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"model": content["model"] | {"conv1.weight": Bomb(Path(os.environ["EXPLODED"]))}}


DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated": (change(".pt", lambda content: content[:-1]), "differs from its digest"),
    "wrong digest": (change(".json", lambda text: text.replace(b'"sha256":"', b'"sha256":"0')), "differs from its"),
    "no digest": (lambda checkpoint: checkpoint.with_suffix(".json").unlink(), "no digest: its upload did not finish"),
    "pickle bomb": (forge(with_bomb), "not a checkpoint: UnpicklingError"),
    "of another version": (forge(without("history")), "not a checkpoint of this version: KeyError('history')"),
}


def events(answer: Answer, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in answer.stderr.splitlines() if line.startswith("{")]
    return [event for event in found if event["event"] == name]


def assert_same_result(output: Path, whole: Path) -> None:
    assert metrics(result_in(FolderStore(output))) == metrics(result_in(FolderStore(whole)))
    for name in ("model.safetensors", "predictions.npz"):
        found, expected = (next(place.rglob(name)).read_bytes() for place in (output, whole))
        assert found == expected, name


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_newest_checkpoint_is_passed_over_for_the_one_before(
    run: Callable[[Path], Answer], stopped: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    damage: Damage, reason: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("EXPLODED", str(tmp_path / "exploded"))
    older, newest = sorted(stopped.rglob("*.pt"))
    damage(newest)
    answer = run(stopped)
    assert answer.exit_code == 0, answer.stderr
    (warning,) = events(answer, "checkpoint_ignored")
    assert (warning["level"], warning["checkpoint"]) == ("warning", str(newest))
    assert reason in warning["reason"]
    assert [event["checkpoint"] for event in events(answer, "checkpoint_restored")] == [str(older)]
    assert "checkpoint_ignored" in next(stopped.rglob("log.jsonl")).read_text()
    assert_same_result(stopped, whole)
    assert not (tmp_path / "exploded").exists()


def test_checkpoint_that_was_half_taken_leaves_nothing_of_itself(
    run: Callable[[Path], Answer], stopped: Path, whole: Path
) -> None:
    """Its weights can be loaded and its end cannot; the other one is no checkpoint. So the training begins anew."""
    older, newest = sorted(stopped.rglob("*.pt"))
    forge(list)(older)
    forge(lambda content: content | {"rng": torch.zeros(3)})(newest)
    answer = run(stopped)
    assert answer.exit_code == 0, answer.stderr
    assert len(events(answer, "checkpoint_ignored")) == 2
    assert [event["epoch"] for event in events(answer, "training_started")] == [0]
    assert_same_result(stopped, whole)


@pytest.mark.parametrize(
    "damage",
    [
        change(".json", lambda text: text.replace(b'"configuration":"', b'"configuration":"0')),
        forge(lambda content: content | {"configuration": "0123456789"}),
        forge(lambda content: content | {"data_sha256": "0" * 64}),
    ],
    ids=["by its digest", "by itself", "on other data"],
)
def test_checkpoint_of_another_configuration_is_a_conflict_and_stays(
    run: Callable[[Path], Answer], stopped: Path, damage: Damage
) -> None:
    older, newest = sorted(stopped.rglob("*.pt"))
    damage(newest)
    before = {path: path.read_bytes() for path in older.parent.iterdir()}
    answer = run(stopped)
    assert answer.exit_code == 68
    assert f"{newest}: belongs to" in answer.stderr
    assert {path: path.read_bytes() for path in older.parent.iterdir()} == before
    assert not list(stopped.rglob("result.json"))
    assert json.loads(next(stopped.rglob("progress.json")).read_text())["exit_code"] == 68
