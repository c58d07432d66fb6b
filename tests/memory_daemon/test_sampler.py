"""Reading memory: GPUs through a fake NVML with NVML's rules, host memory from fake files of the kernel's."""

from pathlib import Path

import pynvml
import pytest

from memory_daemon import sampler
from memory_daemon.gpu_memory import GpuMemory
from memory_daemon.host_memory import HostMemory, UnreadableError, read_host_memory
from memory_daemon.sampler import Sampler, load_nvml
from memory_daemon.types import HOST, DeviceId, Fault, MemorySample, SampleFailed
from tests.fakes.fake_cgroup import FakeCgroup
from tests.fakes.fake_nvml import DRIVER_RESERVED_BYTES, FakeNvml
from tests.fakes.manual_clock import ManualClock

GPU = DeviceId("GPU-0")
GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1000 kB\nMemAvailable:    8388608 kB\nBuffers: 1 kB\n"


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """Write what the kernel says of a machine with 16 GiB, half of them available."""
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    return path


def sampler_of(nvml: FakeNvml, meminfo: Path = Path("/nowhere"), cgroup_root: Path | None = None) -> Sampler:
    """Return a sampler at second 7 of a clock that stands still."""
    return Sampler(
        gpus=GpuMemory(load=lambda: nvml),
        cgroup_root=cgroup_root,
        clock=ManualClock(7.0),
        unix_clock=ManualClock(70.0),
        meminfo=meminfo,
    )


def failed(reason: str, fault: Fault, *, lost: bool = False) -> SampleFailed:
    """Return the reading that failed with these words."""
    return SampleFailed(device=GPU, seconds=7.0, unix_seconds=70.0, reason=reason, lost=lost, fault=fault)


def test_sample_of_gpu_is_its_free_bytes() -> None:
    """Total and free bytes come from NVML, and the driver's own share is not free."""
    actual = sampler_of(FakeNvml(total_bytes=80 * GIB)).sample(GPU)
    expected = MemorySample(
        device=GPU,
        seconds=7.0,
        unix_seconds=70.0,
        total_bytes=80 * GIB,
        free_bytes=80 * GIB - DRIVER_RESERVED_BYTES,
    )

    assert expected == actual


def test_samples_of_gpu_begin_nvml_once() -> None:
    """Readings in a row share one beginning and one handle."""
    nvml = FakeNvml()
    reader = sampler_of(nvml)
    for _ in range(5):
        reader.sample(GPU)

    assert (1, 5) == (nvml.inits, nvml.readings)


def test_devices_are_listed_by_uuid() -> None:
    """GPUs are named by what does not change."""
    actual = sampler_of(FakeNvml(uuids=("GPU-b", "GPU-a"))).gpus()

    assert ("GPU-b", "GPU-a") == actual


def test_devices_without_a_driver_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the driver's library says so, for the list and for a reading."""
    monkeypatch.setattr(sampler, "NVML_LIBRARY", "libnvidia-ml-that-nobody-has.so.1")
    clock = ManualClock()
    real = Sampler(gpus=GpuMemory(load=load_nvml), cgroup_root=None, clock=clock, unix_clock=clock)
    found = (real.gpus(), real.sample(GPU))

    assert all(isinstance(one, SampleFailed) and "no NVIDIA driver" in one.reason for one in found)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, failed("Driver Not Loaded", Fault.NO_DRIVER)),
        (
            pynvml.NVML_ERROR_NO_PERMISSION,
            failed("Insufficient Permissions; may this user open the device?", Fault.NO_PERMISSION),
        ),
        (
            pynvml.NVML_ERROR_UNKNOWN,
            failed("Unknown Error; was the device taken from this container?", Fault.DEVICE_GONE),
        ),
        (
            pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            failed(
                "RM has detected an NVML/RM version mismatch.; the driver was updated: restart the machine",
                Fault.DRIVER_MISMATCH,
            ),
        ),
        (pynvml.NVML_ERROR_GPU_IS_LOST, failed("GPU is lost", Fault.GPU_LOST, lost=True)),
        (pynvml.NVML_ERROR_RESET_REQUIRED, failed("GPU requires restart", Fault.GPU_LOST, lost=True)),
    ],
)
def test_sample_that_fails_is_a_value_with_its_reason(code: int, expected: SampleFailed) -> None:
    """A failure of NVML's is never a zero, and tells whether waiting can mend it."""
    nvml = FakeNvml()
    nvml.fail(code)
    actual = sampler_of(nvml).sample(GPU)

    assert expected == actual


def test_sample_after_a_failure_begins_nvml_anew() -> None:
    """Handles do not outlive a failure: the next reading is made with a new beginning."""
    nvml = FakeNvml()
    reader = sampler_of(nvml)
    reader.sample(GPU)
    nvml.fail(pynvml.NVML_ERROR_UNKNOWN)
    reader.sample(GPU)
    after_failure = nvml.inits
    actual = reader.sample(GPU)

    assert (0, 1, True) == (after_failure, nvml.inits, isinstance(actual, MemorySample))


