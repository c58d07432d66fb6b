"""The CUDA driver's calls and errors, with the real bindings' structures and no GPU."""

from types import SimpleNamespace

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_cuda_bindings import FakeCudaBindings
from tts_service.residency.cuda_driver import (
    CONTEXT_LIMITS,
    CudaDriver,
    NoVirtualMemoryError,
    lower_context_limits,
    new_stream,
)
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError

GRANULE = 1 << 21
ADDRESS = 1 << 40


@pytest.fixture
def cuda() -> FakeCudaBindings:
    """Return bindings that answer everything."""
    return FakeCudaBindings()


def _driver(cuda: FakeCudaBindings) -> CudaDriver:
    driver = CudaDriver(torch.device("cuda", 0), cuda, SimpleNamespace(cuda_stream=5))
    cuda.calls.clear()
    return driver


def _names(cuda: FakeCudaBindings) -> list[str]:
    return [name for name, _ in cuda.calls]


def test_rehearsal_maps_one_granule_and_leaves_nothing(cuda: FakeCudaBindings) -> None:
    """A whole life of one range, with the handle released while it is mapped."""
    _driver(cuda).rehearse()
    sizes = {name: arguments[1] for name, arguments in cuda.calls if name in ("cuMemMap", "cuMemUnmap")}

    assert ["AddressReserve", "Create", "Map", "SetAccess", "Release", "Unmap", "AddressFree"] == [
        name.removeprefix("cuMem") for name in _names(cuda)
    ]
    assert {"cuMemMap": GRANULE, "cuMemUnmap": GRANULE} == sizes


def test_memory_is_the_devices_and_is_mapped_from_its_beginning(cuda: FakeCudaBindings) -> None:
    """Properties and access name the GPU that the driver is for."""
    driver = _driver(cuda)
    driver.map(ADDRESS, GRANULE, driver.create(GRANULE))
    driver.set_access(ADDRESS, GRANULE)
    [(_, created), (_, mapped), (_, granted)] = cuda.calls
    properties, access = created[1], granted[2][0]

    assert (GRANULE, 0) == (created[0], properties.location.id)
    assert cuda.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE == properties.location.type == access.location.type
    assert (ADDRESS, GRANULE, 0, 77, 0) == mapped
    assert cuda.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE == access.flags


def test_copies_go_to_the_drivers_own_stream(cuda: FakeCudaBindings) -> None:
    """Beside what is computed."""
    _driver(cuda).copy(ADDRESS, 1000, 24)

    assert [("cuMemcpyHtoDAsync", (ADDRESS, 1000, 24, 5))] == cuda.calls


def test_out_of_memory_is_an_error_of_its_own(cuda: FakeCudaBindings) -> None:
    """It is a MemoryError as well: who moves modules asks for that."""
    driver = _driver(cuda)
    cuda.statuses["cuMemCreate"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(DeviceMemoryError) as failed:
        driver.create(GRANULE)

    assert isinstance(failed.value, MemoryError)


def test_other_errors_name_the_call_and_the_drivers_word_for_it(cuda: FakeCudaBindings) -> None:
    """So that the log says what happened."""
    driver = _driver(cuda)
    cuda.statuses["cuMemUnmap"] = "CUDA_ERROR_ILLEGAL_ADDRESS"
    with pytest.raises(DeviceDriverError, match=r"cuMemUnmap: CUDA_ERROR_ILLEGAL_ADDRESS \(700\)") as failed:
        driver.unmap(ADDRESS, GRANULE)

    assert not isinstance(failed.value, MemoryError)


def test_context_is_made_the_threads(cuda: FakeCudaBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The primary one, which was asked for once."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    _driver(cuda).make_current()

    assert [("cuCtxSetCurrent", ("context",))] == cuda.calls


def test_thread_that_captures_a_graph_calls_nothing(cuda: FakeCudaBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its capture goes on."""
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(DeviceDriverError, match="captures a graph"):
        _driver(cuda).make_current()

    assert [] == cuda.calls


def test_device_that_cannot_map_memory_is_told(cuda: FakeCudaBindings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attribute is asked before anything is tried."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    cuda.answers["cuDeviceGetAttribute"] = 0

    with pytest.raises(NoVirtualMemoryError, match="Old GPU does not map memory"):
        _driver(cuda)


def test_context_is_made_small_in_the_primary_context(cuda: FakeCudaBindings) -> None:
    """It is retained and current before its limits are set; what the driver made of them is returned."""
    limits = lower_context_limits(0, cuda=cuda)
    numbers = [getattr(cuda.CUlimit, name) for name in CONTEXT_LIMITS]

    assert ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"] == _names(cuda)[:4]
    assert list(zip(numbers, CONTEXT_LIMITS.values(), strict=True)) == [
        arguments for name, arguments in cuda.calls if name == "cuCtxSetLimit"
    ]
    assert dict.fromkeys(CONTEXT_LIMITS, 512) == limits


def test_context_that_cannot_be_made_small_stays_as_it_is(cuda: FakeCudaBindings) -> None:
    """It costs memory, and the service starts all the same."""
    cuda.statuses["cuCtxSetLimit"] = "CUDA_ERROR_UNSUPPORTED_LIMIT"
    with capture_logs() as logs:
        limits = lower_context_limits(0, cuda=cuda)

    assert ({}, ["context_limits_not_lowered"]) == (limits, [each["event"] for each in logs])


def test_stream_is_made_in_the_primary_context_and_is_not_one_of_torchs_pool(
    cuda: FakeCudaBindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stream costs one stream; what runs on the default one does not hold it up."""
    wrapped: list[tuple[int, torch.device]] = []
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: wrapped.append((handle, device)))
    cuda.answers["cuStreamCreateWithPriority"] = 4_711

    new_stream(torch.device("cuda", 0), priority=-1, cuda=cuda)

    made = [arguments for name, arguments in cuda.calls if name == "cuStreamCreateWithPriority"]
    assert ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"] == _names(cuda)[:4]
    assert [(int(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING), -1)] == made
    assert [(4_711, torch.device("cuda", 0))] == wrapped
