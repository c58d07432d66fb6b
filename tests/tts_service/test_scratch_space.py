"""Memory of a stage that comes and goes as one thing: same addresses, undefined contents, honest books."""

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_weights
from tests.fakes.fake_cuda_driver import GARBAGE, FakeCudaDriver
from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.kept_account import KeptAccount
from tts_service.errors import Reason, ServiceError
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.graph_memory import ArenaGraphs
from tts_service.residency.page_arena import PageArena
from tts_service.residency.scratch_space import ScratchModule, ScratchSpace
from tts_service.residency.use_record import ArenaInUseError
from tts_service.types import ModuleName

NAME = ModuleName("scratch.t3")
GRANULE = 4096
SHAPE = (4, 16, 16)
"""A granule of float32."""
WIDE_SHAPE = (7, 16, 16)
WIDE_BYTES = 7 * 1024
"""A granule and three quarters."""


@pytest.fixture
def driver() -> FakeCudaDriver:
    """Return a driver with room for sixteen granules."""
    return FakeCudaDriver(capacity_bytes=16 * GRANULE)


@pytest.fixture
def weights(driver: FakeCudaDriver) -> ArenaWeights:
    """Return arenas on it."""
    return arena_weights(driver)


@pytest.fixture
def space(weights: ArenaWeights) -> ScratchSpace:
    """Return a space without parts, away, whose bytes are booked."""
    space = weights.space(NAME)
    space.account = KeptAccount()
    return space


def _bring(weights: ArenaWeights, space: ScratchSpace) -> int:
    return weights.restore(NAME, ScratchModule(space))


def _graphs(space: ScratchSpace) -> ArenaGraphs:
    return ArenaGraphs(space, most_bytes=64 * GRANULE, recorder=FakeRecorder)


def _pages(space: ScratchSpace, *, pages: int = 6, ready_pages: int = 0) -> PageArena:
    return PageArena(space, SHAPE, dtype=torch.float32, pages=pages, ready_pages=ready_pages)


