"""Memory at fixed addresses without a master: tensors for life, contents for as long as it is there."""

import pytest
import torch

from tests.fakes.arena_residency import arena_weights
from tests.fakes.fake_cuda_driver import GARBAGE, FakeCudaDriver
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.use_record import ArenaInUseError

PAGE = 4096


@pytest.fixture
def driver() -> FakeCudaDriver:
    """Return a driver with room for four pages."""
    return FakeCudaDriver(capacity_bytes=4 * PAGE)


def test_tensor_keeps_its_address_and_not_its_contents(driver: FakeCudaDriver) -> None:
    """It can be made before the memory is there, and used whenever it is."""
    arena = arena_weights(driver).scratch("cache", 2 * PAGE)
    cache = arena.tensor(2, 8, 16, dtype=torch.bfloat16)
    address = cache.data_ptr()
    arena.bring()
    cache.fill_(1.5)
    arena.give_back()
    away = bool(cache.isnan().all())
    arena.bring()

    assert (address, True) == (cache.data_ptr(), away)
    assert {GARBAGE} == set(cache.view(torch.uint8).flatten().tolist())


def test_scratch_counts_as_device_memory_while_it_is_there(driver: FakeCudaDriver) -> None:
    """Its whole size, rounded up to granules."""
    weights = arena_weights(driver)
    arena = weights.scratch("cache", PAGE + 1)
    empty_bytes = weights.mapped_bytes
    arena.bring()
    held_bytes = weights.usage().allocated_bytes
    released_bytes = arena.give_back()

    assert (0, 2 * PAGE, 2 * PAGE, 0) == (empty_bytes, held_bytes, released_bytes, driver.physical_bytes)


def test_tensors_follow_each_other_aligned_until_the_arena_is_full(driver: FakeCudaDriver) -> None:
    """What does not fit is refused in bytes."""
    arena = arena_weights(driver).scratch("cache", PAGE)
    first, second = arena.tensor(3, dtype=torch.int8), arena.tensor(700, dtype=torch.float32)
    with pytest.raises(ValueError, match="cache has 512 bytes left, not 1024"):
        arena.tensor(1024, dtype=torch.int8)

    assert 512 == second.data_ptr() - first.data_ptr()
    assert (3, 700) == (first.numel(), second.numel())


def test_scratch_in_use_is_not_given_back(driver: FakeCudaDriver) -> None:
    """Its users' work ends first."""
    arena = arena_weights(driver).scratch("cache", PAGE)
    arena.bring()
    cache = arena.tensor(4, dtype=torch.int8)
    with arena.using():
        driver.launch(cache.data_ptr(), 4)
        with pytest.raises(ArenaInUseError):
            arena.give_back()

    assert (PAGE, None) == (arena.give_back(), driver.lost)


def test_scratch_without_memory_is_told_and_takes_nothing(driver: FakeCudaDriver) -> None:
    """It can be brought when there is room."""
    arena = arena_weights(driver).scratch("cache", 2 * PAGE)
    driver.taken_bytes = 3 * PAGE
    with pytest.raises(DeviceMemoryError):
        arena.bring()
    short_bytes, driver.taken_bytes = driver.physical_bytes, 2 * PAGE
    arena.bring()

    assert (0, 2 * PAGE) == (short_bytes, driver.physical_bytes)


def test_scratch_that_cannot_be_given_back_is_broken(driver: FakeCudaDriver) -> None:
    """Nobody knows what is behind its addresses, so it is not brought again."""
    arena = arena_weights(driver).scratch("cache", PAGE)
    arena.bring()
    driver.fail_calls("unmap", error=DeviceDriverError)
    released_bytes = arena.give_back()
    with pytest.raises(DeviceDriverError, match="failed on purpose"):
        arena.bring()

    assert (0, "unmap") == (released_bytes, arena.failure.call)