def test_sample_of_lost_gpu_leaves_the_other_readable() -> None:
    """One GPU that fell off the bus does not blind the daemon to the other."""
    nvml = FakeNvml(uuids=("GPU-0", "GPU-1"))
    reader = sampler_of(nvml)
    reader.sample(GPU)
    nvml.lose("GPU-0")
    lost, other = reader.sample(GPU), reader.sample(DeviceId("GPU-1"))

    assert (failed("GPU is lost", Fault.GPU_LOST, lost=True), True) == (lost, isinstance(other, MemorySample))


def test_sample_of_unknown_gpu_says_so() -> None:
    """A service may name a GPU that this machine has not."""
    actual = sampler_of(FakeNvml()).sample(DeviceId("GPU-elsewhere"))

    assert isinstance(actual, SampleFailed)
    assert actual.reason == "Not Found; was the device taken from this container?"


def test_closed_sampler_lets_nvml_go() -> None:
    """At the end nothing is held."""
    nvml = FakeNvml()
    reader = sampler_of(nvml)
    reader.sample(GPU)
    reader.close()

    assert nvml.inits == 0


def test_sample_of_host_without_cgroup_is_what_is_available(meminfo: Path) -> None:
    """Without a cgroup the kernel's estimate of available memory counts, not what is unused."""
    actual = sampler_of(FakeNvml(), meminfo).sample(HOST)
    expected = MemorySample(device=HOST, seconds=7.0, unix_seconds=70.0, total_bytes=16 * GIB, free_bytes=8 * GIB)

    assert expected == actual


def test_sample_of_host_that_cannot_be_read_is_a_value(tmp_path: Path) -> None:
    """A missing file is a failed reading."""
    actual = sampler_of(FakeNvml(), tmp_path / "missing").sample(HOST)

    assert isinstance(actual, SampleFailed)
    assert "cannot be read" in actual.reason


def test_cgroup_limit_less_use_and_reclaimable_cache_is_free(tmp_path: Path, meminfo: Path) -> None:
    """Cache that was not used lately counts as free."""
    group = FakeCgroup(tmp_path / "a", limit_bytes=4 * GIB, used_bytes=3 * GIB, inactive_bytes=GIB)
    actual = read_host_memory(group.folder, meminfo)

    assert HostMemory(total_bytes=4 * GIB, free_bytes=2 * GIB) == actual


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        pytest.param((8 * GIB, GIB), (4 * GIB, GIB), HostMemory(total_bytes=4 * GIB, free_bytes=3 * GIB), id="own"),
        pytest.param(
            (8 * GIB, 7 * GIB), (4 * GIB, GIB), HostMemory(total_bytes=8 * GIB, free_bytes=GIB), id="the one above"
        ),
        pytest.param((None, GIB), (4 * GIB, GIB), HostMemory(total_bytes=4 * GIB, free_bytes=3 * GIB), id="none above"),
        pytest.param(
            (4 * GIB, GIB), (None, GIB), HostMemory(total_bytes=4 * GIB, free_bytes=3 * GIB), id="only the one above"
        ),
        pytest.param((None, GIB), (None, GIB), HostMemory(total_bytes=16 * GIB, free_bytes=8 * GIB), id="no limit"),
        pytest.param(
            (None, GIB), (99 * GIB, GIB), HostMemory(total_bytes=16 * GIB, free_bytes=8 * GIB), id="above the machine"
        ),
        pytest.param((None, GIB), (GIB, 2 * GIB), HostMemory(total_bytes=GIB, free_bytes=0), id="over the limit"),
    ],
)
def test_tightest_limit_counts(
    *,
    tmp_path: Path,
    meminfo: Path,
    outer: tuple[int | None, int],
    inner: tuple[int | None, int],
    expected: HostMemory,
) -> None:
    """Of all limits at a cgroup and above it, the one with the least left counts."""
    FakeCgroup(tmp_path / "outer", limit_bytes=outer[0], used_bytes=outer[1])
    group = FakeCgroup(tmp_path / "outer" / "inner", limit_bytes=inner[0], used_bytes=inner[1])

    assert expected == read_host_memory(group.folder, meminfo)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("memory.max", "lots\n", "holds 'lots', which is no number"),
        ("memory.current", "-1\n", "holds '-1', which is no number"),
        ("memory.current", None, "cannot be read"),
        ("memory.stat", "anon 1\n", "has no line 'inactive_file'"),
        ("memory.stat", "inactive_file many\n", "which is no number"),
    ],
)
def test_damaged_cgroup_file_is_named(
    *, tmp_path: Path, meminfo: Path, name: str, content: str | None, expected: str
) -> None:
    """A file that is missing or says nonsense is named with what is wrong."""
    group = FakeCgroup(tmp_path / "a", limit_bytes=4 * GIB, used_bytes=GIB)
    (group.folder / name).unlink()
    if content is not None:
        (group.folder / name).write_text(content)

    with pytest.raises(UnreadableError, match=expected):
        read_host_memory(group.folder, meminfo)


def test_folder_that_is_no_cgroup_is_named(tmp_path: Path, meminfo: Path) -> None:
    """A wrong --cgroup-root is no reason to look at something else."""
    with pytest.raises(UnreadableError, match="is no cgroup v2 folder"):
        read_host_memory(tmp_path, meminfo)
