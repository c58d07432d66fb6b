"""Host memory in a simulation: what a journal tells of it, and that idle modules' masters go to disk and come back."""

from dataclasses import replace

import pytest

from memory_daemon.host_records import HostSampled
from memory_daemon.journal_records import Entry, Reported, Started
from memory_daemon.marks import GPU_POLICY, Mark, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed, Nothing
from memory_daemon.simulation_report import floors_in_force, tried
from memory_daemon.simulation_service import SimulatedService
from memory_daemon.simulation_trace import HostStands, ServiceCame, Trace, traces_of
from memory_daemon.types import HOST, ModuleStatus, Placement, ResidencyReport, ServiceName, Tier, TierBytes, Wish
from tests.fakes.trace_stories import TOTAL_BYTES, Teller, modules

GB = 10**9
HOST_BYTES = 64 * GB
SPEECH = ServiceName("speech")
T3, FLOW = (status.module for status in modules()[:2])
POLICY = replace(GPU_POLICY, host_low=Mark(percent=10.0), host_high=Mark(percent=15.0))


def waiting(tier: Tier = Tier.HOST) -> tuple[ModuleStatus, ...]:
    """Return modules that are away from their GPU; their weights are in host memory, or on disk."""
    return tuple(
        replace(
            status,
            tier=tier,
            rest=Tier.HOST,
            held=() if tier is Tier.DISK else (TierBytes(tier=Tier.HOST, size_bytes=status.home_bytes),),
        )
        for status in modules()
    )


def told(*host: tuple[float, int]) -> list[Entry]:
    """Return the journal of a full GPU whose modules wait in host memory, of which so much is free at these times."""
    teller = Teller(seed=1)
    teller.service(0, SPEECH)
    entry = teller.entries.pop()
    assert isinstance(entry.record, Reported)
    report = ResidencyReport(unix_seconds=entry.unix_seconds, modules=waiting())
    teller.write(0, replace(entry.record, report=report))
    teller.others(0, 19.0)
    for seconds, free_bytes in host:
        teller.write(seconds, HostSampled(total_bytes=HOST_BYTES, free_bytes=free_bytes, some_percent=0.0))
    teller.others(300, 19.0)
    return teller.entries


def trace(*host: tuple[float, int]) -> Trace:
    """Return what that journal tells."""
    (found,) = traces_of(told(*host))
    return found


def test_masters_are_no_others_use() -> None:
    """What others use of host memory is what is not free, less what modules keep there."""
    masters_bytes = sum(status.home_bytes for status in waiting())
    stands = [event for event in trace((5.0, 4 * GB)).events if isinstance(event, HostStands)]

    assert [HOST_BYTES - 4 * GB - masters_bytes] == [one.used_bytes for one in stands]


def test_host_memory_is_nothing_beside_a_machine_without_a_gpu() -> None:
    """There it is the memory that is watched, and told as such."""
    entries = [
        Entry(unix_seconds=one.unix_seconds, record=replace(one.record, device=HOST))  # type: ignore[call-arg, type-var]  # All of these have one.
        for one in told()
        if hasattr(one.record, "device")
    ]
    entries.append(Entry(unix_seconds=entries[-1].unix_seconds, record=HostSampled(total_bytes=1, free_bytes=1)))

    assert not [event for event in traces_of(entries)[0].events if isinstance(event, HostStands)]


def test_policy_relieves_a_short_host_and_brings_masters_back() -> None:
    """Short for a while, modules go to disk; when room has lasted, each comes back; a rival leaves all as it is."""
    story = trace((5.0, 4 * GB), (60.0, 40 * GB))
    marks = resolve(POLICY, TOTAL_BYTES)
    ours, none = simulate(story, Governed(POLICY), marks), simulate(story, Nothing(), marks)
    switched_off = simulate(story, Governed(replace(POLICY, relieve_host=False)), marks)

    assert ours.shifts >= 2
    assert 0 == ours.shifts % 2
    assert (0, 0, 0) == (none.shifts, switched_off.shifts, ours.moves.total)


def test_module_on_disk_takes_no_host_memory_and_comes_home_later() -> None:
    """A request for it waits for the disk, too."""
    service = SimulatedService(
        ServiceCame(seconds=0.0, service=SPEECH, instance_id="1", modules=waiting(), unix_seconds=1000.0)
    )
    before_bytes = service.host_bytes
    service.wish = Wish(placements=(Placement(module=T3, tier=Tier.DISK),))
    service.obey(TOTAL_BYTES, 10.0)
    after_bytes = service.host_bytes
    service.wish = Wish()
    sizes = {status.module: status for status in modules()}
    from_host, from_disk = (
        service.ask({name: 1}, TOTAL_BYTES, seconds) for name, seconds in ((FLOW, 20.0), (T3, 40.0))
    )

    assert sizes[T3].home_bytes == before_bytes - after_bytes
    assert pytest.approx(sizes[FLOW].restore_seconds) == from_host
    assert from_disk is not None
    assert from_disk > 1.0
    assert before_bytes == service.host_bytes


def test_module_that_came_on_disk_is_brought_back_from_there() -> None:
    """Its master is as large as it is, wherever it is."""
    came = ServiceCame(seconds=0.0, service=SPEECH, instance_id="1", modules=waiting(Tier.DISK), unix_seconds=1000.0)
    service = SimulatedService(came)
    before_bytes = service.host_bytes
    service.wish = Wish(placements=(Placement(module=T3, tier=Tier.HOST),))
    service.obey(TOTAL_BYTES, 10.0)

    assert (0, modules()[0].home_bytes) == (before_bytes, service.host_bytes)


def test_floors_of_the_journal_count() -> None:
    """What a service was to keep at home it keeps in a simulation of its journal, too; an older journal has none."""
    teller = Teller(seed=1)
    teller.write(0, Started(holder_id="h", version="1", policy=GPU_POLICY))
    teller.service(0, SPEECH)
    for seconds, gigabytes in ((0, 10), (5, 19.8), (60, 19.8)):
        teller.others(seconds, gigabytes)
    floors = {SPEECH: sum(status.home_bytes for status in modules())}
    began = replace(
        teller.entries[0], record=Started(holder_id="h", version="1", policy=GPU_POLICY, floors_bytes=floors)
    )
    sent_away = [
        tried([first, *teller.entries[1:]], {}, with_rivals=False)[0].outcomes[1].moves.sent_away
        for first in (teller.entries[0], began)
    ]

    assert (sent_away[0] > 0, 0) == (True, sent_away[1])
    assert ({}, floors) == (floors_in_force(teller.entries), floors_in_force([began]))
