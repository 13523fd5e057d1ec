"""`make bench` beside published scripts, which stand here as programs that print what those print; and two commits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from job.errors import UsageError
from tests.benchmarks.compare import main as compare
from tests.benchmarks.peers import PEERS, PRODUCT, read_rates
from tests.benchmarks.speed import main as bench

OPTIONS = ["--device", "cpu", "--num-images", "20", "--image-size", "32", "--batch-size", "10", "--repeats", "2"]
SECONDS = 0.5
TORCHVISION = """
import pathlib, sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert len(list(pathlib.Path(arguments["--data-path"], "val").glob("*/*.jpg"))) == 20, arguments
for epoch in (0, 1):
    print(f"Epoch: [{epoch}]  [0/2]  eta: 0:00:00  time: 2.9332  data: 0.1055")
    time.sleep(SECONDS * epoch)
    print(f"Epoch: [{epoch}]  [1/2]  eta: 0:00:00  time: 2.9332  data: 0.1055")
    print(f"Epoch: [{epoch}] Total time: 0:00:01")
    print("Test:   [0/2]  eta: 0:00:00  loss: 6.9350 (6.9350)")
    time.sleep(SECONDS / 2 * epoch)
    print("Test:  Total time: 0:00:01")
"""
FAILING = "print('cannot find the Daten'); raise SystemExit(3)"
TIMM_LOG = [
    (0.0, "Train: 0 [   0/4 ( 20%)]  Loss: 2.33 (2.33)  Time: 3.0s"),
    (9.0, "Train: 0 [   4/4 (100%)]  Loss: 2.33 (2.33)  Time: 3.0s"),
    (10.0, "Test: [   0/4]  Time: 0.691 (0.691)"),
    (19.0, "Test: [   4/4]  Time: 0.587 (0.639)"),
    (20.0, "Train: 1 [   0/4 ( 20%)]  Loss: 1.98 (1.98)  Time: 3.0s"),
    (28.0, "Train: 1 [   4/4 (100%)]  Loss: 1.98 (1.98)  Time: 3.0s"),
    (30.0, "Test: [   0/4]  Time: 0.691 (0.691)"),
    (34.0, "Test: [   4/4]  Time: 0.587 (0.639)"),
]

pytestmark = pytest.mark.real_network  # whose speed is measured


def make_clone(folder: Path, script: str) -> Path:
    """A folder with this in the place of torchvision's script."""
    path = folder / "references/classification/train.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"SECONDS = {SECONDS}\n{script}")
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    clone = make_clone(folder / "vision", TORCHVISION)
    bench([*OPTIONS, "--only", "peers", "--torchvision", str(clone), "--output", str(folder)])
    return folder


@pytest.fixture
def document(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "speed.json").read_text())
    return found


def test_second_epoch_of_a_published_script_counts_from_its_first_batch_to_its_last(document: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in document["peers"]["rows"]}
    script = rows["torchvision's script"]
    # a busy machine sleeps longer, and reads the first line late; and without a sleep the rate is huge
    assert 10 / (40 * SECONDS) < script["train"]["images_per_second"] < 10 / (SECONDS / 4)
    assert 10 / (40 * SECONDS) < script["evaluate"]["images_per_second"] < 10 / (SECONDS / 8)
    rates = read_rates(PEERS[1], TIMM_LOG, num_images=250, batch_size=50)
    assert rates == {"train": 25.0, "evaluate": 50.0}


def test_ratios_are_those_of_the_rounds(document: dict[str, Any]) -> None:
    for row in document["peers"]["rows"]:
        for part in ("train", "evaluate"):
            assert row[part]["min"] <= row[part]["images_per_second"] <= row[part]["max"]
        if row["name"] == PRODUCT:
            assert row["train"]["product_ratio"] == row["evaluate"]["product_ratio"] == 1
    assert document["peers"]["rows"][0]["train"]["ratio"] == 1


def test_script_without_a_clone_says_what_to_clone(output: Path) -> None:
    text = (output / "speed.md").read_text()
    assert "| timm's script | skipped: needs --timm DIR, a clone of https://github.com/" in text
    assert f"| {PRODUCT} | " in text


def test_script_that_fails_ends_the_measurement_with_its_log(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "vision", FAILING)
    with pytest.raises(UsageError, match=r"(?s)torchvision's script ended with 3.*cannot find the Daten"):
        bench([*OPTIONS, "--only", "peers", "--torchvision", str(clone), "--output", str(tmp_path)])
    with pytest.raises(UsageError, match=r"--torchvision: .* has no references/classification/train.py"):
        bench([*OPTIONS, "--only", "peers", "--torchvision", str(tmp_path), "--output", str(tmp_path)])


def test_log_of_another_form_is_refused() -> None:
    with pytest.raises(UsageError, match="its log has no lines like"):
        read_rates(PEERS[1], TIMM_LOG[:4], num_images=250, batch_size=50)


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (0.92, 0), (0.88, 1), (1.5, 0)])
def test_ratio_that_fell_by_more_than_a_tenth_is_found(
    document: dict[str, Any], output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, code: int
) -> None:
    later = copy.deepcopy(document)
    later["peers"]["rows"][0]["evaluate"]["product_ratio"] *= factor
    (tmp_path / "new.json").write_text(json.dumps(later))
    with pytest.raises(SystemExit) as ended:
        compare([str(output / "speed.json"), str(tmp_path / "new.json")])
    assert ended.value.code == code
    slower = [line for line in capsys.readouterr().out.splitlines() if "slower" in line]
    assert len(slower) == code


def test_what_was_measured_otherwise_is_not_compared(
    document: dict[str, Any], output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document["environment"]["num_threads"] = 2
    document["peers"]["rows"][0]["version"] = "0123456789ab"
    (tmp_path / "new.json").write_text(json.dumps(document))
    with pytest.raises(SystemExit) as ended:
        compare([str(output / "speed.json"), str(tmp_path / "new.json")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "threads is 1 and 2" in said
    assert "commit of naive script, evaluated one by one is None and 0123456789ab" in said
