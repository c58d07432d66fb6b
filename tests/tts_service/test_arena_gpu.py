"""Arenas on a GPU: the same bits at the same addresses, graphs that stay valid, and memory that really goes."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_residency
from tests.fakes.torch_networks import (
    MAKERS,
    NETWORKS,
    TinyNetwork,
    device_of,
    is_tied,
    networks_of,
    output_of,
    weights_of,
)
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_driver import DeviceMemoryError
from tts_service.residency.device_weights import device_weights
from tts_service.residency.types import Tier
from tts_service.types import ModuleName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

A, B, C, D = NETWORKS
LARGE_BYTES = 256 << 20
SPARE_BYTES = 64 << 20
PATIENCE_SECONDS = 30.0


@pytest.fixture
def gpu() -> torch.device:
    """Return the first GPU, on which libraries have taken already what they keep for good."""
    gpu = torch.device("cuda", 0)
    output_of(TinyNetwork(16, 0).to(gpu), gpu)
    torch.cuda.empty_cache()
    return gpu


@pytest.fixture
def weights(gpu: torch.device) -> Iterator[ArenaWeights]:
    """Return arenas, which are closed in the end."""
    weights = _arenas(gpu)
    yield weights
    torch.cuda.synchronize()
    weights.close()


def _arenas(gpu: torch.device, *, asynchronous: bool = False, finds_strays: bool = False) -> ArenaWeights:
    weights = device_weights(gpu, gate=CaptureGate(), asynchronous=asynchronous, finds_strays=finds_strays)
    assert isinstance(weights, ArenaWeights)
    return weights


def _large() -> torch.nn.Module:
    """Return a module of one large piece of memory, which is taken over as it is."""
    module = torch.nn.Module()
    module.register_buffer("numbers", torch.arange(LARGE_BYTES // 4, dtype=torch.int32))
    return module


def _addresses(module: object) -> list[int]:
    return [each.data_ptr() for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_module_in_an_arena_on_the_gpu_keeps_bits_and_addresses(
    weights: ArenaWeights, gpu: torch.device, make: Callable[[], object]
) -> None:
    """Weights, ties and output stay the same over restores; recurrent weights need not be copied together."""
    module = make()
    expected, weighed_bytes = weights_of(module), weights.weigh(module)
    before_bytes, outputs, addresses = torch.cuda.memory_allocated(gpu), [], []
    for _ in range(3):
        assert weighed_bytes == weights.restore(A, module)
        assert device_of(module) == gpu
        assert all(map(torch.equal, expected, weights_of(module)))
        assert is_tied(module)
        outputs.append(output_of(module, gpu))
        addresses.append(_addresses(module))
        assert weighed_bytes == weights.evict(A)

    assert before_bytes == torch.cuda.memory_allocated(gpu)
    assert all(torch.equal(outputs[0], each) for each in outputs)
    assert all(addresses[0] == each for each in addresses)


def test_eviction_gives_memory_to_everybody_at_once(weights: ArenaWeights, gpu: torch.device) -> None:
    """The driver's free bytes grow by all that was taken."""
    module = _large()
    weights.restore(A, module)
    free_bytes = torch.cuda.mem_get_info(gpu)[0]
    weights.evict(A)

    assert torch.cuda.mem_get_info(gpu)[0] >= free_bytes + LARGE_BYTES


