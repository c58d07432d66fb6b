"""The fake driver keeps the CUDA driver's rules: what would be refused or fatal on a GPU is so here."""

import threading
from collections.abc import Callable

import pytest
import torch

from tests.fakes.fake_cuda_driver import (
    ALREADY_REGISTERED,
    CAPTURE_UNSUPPORTED,
    GARBAGE,
    ILLEGAL_ADDRESS,
    INVALID_CONTEXT,
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_REGISTERED,
    POISON,
    FakeCudaDriver,
)
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.raw_tensor import bytes_over

PAGE = 4096
CPU = torch.device("cpu")


@pytest.fixture
def driver() -> FakeCudaDriver:
    """Return a driver whose context is this thread's."""
    driver = FakeCudaDriver(capacity_bytes=8 * PAGE)
    driver.make_current()
    return driver


def _mapped(driver: FakeCudaDriver, pages: int = 2) -> int:
    address, handle = driver.reserve(pages * PAGE), driver.create(pages * PAGE)
    driver.map(address, pages * PAGE, handle)
    driver.set_access(address, pages * PAGE)
    driver.release(handle)
    return address


def _code(call: Callable[[], object]) -> int:
    with pytest.raises(DeviceDriverError) as failed:
        call()
    return failed.value.code


def test_memory_goes_when_it_is_mapped_nowhere_and_released(driver: FakeCudaDriver) -> None:
    """A mapping keeps memory after its handle was released, and a handle after its mapping has gone."""
    address, handle = driver.reserve(PAGE), driver.create(PAGE)
    driver.map(address, PAGE, handle)
    driver.release(handle)
    kept_bytes = driver.physical_bytes
    driver.unmap(address, PAGE)
    unmapped_bytes = driver.physical_bytes
    driver.create(PAGE)

    assert (PAGE, 0, PAGE) == (kept_bytes, unmapped_bytes, driver.physical_bytes)


def test_new_memory_is_garbage_and_addresses_with_nothing_behind_them_are_not_numbers(driver: FakeCudaDriver) -> None:
    """Nobody who forgets to copy, or who reads what is away, gets anything that looks right."""
    address = _mapped(driver)
    seen = bytes_over(CPU, address, 2 * PAGE)
    new = set(seen.tolist())
    driver.unmap(address, 2 * PAGE)

    assert ({GARBAGE}, {POISON}) == (new, set(seen.tolist()))
    assert bool(seen.view(torch.bfloat16).isnan().all())
    assert bool(seen.view(torch.float32).isnan().all())


def test_one_memory_at_two_addresses_is_one(driver: FakeCudaDriver) -> None:
    """What is written at one address is read at the other."""
    first, second, handle = driver.reserve(PAGE), driver.reserve(PAGE), driver.create(PAGE)
    for address in (first, second):
        driver.map(address, PAGE, handle)
    bytes_over(CPU, first, PAGE).fill_(7)

    assert {7} == set(bytes_over(CPU, second, PAGE).tolist())


def test_mapping_is_taken_away_as_a_whole_or_not_at_all(driver: FakeCudaDriver) -> None:
    """Neither a part of a mapping nor a range with a hole can be unmapped."""
    address = _mapped(driver)
    codes = [_code(lambda: driver.unmap(address, PAGE)), _code(lambda: driver.unmap(address + PAGE, PAGE))]
    driver.unmap(address, 2 * PAGE)

    assert [INVALID_VALUE] * 3 == [*codes, _code(lambda: driver.unmap(address, 2 * PAGE))]


def test_copy_without_access_costs_the_context(driver: FakeCudaDriver) -> None:
    """What was mapped anew has no access, whatever its addresses had before; after that every call fails."""
    address, host = _mapped(driver), torch.zeros(PAGE, dtype=torch.uint8)
    driver.unmap(address, 2 * PAGE)
    driver.map(address, 2 * PAGE, driver.create(2 * PAGE))
    codes = [_code(lambda: driver.copy(address, host.data_ptr(), PAGE)), _code(lambda: driver.reserve(PAGE))]

    assert [ILLEGAL_ADDRESS] * 2 == codes


def test_memory_beyond_the_capacity_is_not_to_be_had(driver: FakeCudaDriver) -> None:
    """What others have taken counts; the context is as it was."""
    driver.taken_bytes = 7 * PAGE
    with pytest.raises(DeviceMemoryError):
        driver.create(2 * PAGE)
    driver.create(PAGE)

    assert PAGE == driver.physical_bytes


