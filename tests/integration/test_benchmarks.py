"""`make bench` with tiny numbers: what it writes can be trusted. The processes of one test import everything anew."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from job.cpus import available_cpus
from tests.benchmarks.profiles import kind_of_kernel
from tests.benchmarks.speed import add_ratios, main
from tests.benchmarks.startup import measure_startup
from tests.benchmarks.tables import render_markdown

NUM_IMAGES = 20
pytestmark = pytest.mark.real_network  # whose speed is measured

OPTIONS = ["--device", "cpu", "--num-images", str(NUM_IMAGES), "--image-size", "32", "--batch-size", "10"]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    main([*OPTIONS, "--repeats", "1", "--no-compile", "--only", "speed", "--output", str(folder)])
    return folder


@pytest.fixture
def document(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "speed.json").read_text())
    return found


def test_every_variant_is_measured_or_says_why_not(document: dict[str, Any]) -> None:
    cells = [(row["name"], row[part]) for row in document["rows"] for part in ("train", "evaluate") if row[part]]
    skipped = {name: cell["skipped"] for name, cell in cells if "skipped" in cell}
    assert skipped["(c) + CUDA graph"] == "CUDA graphs need a GPU"
    assert skipped["(c) torch.compile instead of the graph"] == "--no-compile"
    measured = [(name, cell) for name, cell in cells if name not in skipped]
    assert len(measured) >= 13  # with bf16, autocast as well
    for name, cell in measured:
        assert cell["images_per_second"] == pytest.approx(NUM_IMAGES / cell["seconds"][0]), name
        assert cell["agrees"], name


def test_epoch_is_computed_from_both_rates(document: dict[str, Any]) -> None:
    product = document["rows"][-1]
    rates = [product[part]["images_per_second"] for part in ("train", "evaluate")]
    assert product["epoch"]["seconds"] == pytest.approx(5000 / rates[0] + 8000 / rates[1])
    ratio = document["rows"][0]["epoch"]["seconds"] / product["epoch"]["seconds"]
    assert product["epoch"]["ratio_to_batch_1"] == pytest.approx(ratio)


def test_floor_is_the_arithmetic_at_the_rate_of_the_matrix_product(document: dict[str, Any]) -> None:
    floor = document["floor"]
    flop = floor["flop_per_image"]
    assert flop["train"] / flop["evaluate"] == pytest.approx(2.9, abs=0.1)  # backward is twice forward, nearly
    (row,) = floor["rows"]
    flops = 2 * floor["matrix_size"] ** 3 / floor["probes"]["matrix product"][0]
    for part in ("train", "evaluate"):
        assert row[part]["images_per_second"] == pytest.approx(flops / flop[part])
        product = document["rows"][-1][part]
        assert product["floor_fraction"] == pytest.approx(product["images_per_second"] * flop[part] / flops)


def test_table_holds_the_numbers_of_the_json(output: Path, document: dict[str, Any]) -> None:
    lines = (output / "speed.md").read_text().splitlines()
    table = {cells[1].strip(): cells for cells in (line.split("|") for line in lines if line.startswith("| ("))}
    assert list(table) == [row["name"] for row in [*document["rows"], *document["floor"]["rows"]]]
    for row in document["rows"]:
        for part, column in (("train", 2), ("evaluate", 5)):
            shown, cell = table[row["name"]][column].strip(), row[part]
            if cell is None:
                assert shown == ""
            elif "skipped" in cell:
                assert shown == f"skipped: {cell['skipped']}"
            else:
                assert float(shown.split()[0].replace(",", "")) == pytest.approx(cell["images_per_second"], rel=0.006)


def test_loss_that_differs_is_said(document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    changed["rows"][-1]["train"]["loss"] *= 1 + 2 * changed["rows"][-1]["train"]["tolerance"]
    add_ratios(changed["rows"], floor=changed["floor"]["rows"][0])
    assert "**(c) the product: loss of the first step is" in render_markdown(changed)
    assert "**" not in render_markdown(document)


def test_first_step_comes_after_the_imports_and_before_the_end() -> None:
    rows = measure_startup(device_name="cpu", num_repeats=1, imports={"interpreter": "pass"})
    seconds = {row["name"]: row["median"] for row in rows}
    assert (
        0
        < seconds["interpreter"]
        < seconds["`job run`: first step begins"]
        < seconds["`job run`: exit, after two steps"]
    )
    begins, staging = (seconds[f"`job run`: staging {what}"] for what in ("begins", "alone"))
    assert 0 < begins + staging < seconds["`job run`: first step begins"] + 0.5  # the kernel's clock ticks coarsely


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], str]:
    """The profiles, and the table of them."""
    folder = tmp_path_factory.mktemp("profile")
    main([*OPTIONS, "--repeats", "1", "--only", "profile", "--output", str(folder)])
    return json.loads((folder / "speed.json").read_text())["profile"], (folder / "speed.md").read_text()


def test_profile_counts_every_call_and_sums_by_kind(profile: tuple[list[dict[str, Any]], str]) -> None:
    naive, product, naive_evaluation, product_evaluation = profile[0]
    calls = {
        one["name"] + one["part"]: {
            row["name"]: row["calls"] for row in one["operations"] if row["kind"] != "optimizer"
        }
        for one in profile[0]
    }
    num_convolutions = 20  # of ResNet18
    for one, num_calls in (
        (naive, 2 * num_convolutions),
        (product, 2 * num_convolutions),
        (product_evaluation, num_convolutions),
    ):
        assert calls[one["name"] + one["part"]]["aten::mkldnn_convolution"] == num_calls
    for one in profile[0]:
        assert sum(one["kinds"].values()) == pytest.approx(one["milliseconds"])
        assert sum(row["fraction"] for row in one["operations"]) <= 1 + 1e-9
    for one in (naive, product):
        assert calls[one["name"] + one["part"]]["aten::convolution_backward"] == 2 * num_convolutions
        assert {"data, decode", "optimizer", "batch norm", "convolution, backward"} <= set(one["kinds"])
    assert "batch norm" in naive_evaluation["kinds"]
    assert "batch norm" not in product_evaluation["kinds"]  # folded
    assert "optimizer" not in product_evaluation["kinds"]
    assert naive["kinds"]["data, decode"] > product["kinds"]["data, decode"]  # JPEGs against memory


def test_profile_table_holds_the_sums_an_image(profile: tuple[list[dict[str, Any]], str]) -> None:
    (line,) = [line for line in profile[1].splitlines() if line.startswith("| **sum** |")]
    sums = [float(cell) for cell in line.split("|")[2:-1]]
    assert sums == pytest.approx([one["milliseconds"] / NUM_IMAGES for one in profile[0]], abs=6e-4)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32", "convolution, forward"),
        ("sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution, backward"),
        ("cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816wgrad_optimized_bf16_128x64_32x6>",
         "convolution, backward"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float>", "batch norm"),
        ("void at::native::batch_norm_backward_elemt_channels_last_kernel", "batch norm"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("void at::native::bfloat16_copy_kernel_cuda(at::TensorIteratorBase&)", "copies, layouts"),
        ("void cudnn::ops::nchwToNhwcKernel<float, float, float>", "copies, layouts"),
        ("Memcpy HtoD (Pageable -> Device)", "copies, layouts"),
        ("void at::native::max_pool_forward_nhwc", "the rest"),
    ],
)  # fmt: skip
def test_kernels_are_told_apart_by_their_names(kernel: str, kind: str) -> None:
    assert kind_of_kernel(kernel) == kind


def test_several_configurations_at_once_train_as_they_do_alone(tmp_path: Path) -> None:
    """In processes to the bit; stacked into one model within rounding."""
    options = ["--only", "concurrency", "--configurations", "2", "--repeats", "1", "--output", str(tmp_path)]
    main([*OPTIONS, *options])
    document = json.loads((tmp_path / "speed.json").read_text())
    rows = {(row["name"], row["num_threads"]): row for row in document["concurrency"]}
    rounding = {"fp32": 1e-3, "bf16": 0.1}[document["environment"]["precision"]]
    cores = available_cpus()
    share = max(1, cores // 2)
    first, processes = rows["one after another", cores], rows["a process each", share]
    for row in rows.values():
        if "skipped" not in row:
            assert row["images_per_second"] == pytest.approx(2 * NUM_IMAGES / row["seconds"][0])
            assert row["cpu_seconds"][0] > 0
    assert processes["ratio"] == pytest.approx(first["seconds"][0] / processes["seconds"][0])
    assert processes["difference_alone"] == 0
    assert processes["difference"] < rounding
    assert 0 < rows["stacked by torch.func, SGD by hand", cores]["difference"] < rounding
    assert rows["a thread and a stream each", cores]["skipped"] == "streams need a GPU"
    assert f"| 2 | a process each | {share} |" in (tmp_path / "speed.md").read_text()