def test_graph_stays_valid_over_moves_with_a_neighbour_in_the_freed_memory(
    weights: ArenaWeights, gpu: torch.device
) -> None:
    """What was captured once gives the same bits after every restore."""
    module = TinyNetwork(64, 3)
    weights.restore(A, module)
    hidden = torch.randn(4, 64, device=gpu)
    with torch.inference_mode():
        module.inner(hidden)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with weights.gate.capturing(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = module.inner(hidden) @ module.mirror

    @torch.inference_mode()
    def replayed() -> torch.Tensor:
        weights.begin_work([A])
        output.zero_()
        graph.replay()
        found = output.clone()
        weights.end_work([A])
        return found

    expected = replayed()
    neighbour = weights.scratch("neighbour", weights.weigh(TinyNetwork(64, 3)))
    filling = neighbour.tensor(neighbour.byte_count, dtype=torch.uint8)
    same = []
    for number in range(50):
        weights.evict(A)
        neighbour.bring()
        with neighbour.using():
            filling.fill_(number)
        weights.restore(A, module)
        neighbour.give_back()
        same.append(torch.equal(expected, replayed()))

    assert [True] * 50 == same


def test_restore_on_a_full_gpu_is_told_and_can_be_made_again(weights: ArenaWeights, gpu: torch.device) -> None:
    """Nothing is taken, the context is healthy, and when the hog has gone the module comes."""
    module = _large()
    weights.restore(A, module)
    weights.evict(A)
    torch.cuda.empty_cache()
    hog = weights.scratch("hog", torch.cuda.mem_get_info(gpu)[0] - SPARE_BYTES)
    hog.bring()
    with pytest.raises(DeviceMemoryError):
        weights.restore(A, module)
    left_bytes = weights.mapped_bytes - hog.byte_count
    hog.give_back()
    weights.restore(A, module)

    assert (0, {}) == (left_bytes, weights.failures)
    assert (LARGE_BYTES // 4) * (LARGE_BYTES // 4 - 1) // 2 == int(module.numbers.sum(dtype=torch.int64))


def test_work_that_follows_an_asynchronous_restore_waits_for_the_copies(gpu: torch.device) -> None:
    """The thread goes on at once; the stream does not."""
    weights, module = _arenas(gpu, asynchronous=True), _large()
    sums = []
    for _ in range(5):
        weights.restore(A, module)
        weights.begin_work({A})
        sums.append(module.numbers.sum(dtype=torch.int64))
        weights.end_work({A})
        weights.evict(A)
    found = {int(each) for each in sums}
    weights.close()

    assert {(LARGE_BYTES // 4) * (LARGE_BYTES // 4 - 1) // 2} == found


def test_stray_access_is_found_and_costs_nothing(gpu: torch.device) -> None:
    """With the cover, what is away reads as NaN, and a write to it is told by the next restore."""
    weights, module = _arenas(gpu, finds_strays=True), TinyNetwork(16, 1)
    expected = weights_of(module)
    weights.restore(A, module)
    weights.evict(A)
    is_nan = bool(module.inner.weight.data.isnan().all())
    module.inner.weight.data.zero_()
    torch.cuda.synchronize()
    with capture_logs() as logs:
        weights.restore(A, module)
    restored = weights_of(module)
    weights.close()

    assert (True, 1, ["evicted_memory_written_to"]) == (is_nan, weights.strays, [each["event"] for each in logs])
    assert all(map(torch.equal, expected, restored))


def test_host_memory_is_locked_while_its_module_is_in_memory(weights: ArenaWeights) -> None:
    """From the first restore until it is forgotten."""
    module = _large()
    host = module.numbers.data
    weights.restore(A, module)
    weights.evict(A)
    locked = host.is_pinned()
    weights.forget(A)

    assert (True, False) == (locked, host.is_pinned())


def test_manager_moves_arenas_through_all_tiers_from_its_own_thread(weights: ArenaWeights, gpu: torch.device) -> None:
    """The output on the GPU does not change by a bit, and addresses are for life."""
    manager = arena_residency(weights, clock=time.monotonic, rest_away={"d"}, stay_seconds=60.0)
    manager.start()
    outputs, addresses = [], []
    for tier in (Tier.DEVICE, Tier.HOST, Tier.DISK, Tier.HOST, Tier.DEVICE, Tier.DISK):
        assert "" == manager.place(B, tier, timeout_seconds=PATIENCE_SECONDS)[1]
        manager.place(B, None, timeout_seconds=0)
        with manager.lease({B, D}, timeout_seconds=PATIENCE_SECONDS) as lent:
            outputs.append((output_of(lent[B], gpu), output_of(lent[D], gpu)))
            addresses.append(_addresses(lent[B]))
    report = manager.report()
    manager.close()

    assert all(torch.equal(outputs[0][0], b) and torch.equal(outputs[0][1], d) for b, d in outputs)
    assert all(addresses[0] == each for each in addresses)
    assert weights.mapped_bytes == report.home_bytes


def test_many_modules_of_any_size_can_be_moved(weights: ArenaWeights) -> None:
    """Sizes that are no multiples of anything come and go."""
    modules = {}
    for number in range(8):
        module = torch.nn.Module()
        module.register_buffer("numbers", torch.arange(1 + 777_777 * number, dtype=torch.int32))
        modules[ModuleName(f"m{number}")] = module
    for name, module in modules.items():
        weights.restore(name, module)
    sums = [int(module.numbers.sum(dtype=torch.int64)) for module in modules.values()]
    for name in modules:
        weights.evict(name)

    assert [(777_777 * n) * (777_777 * n + 1) // 2 for n in range(8)] == sums
    assert 0 == weights.mapped_bytes
