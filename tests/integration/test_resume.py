"""Killed anywhere and run again, a run ends with the result of the uninterrupted one: tolerance 0 on CPU."""

from __future__ import annotations

import gc
import json
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job.errors import Terminated
from job.logs import configure_logs
from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.runs import Progress, RunKeys, RunResult, is_result_key, run_id
from job.storage import FolderStore
from job.training.control import Control
from job.training.engine.state import TrainingState
from job.training.record.attempt import history_lines
from job.training.record.completion import Completion
from job.training.record.folder import RunFolder
from job.training.record.writer import ArtefactWriter
from job.training.run import Process, run_manifest
from job.training.settings import RunSettings
from tests.conftest import TINY, Answer, in_each_precision
from tests.narrow import use_narrow_network
from tests.results import metrics

Job = Callable[..., Answer]
Tiny = Callable[..., Path]


class StopAfter(Control):
    """Stops as SIGTERM would, after a number of training steps and evaluation batches."""

    def __init__(self, num_pauses: int) -> None:
        super().__init__()
        self._left = num_pauses

    def check(self, *, has_gained: bool = True) -> None:
        self._left -= 1
        if self._left == 0:
            self._handle(signal.SIGTERM, None)
        super().check(has_gained=has_gained)


def train(
    manifest: Manifest,
    output: Path,
    *,
    control: Control | None = None,
    show: Callable[[TrainingState], None] = lambda _state: None,
    checkpoint_age_seconds: float = 300.0,
) -> Completion:
    configure_logs()
    settings = RunSettings(
        device="cpu", num_threads=1, checkpoint_interval_seconds=0, checkpoint_age_seconds=checkpoint_age_seconds
    )
    folder = RunFolder(FolderStore(output), RunKeys("default", run_id(manifest)))
    return run_manifest(manifest, folder, Process(settings, control or Control()), show=show)


def run(manifest: Manifest, output: Path, *, control: Control | None = None) -> RunResult:
    return train(manifest, output, control=control)()


def test_signal_in_the_middle_of_a_step_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the checkpoint would hold the statistics of a step whose update it does not hold."""
    use_narrow_network(monkeypatch)
    manifest, control = Manifest.model_validate(TINY), Control()
    control.take_signals()

    def stop_in_next_forward(state: TrainingState) -> None:
        state.model.get_submodule("layer1").register_forward_hook(lambda *_: signal.raise_signal(signal.SIGTERM))

    with pytest.raises(Terminated, match="the same command carries on"):
        train(manifest, tmp_path / "stopped", control=control, show=stop_in_next_forward)
    assert metrics(run(manifest, tmp_path / "stopped")) == metrics(run(manifest, tmp_path / "whole"))


def test_what_is_left_to_complete_holds_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next run has the device for itself."""
    use_narrow_network(monkeypatch)
    states: list[weakref.ref[TrainingState]] = []
    complete = train(
        Manifest.model_validate(TINY), tmp_path / "out", show=lambda state: states.append(weakref.ref(state))
    )
    gc.collect()
    assert len(states) > 1
    assert {state() for state in states} == {None}
    assert complete().status == "completed"


