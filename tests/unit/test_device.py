"""The machine as it really is: cores the container may use, a GPU or none, and what its arithmetic can do."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import torch

from job import cpus
from job.allocator import CHOSEN_BY_USERS, give_back_freed_memory, keep_freed_memory
from job.cpus import available_cpus
from job.errors import HostError, OutOfMemoryError, UsageError
from job.logs import configure_logs
from job.runs import RunKeys
from job.storage import FolderStore
from job.training import cards
from job.training.engine.device import Device
from job.training.machine import choose_device
from job.training.precision import choose_precision
from job.training.record.attempt import Attempt, find_memory_error
from job.training.record.folder import RunFolder
from job.training.settings import RunSettings
from tests.conftest import Answer
from tests.records import make_manifest

CPU_FLAGS = Path("/proc/cpuinfo")


@pytest.fixture(autouse=True)
def _own_torch_settings() -> Iterator[None]:
    """What choose_device sets holds for the process; no other test shall see it."""
    num_threads = torch.get_num_threads()
    benchmark = torch.backends.cudnn.benchmark
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    if workspace is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the files of both cgroup versions, on a machine of eight cores."""
    monkeypatch.setattr(cpus, "CGROUP_V2_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "CGROUP_V1_FOLDER", tmp_path / "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    return tmp_path


def write_v1(folder: Path, quota: str, period: str = "100000\n") -> None:
    (folder / "cpu/cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu/cpu.cfs_period_us").write_text(period)


# Cores


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("250000 100000\n", 2),  # a core that is there half of the time slows all threads down
        ("50000 100000\n", 1),
        ("100000 50000\n", 2),
        ("1600000 100000\n", 8),
        ("", 8),
        ("nonsense\n", 8),
    ],
)
def test_cgroup_v2_quota_limits_the_cores(cgroup: Path, content: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(content)
    assert available_cpus() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1\n", 8), ("300000\n", 3), ("50000\n", 1), ("nonsense\n", 8)])
def test_cgroup_v1_quota_limits_the_cores(cgroup: Path, quota: str, cores: int) -> None:
    write_v1(cgroup, quota)
    assert available_cpus() == cores


def test_cgroup_v2_counts_where_both_versions_are_mounted(cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text("200000 100000\n")
    write_v1(cgroup, "500000\n")
    assert available_cpus() == 2


def test_without_a_quota_the_affinity_counts(cgroup: Path) -> None:
    assert available_cpus() == 8


def test_without_affinity_the_machines_cores_count(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available_cpus() == 3


def test_real_machine_has_at_least_one_core_and_no_more_than_it_may_use() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


# Device


def choose(
    name: str = "cpu", *, precision: str = "auto", deterministic: bool = False, threads: int | None = 1
) -> Device:
    return choose_device(
        RunSettings(device=name, num_threads=threads), precision=precision, deterministic=deterministic
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_that_is_asked_for_and_absent_is_a_fault_of_the_host() -> None:
    with pytest.raises(HostError) as caught:
        choose("cuda")
    assert caught.value.exit_code == 71
    assert str(caught.value) == (
        "device is cuda, but torch sees no GPU; start the container with --gpus all, or use --device cpu"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_run_that_needs_a_gpu_ends_with_71_where_there_is_none(
    job: Callable[..., Answer], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    answer = job("run", "--manifest", tiny(), "--output", tmp_path / "out", "--device", "cuda")
    assert answer.exit_code == 71
    assert "error: device is cuda, but torch sees no GPU" in answer.stderr
    assert not list(tmp_path.glob("out/*/runs/*/result.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    found = choose("auto")
    assert found.torch_device == torch.device("cpu")
    assert found.name == "cpu"
    assert not found.is_cuda


def test_cpu_is_taken_when_asked_for_and_reports_its_memory() -> None:
    found = choose("cpu")
    assert found.name == "cpu"
    assert 10 * 1024**2 < found.peak_memory_bytes() < 1024**4
    found.synchronize()  # nothing to wait for, and no fault


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_a_step_frees_is_there_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOSEN_BY_USERS:
        monkeypatch.delenv(name, raising=False)
    choose("cpu")
    faults = []
    for _ in range(10):  # glibc before 2.38 reuses an aligned block only once its neighbours are free as well
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.full((12 * 1024**2,), 1.0) for _ in range(4)]  # 48 MiB each: by itself glibc maps them anew
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 12_288  # the pages of one of the four


ALGEBRA = """
import os, sys
from job.cli.report import report
seen = "numpy" in sys.modules
try:
    report("nothing-here")
except Exception:
    pass
print(os.environ.get("OPENBLAS_NUM_THREADS"), seen)
"""
KEEP_SMALL_FREE_LARGE = """
import sys
from job.allocator import give_back_freed_memory
def resident(): return int(open("/proc/self/statm").read().split()[1]) // 256
if sys.argv[1] == "report": assert give_back_freed_memory()
first = b"x" * 2**24  # freed, it raises the bound up to which glibc takes blocks from the heap
del first
before = resident()
large, small = [], []
for _ in range(10):
    large.append(b"x" * 2**23)
    small.append(b"x" * 2**16)
del large
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(("who", "is_kept"), [("report", False), ("nobody", True)])
def test_memory_that_a_report_frees_is_given_back(who: str, is_kept: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN_BY_USERS}
    command = [sys.executable, "-c", KEEP_SMALL_FREE_LARGE, who]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert (int(answer.stdout) > 60) == is_kept  # of 80 MiB that were freed


def test_allocator_that_the_environment_chooses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    assert not keep_freed_memory()
    assert not give_back_freed_memory()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": "3"}, None)],
)
def test_algebra_of_a_report_takes_one_core_unless_the_environment_chooses(
    chosen: dict[str, str], expected: str | None
) -> None:
    command = [sys.executable, "-c", ALGEBRA]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | chosen
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert answer.stdout.split() == [str(expected), "False"]


def test_number_of_threads_is_the_one_given_or_else_the_cores(cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text("200000 100000\n")
    assert choose(threads=None).num_threads == 2
    assert torch.get_num_threads() == 2
    assert choose(threads=1).num_threads == 1
    assert torch.get_num_threads() == 1


def test_deterministic_is_switched_on_and_off() -> None:
    choose(deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    choose(deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


# Cards and drivers, as torch would tell of them: none is here

Card = Callable[[str, tuple[int, int]], torch.device]
WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    """torch sees one GPU of this name and compute capability."""

    def see(name: str, capability: tuple[int, int]) -> torch.device:
        has_bf16 = capability >= (8, 0)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: WHEEL)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or has_bf16
        )
        return torch.device("cuda")

    return see


T4, A10G = ("Tesla T4", (7, 5)), ("NVIDIA A10G", (8, 6))


@pytest.mark.parametrize(("seen", "best"), [(T4, "fp16"), (A10G, "bf16")])
def test_auto_on_a_card_is_the_best_that_it_has_unless_the_comparison_has_another(
    card: Card, seen: tuple[str, tuple[int, int]], best: str
) -> None:
    device = card(*seen)
    assert choose_precision(device, named="auto") == best
    assert choose_precision(device, named="auto", auto="fp16") == "fp16"
    assert choose_precision(device, named="auto", auto="fp32") == "fp32"


def test_card_without_the_precision_of_the_comparison_or_of_the_checkpoint_is_a_fault_of_the_host(card: Card) -> None:
    device = card(*T4)
    for fields in ({"auto": "bf16"}, {"trained_in": "bf16"}, {"trained_in": "tf32"}):
        with pytest.raises(HostError, match=r"Tesla T4 has no (usable )?(bf16|tf32); ") as caught:
            choose_precision(device, named="auto", **fields)  # type: ignore[arg-type]
        assert "take another machine" in str(caught.value)


def test_run_goes_on_in_fp16_on_a_card_that_would_take_bf16(card: Card) -> None:
    with structlog.testing.capture_logs() as events:
        assert choose_precision(card(*A10G), named="auto", auto="bf16", trained_in="fp16") == "fp16"
    (event,) = events
    assert (event["event"], event["wanted"], event["used"]) == ("precision_continued", "bf16", "fp16")


def test_tf32_on_a_card_without_it_becomes_fp32_and_says_so(card: Card) -> None:
    with structlog.testing.capture_logs() as events:
        assert choose_precision(card(*T4), named="tf32") == "fp32"
        assert choose_precision(card(*A10G), named="tf32") == "tf32"
    (event,) = events
    assert (event["event"], event["reason"]) == ("precision_replaced", "Tesla T4 has no tf32")


def test_precision_that_the_manifest_names_may_be_emulated_in_every_attempt(card: Card) -> None:
    assert choose_precision(card(*T4), named="bf16", trained_in="bf16") == "bf16"


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_card_that_torch_has_no_code_for_ends_with_2(card: Card, name: str) -> None:
    card("Tesla V100-SXM2-16GB", (7, 0))
    with pytest.raises(
        UsageError, match=r"V100-SXM2-16GB has compute capability 7.0; this torch is built for 7.5, 8.0"
    ):
        choose(name)


@pytest.fixture
def old_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose kernel has a driver of before CUDA 13, with a torch for CUDA 13."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    module = tmp_path / "version"
    module.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Thu Feb 22 01:59:49 UTC 2024\n")
    monkeypatch.setattr(cards, "KERNEL_MODULE", module)


@pytest.mark.usefixtures("old_driver")
def test_driver_that_is_too_old_is_named_with_the_one_that_is_needed() -> None:
    with pytest.raises(HostError) as caught:
        choose("cuda")
    assert caught.value.exit_code == 71
    assert "NVIDIA driver is 535.161.08; torch's CUDA 13.2 needs 580 or newer" in str(caught.value)


@pytest.mark.usefixtures("old_driver")
def test_gpu_that_auto_cannot_use_is_told_of() -> None:
    with structlog.testing.capture_logs() as events:
        assert not choose("auto").is_cuda
    (event,) = events
    assert (event["event"], event["log_level"]) == ("gpu_not_used", "warning")
    assert "needs 580 or newer" in event["reason"]


# Arithmetic


def test_tf32_on_a_cpu_becomes_fp32_and_says_so() -> None:
    with structlog.testing.capture_logs() as events:
        assert choose(precision="tf32").precision == "fp32"
    (event,) = events
    assert event["event"] == "precision_replaced"
    assert (event["log_level"], event["wanted"], event["used"]) == ("warning", "tf32", "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_that_is_named_is_used_without_a_word(precision: str) -> None:
    with structlog.testing.capture_logs() as events:
        assert choose(precision=precision).precision == precision
    assert events == []


@pytest.mark.skipif(not CPU_FLAGS.is_file(), reason="the processor's flags are read from /proc/cpuinfo")
def test_auto_on_a_cpu_is_bf16_only_where_the_hardware_has_it() -> None:
    flags = set(CPU_FLAGS.read_text().split())
    assert choose(precision="auto").precision == ("bf16" if flags & {"avx512_bf16", "amx_tile"} else "fp32")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_forward_pass_computes_in_the_chosen_arithmetic(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 2)
    with choose(precision=precision).autocast():
        assert layer(torch.ones(1, 4)).dtype == dtype


# Memory


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    configure_logs()
    return Attempt(make_manifest(), RunFolder(FolderStore(tmp_path), RunKeys("default", "a-s0-0123456789")))


def test_out_of_memory_ends_with_69_and_says_what_helps(attempt: Attempt) -> None:
    reason = "CUDA out of memory. Tried to allocate 20.00 GiB."
    with pytest.raises(OutOfMemoryError) as caught, attempt:
        raise torch.OutOfMemoryError(reason)
    assert caught.value.exit_code == 69
    assert reason in str(caught.value)
    assert str(caught.value).endswith("lower batch_size or image_size")
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_real_gpu_without_enough_memory_ends_with_69() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    error = find_memory_error(caught.value)
    assert error is not None
    assert str(error).endswith("lower batch_size or image_size")


def test_other_failures_pass_through_as_they_are(attempt: Attempt) -> None:
    with pytest.raises(RuntimeError, match="shapes"), attempt:
        torch.ones(2, 3) @ torch.ones(2, 3)
