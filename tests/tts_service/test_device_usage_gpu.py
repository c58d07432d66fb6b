"""What is told of a real GPU's memory: free, the largest free block, and the driver's own share where it is known."""

import pytest
import torch

from tts_service.machine import free_memory_of
from tts_service.residency.process_share import ProcessShare
from tts_service.residency.torch_device import TorchDevice

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

MIB = 1 << 20
LARGE_BYTES = 256 * MIB
CONTEXT_LEAST_BYTES, CONTEXT_MOST_BYTES = 100 * MIB, 2_000 * MIB
"""Far around what was measured on an H100: 423 to 710 MiB, with more kernels loaded somewhat more."""


@pytest.fixture
def device() -> TorchDevice:
    """Return the first GPU, whose allocator keeps nothing for use."""
    torch.cuda.empty_cache()
    return TorchDevice(torch.device("cuda", 0))


def test_block_that_was_freed_is_the_largest_free_one_until_it_is_given_back(device: TorchDevice) -> None:
    """What the allocator keeps for use is told as such, and not any more when it has been given back."""
    block = device.allocated(LARGE_BYTES)
    used = device.examined(device.usage())
    del block
    kept = device.examined(device.usage())
    device.give_back()
    given = device.examined(device.usage())

    assert (used.largest_free_block_bytes or 0) < LARGE_BYTES <= (kept.largest_free_block_bytes or 0)
    assert (given.largest_free_block_bytes or 0) < LARGE_BYTES
    assert kept.reserved_bytes - given.reserved_bytes >= LARGE_BYTES


def test_free_memory_is_the_devices_and_falls_with_what_is_taken(device: TorchDevice) -> None:
    """It is read for every process, and never above the device's size."""
    free_bytes = free_memory_of(device.device)
    before = free_bytes()
    block = device.allocated(LARGE_BYTES)
    during, usage = free_bytes(), device.examined(device.usage())
    del block
    assert before is not None
    assert during is not None
    assert usage.total_bytes is not None

    assert during <= before - LARGE_BYTES + 16 * MIB
    assert during <= usage.total_bytes


def test_context_is_known_as_far_as_the_driver_tells_processes_apart(device: TorchDevice) -> None:
    """Where it is told, it is some hundreds of MiB and no part of what the allocator holds; else it is absent."""
    block = device.allocated(LARGE_BYTES)
    with_block = device.examined(device.usage()).context_bytes
    del block
    device.give_back()
    without = device.examined(device.usage()).context_bytes
    properties = torch.cuda.get_device_properties(device.device)
    if ProcessShare.of(f"GPU-{properties.uuid}").held_bytes() is None:
        pytest.skip("the driver does not tell what this process holds")
    assert with_block is not None
    assert without is not None

    assert CONTEXT_LEAST_BYTES <= without <= CONTEXT_MOST_BYTES
    assert abs(with_block - without) < 64 * MIB
