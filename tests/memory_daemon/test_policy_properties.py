"""What holds for the decisions on every course of memory, demand and claims, in a whole machine."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.types import HOST, Device, ModuleName, ModuleStatus, ServiceName, Tier
from tests.fakes.daemon_world import World, WorldMemory, WorldService

NAMES = ("pinned", "a", "b", "c")


def world_of(folder: Path, used_bytes: int) -> tuple[World, WorldService]:
    """Return a machine of 4,000 bytes with a service of four modules, one of them pinned."""
    policy = replace(HOST_POLICY, critical=Mark(size_bytes=200), low=Mark(size_bytes=400), high=Mark(size_bytes=600))
    world = World(folder, policy, WorldMemory(device=HOST, total_bytes=4000, used_bytes=used_bytes))
    modules = {
        ModuleName(name): ModuleStatus(
            module=ModuleName(name),
            home=Tier.HOST,
            tier=Tier.HOST,
            home_bytes=300 + 50 * index,
            pinned=name == "pinned",
        )
        for index, name in enumerate(NAMES)
    }
    speech = WorldService(name=ServiceName("speech"), device=Device(device=HOST, tier=Tier.HOST), modules=modules)
    world.add(speech)
    for name in modules:
        world.use(speech, name)
    return world, speech


STEPS = st.lists(
    st.one_of(
        st.integers(min_value=0, max_value=4000).map(lambda used_bytes: ("others", used_bytes)),
        st.sampled_from(NAMES).map(lambda name: ("use", name)),
        st.tuples(st.sampled_from(NAMES), st.integers(min_value=0, max_value=2)).map(lambda claim: ("claim", *claim)),
        st.floats(min_value=0.05, max_value=4.0).map(lambda seconds: ("run", seconds)),
    ),
    max_size=25,
)


def live(folder: Path, steps: list[tuple[object, ...]]) -> tuple[World, WorldService]:
    """Return a world after a course of events."""
    world, speech = world_of(folder, 1000)
    for kind, *values in steps:
        match kind, values:
            case "others", [int(used_bytes)]:
                world.memory.used_bytes = used_bytes
            case "use", [str(name)]:
                world.use(speech, ModuleName(name))
            case "claim", [str(name), int(claims)]:
                world.claim(speech, ModuleName(name), claims=claims)
            case "run", [float(seconds)]:
                world.run(seconds)
    world.run(1.0)
    return world, speech


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_pinned_module_is_never_ordered_out(steps: list[tuple[object, ...]]) -> None:
    """Whatever happens, no directive sends a pinned module away."""
    with TemporaryDirectory() as folder:
        _, speech = live(Path(folder), steps)
    sent_away = {
        placement.module
        for directive in speech.directives
        for placement in directive.wish.placements
        if placement.tier is Tier.DISK
    }

    assert "pinned" not in sent_away


@settings(deadline=None, max_examples=30)
@given(steps=STEPS)
def test_same_course_gives_the_same_decisions(steps: list[tuple[object, ...]]) -> None:
    """The same observations in the same order are answered in the same way."""
    stories = []
    for _ in range(2):
        with TemporaryDirectory() as folder:
            world, _ = live(Path(folder), steps)
            stories.append((world.log, world.records))

    assert stories[0] == stories[1]


@settings(deadline=None, max_examples=30)
@given(steps=STEPS, used_bytes=st.integers(min_value=0, max_value=4000))
def test_constant_memory_converges(steps: list[tuple[object, ...]], used_bytes: int) -> None:
    """When nothing changes any more, nothing is moved any more."""
    with TemporaryDirectory() as folder:
        world, speech = live(Path(folder), steps)
        world.memory.used_bytes = used_bytes
        world.run(60.0)
        directives = len(speech.directives)
        world.run(120.0)

    assert directives == len(speech.directives)


@settings(deadline=None, max_examples=30)
@given(noise=st.lists(st.integers(min_value=0, max_value=600), min_size=20, max_size=60))
def test_moves_under_noise_are_bounded_by_rest_and_minimum_times(noise: list[int]) -> None:
    """Memory that jumps about between critical and plenty moves one module at most once in its minimum times."""
    with TemporaryDirectory() as folder:
        world, _ = world_of(Path(folder), 1000)
        for value in noise:
            # What is free lies between 250 and 850 with everything at home, so it is never critical.
            world.memory.used_bytes = 4000 - 1500 - 250 - value
            world.run(0.5)
    moves = [line for line in world.log if "(directive)" in line]
    seconds = len(noise) / 2

    assert len(moves) <= len(NAMES) * (1 + seconds / 5.0)
    assert not [line for line in world.log if "critical" in line]
