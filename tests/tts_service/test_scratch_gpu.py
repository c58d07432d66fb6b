"""Graphs on a GPU whose memory leaves and comes back under them, and what else scratch memory promises there."""

from collections.abc import Iterator

import pytest
import torch

from benchmarks.varied_work import GRAPH_WORK, Mixed
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.device_weights import device_weights
from tts_service.residency.graph_memory import ArenaGraphs
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.types import ModuleName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
]

NAME = ModuleName("scratch.t3")
MIB = 1 << 20


@pytest.fixture
def weights() -> Iterator[ArenaWeights]:
    """Return arenas on the first GPU, which are closed in the end."""
    weights = device_weights(torch.device("cuda", 0), gate=CaptureGate())
    assert isinstance(weights, ArenaWeights)
    yield weights
    torch.cuda.synchronize()
    weights.close()


@pytest.fixture
def space(weights: ArenaWeights) -> ScratchSpace:
    """Return a space that is there."""
    space = weights.space(NAME)
    weights.restore(NAME, ScratchModule(space))
    return space


def _away_and_back(weights: ArenaWeights, space: ScratchSpace, garbage: int) -> int:
    """Let a neighbour have the memory meanwhile; return what the driver had more of."""
    torch.cuda.synchronize()
    before_bytes = torch.cuda.mem_get_info()[0]
    weights.evict(NAME)
    freed_bytes = torch.cuda.mem_get_info()[0] - before_bytes
    neighbour = weights.scratch(f"neighbour {garbage}", torch.cuda.mem_get_info()[0] // 10 * 9)
    neighbour.bring()
    with neighbour.using():
        neighbour.tensor(neighbour.byte_count, dtype=torch.uint8).fill_(garbage)
    neighbour.give_back()
    weights.restore(NAME, ScratchModule(space))
    return freed_bytes


def test_graphs_give_the_same_bits_after_their_memory_was_somebody_elses(
    weights: ArenaWeights, space: ScratchSpace
) -> None:
    """All kinds of work; the driver has every byte of it while it is away."""
    graphs = ArenaGraphs(space)
    mixed = [Mixed(kind, graphs, scale=8) for kind in GRAPH_WORK]
    for each in mixed:
        each.capture()
    expected = [each.replayed() for each in mixed]
    found, freed = [], []
    for garbage in (0xFF, 0xA5, 0x7F, 0x00):
        freed.append(_away_and_back(weights, space, garbage))
        found.append([each.replayed() for each in mixed])

    assert all(torch.equal(want, got) for each in found for want, got in zip(expected, each, strict=True))
    assert [space.byte_count] * 4 == freed
    assert graphs.pool_bytes > 2 * MIB


def test_pool_grows_in_the_middle_of_a_capture(weights: ArenaWeights, space: ScratchSpace) -> None:
    """What the work asks for there for the first time is mapped there, and the capture goes on."""
    graphs = ArenaGraphs(space)
    made = graphs.buffer(MIB, dtype=torch.float32)

    def work() -> None:
        size = 40 * MIB if torch.cuda.is_current_stream_capturing() else MIB
        made.copy_(torch.ones(size, device=made.device)[-MIB:] + 2)

    replay = graphs.capture("growing", work)
    _away_and_back(weights, space, 0xFF)
    replay()

    assert {3.0} == set(made[::4096].tolist())
    assert graphs.pool_bytes >= 160 * MIB


def test_nothing_of_matrix_products_stays_in_the_pool(weights: ArenaWeights, space: ScratchSpace) -> None:
    """Who multiplies on the stream of the captures while they are away does so elsewhere."""
    graphs = ArenaGraphs(space)
    Mixed("long product", graphs, scale=8).capture()
    weights.evict(NAME)
    stream = graphs._recorder._stream  # type: ignore[attr-defined]
    left = (torch.randn(16, 1 << 16, device="cuda") / 16).half()
    with torch.cuda.stream(stream):
        product = left @ left.mT
    torch.cuda.synchronize()

    assert (16, 16) == product.shape
    assert bool(product.isfinite().all())


def test_pages_can_be_written_as_soon_as_they_are_taken(weights: ArenaWeights, space: ScratchSpace) -> None:
    """At the addresses that they always have; the driver has them back after a trim."""
    pages = PageArena(space, (30, 2, 16, 64, 64), dtype=torch.bfloat16, pages=64)
    before_bytes = torch.cuda.mem_get_info()[0]
    taken = pages.take(8)
    for page in taken:
        pages.tensor[page] = float(page)
    written = [bool((pages.tensor[page] == page).all()) for page in taken]
    pages.give(taken)
    released_bytes = weights.trim()

    assert all(written)
    assert 60 * MIB == released_bytes  # Eight pages of 7.5 MiB, which share granules of two.
    assert before_bytes == torch.cuda.mem_get_info()[0]
