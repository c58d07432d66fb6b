"""What holds for both rungs on every course of memory, of a device and beside it, in a whole machine."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.journal_records import DecisionMade, Directed
from memory_daemon.marks import GPU_POLICY, Mark
from memory_daemon.policy import decide
from memory_daemon.types import Device, DeviceId, ModuleName, ModuleStatus, ServiceName, Tier
from memory_daemon.usage import HostReading
from tests.fakes.daemon_world import World, WorldMemory, WorldService

GPU = DeviceId("GPU-0")
NAMES = ("pinned", "a", "b", "c")
POLICY = replace(
    GPU_POLICY,
    critical=Mark(size_bytes=200),
    low=Mark(size_bytes=400),
    high=Mark(size_bytes=600),
    host_low=Mark(size_bytes=1000),
    host_high=Mark(size_bytes=2000),
    trim_minimum_bytes=50,
    minimum_absence_seconds=0.5,
    worst_fill_bytes_per_second=500,
    minimum_period_seconds=0.2,
)
STEPS = st.lists(
    st.one_of(
        st.integers(min_value=0, max_value=4000).map(lambda used_bytes: ("others", used_bytes)),
        st.tuples(st.integers(min_value=0, max_value=900), st.integers(min_value=0, max_value=900)).map(
            lambda kept: ("keep", *kept)
        ),
        st.tuples(st.integers(min_value=0, max_value=5000), st.sampled_from([0.0, 12.0, 40.0])).map(
            lambda host: ("host", *host)
        ),
        st.sampled_from(NAMES).map(lambda name: ("use", name)),
        st.tuples(st.sampled_from(NAMES), st.integers(min_value=0, max_value=1)).map(lambda claim: ("claim", *claim)),
        st.floats(min_value=0.05, max_value=4.0).map(lambda seconds: ("run", seconds)),
    ),
    max_size=25,
)


def reading(free_bytes: int, some_percent: float) -> HostReading:
    """Return a reading of 5,000 bytes of host memory."""
    return HostReading(unix_seconds=0.0, total_bytes=5000, free_bytes=free_bytes, some_percent=some_percent)


def world_of(folder: Path) -> tuple[World, WorldService]:
    """Return a machine with a device of 4,000 bytes, and a service of four modules on it, one of them pinned."""
    world = World(folder, POLICY, WorldMemory(device=GPU, total_bytes=4000, used_bytes=500))
    modules = {
        ModuleName(name): ModuleStatus(
            module=ModuleName(name),
            home=Tier.DEVICE,
            tier=Tier.DEVICE,
            home_bytes=300 + 50 * index,
            pinned=name == "pinned",
            rest=Tier.DEVICE,
        )
        for index, name in enumerate(NAMES)
    }
    speech = WorldService(name=ServiceName("speech"), device=Device(device=GPU, tier=Tier.DEVICE), modules=modules)
    world.add(speech)
    world.host = reading(4000, 0.0)
    for name in modules:
        world.use(speech, name)
    return world, speech


def live(folder: Path, steps: list[tuple[object, ...]]) -> tuple[World, WorldService]:
    """Return a world after a course of events."""
    world, speech = world_of(folder)
    for kind, *values in steps:
        match kind, values:
            case "others", [int(used_bytes)]:
                world.memory.used_bytes = used_bytes
            case "keep", [int(kept_bytes), int(stuck_bytes)]:
                speech.kept_bytes, speech.stuck_bytes = kept_bytes, stuck_bytes
            case "host", [int(free_bytes), float(some_percent)]:
                world.host = reading(free_bytes, some_percent)
            case "use", [str(name)]:
                world.use(speech, ModuleName(name))
            case "claim", [str(name), int(claims)]:
                world.claim(speech, ModuleName(name), claims=claims)
            case "run", [float(seconds)]:
                world.run(seconds)
    world.run(1.0)
    return world, speech


@settings(deadline=None, max_examples=25)
@given(steps=STEPS)
def test_pinned_module_is_never_ordered_away_nor_to_disk(steps: list[tuple[object, ...]]) -> None:
    """Whatever happens to either memory, no directive moves a pinned module."""
    with TemporaryDirectory() as folder:
        _, speech = live(Path(folder), steps)
    placed = {placement.module for directive in speech.directives for placement in directive.wish.placements}

    assert "pinned" not in placed


@settings(deadline=None, max_examples=25)
@given(steps=STEPS)
def test_module_goes_to_disk_only_from_host_memory_and_unclaimed(steps: list[tuple[object, ...]]) -> None:
    """A decision for disk names only modules that are away from their device, and that nobody has an interest in."""
    with TemporaryDirectory() as folder:
        world, _ = live(Path(folder), steps)
    for record in world.records:
        if isinstance(record, DecisionMade) and record.to_disk:
            assert record.basis is not None
            known = {one.module: one for view in record.basis.seen.services for one in view.report.modules}
            named = [known[ModuleName(name.partition("/")[2])] for name in record.to_disk]

            assert [(Tier.HOST, 0)] * len(named) == [(one.tier, one.claims) for one in named]


@settings(deadline=None, max_examples=20)
@given(steps=STEPS)
def test_decisions_are_repeated_by_their_basis(steps: list[tuple[object, ...]]) -> None:
    """What the journal keeps of a decision makes the same decision again."""
    with TemporaryDirectory() as folder:
        world, _ = live(Path(folder), steps)
    for record in world.records:
        if isinstance(record, DecisionMade) and record.basis is not None:
            _, decision = decide(record.basis.state, record.basis.seen, record.basis.policy)

            assert (record.reason, record.trim) == (decision.reason, decision.trim)


@settings(deadline=None, max_examples=10)
@given(steps=STEPS, used_bytes=st.integers(min_value=0, max_value=4000), free_bytes=st.integers(0, 5000))
def test_constant_memory_of_both_kinds_converges(
    steps: list[tuple[object, ...]], used_bytes: int, free_bytes: int
) -> None:
    """When nothing changes any more, nothing is moved and nobody is asked any more."""
    with TemporaryDirectory() as folder:
        world, speech = live(Path(folder), steps)
        world.memory.used_bytes = used_bytes
        world.host = reading(free_bytes, 0.0)
        world.run(120.0)
        before = len(world.records)
        number = 0 if speech.trimmed is None else speech.trimmed.number
        world.run(60.0)
    fresh = [record for record in world.records[before:] if isinstance(record, Directed)]

    assert ([], number) == (fresh, 0 if speech.trimmed is None else speech.trimmed.number)
