"""Modules in arenas through the real manager: leases, scratch that grows, evictions under load, faults."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.served_arenas import PAGE, SCRATCH, Served
from tests.fakes.torch_networks import MAKERS, weights_of
from tts_service.errors import Reason, ServiceError
from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.types import ModuleName

A, B = ModuleName("a"), ModuleName("b")
WORKERS = 10
PATIENCE_SECONDS = 20.0


@pytest.fixture
def served() -> Served:
    """Return one, with everything but scratch at home."""
    return Served()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep events out of the way."""
    with capture_logs():
        yield


def test_lease_holds_the_stream_until_an_asynchronous_restore_has_ended() -> None:
    """Who computes sees the weights, although the restore only began the copies."""
    served = Served(asynchronous=True)
    served.manager.place(A, Tier.HOST, timeout_seconds=0)
    served.settle()
    served.manager.place(A, None, timeout_seconds=0)
    served.bring(A)
    held = served.driver.held_streams
    with served.manager.lease({A}, timeout_seconds=0) as lent:
        found = weights_of(lent[A])

    assert held < served.driver.held_streams
    assert all(map(torch.equal, weights_of(MAKERS["a"]()), found))


def test_work_that_a_lease_leaves_on_the_device_ends_before_the_module_goes(served: Served) -> None:
    """The thread goes on; the eviction waits."""
    with served.manager.lease({A}, timeout_seconds=0):
        served.driver.launch(served.weights.addresses()[A], PAGE)
    served.manager.place(A, Tier.HOST, timeout_seconds=0)
    served.settle()

    assert (Tier.HOST, None) == (served.status(A).tier, served.driver.lost)


def test_scratch_is_brought_for_a_lease_and_leaves_when_it_rests(served: Served) -> None:
    """It counts at home while it is there, by the bytes that it takes."""
    away_bytes = served.manager.report().home_bytes
    served.bring(A, SCRATCH)
    with served.manager.lease({A, SCRATCH}, timeout_seconds=0):
        there_bytes = served.manager.report().home_bytes
    served.settle(seconds=6.0)

    assert (PAGE, Tier.HOST) == (there_bytes - away_bytes, served.status(SCRATCH).tier)
    assert {Tier.HOST: 0} == served.status(SCRATCH).bytes_by_tier
    assert served.driver.physical_bytes == served.manager.report().home_bytes


def test_scratch_grows_in_the_books_with_every_page(served: Served) -> None:
    """And is small again when it comes back."""
    served.bring(SCRATCH)
    with served.manager.lease({SCRATCH}, timeout_seconds=0):
        pages = served.pages.take(3)
    grown_bytes = served.status(SCRATCH).home_bytes
    served.pages.give(pages)
    served.settle(seconds=6.0)
    away_bytes = served.status(SCRATCH).home_bytes
    served.bring(SCRATCH)

    assert (3 * PAGE, PAGE, PAGE) == (grown_bytes, away_bytes, served.space.mapped_bytes)
    assert served.driver.physical_bytes == served.manager.report().home_bytes


def test_scratch_with_pages_that_are_taken_stays_whatever_the_need(served: Served) -> None:
    """What an utterance has there would be lost; its weights may leave meanwhile."""
    served.bring(A, SCRATCH)
    with served.manager.lease({A, SCRATCH}, timeout_seconds=0):
        taken = served.pages.take(2)
    placements = tuple(
        Placement(module=module, tier=Tier.HOST, urgency=Urgency.WHEN_UNLEASED) for module in (A, SCRATCH)
    )
    served.manager.set_directive(
        Directive(epoch=1, version=1, valid_for_seconds=60, budget_bytes=0, placements=placements)
    )
    served.settle()
    kept = served.status(SCRATCH).tier, served.status(A).tier, served.manager.report().applied_version
    served.pages.give(taken)
    served.settle()

    assert (Tier.DEVICE, Tier.HOST, 0) == kept
    assert (Tier.HOST, 1) == (served.status(SCRATCH).tier, served.manager.report().applied_version)


def test_utterance_goes_on_while_its_scratch_is_wanted_away(served: Served) -> None:
    """Kept is not closed: its next steps are lent what they need."""
    served.bring(A, SCRATCH)
    with served.manager.lease({A, SCRATCH}, timeout_seconds=0):
        served.pages.take(1)
        served.manager.place(SCRATCH, Tier.HOST, timeout_seconds=0)
    with served.manager.lease({A, SCRATCH}, timeout_seconds=0):
        pass

    assert Tier.DEVICE == served.status(SCRATCH).tier