def test_copy_runs_when_its_event_is_waited_for(driver: FakeCudaDriver) -> None:
    """Whoever does not wait reads garbage."""
    address, host = _mapped(driver), torch.full((2 * PAGE,), 3, dtype=torch.uint8)
    driver.register(host.data_ptr(), host.nbytes)
    driver.copy(address, host.data_ptr(), host.nbytes)
    seen = bytes_over(CPU, address, 2 * PAGE)
    before = set(seen.tolist())
    driver.copied().wait()

    assert ({GARBAGE}, {3}, 0) == (before, set(seen.tolist()), driver.pageable_copies)


def test_copy_from_memory_that_is_not_locked_is_counted_and_done_at_once(driver: FakeCudaDriver) -> None:
    """It works as on a GPU, where it costs the rate."""
    address, host = _mapped(driver), torch.full((2 * PAGE,), 3, dtype=torch.uint8)
    driver.copy(address, host.data_ptr(), host.nbytes)

    assert ({3}, 1) == (set(bytes_over(CPU, address, 2 * PAGE).tolist()), driver.pageable_copies)


@pytest.mark.parametrize("use", ["copy", "work"])
def test_unmapping_what_is_in_use_costs_the_context(driver: FakeCudaDriver, use: str) -> None:
    """Copies and work that nobody has waited for would meet an illegal address."""
    address, host = _mapped(driver), torch.zeros(PAGE, dtype=torch.uint8)
    driver.register(host.data_ptr(), host.nbytes)
    if use == "copy":
        driver.copy(address, host.data_ptr(), PAGE)
    else:
        driver.launch(address, PAGE)

    assert ILLEGAL_ADDRESS == _code(lambda: driver.unmap(address, 2 * PAGE))


def test_write_to_addresses_with_nothing_behind_them_is_found(driver: FakeCudaDriver) -> None:
    """A GPU would have lost its context at once; here it is lost with the next mapping."""
    address = _mapped(driver)
    driver.unmap(address, 2 * PAGE)
    bytes_over(CPU, address, PAGE)[17] = 0

    assert ILLEGAL_ADDRESS == _code(lambda: driver.map(address, 2 * PAGE, driver.create(2 * PAGE)))


def test_call_from_a_thread_without_the_context_is_refused(driver: FakeCudaDriver) -> None:
    """Each thread makes it current for itself."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(_code(lambda: driver.reserve(PAGE))))
    thread.start()
    thread.join()

    assert [INVALID_CONTEXT] == codes


def test_calls_during_a_capture_are_refused(driver: FakeCudaDriver) -> None:
    """Nothing is mapped while a graph is captured."""
    driver.is_capturing = True

    assert [CAPTURE_UNSUPPORTED] * 2 == [_code(driver.make_current), _code(lambda: driver.reserve(PAGE))]


def test_host_memory_is_locked_once_and_unlocked_once(driver: FakeCudaDriver) -> None:
    """Overlapping ranges and unknown ones are refused."""
    host = torch.zeros(2 * PAGE, dtype=torch.uint8)
    driver.register(host.data_ptr(), host.nbytes)
    codes = [_code(lambda: driver.register(host.data_ptr() + PAGE, PAGE))]
    driver.unregister(host.data_ptr())

    assert [ALREADY_REGISTERED, NOT_REGISTERED] == [*codes, _code(lambda: driver.unregister(host.data_ptr()))]


def test_handle_that_was_released_is_unknown(driver: FakeCudaDriver) -> None:
    """It can be neither mapped nor released again, also while a mapping keeps its memory."""
    address, handle = driver.reserve(PAGE), driver.create(PAGE)
    driver.map(address, PAGE, handle)
    driver.release(handle)
    other = driver.reserve(PAGE)

    assert [INVALID_HANDLE] * 2 == [
        _code(lambda: driver.release(handle)),
        _code(lambda: driver.map(other, PAGE, handle)),
    ]


def test_faults_come_when_they_are_asked_for(driver: FakeCudaDriver) -> None:
    """By number, by name and from a number on."""
    driver.fail_at(2)
    driver.reserve(PAGE)
    with pytest.raises(DeviceMemoryError):
        driver.reserve(PAGE)
    driver.fail_calls("create", error=DeviceDriverError)
    driver.reserve(PAGE)
    with pytest.raises(DeviceDriverError):
        driver.create(PAGE)
    driver.fail_from(1)
    with pytest.raises(DeviceDriverError):
        driver.create(PAGE)
    driver.heal()

    assert PAGE == (driver.create(PAGE), driver.physical_bytes)[1]
