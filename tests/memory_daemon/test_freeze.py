"""The operator's freeze: nothing moves by the daemon, whatever memory does."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.errors import DaemonError
from memory_daemon.journal_records import FreezeChanged
from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.override_store import OverrideStore
from memory_daemon.types import (
    HOST,
    Device,
    Freeze,
    ModuleName,
    ModuleStatus,
    Override,
    OverrideKind,
    ServiceName,
    Tier,
)
from tests.fakes.daemon_world import World, WorldMemory, WorldService
from tests.fakes.full_disk import fill_disk

POLICY = replace(HOST_POLICY, critical=Mark(size_bytes=100), low=Mark(size_bytes=200), high=Mark(size_bytes=300))
VOICE, DETECTOR = ModuleName("voice"), ModuleName("detector")
SPEECH = ServiceName("speech")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a machine."""
    return machine_in(tmp_path)


def machine_in(folder: Path) -> World:
    """Return a machine of 1,000 bytes with one service of two modules, 200 bytes each, and 300 used by others."""
    machine = World(folder, POLICY, WorldMemory(device=HOST, total_bytes=1000, used_bytes=300))
    modules = {
        name: ModuleStatus(module=name, home=Tier.HOST, tier=Tier.HOST, home_bytes=200) for name in (VOICE, DETECTOR)
    }
    machine.add(WorldService(name=SPEECH, device=Device(device=HOST, tier=Tier.HOST), modules=modules))
    return machine


def freeze(world: World, seconds: float | None = None) -> Freeze:
    """Freeze for so many seconds, or until it is cleared."""
    now = world.unix_clock()
    set_now = Freeze(
        start_unix_seconds=now, expire_unix_seconds=None if seconds is None else now + seconds, set_by="me"
    )
    world.overrides.set_freeze(set_now)
    return set_now


def tiers(world: World) -> list[Tier]:
    """Return where the modules are."""
    return [status.tier for status in world.found[SPEECH].modules.values()]


def test_frozen_daemon_moves_nothing_below_critical(world: World) -> None:
    """However short memory gets, modules stay, and the status says why nothing is done."""
    world.run(2.0)
    freeze(world)
    world.memory.used_bytes = 560
    world.run(20.0)
    reasons = [decided.reason for decided in world.board.status.decisions]

    assert [Tier.HOST, Tier.HOST] == tiers(world)
    assert any(reason.endswith("an operator's freeze keeps modules where they are") for reason in reasons)


def test_freeze_that_ends_lets_the_policy_decide_again(world: World) -> None:
    """A time to live ends the freeze by itself; its end is journalled, and memory is given back then."""
    world.run(2.0)
    frozen = freeze(world, 10.0)
    world.memory.used_bytes = 560
    world.run(9.0)
    before = tiers(world)
    world.run(4.0)

    assert [Tier.HOST, Tier.HOST] == before
    assert Tier.DISK in tiers(world)
    assert FreezeChanged(change="expired", requested_by="me", freeze=frozen) in world.records


def test_freeze_brings_nothing_home(world: World) -> None:
    """What was sent away stays away with room to spare, and comes home once the freeze is over."""
    world.use(world.found[SPEECH], VOICE)
    world.run(2.0)
    world.memory.used_bytes = 560
    world.run(3.0)
    freeze(world)
    world.memory.used_bytes = 100
    world.run(30.0)
    frozen = tiers(world)
    world.overrides.clear_freeze()
    world.run(30.0)

    assert ([Tier.DISK, Tier.DISK], Tier.HOST) == (frozen, world.found[SPEECH].modules[VOICE].tier)


def test_freeze_calls_off_what_has_not_moved_yet(world: World) -> None:
    """A module that was to leave when its lease ends stays when it ends in a freeze."""
    speech = world.found[SPEECH]
    for name in (VOICE, DETECTOR):
        world.claim(speech, name, claims=1, leases=1)
    world.run(2.0)
    world.memory.used_bytes = 560
    world.run(1.0)
    asked = list(speech.placements)
    freeze(world)
    world.run(1.0)
    for name in (VOICE, DETECTOR):
        world.claim(speech, name, claims=0)
    world.run(5.0)

    assert (True, [Tier.HOST, Tier.HOST]) == (bool(asked), tiers(world))


def test_override_moves_a_module_in_a_freeze(world: World) -> None:
    """The freeze binds the daemon, not the operator."""
    world.run(2.0)
    freeze(world)
    world.overrides.set(Override(service=SPEECH, module=VOICE, kind=OverrideKind.EVICT))
    world.run(2.0)

    assert Tier.DISK is world.found[SPEECH].modules[VOICE].tier


def test_freeze_outlives_a_restart_and_keeps_overrides(world: World, tmp_path: Path) -> None:
    """Freeze and overrides are kept beside each other, and neither drops the other."""
    override = Override(service=SPEECH, module=VOICE, kind=OverrideKind.PIN)
    world.overrides.set(override)
    frozen = freeze(world, 60.0)
    again = OverrideStore(folder=tmp_path, unix_clock=world.unix_clock)
    again.load()

    assert (frozen, (override,)) == (again.freeze(), again.active())

    again.clear(SPEECH, VOICE)

    assert frozen == again.freeze()


def test_freeze_that_cannot_be_kept_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a restart would not find is not in force."""
    fill_disk(monkeypatch)
    with pytest.raises(DaemonError, match="nothing was changed"):
        freeze(world)

    assert world.overrides.freeze() is None


def test_clearing_a_freeze_that_is_over_is_clearing_none(world: World) -> None:
    """A freeze that ran out has nobody to be taken from."""
    freeze(world, 5.0)
    world.clock.advance(6.0)

    assert world.overrides.clear_freeze() is None


STEPS = st.lists(
    st.one_of(
        st.sampled_from([0, 100, 300, 450, 560, 600]).map(lambda used_bytes: ("others", used_bytes)),
        st.sampled_from([VOICE, DETECTOR]).map(lambda name: ("use", name)),
        st.tuples(st.sampled_from([VOICE, DETECTOR]), st.integers(0, 1)).map(lambda claim: ("claim", *claim)),
        st.floats(0.5, 12.0).map(lambda seconds: ("run", seconds)),
    ),
    min_size=1,
    max_size=10,
)


def live(world: World, steps: list[tuple[Any, ...]]) -> None:
    """Let a course of events happen, and time pass at its end."""
    speech = world.found[SPEECH]
    for kind, *values in [*steps, ("run", 5.0)]:
        match kind:
            case "others":
                world.memory.used_bytes = values[0]
            case "use":
                world.use(speech, values[0])
            case "claim":
                world.claim(speech, values[0], claims=values[1], leases=values[1])
            case _:
                world.run(values[0])


@settings(deadline=None, max_examples=30)
@given(before=STEPS, frozen=STEPS)
def test_nothing_moves_by_a_directive_while_it_is_frozen(
    before: list[tuple[Any, ...]], frozen: list[tuple[Any, ...]]
) -> None:
    """On every course of memory and demand, before the freeze and in it, only requests move modules in it."""
    with TemporaryDirectory() as folder:
        machine = machine_in(Path(folder))
        live(machine, before)
        freeze(machine)
        machine.tick()
        seen = len(machine.log)
        live(machine, frozen)

        assert [] == [line for line in machine.log[seen:] if "(directive)" in line]
