"""A service that is alone on its device: what its requests may bring back while memory is short."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.types import HOST, Device, ModuleName, ModuleStatus, ServiceName, Tier
from tests.fakes.daemon_world import World, WorldMemory, WorldService

SIZES = {"t3": 1000, "flow": 300, "vocoder": 100, "tokenizer": 500}
T3 = ModuleName("t3")
CRITICAL_BYTES = 300
STEP_BYTES = SIZES["t3"] + SIZES["flow"]
SEEN_SECONDS = 2.5
"""The longest period, and a confirmation."""


def world_of(folder: Path, used_bytes: int = 4000) -> tuple[World, WorldService]:
    """Return a machine of 8,000 bytes with one service whose modules have all been used; speech claims three."""
    marks = {"critical": Mark(size_bytes=CRITICAL_BYTES), "low": Mark(size_bytes=450), "high": Mark(size_bytes=700)}
    policy = replace(HOST_POLICY, **marks)  # type: ignore[arg-type]  # The marks' own fields.
    world = World(folder, policy, WorldMemory(device=HOST, total_bytes=8000, used_bytes=used_bytes))
    modules = {
        ModuleName(name): ModuleStatus(module=ModuleName(name), home=Tier.HOST, tier=Tier.HOST, home_bytes=size)
        for name, size in SIZES.items()
    }
    speech = WorldService(name=ServiceName("speech"), device=Device(device=HOST, tier=Tier.HOST), modules=modules)
    world.add(speech)
    for name in modules:
        world.use(speech, name)
        world.claim(speech, name, claims=int(name != "tokenizer"))
    world.run(SEEN_SECONDS)
    return world, speech


NAMES = st.sampled_from(list(SIZES))
STEPS = st.lists(
    st.one_of(
        st.integers(min_value=5000, max_value=8000).map(lambda used_bytes: ("others", used_bytes)),
        NAMES.map(lambda name: ("use", name)),
        st.tuples(NAMES, st.integers(min_value=0, max_value=1), st.integers(min_value=0, max_value=1)).map(
            lambda claim: ("claim", *claim)
        ),
        st.floats(min_value=0.05, max_value=4.0).map(lambda seconds: ("run", seconds)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_requests_of_a_lone_service_never_take_critical_memory_beyond_its_floor(
    steps: list[tuple[object, ...]],
) -> None:
    """Whatever it is asked: what a request brings back leaves `critical` free, or is all that is there."""
    taken = []
    with TemporaryDirectory() as folder:
        world, speech = world_of(Path(folder))
        for kind, *values in steps:
            match kind, values:
                case "others", [int(used_bytes)]:
                    world.memory.used_bytes = used_bytes
                    world.run(SEEN_SECONDS)
                case "use", [str(name)]:
                    free_bytes, restores = world.free_bytes, speech.modules[ModuleName(name)].restores
                    world.use(speech, ModuleName(name))
                    if speech.modules[ModuleName(name)].restores > restores:
                        taken.append((free_bytes, world.free_bytes, speech.module_bytes))
                case "claim", [str(name), int(claims), int(leases)]:
                    world.claim(speech, ModuleName(name), claims=claims, leases=leases)
                case "run", [float(seconds)]:
                    world.run(seconds)

    assert [
        each
        for each in taken
        for before, after, held in (each,)
        if after < min(before, CRITICAL_BYTES) and held > max(SIZES.values())
    ] == []


@settings(deadline=None, max_examples=30)
@given(used_bytes=st.integers(min_value=5500, max_value=8000), names=st.lists(NAMES, max_size=10))
def test_lone_service_that_is_short_still_brings_home_what_each_step_needs(used_bytes: int, names: list[str]) -> None:
    """No budget keeps a module from coming home alone."""
    with TemporaryDirectory() as folder:
        world, speech = world_of(Path(folder))
        world.memory.used_bytes = used_bytes
        world.run(SEEN_SECONDS)
        for name in names:
            world.use(speech, ModuleName(name))

            assert speech.modules[ModuleName(name)].at_home


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_no_budget_of_a_lone_service_is_below_its_largest_step(steps: list[tuple[object, ...]]) -> None:
    """One step needs two modules at once: between the larger of them and both, speech would fail for good."""
    with TemporaryDirectory() as folder:
        world, speech = world_of(Path(folder))
        speech.largest_step_bytes = STEP_BYTES
        for kind, *values in steps:
            match kind, values:
                case "others", [int(used_bytes)]:
                    world.memory.used_bytes = used_bytes
                case "use", [str(name)]:
                    world.use(speech, ModuleName(name))
                case _:
                    world.run(SEEN_SECONDS)
            world.run(0.5)
        told = [one.wish.budget_bytes for one in speech.directives[1:]]

    assert [] == [budget for budget in told if budget is not None and budget < STEP_BYTES]


def test_lone_service_whose_largest_step_fits_its_budget_exactly_is_told_the_overdraft(tmp_path: Path) -> None:
    """Where not even the step is there, the floor is handed out all the same, and what it lacks is told."""
    world, speech = world_of(tmp_path)
    speech.largest_step_bytes = STEP_BYTES
    world.memory.used_bytes = 6500
    world.run(10.0)

    assert speech.budget_bytes == STEP_BYTES
    assert [STEP_BYTES + CRITICAL_BYTES - 1500] == [device.overdraft_bytes for device in world.board.status.devices]


@settings(deadline=None, max_examples=30)
@given(noise=st.lists(st.integers(min_value=-30, max_value=30), min_size=30, max_size=60))
def test_noise_around_a_lone_service_that_is_short_sends_no_directives(noise: list[int]) -> None:
    """A budget that has once been handed out stays while memory only breathes."""
    with TemporaryDirectory() as folder:
        world, speech = world_of(Path(folder))
        world.memory.used_bytes = 5500
        world.run(0.5)
        world.memory.used_bytes = 5950
        world.run(20.0)
        directives = len(speech.directives)
        for change_bytes in noise:
            world.memory.used_bytes = 5950 + change_bytes
            world.run(0.5)

    assert speech.budget_bytes is not None
    assert directives == len(speech.directives)


def test_neighbour_that_marches_finds_each_step_though_speech_calls_its_modules_back(tmp_path: Path) -> None:
    """Steps no larger than `critical` go on until the largest module alone is left; speech uses one every 40 ms."""
    world, speech = world_of(tmp_path, used_bytes=5000)
    steps, free = list(SIZES)[:2], []
    while world.free_bytes + speech.module_bytes - max(SIZES.values()) >= CRITICAL_BYTES:
        free.append(world.free_bytes)
        world.memory.used_bytes += CRITICAL_BYTES
        for number in range(10):
            world.run(0.04)
            world.use(speech, ModuleName(steps[number // 5 % 2]))

    assert 5 < len(free)
    assert CRITICAL_BYTES <= min(free)


def test_module_called_back_between_two_reports_is_ordered_away_by_a_directive_of_its_own(tmp_path: Path) -> None:
    """What is awaited has been said: the placement is the one before, but it left and came back since."""
    world, speech = world_of(tmp_path)
    world.memory.used_bytes = 6800
    world.run(SEEN_SECONDS)
    first = speech.directives[-1]
    world.use(speech, T3)
    world.memory.used_bytes += 100
    world.run(0.5)
    again = [one for one in speech.directives if one.version > first.version]

    assert T3 in {placement.module for placement in first.wish.placements}
    assert [first.wish] == [one.wish for one in again]
    assert not speech.modules[T3].at_home


def test_module_that_has_just_left_does_not_come_back_into_what_it_gave(tmp_path: Path) -> None:
    """The order and the budget that goes with it are one directive: no look at memory lies between them."""
    world, speech = world_of(tmp_path)
    world.memory.used_bytes = 5900
    while not speech.placements:
        world.run(0.01)
    world.use(speech, speech.placements[0].module)

    assert CRITICAL_BYTES <= world.free_bytes
