"""Moves that follow each other: the bus has no rest between them, and what is to be told of them waits for the last."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tests.fakes.served_arenas import SCRATCH, Served
from tests.fakes.torch_networks import MAKERS, NETWORKS, weights_of
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.memory_sampler import FRESH_SECONDS
from tts_service.residency.move_notes import MOST_NOTES, NOTES_SECONDS, MoveNotes
from tts_service.residency.scratch_space import ScratchModule
from tts_service.residency.situation import Move
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.types import ModuleName

A, B = ModuleName("a"), ModuleName("b")
ALL = (*NETWORKS, SCRATCH)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep events out of the way."""
    with capture_logs():
        yield


@pytest.fixture
def asleep() -> Served:
    """Return one with everything away, where nobody wants anything."""
    served = Served()
    for name in NETWORKS:
        served.manager.place(name, Tier.HOST, timeout_seconds=0)
    served.settle()
    for name in NETWORKS:
        served.manager.place(name, None, timeout_seconds=0)
    return served


def test_waiters_hear_of_a_move_before_anybody_else_does(asleep: Served) -> None:
    """Listeners and the log come when nothing moves any more: they take the time of those who wait."""
    events: list[str] = []
    everything = asleep.manager.prepare(NETWORKS)
    for name in NETWORKS:
        asleep.manager.prepare({name}).add_done_callback(lambda _, name=name: events.append(name))
    asleep.manager.subscribe(lambda: events.append("told"))
    with capture_logs() as logs:
        everything.add_done_callback(lambda _: events.append(f"all, {len(logs)} logged"))
        asleep.manager.make_moves()

    assert ["a", "b", "c", "all, 0 logged", "d", "told"] == events
    assert len(NETWORKS) == len(logs)


def test_restores_that_follow_begin_while_the_first_is_copied(asleep: Served) -> None:
    """When the first is there, the others are on their way, and the books still say so."""
    seen: list[tuple[object, ...]] = []

    def look(_: object) -> None:
        mapped = tuple(asleep.weights._arenas[name].is_mapped for name in NETWORKS)
        seen.append((mapped, asleep.space.is_mapped, asleep.status(B).tier, asleep.status(B).state))

    asleep.manager.prepare(ALL)
    asleep.manager.prepare({A}).add_done_callback(look)
    asleep.manager.make_moves()

    assert [((True,) * 4, True, Tier.HOST, ModuleState.RESTORING)] == seen


def test_modules_that_came_in_one_burst_are_as_they_were(asleep: Served) -> None:
    """Each has its own weights, and the device holds what is booked."""
    asleep.bring(*ALL)
    with asleep.manager.lease(ALL, timeout_seconds=0) as lent:
        found = {name: weights_of(lent[name]) for name in NETWORKS}

    assert asleep.driver.physical_bytes == asleep.manager.report().home_bytes
    for name in NETWORKS:
        assert all(map(torch.equal, weights_of(MAKERS[name]()), found[name])), name


@pytest.mark.parametrize("call", ["create", "map", "copy", "copied"])
@pytest.mark.parametrize("error", [DeviceDriverError, DeviceMemoryError])
def test_restore_that_cannot_begin_early_is_made_in_its_turn(
    asleep: Served, call: str, error: type[DeviceDriverError]
) -> None:
    """What went wrong early leaves nothing behind, and is not told: the restore itself says whether it can be made."""
    module = asleep.manager._worker.store.objects[A]
    asleep.driver.fail_calls(call, error=error)
    asleep.weights.begin(A, module)
    held = asleep.driver.physical_bytes
    asleep.bring(A)

    assert (0, None) == (held, asleep.weights.failure(A))
    assert asleep.status(A).bytes_by_tier[Tier.DEVICE] == asleep.driver.physical_bytes


def test_module_that_was_never_there_does_not_begin_early() -> None:
    """Making its arena takes long, which is for its own turn."""
    served = Served(rest_away=("a",))
    served.weights.forget(A)
    served.weights.begin(A, served.manager._worker.store.objects[A])

    assert not served.weights._arenas[A].is_mapped


def test_what_has_begun_and_was_never_made_goes_at_the_end(asleep: Served) -> None:
    """A service that stops in between leaves nothing on the device."""
    asleep.weights.begin(A, asleep.manager._worker.store.objects[A])
    asleep.weights.begin(SCRATCH, ScratchModule(asleep.space))
    held = asleep.driver.physical_bytes
    asleep.weights.close()

    assert (True, 0) == (held > 0, asleep.driver.physical_bytes)


