"""The first rung: allocators give back what they keep before modules leave, once, and verified by their answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_daemon.decision import Decision
from memory_daemon.journal_records import DecisionMade, Reported, Sampled
from memory_daemon.marks import GPU_POLICY, Mark, Policy, resolve
from memory_daemon.orders import DeviceState, ServiceView
from memory_daemon.policy import decide
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed
from memory_daemon.simulation_trace import traces_of
from memory_daemon.trims import Trim, followed, next_number, trimmable_bytes
from memory_daemon.types import (
    Device,
    DeviceId,
    ModuleName,
    ModuleStatus,
    Pressure,
    ResidencyReport,
    ServiceName,
    Tier,
)
from memory_daemon.usage import DeviceUsage, TrimAnswer
from tests.fakes.daemon_world import World, WorldMemory, WorldService
from tests.fakes.memory_views import SPEECH, seen, service, used
from tests.fakes.trace_stories import GPU, TOTAL_BYTES, Teller, modules

POLICY = Policy(
    critical=Mark(size_bytes=100),
    low=Mark(size_bytes=200),
    high=Mark(size_bytes=300),
    grace_seconds=1.0,
    cool_down_seconds=2.0,
    trim_minimum_bytes=20,
)
OTHER = ServiceName("other")


def usage(kept_bytes: int) -> DeviceUsage:
    """Return what a process holds whose allocator keeps so much unused."""
    return DeviceUsage(reserved_bytes=1000 + kept_bytes, allocated_bytes=1000)


def keeping(kept_bytes: int, *, name: ServiceName = SPEECH, trimmed: TrimAnswer | None = None) -> ServiceView:
    """Return a service with two modules on a device, and what its allocator keeps."""
    view = service(
        used("small", 60, home=Tier.DEVICE, tier=Tier.DEVICE),
        used("big", 250, home=Tier.DEVICE, tier=Tier.DEVICE),
        name=name,
        tier=Tier.DEVICE,
        trimmed=trimmed,
    )
    return replace(view, report=replace(view.report, usage=usage(kept_bytes)))


def step(
    state: DeviceState, *views: ServiceView, free: int, now: float, policy: Policy = POLICY, **values: Any
) -> tuple[DeviceState, Decision]:
    """Decide as the loop does: once more on a second reading where one is asked for."""
    after, decision = decide(state, seen(*views, free=free, now=now, **values), policy)
    if decision.resample:
        return decide(state, seen(*views, free=free, now=now + 0.001, confirmed=True, **values), policy)
    return after, decision


def low_for_the_grace(*views: ServiceView, policy: Policy = POLICY) -> tuple[DeviceState, Decision]:
    """Return what comes of memory that is low for the grace: 150 bytes are missing."""
    state, _ = step(DeviceState(), *views, free=150, now=100.0, policy=policy)
    return step(state, *views, free=150, now=101.0, policy=policy)


@pytest.mark.parametrize(
    ("kept_bytes", "policy", "trimmed", "evicted"),
    [
        pytest.param(200, POLICY, [SPEECH], [], id="what is kept does"),
        pytest.param(50, POLICY, [SPEECH], [], id="what is kept helps, and is seen first"),
        pytest.param(19, POLICY, [], ["big"], id="too little to ask for"),
        pytest.param(200, replace(POLICY, trim_cache=False), [], ["big"], id="switched off"),
    ],
)
def test_low_memory_asks_allocators_before_modules(
    kept_bytes: int, policy: Policy, trimmed: list[str], evicted: list[str]
) -> None:
    """Below low there is time: the cheapest rung is asked alone, and modules follow if it does not do."""
    _, decision = low_for_the_grace(keeping(kept_bytes), policy=policy)

    assert (trimmed, evicted) == (list(decision.trim), [module for _, module in decision.evict])


def test_critical_memory_asks_for_both_at_once() -> None:
    """Below critical nothing waits: modules are asked for what the kept memory would not give."""
    without = step(DeviceState(), keeping(0), free=10, now=100.0)[1]
    _, decision = step(DeviceState(), keeping(100), free=10, now=100.0)
    assert ["big", "small"] == [module for _, module in without.evict]

    assert ((SPEECH,), ["big"]) == (decision.trim, [module for _, module in decision.evict])


def test_answer_that_brought_too_little_is_followed_by_modules_without_a_rest() -> None:
    """What shares blocks with memory in use does not come; then a module leaves, and no cool-down is between."""
    state, _ = low_for_the_grace(keeping(200))
    answered = keeping(180, trimmed=TrimAnswer(number=1, released_bytes=20, left_bytes=180))
    state, told = step(state, answered, free=170, now=101.1)
    _, decision = step(state, answered, free=170, now=101.2)
    assert "20 B of 200 B were released" in told.reason

    assert ((), ["big"]) == (decision.trim, [module for _, module in decision.evict])


def test_answer_that_did_ends_it() -> None:
    """Verified by what the service answered; nothing else is asked."""
    state, _ = low_for_the_grace(keeping(200))
    answered = keeping(0, trimmed=TrimAnswer(number=1, released_bytes=200, left_bytes=0))
    state, decision = step(state, answered, free=350, now=101.1)

    assert (None, "200 B of 200 B were released", ()) == (state.check, decision.reason, decision.evict)


def test_critical_memory_does_not_wait_for_an_answer_that_does_not_come() -> None:
    """Half a second after a request in vain, modules are asked for all that is missing."""
    state, _ = step(DeviceState(), keeping(500), free=50, now=100.0)
    state, waiting = step(state, keeping(500), free=50, now=100.3)
    _, decision = step(state, keeping(500), free=50, now=100.6)

    assert ((), ["big"]) == (waiting.evict, [module for _, module in decision.evict])


def test_services_that_keep_most_are_asked_first_and_no_more_than_needed() -> None:
    """A service whose little is not needed keeps it."""
    _, decision = low_for_the_grace(keeping(100), keeping(160, name=OTHER))

    assert (OTHER,) == decision.trim


def test_freeze_asks_nobody() -> None:
    """While an operator wants nothing to move, allocators are left alone too."""
    state, _ = step(DeviceState(), keeping(200), free=50, now=100.0, frozen=True)
    _, decision = step(state, keeping(200), free=50, now=102.0, frozen=True)

    assert () == decision.trim


@pytest.mark.parametrize(
    ("trim", "now_seconds", "expected"),
    [
        pytest.param(None, 100.0, 300, id="never asked"),
        pytest.param(Trim(number=1, since_seconds=99.9, expected_bytes=300), 100.0, 0, id="asked just now"),
        pytest.param(
            Trim(number=1, since_seconds=95.0, expected_bytes=300, ended_seconds=95.1, left_bytes=0),
            100.0,
            0,
            id="asked lately",
        ),
        pytest.param(
            Trim(number=1, since_seconds=80.0, expected_bytes=300, ended_seconds=80.1, left_bytes=120),
            100.0,
            180,
            id="without what could not be given then",
        ),
        pytest.param(
            Trim(number=1, since_seconds=41.0, expected_bytes=300, ended_seconds=41.1, left_bytes=300, failed=True),
            100.0,
            0,
            id="which did not answer lately",
        ),
        pytest.param(
            Trim(number=1, since_seconds=39.0, expected_bytes=300, ended_seconds=39.1, left_bytes=300, failed=True),
            100.0,
            300,
            id="which did not answer a minute ago",
        ),
    ],
)
def test_memory_that_can_be_trimmed(trim: Trim | None, now_seconds: float, expected: int) -> None:
    """A service is not asked again for what it just could not give."""
    found = trimmable_bytes(usage(300), trim, minimum_bytes=20, now_seconds=now_seconds)

    assert expected == found


def test_answer_to_an_earlier_request_ends_nothing() -> None:
    """Requests are told apart by their numbers."""
    trim = Trim(number=2, since_seconds=100.0, expected_bytes=10)

    assert (trim, 3) == (followed(trim, TrimAnswer(number=1, left_bytes=0), usage(10), 100.1), next_number(trim))


def test_failed_request_leaves_all_of_it() -> None:
    """Who could not trim now is not asked for the same again at once."""
    trim = Trim(number=1, since_seconds=100.0, expected_bytes=10)
    ended = followed(trim, TrimAnswer(number=1, obstacle="unimplemented"), usage(10), 100.1)

    assert replace(trim, ended_seconds=100.1, left_bytes=10, failed=True) == ended


def test_what_was_left_counts_again_once_it_was_used() -> None:
    """Blocks that were in use meanwhile may be whole now; what was kept all the time is still in pieces."""
    trim = Trim(number=1, since_seconds=100.0, expected_bytes=300, ended_seconds=100.1, left_bytes=120)
    speaking = followed(trim, None, usage(50), 110.0)
    idle = followed(speaking, None, usage(300), 120.0)
    assert idle is not None

    assert (50, 250) == (
        idle.left_bytes,
        trimmable_bytes(usage(300), idle, minimum_bytes=20, now_seconds=120.0),
    )


def world_with_a_cache(folder: Path, policy: Policy) -> tuple[World, WorldService]:
    """Return a machine whose memory is critical, with a service whose allocator keeps 500 of 4,000 bytes."""
    gpu = DeviceId("GPU-0")
    world = World(folder, policy, WorldMemory(device=gpu, total_bytes=4000, used_bytes=3000))
    one = ModuleStatus(module=ModuleName("t3"), home=Tier.DEVICE, tier=Tier.DEVICE, home_bytes=450)
    service = WorldService(
        name=SPEECH, device=Device(device=gpu, tier=Tier.DEVICE), modules={one.module: one}, kept_bytes=500
    )
    world.add(service)
    return world, service


def test_loop_asks_once_shows_it_and_writes_it_down(tmp_path: Path) -> None:
    """A request goes out once, however many ticks follow; operators see it, and the journal has it."""
    world, service = world_with_a_cache(tmp_path, replace(POLICY, critical=Mark(size_bytes=100)))
    world.run(3.0)
    shown = [decided.service for decided in world.board.status.decisions if decided.trim]
    written = [record.trim for record in world.records if isinstance(record, DecisionMade) and record.trim]

    assert (TrimAnswer(number=1, released_bytes=500, left_bytes=0), [SPEECH], [(SPEECH,)]) == (
        service.trimmed,
        shown,
        written,
    )


def test_dry_run_asks_nobody_and_says_what_it_would(tmp_path: Path) -> None:
    """Rehearsed like any other decision: shown and written down, not sent."""
    world, service = world_with_a_cache(tmp_path, replace(POLICY, dry_run=True))
    world.run(3.0)
    shown = [decided.dry_run for decided in world.board.status.decisions if decided.trim]

    assert (None, 500, [True]) == (service.trimmed, service.kept_bytes, shown)


def test_simulation_of_a_journal_with_a_cache_trims_before_it_evicts() -> None:
    """A trace tells what allocators kept; on it, this policy gives that back and moves nothing."""
    teller = Teller(seed=1)
    teller.service(0, "speech")
    report = ResidencyReport(unix_seconds=0.0, modules=modules(), usage=usage(3_000_000_000))
    teller.write(1, Reported(service=SPEECH, device=GPU, report=report))
    for seconds, free_bytes in ((2, 5_000_000_000), (10, 700_000_000), (30, 700_000_000)):
        teller.write(
            seconds,
            Sampled(device=GPU, pressure=Pressure.STEADY, total_bytes=TOTAL_BYTES, free_bytes=free_bytes),
        )
    (trace,) = traces_of(teller.entries)
    marks = resolve(GPU_POLICY, TOTAL_BYTES)
    found = simulate(trace, Governed(GPU_POLICY), marks)
    without = simulate(trace, Governed(replace(GPU_POLICY, trim_cache=False)), marks)

    assert (1, 0, 0, True) == (found.trims, found.moves.total, without.trims, without.moves.total > 0)
