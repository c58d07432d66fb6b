"""Modules in arenas: the same bits and addresses over any number of moves, and all memory given back in between."""

import threading
from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_weights
from tests.fakes.fake_cuda_driver import GARBAGE, FakeCudaDriver
from tests.fakes.torch_networks import MAKERS, PackedNetwork, TinyNetwork, is_tied, networks_of, output_of, weights_of
from tts_service.models.chatterbox.running_form import adjacent
from tts_service.residency.arena import ArenaError
from tts_service.residency.fixed_weights import FixedWeightsError
from tts_service.residency.use_record import ArenaInUseError
from tts_service.types import ModuleName

A, B = ModuleName("a"), ModuleName("b")
CPU = torch.device("cpu")
EVERY_KIND = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@pytest.fixture
def driver() -> FakeCudaDriver:
    """Return a driver without bounds."""
    return FakeCudaDriver()


def _tensors(module: object) -> list[torch.Tensor]:
    return [each for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


def _addresses(module: object) -> list[int]:
    return [each.data_ptr() for each in _tensors(module)]


@EVERY_KIND
def test_module_comes_back_with_the_same_bits_at_the_same_addresses(
    make: Callable[[], object], driver: FakeCudaDriver
) -> None:
    """Weights, ties, output and the tensors themselves are the same after every restore."""
    module = make()
    expected, output, ids = weights_of(module), output_of(module, CPU), [id(each) for each in _tensors(module)]
    weights = arena_weights(driver)
    weights.restore(A, module)
    addresses = _addresses(module)
    for _ in range(3):
        weights.evict(A)
        weights.restore(A, module)
        assert all(map(torch.equal, expected, weights_of(module)))
        assert torch.equal(output, output_of(module, CPU))

    assert (addresses, ids, True) == (_addresses(module), [id(each) for each in _tensors(module)], is_tied(module))
    assert 0 == driver.pageable_copies


@EVERY_KIND
def test_module_takes_what_it_was_weighed_at_and_gives_all_of_it_back(
    make: Callable[[], object], driver: FakeCudaDriver
) -> None:
    """Room is planned with what will be taken, and the books are the driver's."""
    module, weights = make(), arena_weights(driver)
    weighed_bytes = weights.weigh(module)
    taken_bytes = weights.restore(A, module)
    held_bytes, usage = driver.physical_bytes, weights.usage()
    released_bytes = weights.evict(A)

    assert {weighed_bytes} == {taken_bytes, held_bytes, usage.allocated_bytes, usage.reserved_bytes, released_bytes}
    assert (0, 0) == (driver.physical_bytes, weights.usage().allocated_bytes)


@EVERY_KIND
def test_module_that_is_away_cannot_be_taken_for_one_that_is_there(
    make: Callable[[], object], driver: FakeCudaDriver
) -> None:
    """Whoever uses it without a lease gets no numbers."""
    module, weights = make(), arena_weights(driver)
    weights.restore(A, module)
    weights.evict(A)

    assert bool(output_of(module, CPU).isnan().all())


def test_module_that_comes_from_disk_again_has_the_addresses_that_it_had(driver: FakeCudaDriver) -> None:
    """Another object with the same weights goes to the same arena, and the first one's host memory is let go."""
    weights, first, second = arena_weights(driver), PackedNetwork(16, 1), PackedNetwork(16, 1)
    expected = weights_of(second)
    weights.restore(A, first)
    locked = len(driver.registered)
    weights.evict(A)
    weights.forget(A)
    unlocked = dict(driver.registered)
    weights.restore(A, second)

    assert (_addresses(first), {}, locked) == (_addresses(second), unlocked, len(driver.registered))
    assert all(map(torch.equal, expected, weights_of(second)))


def test_module_of_another_form_is_refused_where_addresses_are_known(driver: FakeCudaDriver) -> None:
    """Graphs would compute with the wrong bytes; the module stays as it was, and so does the arena."""
    weights, other = arena_weights(driver), TinyNetwork(12, 1)
    weights.restore(A, TinyNetwork(8, 1))
    weights.evict(A)
    weights.forget(A)
    addresses = _addresses(other)
    with pytest.raises(ArenaError, match="laid out"):
        weights.restore(A, other)
    other.to(CPU)

    assert (addresses, 0) == (_addresses(other), driver.physical_bytes)


@pytest.mark.parametrize("adopt_from_bytes", [1 << 10, 1 << 40], ids=["adopted", "brought together"])
def test_neighbours_in_a_loader_s_memory_are_one_matrix_in_the_arena(
    driver: FakeCudaDriver, adopt_from_bytes: int
) -> None:
    """Two weights of whole 512 bytes that follow each other can be multiplied at once, before and after a move."""
    module = torch.nn.Module()
    memory = torch.arange(768.0)
    module.register_buffer("first", memory[:256].view(16, 16))
    module.register_buffer("second", memory[256:].view(32, 16))
    expected = memory.clone().view(48, 16)
    del memory
    weights = arena_weights(driver, adopt_from_bytes=adopt_from_bytes)
    weights.restore(A, module)
    joined = adjacent(tuple(module.buffers()))
    weights.evict(A)
    weights.restore(A, module)

    assert joined is not None
    assert torch.equal(expected, joined)


def test_memory_of_a_loader_is_not_held_twice(driver: FakeCudaDriver) -> None:
    """What is adopted is locked where it is; the host memory of what is packed goes when the arena has it."""
    adopted, packed = PackedNetwork(16, 1), TinyNetwork(16, 1)
    memory = adopted.inner.weight.untyped_storage()
    begin, end = memory.data_ptr(), memory.data_ptr() + memory.nbytes()
    del memory
    gone = torch.multiprocessing.reductions.StorageWeakRef(packed.inner.weight.untyped_storage())
    weights = arena_weights(driver, adopt_from_bytes=1 << 12)
    weights.restore(A, adopted)
    weights.restore(B, packed)

    assert (True, True) == (any(begin <= at < end for at in driver.registered), gone.expired())


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.to(torch.float64),
        lambda module: module.half(),
        lambda module: module.inner.bfloat16(),
        lambda module: module.load_state_dict(module.state_dict(), assign=True),
        lambda module: module.recurrent.load_state_dict(module.recurrent.state_dict()),
    ],
)
def test_weights_in_an_arena_are_not_moved_cast_or_replaced(
    change: Callable[[TinyNetwork], object], driver: FakeCudaDriver
) -> None:
    """The error names the module; nothing has changed after it."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver)
    weights.restore(A, module)
    before = weights_of(module), _addresses(module)
    with pytest.raises(FixedWeightsError, match="a lives in an arena"):
        change(module)

    assert before[1] == _addresses(module)
    assert all(map(torch.equal, before[0], weights_of(module)))


def test_part_without_weights_that_networks_share_is_not_bound_to_one_arena(driver: FakeCudaDriver) -> None:
    """Libraries hand one activation to all their networks."""
    shared, weights = torch.nn.SiLU(), arena_weights(driver)
    inside, outside = (torch.nn.Sequential(torch.nn.Linear(4, 4), shared) for _ in range(2))
    weights.restore(A, inside)
    outside.half()

    assert torch.float16 == outside[0].weight.dtype
    with pytest.raises(FixedWeightsError):
        inside.half()


def test_module_that_is_dropped_is_gone(driver: FakeCudaDriver) -> None:
    """Neither the arena nor its refusals keep a module in memory."""
    gone: list[int] = []

    class Watched(TinyNetwork):
        def __del__(self) -> None:
            gone.append(1)

    module, weights = Watched(8, 1), arena_weights(driver)
    weights.restore(A, module)
    weights.evict(A)
    weights.forget(A)
    del module

    assert [1] == gone


def test_restore_without_waiting_is_done_when_the_stream_that_uses_it_goes_on(driver: FakeCudaDriver) -> None:
    """Copies are under way when it returns; the stream waits for them, not the thread."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver, asynchronous=True)
    expected = weights_of(module)
    weights.restore(A, module)
    before = set(module.embedding.weight.view(torch.uint8).flatten().tolist())
    weights.begin_work({A})

    assert ({GARBAGE}, 1) == (before, driver.held_streams)
    assert all(map(torch.equal, expected, weights_of(module)))