def test_module_that_rests_away_is_ready_to_move_from_the_start() -> None:
    """Its addresses are reserved and its host memory locked before anybody speaks, and not in mid-speech."""
    served = Served(rest_away=("b",))
    begun = len(served.driver.calls)
    served.bring(B)
    calls = served.driver.calls[begun:]

    assert {"create", "map", "set_access", "release", "copy", "copied"} == set(calls)


def _noted(notes: MoveNotes, move: Move, times: int = 1) -> None:
    for _ in range(times):
        notes.add(move, moved_bytes=2, seconds=0.25)


def test_moves_without_a_rest_share_a_line_a_second() -> None:
    """The first is told at once, those that follow together; whoever counts hears of each."""
    told: list[Move] = []
    notes = MoveNotes(lambda move, _bytes, _seconds: told.append(move))
    come = Move(module=A, source=Tier.HOST, target=Tier.DEVICE, authority=Authority.OPERATOR)
    go = replace(come, source=Tier.DEVICE, target=Tier.HOST)
    lines = []
    for now_seconds in (0.0, 0.1, 0.2, NOTES_SECONDS):
        _noted(notes, come)
        _noted(notes, go)
        with capture_logs() as logs:
            notes.tell(now_seconds=now_seconds)
        lines.append([(each["target"], each.get("moves", 1), each["bytes"], each["seconds"]) for each in logs])
    single, shared = (1, 2, 0.25), (3, 6, 0.75)

    assert [[("DEVICE", *single), ("HOST", *single)], [], [], [("DEVICE", *shared), ("HOST", *shared)]] == lines
    assert [come, go] * 4 == told
    assert notes.due_seconds is None


def test_many_notes_do_not_wait() -> None:
    """There is a bound on what is kept, whatever the time is."""
    told: list[Move] = []
    notes = MoveNotes(lambda move, _bytes, _seconds: told.append(move))
    move = Move(module=A, source=Tier.HOST, target=Tier.DEVICE, authority=Authority.DEMAND)
    counts = []
    for times in (1, MOST_NOTES - 1, 1):
        _noted(notes, move, times)
        notes.tell(now_seconds=5.0)
        counts.append(len(told))

    assert [1, 1, 1 + MOST_NOTES] == counts


def test_samples_after_moves_without_a_rest_are_apart(asleep: Served) -> None:
    """One before the first move if the newest is old, one after it; after later ones, once that is a while ago."""
    counts = []
    asleep.settle(seconds=1.0, times=1)
    for seconds in (0.0, 2 * FRESH_SECONDS):
        asleep.clock.advance(seconds)
        begun = len(asleep.manager.memory_report(100).samples)
        for tier in (Tier.DEVICE, Tier.HOST):
            asleep.manager.place(A, tier, timeout_seconds=0)
            asleep.manager._worker.make_moves()
        counts.append(len(asleep.manager.memory_report(100).samples) - begun)
    for seconds in (FRESH_SECONDS, FRESH_SECONDS):
        asleep.clock.advance(seconds)
        begun = len(asleep.manager.memory_report(100).samples)
        asleep.manager._worker.tick()
        counts.append(len(asleep.manager.memory_report(100).samples) - begun)

    assert [1, 2, 1, 0] == counts


def test_memory_is_looked_after_while_modules_move_without_a_rest(asleep: Served) -> None:
    """Samples that moves ask for do not put it off."""
    looks: list[float] = []
    asleep.manager._housekeeper.tick = lambda: looks.append(asleep.clock())  # type: ignore[method-assign]
    for _ in range(30):
        asleep.clock.advance(0.1)
        for tier in (Tier.DEVICE, Tier.HOST):
            asleep.manager.place(A, tier, timeout_seconds=0)
            asleep.manager.make_moves()

    assert 2 <= len(looks) <= 3


def test_broken_modules_are_told_without_a_report() -> None:
    """Whoever only wants to know that asks for nothing else."""
    modules = FakeModules({"a": 10, "b": 10})
    manager = fake_residency(modules, clock=ManualClock())
    manager.load()
    before = manager.broken_modules()
    manager.place(A, Tier.DISK, timeout_seconds=0)
    manager.make_moves()
    manager.place(A, None, timeout_seconds=0)
    modules.faults["a"].append(RuntimeError("no such file"))
    manager.prepare({A})
    manager.make_moves()

    assert ((), (A,)) == (before, manager.broken_modules())
