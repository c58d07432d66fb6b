"""Modules that move between a GPU, host memory and disk: the same bits, and memory that comes back."""

import gc
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.fakes.torch_networks import (
    MAKERS,
    NETWORKS,
    TinyNetwork,
    device_of,
    device_residency,
    is_tied,
    output_of,
    weights_of,
)
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import Tier
from tts_service.types import ModuleName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

A, B, C, D = NETWORKS
PATIENCE_SECONDS = 30.0
LARGE_BYTES = 256 << 20
MOST_SLACK_BYTES = 1 << 20
"""The allocator rounds each of some fifty tensors up to 512 bytes."""


@pytest.fixture
def gpu() -> torch.device:
    """Return the first GPU, on which libraries have taken already what they keep for good."""
    gpu = torch.device("cuda", 0)
    output_of(TinyNetwork(16, 0).to(gpu), gpu)
    gc.collect()
    torch.cuda.empty_cache()
    return gpu


@pytest.fixture
def manager(gpu: torch.device) -> Iterator[ResidencyManager]:
    """Start a manager over the small networks, whose thread moves them; `d` rests on the host."""
    manager = device_residency(TorchDevice(gpu), clock=time.monotonic, rest_away={"d"}, stay_seconds=60.0)
    manager.start()
    yield manager
    manager.close()


def _place(manager: ResidencyManager, module: ModuleName, tier: Tier) -> None:
    assert "" == manager.place(module, tier, timeout_seconds=PATIENCE_SECONDS)[1]


def _large() -> torch.nn.Module:
    """Return a module of one large piece of memory."""
    module = torch.nn.Module()
    module.register_buffer("numbers", torch.arange(LARGE_BYTES // 4, dtype=torch.int32))
    return module


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_module_on_the_gpu_has_the_same_bits_and_gives_all_its_memory_back(
    gpu: torch.device, make: Callable[[], object]
) -> None:
    """Weights, ties and output stay the same over restores, and allocated bytes return to what they were."""
    module, tensors = make(), DeviceTensors(TorchDevice(gpu))
    weights = weights_of(module)
    before_bytes, outputs = torch.cuda.memory_allocated(gpu), []
    for _ in range(3):
        weighed_bytes = tensors.weigh(module)
        byte_count = tensors.restore(ModuleName("a"), module)
        held_bytes = torch.cuda.memory_allocated(gpu) - before_bytes
        assert device_of(module) == gpu
        assert byte_count <= weighed_bytes
        assert byte_count <= held_bytes <= byte_count + MOST_SLACK_BYTES
        assert all(map(torch.equal, weights, weights_of(module)))
        assert is_tied(module)
        outputs.append(output_of(module, gpu))
        tensors.evict(ModuleName("a"))

        assert before_bytes == torch.cuda.memory_allocated(gpu)
    assert all(torch.equal(outputs[0], each) for each in outputs)
    assert all(map(torch.equal, weights, weights_of(module)))


def test_eviction_returns_reserved_memory_to_the_driver(gpu: torch.device) -> None:
    """What is given back is free for other processes, not only for torch."""
    tensors, module = DeviceTensors(TorchDevice(gpu)), _large()
    before_bytes = torch.cuda.memory_reserved(gpu)
    byte_count = tensors.restore(ModuleName("a"), module)
    held_bytes = torch.cuda.memory_reserved(gpu) - before_bytes
    free_bytes = torch.cuda.mem_get_info(gpu)[0]
    released_bytes = tensors.evict(ModuleName("a"))

    assert (LARGE_BYTES, LARGE_BYTES, True) == (byte_count, released_bytes, held_bytes >= LARGE_BYTES)
    assert before_bytes == torch.cuda.memory_reserved(gpu)
    assert torch.cuda.mem_get_info(gpu)[0] >= free_bytes + LARGE_BYTES


def test_large_host_memory_is_locked_copied_whole_and_unlocked(gpu: torch.device) -> None:
    """A large piece is pinned for as long as its module is in memory, and can be pinned again after that."""
    tensors, module = DeviceTensors(TorchDevice(gpu)), _large()
    for _ in range(2):
        tensors.restore(ModuleName("a"), module)
        total = int(module.numbers.sum(dtype=torch.int64))
        tensors.evict(ModuleName("a"))
        locked = module.numbers.is_pinned()
        tensors.forget(ModuleName("a"))
        assert total == (LARGE_BYTES // 4) * (LARGE_BYTES // 4 - 1) // 2
        assert (True, False) == (locked, module.numbers.is_pinned())


def test_restore_without_memory_is_told_and_leaves_the_gpu_as_it_was(gpu: torch.device) -> None:
    """Out of memory is typed, takes nothing, and the next attempt succeeds."""
    tensors, module = DeviceTensors(TorchDevice(gpu)), _large()
    before_bytes = torch.cuda.memory_allocated(gpu)
    torch.cuda.set_per_process_memory_fraction(0.001, gpu)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            tensors.restore(ModuleName("a"), module)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    held_bytes = torch.cuda.memory_allocated(gpu) - before_bytes

    assert (0, LARGE_BYTES) == (held_bytes, tensors.restore(ModuleName("a"), module))
    tensors.evict(ModuleName("a"))


def test_manager_moves_modules_through_all_tiers_and_they_speak_the_same(
    manager: ResidencyManager, gpu: torch.device
) -> None:
    """From its own thread, the manager moves a module everywhere; the output on the GPU does not change by a bit."""
    outputs = []
    for tier in (Tier.DEVICE, Tier.HOST, Tier.DISK, Tier.HOST, Tier.DEVICE, Tier.DISK):
        _place(manager, B, tier)
        manager.place(B, None, timeout_seconds=0)
        with manager.lease({B, D}, timeout_seconds=PATIENCE_SECONDS) as lent:
            outputs.append((output_of(lent[B], gpu), output_of(lent[D], gpu)))
    report = manager.report()

    assert all(torch.equal(outputs[0][0], b) and torch.equal(outputs[0][1], d) for b, d in outputs)
    assert report.device is not None
    assert report.home_bytes <= report.device.allocated_bytes <= report.device.reserved_bytes


def test_manager_without_modules_on_the_gpu_holds_nothing_of_it(manager: ResidencyManager, gpu: torch.device) -> None:
    """When all have left, allocated bytes are those from before any came."""
    for name in NETWORKS:
        _place(manager, name, Tier.HOST)
    allocated_bytes = torch.cuda.memory_allocated(gpu)
    for name in NETWORKS:
        _place(manager, name, Tier.DEVICE)
    grown_bytes = torch.cuda.memory_allocated(gpu) - allocated_bytes
    home_bytes = manager.report().home_bytes
    for name in NETWORKS:
        _place(manager, name, Tier.DISK)

    assert (allocated_bytes, True) == (torch.cuda.memory_allocated(gpu), grown_bytes >= home_bytes)


def test_lease_ends_when_the_gpu_has_done_its_work(manager: ResidencyManager, gpu: torch.device) -> None:
    """Work that was only launched in the step is finished when the lease has ended."""
    numbers = torch.ones(4096, 4096, device=gpu)
    with manager.lease({A}, timeout_seconds=PATIENCE_SECONDS):
        for _ in range(50):
            numbers = numbers @ numbers.clamp(max=1e-3)
        launched = torch.cuda.current_stream(gpu).record_event()

    assert launched.query()