def test_copies_that_are_done_are_waited_for_by_no_use(driver: FakeCudaDriver) -> None:
    """Only the first use has its stream wait; after another restore the next one does again."""
    weights = arena_weights(driver, asynchronous=True)
    module, held = TinyNetwork(8, 1), list[int]()
    for _ in range(2):
        weights.restore(A, module)
        for _ in range(3):
            weights.begin_work({A})
            held.append(driver.held_streams)
            weights.end_work({A})
        weights.evict(A)

    assert [1, 1, 1, 2, 2, 2] == held


def test_module_that_was_never_used_leaves_after_its_copies(driver: FakeCudaDriver) -> None:
    """An eviction right after a restore does not take memory away that is still being filled."""
    weights = arena_weights(driver, asynchronous=True)
    byte_count = weights.restore(A, TinyNetwork(8, 1))

    assert (byte_count, None) == (weights.evict(A), driver.lost)


def test_module_in_use_is_not_evicted(driver: FakeCudaDriver) -> None:
    """It stays as it is until its users have ended their work."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver)
    byte_count = weights.restore(A, module)
    weights.begin_work({A})
    weights.begin_work({A})
    weights.end_work({A})
    with pytest.raises(ArenaInUseError, match="a has 1 users"):
        weights.evict(A)
    weights.end_work({A})

    assert byte_count == weights.evict(A)


def test_eviction_waits_for_what_users_left_for_the_device_to_do(driver: FakeCudaDriver) -> None:
    """Work of several threads that was launched and not waited for ends before the memory goes."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver)
    weights.restore(A, module)

    def use() -> None:
        weights.begin_work({A})
        driver.launch(weights.addresses()[A], 64)
        weights.end_work({A})

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    use()
    weights.evict(A)

    assert (None, 0) == (driver.lost, driver.physical_bytes)