@in_each_precision
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_resumed_run_equals_the_uninterrupted_one(
    name: str, precision_fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the second epoch and again in its evaluation, for every optimizer."""
    if name != "adam":  # one of them with the real network
        use_narrow_network(monkeypatch)
    fields = {"optimizer": {"name": name}, "augmentation": "crop_flip", "schedule": {"name": "onecycle"}}
    manifest = Manifest.model_validate(TINY | precision_fields | fields)
    for num_steps in (4, 2):  # 2 steps and 1 evaluation, then 1 step; 1 step and the evaluation that it stops in
        with pytest.raises(Terminated):
            run(manifest, tmp_path / "stopped", control=StopAfter(num_steps))
    resumed = run(manifest, tmp_path / "stopped")
    whole = run(manifest, tmp_path / "whole")
    assert resumed.attempts == 3
    assert metrics(resumed) == metrics(whole)
    for name in ("model.safetensors", "predictions.npz"):
        found, expected = (next((tmp_path / part).rglob(name)) for part in ("stopped", "whole"))
        assert found.read_bytes() == expected.read_bytes(), name


class Lost(BaseException):
    """The machine is gone: nothing of the run's own can react to it."""


@in_each_precision
@pytest.mark.parametrize("name", ["adam", "sgd", "muon"])
def test_run_that_is_lost_within_an_epoch_goes_on_from_a_checkpoint_within_it(
    name: str, precision_fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_narrow_network(monkeypatch)
    data = (TINY | precision_fields)["dataset"] | {"num_train": 160}
    fields = {
        "optimizer": {"name": name},
        "augmentation": "crop_flip",
        "schedule": {"name": "onecycle"},
        "dataset": data,
    }
    manifest = Manifest.model_validate(TINY | precision_fields | fields)

    def lose(state: TrainingState) -> None:
        if (state.epoch, state.step) == (1, 6):
            raise Lost

    with pytest.raises(Lost):
        train(manifest, tmp_path / "lost", show=lose, checkpoint_age_seconds=1e-9)
    kept = sorted(path.name for path in (tmp_path / "lost").rglob("*.pt"))
    assert len(kept) == 2
    assert "epoch-0001_step-" in kept[-1]
    resumed, whole = run(manifest, tmp_path / "lost"), run(manifest, tmp_path / "whole")
    (restored,) = (line for line in read_log(tmp_path / "lost") if line["event"] == "checkpoint_restored")
    assert Path(restored["checkpoint"]).name == kept[-1]
    assert metrics(resumed) == metrics(whole)
    for file in ("model.safetensors", "predictions.npz"):
        found, expected = (next((tmp_path / part).rglob(file)) for part in ("lost", "whole"))
        assert found.read_bytes() == expected.read_bytes(), file


def read_log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in next(output.rglob("log.jsonl")).read_text().splitlines()]


@pytest.mark.parametrize(("seconds", "is_saved"), [(0.0, False), (300.0, False), (1e-9, True)])
def test_checkpoint_is_written_within_an_epoch_only_when_the_last_one_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, is_saved: bool
) -> None:
    """0 stands for whole epochs alone. While an evaluation goes on, nothing new could be saved."""
    use_narrow_network(monkeypatch)
    monkeypatch.setattr("job.training.engine.evaluation.BATCH_SIZE", 5)
    complete = train(Manifest.model_validate(TINY), tmp_path, checkpoint_age_seconds=seconds)
    complete()
    taken = [(line["epoch"], line["step"]) for line in read_log(tmp_path) if line["event"] == "checkpoint_taken"]
    assert bool(taken) is is_saved
    assert len(set(taken)) == len(taken)
    assert {step for _, step in taken} <= {1, 2}