def test_graphs_work_at_the_same_addresses_after_their_memory_was_away(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """What was captured runs again as it was; what is in the buffers is garbage until then."""
    _bring(weights, space)
    graphs = _graphs(space)
    given, made = graphs.buffer(8, dtype=torch.float32), graphs.buffer(8, dtype=torch.float32)
    constant = graphs.constant(torch.tensor(2.0))
    given.fill_(1.0)

    def doubling() -> None:
        torch.mul(given, constant, out=made)

    replay = graphs.capture("doubling", doubling)
    released_bytes = weights.evict(NAME)
    away_bytes = driver.physical_bytes
    brought_bytes = _bring(weights, space)
    garbage = set(made.view(torch.uint8).tolist())
    given.fill_(3.0)
    replay()

    assert (3 * GRANULE, 0, 3 * GRANULE, {GARBAGE}) == (released_bytes, away_bytes, brought_bytes, garbage)
    assert [6.0] * 8 == made.tolist()
    assert ("doubling",) == graphs.captured


def test_space_comes_back_in_one_piece_for_each_part(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """However often it has grown: the fewer mappings, the sooner it is there."""
    _bring(weights, space)
    graphs = _graphs(space)
    for _ in range(3):
        graphs.buffer(GRANULE, dtype=torch.uint8)
    grown = driver.calls.count("create")
    weights.evict(NAME)
    _bring(weights, space)

    assert (3, 4) == (grown, driver.calls.count("create"))


def test_buffers_can_be_made_while_the_space_is_away(weights: ArenaWeights, space: ScratchSpace) -> None:
    """They have addresses at once and memory when it comes."""
    graphs = _graphs(space)
    buffer = graphs.buffer(GRANULE + 1, dtype=torch.uint8)
    away_bytes = weights.mapped_bytes
    brought_bytes = _bring(weights, space)
    buffer.fill_(7)

    assert (0, 2 * GRANULE, 2 * GRANULE) == (away_bytes, brought_bytes, space.account.booked_bytes)


def test_buffers_follow_each_other_aligned(weights: ArenaWeights, space: ScratchSpace) -> None:
    """As torch's allocator has it; only what lacks is mapped."""
    _bring(weights, space)
    graphs = _graphs(space)
    first, second = graphs.buffer(3, dtype=torch.int8), graphs.buffer(2, 4, dtype=torch.float16)

    assert 512 == second.data_ptr() - first.data_ptr()
    assert ((2, 4), GRANULE) == (second.shape, weights.mapped_bytes)


def test_buffer_beyond_the_budget_is_refused_in_bytes(weights: ArenaWeights, space: ScratchSpace) -> None:
    """Nothing is mapped for it."""
    _bring(weights, space)
    graphs = _graphs(space)
    space.account.limit_bytes = GRANULE
    with pytest.raises(ServiceError, match="needs 8,192 bytes more") as refused:
        graphs.buffer(2 * GRANULE, dtype=torch.uint8)

    assert (Reason.DEVICE_MEMORY, 0, 0) == (refused.value.reason, weights.mapped_bytes, space.account.booked_bytes)


def test_buffer_without_memory_is_refused_and_not_booked(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """After torch's cache was given back; the next one may find room."""
    _bring(weights, space)
    graphs = _graphs(space)
    driver.taken_bytes = 15 * GRANULE
    with pytest.raises(ServiceError, match="are not to be had"):
        graphs.buffer(2 * GRANULE, dtype=torch.uint8)
    short_bytes, driver.taken_bytes = space.account.booked_bytes, 0
    graphs.buffer(2 * GRANULE, dtype=torch.uint8)

    assert (0, 2 * GRANULE) == (short_bytes, space.account.booked_bytes)


def test_capture_without_memory_is_refused(driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace) -> None:
    """Torch is told by its own means, and says so by its own."""
    _bring(weights, space)
    graphs = _graphs(space)
    driver.taken_bytes = 16 * GRANULE
    with capture_logs() as logs, pytest.raises(ServiceError) as refused:
        graphs.capture("anything", lambda: None)

    assert (Reason.DEVICE_MEMORY, ()) == (refused.value.reason, graphs.captured)
    assert ["graph_memory_not_grown"] == [each["event"] for each in logs]


def test_torchs_books_do_not_count_graphs_memory_twice(weights: ArenaWeights, space: ScratchSpace) -> None:
    """Torch believes to hold it for good; here it counts while it is there."""
    _bring(weights, space)
    graphs = _graphs(space)
    graphs.capture("anything", lambda: None)
    there = weights.usage()
    weights.evict(NAME)
    away = weights.usage()

    assert (2 * GRANULE, 2 * GRANULE) == (graphs.pool_bytes, space.pool_bytes)
    assert (2 * GRANULE, 0) == (there.scratch_bytes, away.scratch_bytes)


def test_pages_are_mapped_when_they_are_taken_and_reused_first(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """A page that was given back keeps its memory and what is in it."""
    pages = _pages(space)
    _bring(weights, space)
    first = pages.take(2)
    pages.tensor[first] = 5.0
    pages.give(first)
    again = pages.take(3)

    assert ([0, 1], [0, 1, 2], 3 * GRANULE) == (first, again, driver.physical_bytes)
    assert {5.0} == set(pages.tensor[first].flatten().tolist())
    assert (6, *SHAPE) == tuple(pages.tensor.shape)
    assert GRANULE // 4 == pages.tensor.stride(0)
    assert pages.tensor[1].is_contiguous()


def test_pages_of_different_owners_do_not_touch(weights: ArenaWeights, space: ScratchSpace) -> None:
    """All of a page can be written."""
    pages = _pages(space)
    _bring(weights, space)
    taken = pages.take(6)
    for page in taken:
        pages.tensor[page] = float(page)

    assert [{float(page)} for page in taken] == [set(pages.tensor[page].flatten().tolist()) for page in taken]


def test_pages_that_come_with_the_space_are_there_at_once(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """One utterance never has to grow; the space weighs that much while it is away."""
    pages = _pages(space, ready_pages=2)
    weighed_bytes = weights.weigh(ScratchModule(space))
    _bring(weights, space)
    booked_bytes = space.account.booked_bytes
    pages.take(2)

    assert (2 * GRANULE, 2 * GRANULE) == (weighed_bytes, driver.physical_bytes)
    assert booked_bytes == space.account.booked_bytes


def test_pages_that_come_with_the_space_are_one_mapping(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """The first token waits for them; they also go as one, after what their last owners left to do."""
    pages = _pages(space, ready_pages=4)
    _bring(weights, space)
    taken = pages.take(5)
    driver.launch(pages.tensor.data_ptr(), GRANULE)
    pages.give(taken)
    weights.evict(NAME)
    left = driver.physical_bytes
    _bring(weights, space)

    assert ((1 + 1 + 1, 1 + 1, None), 0, 4 * GRANULE) == (
        (driver.calls.count("map"), driver.calls.count("unmap"), driver.lost),
        left,
        driver.physical_bytes,
    )


def test_pages_share_the_granules_between_them(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """Four pages of one granule and three quarters take seven, and none writes over another."""
    pages = PageArena(space, WIDE_SHAPE, dtype=torch.float32, pages=6, ready_pages=2)
    weighed_bytes = weights.weigh(ScratchModule(space))
    _bring(weights, space)
    taken = pages.take(4)
    for page in taken:
        driver.launch(pages.tensor[page].data_ptr(), WIDE_BYTES)
        pages.tensor[page] = float(page)
    kept = [set(pages.tensor[page].flatten().tolist()) for page in taken]
    grown_bytes = driver.physical_bytes
    pages.give(taken)
    weights.evict(NAME)

    assert (4 * GRANULE, 7 * GRANULE, 0, None) == (weighed_bytes, grown_bytes, driver.physical_bytes, driver.lost)
    assert [{float(page)} for page in taken] == kept


def test_granule_stays_while_one_of_its_pages_is_taken(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """What it holds is not lost, and a page that lacks a part of itself gets that part alone."""
    pages = PageArena(space, WIDE_SHAPE, dtype=torch.float32, pages=6)
    _bring(weights, space)
    taken = pages.take(4)
    pages.tensor[taken] = 5.0
    pages.give([1])
    released_bytes = [weights.trim()]
    pages.give([2])
    released_bytes.append(weights.trim())
    booked_bytes = [space.account.booked_bytes]
    again = pages.take(2)
    pages.tensor[again] = 7.0
    booked_bytes.append(space.account.booked_bytes)

    assert ([0, 2 * GRANULE], [1, 2], None) == (released_bytes, again, driver.lost)
    assert [5 * GRANULE, 7 * GRANULE] == booked_bytes
    assert driver.physical_bytes == booked_bytes[1]
    assert {5.0} == set(pages.tensor[[0, 3]].flatten().tolist())


def test_more_pages_than_there_are_is_refused_as_a_whole(weights: ArenaWeights, space: ScratchSpace) -> None:
    """None is taken."""
    pages = _pages(space)
    _bring(weights, space)
    pages.take(5)
    with pytest.raises(ServiceError, match="2 pages more are needed, and 1 are free") as refused:
        pages.take(2)

    assert (Reason.DEVICE_MEMORY, 1, 5) == (refused.value.reason, pages.free_pages, space.account.kept)


def test_pages_beyond_the_budget_are_refused(weights: ArenaWeights, space: ScratchSpace) -> None:
    """Pages that have memory already need none."""
    pages = _pages(space)
    _bring(weights, space)
    pages.give(pages.take(2))
    space.account.limit_bytes = 2 * GRANULE
    taken = pages.take(2)
    with pytest.raises(ServiceError, match="the budget does not hold 4096 bytes more"):
        pages.take(1)

    assert ([0, 1], 4, 2) == (taken, pages.free_pages, space.account.kept)


def test_pages_without_memory_are_refused_and_those_that_got_some_keep_it(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """The books say what is there; nobody has the pages."""
    pages = _pages(space)
    _bring(weights, space)
    driver.taken_bytes = 14 * GRANULE
    with pytest.raises(ServiceError, match="the device has no memory"):
        pages.take(3)

    assert (6, 2 * GRANULE, 2 * GRANULE) == (pages.free_pages, driver.physical_bytes, space.account.booked_bytes)
    assert 0 == space.account.kept


def test_space_is_kept_while_pages_are_taken(weights: ArenaWeights, space: ScratchSpace) -> None:
    """By as many as there are."""
    pages = _pages(space)
    _bring(weights, space)
    counts = []
    taken = pages.take(3)
    counts.append(space.account.kept)
    pages.give(taken[:1])
    counts.append(space.account.kept)
    pages.give(taken[1:])

    assert [3, 2, 0] == [*counts, space.account.kept]


def test_page_given_twice_is_a_programmer_error(weights: ArenaWeights, space: ScratchSpace) -> None:
    """Two owners would write over each other."""
    pages = _pages(space)
    _bring(weights, space)
    taken = pages.take(1)
    pages.give(taken)
    with pytest.raises(AssertionError, match="twice"):
        pages.give(taken)

    assert 0 == space.account.kept


def test_trim_takes_memory_from_pages_that_nobody_has(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """But for those that come with the space; work that was left there is waited for."""
    pages = _pages(space, ready_pages=1)
    _bring(weights, space)
    taken = pages.take(4)
    driver.launch(pages.tensor[3].data_ptr(), 4)
    pages.give(taken[:1] + taken[2:])
    released_bytes = weights.trim()

    assert (2 * GRANULE, 2 * GRANULE, None) == (released_bytes, driver.physical_bytes, driver.lost)
    assert 2 * GRANULE == space.account.booked_bytes


def test_space_leaves_with_all_pages_and_comes_back_small(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """The books follow: away it weighs what it will take."""
    pages = _pages(space, ready_pages=1)
    _bring(weights, space)
    pages.give(pages.take(4))
    grown_bytes = space.account.booked_bytes
    released_bytes = weights.evict(NAME)
    away_bytes = driver.physical_bytes
    _bring(weights, space)

    assert (4 * GRANULE, 4 * GRANULE, 0) == (grown_bytes, released_bytes, away_bytes)
    assert (GRANULE, GRANULE) == (space.account.booked_bytes, driver.physical_bytes)


def test_space_in_use_does_not_leave(driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace) -> None:
    """What was left for the device to do is waited for."""
    buffer = _graphs(space).buffer(8, dtype=torch.float32)
    _bring(weights, space)
    weights.begin_work([NAME])
    with pytest.raises(ArenaInUseError):
        weights.evict(NAME)
    driver.launch(buffer.data_ptr(), 32)
    weights.end_work([NAME])

    assert (GRANULE, None) == (weights.evict(NAME), driver.lost)


def test_space_that_finds_no_memory_takes_none(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """No part is there if one is not; it comes when there is room."""
    _graphs(space).buffer(3 * GRANULE, dtype=torch.uint8)
    _pages(space, ready_pages=4)
    driver.taken_bytes = 12 * GRANULE
    with pytest.raises(DeviceMemoryError):
        _bring(weights, space)
    short_bytes, driver.taken_bytes = driver.physical_bytes, 0

    assert (0, 7 * GRANULE, {}) == (short_bytes, _bring(weights, space), weights.failures)


def test_space_that_cannot_leave_is_broken(driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace) -> None:
    """It says so to everybody from then on."""
    _graphs(space).buffer(8, dtype=torch.float32)
    _bring(weights, space)
    driver.fail_calls("unmap", error=DeviceDriverError)
    with capture_logs() as logs:
        released_bytes = weights.evict(NAME)
    with pytest.raises(DeviceDriverError, match="failed on purpose"):
        _bring(weights, space)

    assert (0, [NAME], ["arena_broken"]) == (released_bytes, list(weights.failures), [each["event"] for each in logs])


def test_everything_of_a_space_can_be_given_back(
    driver: FakeCudaDriver, weights: ArenaWeights, space: ScratchSpace
) -> None:
    """Addresses included."""
    _graphs(space).buffer(8, dtype=torch.float32)
    _pages(space)
    _bring(weights, space)
    weights.close()

    assert (0, 0) == (driver.physical_bytes, len(driver._reserved))