def test_pages_beyond_the_budget_are_refused_and_others_are_unharmed() -> None:
    """The budget holds in every moment."""
    all_bytes = Served().manager.report().home_bytes
    served = Served(budget_bytes=all_bytes + 2 * PAGE)
    served.bring(SCRATCH)
    with served.manager.lease({A, SCRATCH}, timeout_seconds=0):
        served.pages.take(2)
        with pytest.raises(ServiceError) as refused:
            served.pages.take(1)
    with served.manager.lease({A, B, SCRATCH}, timeout_seconds=0):
        pass

    assert Reason.DEVICE_MEMORY == refused.value.reason
    assert all_bytes + 2 * PAGE == served.manager.report().home_bytes == served.driver.physical_bytes


def test_eviction_that_the_driver_fails_breaks_the_module_at_once(served: Served) -> None:
    """Health need not wait until somebody asks for it; who asks is told why at once."""
    served.driver.fail_calls("unmap", error=DeviceDriverError)
    with capture_logs() as logs:
        served.manager.place(A, Tier.HOST, timeout_seconds=0)
        served.settle()
    state = served.status(A).state
    served.manager.place(A, None, timeout_seconds=0)
    future = served.manager.prepare({A})
    served.manager.make_moves()
    with pytest.raises(ServiceError) as refused:
        future.result(0)

    assert (ModuleState.BROKEN, Reason.ENGINE_FAULT) == (state, refused.value.reason)
    assert ["arena_broken", "module_broken"] == [each["event"] for each in logs if each["log_level"] == "error"]


def test_device_that_fails_under_a_lease_breaks_its_modules(served: Served) -> None:
    """The step's owner hears a typed error, the report turns red, and nothing is held for ever."""
    used = served.driver.used

    def failing() -> None:
        raise DeviceDriverError("cudaEventRecord", "device-side assert triggered")

    served.driver.used = failing
    with capture_logs() as logs, pytest.raises(ServiceError) as failed:  # noqa: SIM117 - the lease is what fails.
        with served.manager.lease({A}, timeout_seconds=0):
            pass
    served.driver.used = used
    future = served.manager.prepare({A})
    served.manager.make_moves()

    assert (Reason.ENGINE_FAULT, ModuleState.BROKEN) == (failed.value.reason, served.status(A).state)
    assert ("device_failed", 0) == (logs[0]["event"], served.status(A).leases)
    assert isinstance(future.exception(0), ServiceError)
    with served.manager.lease({B}, timeout_seconds=0) as lent:
        assert [B] == list(lent)


@pytest.mark.parametrize("urgency", [Urgency.WHEN_UNLEASED, Urgency.WHEN_UNCLAIMED], ids=lambda each: each.value)
def test_eviction_gets_its_turn_under_constant_load(urgency: Urgency) -> None:
    """Ten workers always have the module: the gate closes, it leaves, and it is back for all of them."""
    served = Served()
    manager = arena_residency(arena_weights(served.driver), clock=time.monotonic, stay_seconds=60.0)
    manager.start()
    ends, errors, steps = threading.Event(), [], [0] * WORKERS

    def work(number: int) -> None:
        try:
            while not ends.is_set():
                with manager.lease({A}, timeout_seconds=PATIENCE_SECONDS):
                    time.sleep(0.001)
                steps[number] += 1
        except BaseException as error:  # noqa: BLE001 - asserted below.
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    placement = Placement(module=A, tier=Tier.HOST, urgency=urgency)
    manager.set_directive(Directive(epoch=1, version=1, valid_for_seconds=60, placements=(placement,)))
    evictions = _await(lambda: next(each.evictions for each in manager.report().modules if each.module == A))
    before = list(steps)
    _await(lambda: all(after > earlier for after, earlier in zip(steps, before, strict=True)))
    ends.set()
    for thread in threads:
        thread.join()
    evictions_in_the_end = next(each.evictions for each in manager.report().modules if each.module == A)
    manager.close()

    assert ([], 1, 1) == (errors, evictions, evictions_in_the_end)


def _await(condition: object) -> object:
    """Return what a condition becomes once it is anything, or what it is when patience ends."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()) and time.monotonic() < ends:  # type: ignore[operator]
        time.sleep(0.005)
    return found