def test_diverged_run_is_a_result(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    manifest = tiny(optimizer={"name": "sgd", "lr": 1e6}, epochs=3)
    answer = job("run", "--manifest", manifest, "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    (path,) = tmp_path.rglob("result.json")
    result = RunResult.model_validate_json(path.read_bytes())
    assert result.status == "diverged"
    assert result.divergence is not None
    assert len(result.history) == result.divergence.epoch - 1
    assert job("run", "--manifest", manifest, "--output", tmp_path / "out").exit_code == 0


def test_checkpoint_trained_on_other_data_is_a_conflict(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for index, name in enumerate(("dark", "light")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (16, 16), (100 * index + number,) * 3).save(folder / f"{number}.png")
    manifest = tiny(dataset={"name": "folder", "size": 16}, batch_size=4)
    arguments = ("run", "--manifest", manifest, "--output", tmp_path / "out", "--data", tmp_path / "data")
    assert job(*arguments).exit_code == 0
    (path,) = tmp_path.rglob("result.json")
    path.unlink()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "data/train/dark/0.png")
    answer = job(*arguments)
    assert answer.exit_code == 68
    assert "another data" in answer.stderr


def test_result_of_another_writer_is_kept(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers for one configuration: the slower one finds the result and ends with 0."""
    create = FolderStore.create
    other = b""

    def overtaken(self: FolderStore, key: str, content: bytes) -> None:
        nonlocal other
        if is_result_key(key):
            other = content.replace(json.loads(content)["attempt_id"].encode(), b"the-other-writer")
            create(self, key, other)
        create(self, key, content)

    monkeypatch.setattr(FolderStore, "create", overtaken)
    answer = job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out")
    assert answer.exit_code == 0
    assert "run_completed_elsewhere" in answer.stderr
    (path,) = tmp_path.rglob("result.json")
    assert path.read_bytes() == other


def test_network_and_predictions_beside_a_result_stay_those_of_its_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two containers the slower one may have another device, and so other bits."""
    use_narrow_network(monkeypatch)
    manifest = Manifest.model_validate(TINY)
    slower = train(manifest, tmp_path)
    result = run(manifest, tmp_path)
    (place,) = (path.parent for path in tmp_path.rglob("result.json"))
    for name in ("model.safetensors", "predictions.npz", "plots/loss.png"):
        (place / name).write_bytes(b"of the other device")
    (place / "history.jsonl").write_bytes(b"of the slower one's training")
    assert slower() == result
    for name in ("model.safetensors", "predictions.npz", "plots/loss.png"):
        assert (place / name).read_bytes() == b"of the other device"
    assert (place / "history.jsonl").read_bytes() == history_lines(result.history)


def test_lost_acknowledgement_of_the_commit_is_recognised(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FolderStore.create

    def twice(self: FolderStore, key: str, content: bytes) -> None:
        create(self, key, content)
        if is_result_key(key):
            create(self, key, content)  # the retry of a request whose answer was lost

    monkeypatch.setattr(FolderStore, "create", twice)
    answer = job("run", "--manifest", tiny(epochs=1), "--output", tmp_path / "out")
    assert answer.exit_code == 0
    assert "run_completed_elsewhere" not in answer.stderr


def test_time_budget_saves_a_checkpoint_and_exits_with_75(job: Job, tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("run", "--manifest", tiny(epochs=50), "--output", tmp_path / "out")
    answer = job(*arguments, "--time-budget", "0.01")
    assert answer.exit_code == 75
    assert "the same command carries on" in answer.stderr
    assert len(list(tmp_path.rglob("checkpoints/*.pt"))) == 1
    assert "the start-up alone takes longer" in answer.stderr
    assert "give a larger --time-budget" in answer.stderr


@pytest.mark.parametrize("validation_fraction", [0.0, 0.5])
def test_budget_below_the_startup_comes_to_an_end_with_the_same_result(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation_fraction: float
) -> None:
    """Each attempt gains a training step or a whole evaluation: 2 epochs of at most 2 steps and 1 evaluation."""
    monkeypatch.setattr("job.training.engine.evaluation.BATCH_SIZE", 5)  # so that an evaluation takes several batches
    data = {
        "name": "synthetic",
        "size": 16,
        "num_train": 40,
        "num_test": 20,
        "validation_fraction": validation_fraction,
    }
    manifest = tiny(dataset=data)
    codes: list[int] = []
    while not codes or codes[-1] == 75:
        answer = job("run", "-m", manifest, "-o", tmp_path / "stopped", "--time-budget", "0.001")
        codes.append(answer.exit_code)
        assert len(codes) <= 7, "the run does not come further"
    assert codes[-1] == 0, answer.stderr
    assert len(codes) > 2
    assert job("run", "-m", manifest, "-o", tmp_path / "whole").exit_code == 0
    stopped, whole = (RunResult.model_validate_json(next((tmp_path / part).rglob("result.json")).read_bytes())
                      for part in ("stopped", "whole"))  # fmt: skip
    assert metrics(stopped) == metrics(whole)


def test_progress_is_reported_between_epochs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `HEARTBEAT_SECONDS`: an epoch may take an hour, and who is silent for so long counts as lost."""
    use_narrow_network(monkeypatch)
    monkeypatch.setattr("job.training.record.attempt.HEARTBEAT_SECONDS", 0.0)
    seen: list[tuple[int, int]] = []
    write = FolderStore.write

    def follow(self: FolderStore, key: str, content: bytes) -> None:
        if key.endswith("/progress.json"):
            progress = Progress.model_validate_json(content)
            seen.append((progress.epoch, progress.step))
        write(self, key, content)

    write_behind = ArtefactWriter.write

    def write_at_once(self: ArtefactWriter, artefacts: dict[str, bytes], **options: Any) -> None:
        """A report is left out while something is still being written, which depends on the machine."""
        write_behind(self, artefacts, **options)
        self.flush()

    monkeypatch.setattr(FolderStore, "write", follow)
    monkeypatch.setattr(ArtefactWriter, "write", write_at_once)
    run(Manifest.model_validate(TINY), tmp_path)
    assert {epoch for epoch, step in seen if step} == {0, 1}
    assert seen[-1] == (2, 0)
