"""Ticks in which nothing has changed: nothing is decided in them, and nothing is missed for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memory_daemon import calm
from memory_daemon.calm import DECIDED_SECONDS
from memory_daemon.kept_policy import Change
from memory_daemon.marks import GPU_POLICY, Mark
from memory_daemon.policy import decide
from memory_daemon.types import (
    Device,
    DeviceId,
    Freeze,
    ModuleName,
    ModuleStatus,
    Override,
    OverrideKind,
    ServiceName,
    Tier,
)
from memory_daemon.usage import HostReading
from tests.fakes.daemon_world import World, WorldMemory, WorldService

GPU = DeviceId("GPU-0")
SPEECH = ServiceName("speech")
T3, FLOW = ModuleName("t3"), ModuleName("flow")
SIZES = {T3: 400, FLOW: 200}
POLICY = replace(
    GPU_POLICY, critical=Mark(size_bytes=100), low=Mark(size_bytes=200), high=Mark(size_bytes=300), trim_minimum_bytes=1
)
ROOMY_BYTES = 500


def world_of(folder: Path) -> World:
    """Return a GPU of 2,000 bytes with a service that holds 600, and host memory beside it with room to spare."""
    world = World(folder, POLICY, WorldMemory(device=GPU, total_bytes=2000, used_bytes=ROOMY_BYTES))
    modules = {
        name: ModuleStatus(module=name, home=Tier.DEVICE, tier=Tier.DEVICE, home_bytes=size, rest=Tier.DEVICE)
        for name, size in SIZES.items()
    }
    world.add(WorldService(name=SPEECH, device=Device(device=GPU, tier=Tier.DEVICE), modules=modules))
    world.host = host(1000)
    return world


def host(free_bytes: int) -> HostReading:
    """Return a reading of host memory, of 1,000 bytes."""
    return HostReading(unix_seconds=0.0, total_bytes=1000, free_bytes=free_bytes, some_percent=0.0, full_percent=0.0)


class Decisions:
    """Counts decisions, each with the time on the world's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        monkeypatch.setattr("memory_daemon.loop.decide", self._counted)

    def _counted(self, state: Any, seen: Any, policy: Any) -> Any:
        self.seconds.append(seen.sample.seconds)
        return decide(state, seen, policy)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a world that has come to rest."""
    machine = world_of(tmp_path)
    machine.run(10.0)
    return machine


@pytest.fixture
def decisions(world: World, monkeypatch: pytest.MonkeyPatch) -> Decisions:
    """Count what is decided after the world has come to rest."""
    assert world.seconds
    return Decisions(monkeypatch)


def test_calm_minute_is_read_as_often_as_any_and_decided_only_now_and_then(world: World, decisions: Decisions) -> None:
    """The policy works once in several seconds; memory is looked at each time, and the directive stays the same."""
    readings, sample = [], world.sample

    def counted(device: DeviceId) -> Any:
        readings.append(device)
        return sample(device)

    world.sample = counted  # type: ignore[method-assign]  # To count.
    world.run(60.0)
    rests = [later - earlier for earlier, later in zip(decisions.seconds, decisions.seconds[1:], strict=False)]

    assert len(decisions.seconds) <= 60 / DECIDED_SECONDS
    assert len(readings) >= 60
    assert min(rests) >= DECIDED_SECONDS
    assert max(rests) < DECIDED_SECONDS + POLICY.maximum_period_seconds
    assert 1 == len(world.found[SPEECH].directives)


def come_to_rest(world: World, decisions: Decisions) -> None:
    """Tick until a tick has decided nothing, and count from there."""
    world.tick()
    while decisions.seconds:
        decisions.seconds.clear()
        world.tick()


def change_policy(world: World) -> None:
    """Change a number that nothing follows from at once."""
    world.policies.update(Change(apply=lambda policy: replace(policy, grace_seconds=2.0)), ())


def pin(world: World) -> None:
    """Let an operator pin a module that is at home."""
    world.overrides.set(
        Override(service=SPEECH, module=T3, kind=OverrideKind.PIN, expire_unix_seconds=None, set_by="me")
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda world: setattr(world.memory, "used_bytes", ROOMY_BYTES + 1), id="memory"),
        pytest.param(lambda world: world.use(world.found[SPEECH], T3), id="a use"),
        pytest.param(lambda world: world.claim(world.found[SPEECH], T3, claims=1), id="a claim"),
        pytest.param(lambda world: world.restart(world.found[SPEECH]), id="a restart"),
        pytest.param(lambda world: setattr(world.found[SPEECH], "up", False), id="an end"),
        pytest.param(lambda world: setattr(world.found[SPEECH], "largest_step_bytes", 450), id="a larger step"),
        pytest.param(lambda world: setattr(world.memory, "failure", "gone"), id="a failure"),
        pytest.param(lambda world: setattr(world, "host", host(10)), id="host memory that is short"),
        pytest.param(lambda world: setattr(world, "host", None), id="host memory that cannot be read"),
        pytest.param(change_policy, id="the policy"),
        pytest.param(pin, id="an override"),
        pytest.param(lambda world: world.overrides.set_freeze(Freeze(start_unix_seconds=0.0)), id="a freeze"),
    ],
)
def test_whatever_changes_is_decided_on_in_the_next_tick(world: World, decisions: Decisions, change: Any) -> None:
    """Nothing that a decision is made from waits for the next one that is due."""
    come_to_rest(world, decisions)
    change(world)
    world.tick()

    assert decisions.seconds


def test_module_that_is_expected_home_is_waited_for(world: World, decisions: Decisions) -> None:
    """While a module waits for room or for its absence to end, every tick decides."""
    world.use(world.found[SPEECH], T3)
    world.memory.used_bytes = 1350
    world.run(3.0)
    world.memory.used_bytes = ROOMY_BYTES
    world.run(1.0)
    away = not world.found[SPEECH].modules[T3].at_home
    decisions.seconds.clear()
    world.run(3.0)

    assert away
    assert len(decisions.seconds) >= 3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("others"), st.sampled_from([ROOMY_BYTES, 900, 1150, 1250, 1350, 1500])),
        st.tuples(st.just("use"), st.sampled_from([T3, FLOW])),
        st.tuples(st.just("claim"), st.sampled_from([T3, FLOW]), st.integers(0, 1)),
        st.tuples(st.just("lease"), st.sampled_from([T3, FLOW]), st.integers(0, 1)),
        st.tuples(st.just("kept"), st.sampled_from([0, 150])),
        st.tuples(st.just("host"), st.sampled_from([10, 60, 1000])),
        st.tuples(st.just("run"), st.floats(min_value=0.1, max_value=30.0)),
    ),
    max_size=20,
)


def story(steps: list[tuple[Any, ...]]) -> list[str]:
    """Return all that happens while others and requests do as they are told."""
    with TemporaryDirectory() as folder:
        world = world_of(Path(folder))
        speech = world.found[SPEECH]
        for step in steps:
            match step:
                case "others", used_bytes:
                    world.memory.used_bytes = used_bytes
                case "use", name:
                    world.use(speech, name)
                case "claim", name, claims:
                    world.claim(speech, name, claims=claims)
                case "lease", name, leases:
                    world.claim(speech, name, claims=leases, leases=leases)
                case "kept", kept_bytes:
                    speech.kept_bytes = kept_bytes
                case "host", free_bytes:
                    world.host = host(free_bytes)
                case _, seconds:
                    world.run(seconds)
            world.run(1.0)
        world.run(20.0)
        return world.log


@contextmanager
def decided_always() -> Iterator[None]:
    """Have every tick decide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calm, "DECIDED_SECONDS", 0.0)
        yield


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
# What is asked of modules in use is called off when there is room again, and when the check has ended.
@example(steps=[("lease", T3, 1), ("lease", FLOW, 1), ("others", 1350), ("others", ROOMY_BYTES), ("run", 9.0)])
def test_any_story_goes_as_it_would_if_every_tick_decided(steps: list[tuple[Any, ...]]) -> None:
    """Modules move, budgets change and words are said at the same times."""
    with decided_always():
        expected = story(steps)

    assert expected == story(steps)