def test_moves_can_be_made_from_any_thread(driver: FakeCudaDriver) -> None:
    """Each makes the context its own first."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver)
    weights.restore(A, module)
    released: list[int] = []
    thread = threading.Thread(target=lambda: released.append(weights.evict(A)))
    thread.start()
    thread.join()

    assert [weights.weigh(TinyNetwork(8, 1))] == released


def test_move_waits_for_the_capture_of_a_graph(driver: FakeCudaDriver) -> None:
    """No call is made while another thread captures, and the move is made after that."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver)
    weights.restore(A, module)
    thread = threading.Thread(target=lambda: weights.evict(A))
    with weights.gate.capturing():
        driver.is_capturing = True
        thread.start()
        thread.join(0.05)
        waits = thread.is_alive()
        driver.is_capturing = False
    thread.join()

    assert (True, 0) == (waits, driver.physical_bytes)


def test_gate_lets_nobody_capture_inside_a_move() -> None:
    """A thread that would wait for itself is told so."""
    gate = arena_weights(FakeCudaDriver()).gate
    with gate.moving(), pytest.raises(AssertionError, match="inside already"), gate.capturing():
        pass

    assert "<CaptureGate open>" == repr(gate)


def test_write_to_a_module_that_is_away_is_found_where_that_is_looked_for(driver: FakeCudaDriver) -> None:
    """The context lives, the log says it, and the module comes back whole."""
    module, weights = TinyNetwork(8, 1), arena_weights(driver, finds_strays=True)
    expected = weights_of(module)
    weights.restore(A, module)
    weights.evict(A)
    module.inner.weight.data.zero_()
    with capture_logs() as logs:
        weights.restore(A, module)

    assert ([("evicted_memory_written_to", "error")], 1) == (
        [(each["event"], each["log_level"]) for each in logs],
        weights.strays,
    )
    assert all(map(torch.equal, expected, weights_of(module)))


def test_cover_over_what_is_away_takes_one_page(driver: FakeCudaDriver) -> None:
    """However many modules are away, and over any number of moves."""
    weights = arena_weights(driver, finds_strays=True)
    modules = {ModuleName(name): make() for name, make in MAKERS.items()}
    for _ in range(2):
        for name, module in modules.items():
            weights.restore(name, module)
        for name, module in modules.items():
            weights.evict(name)
            assert bool(output_of(module, CPU).isnan().all())

    assert (driver.granularity_bytes, 0) == (driver.physical_bytes, weights.strays)


def test_closing_gives_addresses_back(driver: FakeCudaDriver) -> None:
    """Nothing is left reserved, mapped or locked."""
    weights = arena_weights(driver)
    weights.restore(A, TinyNetwork(8, 1))
    weights.restore(B, TinyNetwork(8, 1))
    weights.evict(B)
    weights.scratch("work space", 1).bring()
    weights.close()

    assert ({}, {}, 0) == (driver.registered, driver._reserved, driver.physical_bytes)
