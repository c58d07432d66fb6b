"""The tick and its pace, with a fake machine around it."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.journal_records import Demanded, Directed, OverrideChanged, Record, Reported, Sampled, ServiceChanged
from memory_daemon.kept_policy import Change
from memory_daemon.loop import Wakeup
from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.types import HOST, Device, ModuleName, ModuleStatus, Override, OverrideKind, ServiceName, Tier
from tests.fakes.daemon_world import World, WorldMemory, WorldService

POLICY = replace(HOST_POLICY, critical=Mark(size_bytes=100), low=Mark(size_bytes=200), high=Mark(size_bytes=300))
VOICE = ModuleName("voice")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a machine of 1,000 bytes with one service that holds 400."""
    machine = World(tmp_path, POLICY, WorldMemory(device=HOST, total_bytes=1000, used_bytes=100))
    voice = ModuleStatus(module=VOICE, home=Tier.HOST, tier=Tier.HOST, home_bytes=400)
    machine.add(
        WorldService(name=ServiceName("speech"), device=Device(device=HOST, tier=Tier.HOST), modules={VOICE: voice})
    )
    return machine


def kinds(records: list[Record], kind: type) -> int:
    """Count records of a kind."""
    return sum(isinstance(record, kind) for record in records)


def speech(world: World) -> WorldService:
    """Return the service."""
    return world.found[ServiceName("speech")]


def test_changed_mark_takes_effect_on_the_next_tick(world: World) -> None:
    """A threshold that is raised above what is free makes modules leave with the very next tick."""
    world.tick()
    raised = {"critical": Mark(size_bytes=600), "low": Mark(size_bytes=700), "high": Mark(size_bytes=800)}
    world.policies.update(Change(apply=lambda policy: replace(policy, **raised)), ())
    world.tick()

    assert speech(world).modules[VOICE].tier is Tier.DISK


def test_quiet_machine_sends_one_directive_and_writes_little(world: World) -> None:
    """When nothing happens for a minute, nothing is ordered, and the journal hardly grows."""
    world.run(60.0)

    assert 1 == len(speech(world).directives)
    assert (6, 3, 1, 1, 0) == tuple(
        kinds(world.records, kind) for kind in (Sampled, Reported, ServiceChanged, Directed, Demanded)
    )


def test_demand_is_recorded_with_what_it_waited(world: World) -> None:
    """The journal tells what was used between two records, so that waits can be counted later."""
    world.run(2.0)
    world.use(speech(world), VOICE, 3)
    world.run(2.0)
    world.use(speech(world), VOICE, 2)
    world.run(2.0)
    actual = [record.uses for record in world.records if isinstance(record, Demanded)]

    assert [{VOICE: 3}, {VOICE: 2}] == actual


def test_override_that_runs_out_is_recorded(world: World) -> None:
    """The end of an override is in the journal like its beginning."""
    override = Override(
        service=ServiceName("speech"),
        module=VOICE,
        kind=OverrideKind.EVICT,
        expire_unix_seconds=world.unix_clock() + 3,
        set_by="me",
    )
    world.overrides.set(override)
    world.run(5.0)
    expected = OverrideChanged(change="expired", requested_by="me", override=override)

    assert expected in world.records


def test_directives_carry_the_life_of_the_policy(world: World) -> None:
    """How long a directive lives, and how often it is renewed, are the policy's numbers."""
    world.tick()
    directive = speech(world).directives[-1]

    assert (10.0, 3.0) == (directive.valid_for_seconds, directive.renewal_seconds)


def test_tick_is_never_later_than_a_renewal(world: World) -> None:
    """Links need a sign of life even when memory needs no look."""
    slow = {"maximum_period_seconds": 60.0, "minimum_period_seconds": 20.0}
    world.policies.update(Change(apply=lambda policy: replace(policy, **slow)), ())

    assert 3.0 >= world.loop.tick()


def test_rest_ends_when_it_is_over() -> None:
    """Nobody calls: the rest takes its time, and only that."""
    wakeup = Wakeup(clock=time.monotonic)
    begun = time.monotonic()
    wakeup.rest(0.0, 0.05)

    assert time.monotonic() - begun >= 0.05


def test_rest_that_is_called_is_no_shorter_than_the_minimum() -> None:
    """A call ends the rest early, but services that report all the time do not make it spin."""
    wakeup = Wakeup(clock=time.monotonic)
    for _ in range(10):
        wakeup.wake()
    begun = time.monotonic()
    wakeup.rest(0.05, 60.0)

    assert 0.05 <= time.monotonic() - begun < 30.0


def test_stop_ends_a_rest_at_once() -> None:
    """A stop does not wait, however long the minimum is."""
    wakeup = Wakeup(clock=time.monotonic)
    stopper = threading.Timer(0.02, wakeup.stop)
    stopper.start()
    wakeup.rest(60.0, 60.0)
    stopper.join()

    assert wakeup.stopped
