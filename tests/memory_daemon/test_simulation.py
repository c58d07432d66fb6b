"""The simulated world keeps the rules of the real one, and its outcomes count what they say."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.journal_records import Entry, Sampled
from memory_daemon.marks import GPU_POLICY, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Everything, Governed, IdleTimeout, LongestUnused, Nothing
from memory_daemon.simulation_outcome import Outcome, busiest_minute, recorded
from memory_daemon.simulation_service import SimulatedService
from memory_daemon.simulation_trace import ServiceCame, traces_of
from memory_daemon.types import ModuleName, Placement, Pressure, ServiceName, Tier, Urgency, Wish
from tests.fakes.policy_waves import calls_maximum
from tests.fakes.trace_stories import GPU, TOTAL_BYTES, Teller, modules, noise, wave

T3 = ModuleName("t3")
FLOW = ModuleName("s3gen.flow")
MARKS = resolve(GPU_POLICY, TOTAL_BYTES)
PERIODS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)


def came() -> ServiceCame:
    """Return a service that has just come."""
    return ServiceCame(
        seconds=0.0, service=ServiceName("speech"), instance_id="1", modules=modules(), unix_seconds=1000.0
    )


def away(*names: ModuleName, urgency: Urgency = Urgency.WHEN_UNCLAIMED) -> Wish:
    """Return the wish that modules leave."""
    return Wish(placements=tuple(Placement(module=name, tier=Tier.HOST, urgency=urgency) for name in names))


def tiers(service: SimulatedService, now_seconds: float) -> dict[ModuleName, Tier]:
    """Return where a service's modules are."""
    return {one.module: one.tier for one in service.report(now_seconds, 1000.0 + now_seconds).modules}


def outcome_of(entries: list[Entry], contender: object) -> Outcome:
    """Return what comes of a contender on a journal."""
    (trace,) = traces_of(entries)
    return simulate(trace, contender, MARKS)  # type: ignore[arg-type]  # Any contender of this file.


def test_leased_module_stays_until_its_step_is_done() -> None:
    """Even an urgent directive waits for the step."""
    service = SimulatedService(came())
    service.ask({T3: 1}, 0, 10.0)
    service.wish = away(T3, urgency=Urgency.WHEN_UNLEASED)
    service.obey(0, 10.0)
    during = tiers(service, 10.0)[T3]
    service.obey(0, 10.1)

    assert (Tier.DEVICE, Tier.HOST) == (during, tiers(service, 10.1)[T3])


def test_claimed_module_stays_until_its_utterance_is_done() -> None:
    """A directive that is not urgent waits for the claim to end."""
    service = SimulatedService(came())
    service.claim({T3: 1})
    service.wish = away(T3)
    service.obey(0, 50.0)
    during = tiers(service, 50.0)[T3]
    service.claim({})
    service.obey(0, 60.0)

    assert (Tier.DEVICE, Tier.HOST) == (during, tiers(service, 60.0)[T3])


def test_request_for_modules_that_are_away_waits_for_one_restore_after_the_other() -> None:
    """Restores share one line, so the last one ends after the sum of them."""
    service = SimulatedService(came())
    service.wish = away(T3, FLOW)
    service.obey(0, 10.0)
    restores = {one.module: one.restore_seconds or 0.0 for one in modules()}
    waited = service.ask({T3: 1, FLOW: 1}, TOTAL_BYTES, 20.0)

    assert waited == pytest.approx(restores[T3] + restores[FLOW])


def test_request_brings_modules_home_in_turns_where_the_budget_does_not_hold_them_together() -> None:
    """Each comes for its turn, the last ones stay, and the request waits for all of them."""
    service = SimulatedService(came())
    sizes = {one.module: one.home_bytes for one in modules()}
    restores = {one.module: one.restore_seconds or 0.0 for one in modules()}
    service.wish = away(*sizes, urgency=Urgency.WHEN_UNLEASED)
    service.obey(0, 10.0)
    service.wish = Wish(budget_bytes=max(sizes.values()))
    waited = service.ask({T3: 1, FLOW: 1}, TOTAL_BYTES, 20.0)
    service.settle(21.0)

    assert waited == pytest.approx(restores[T3] + restores[FLOW])
    assert (Tier.HOST, Tier.DEVICE) == (tiers(service, 21.0)[T3], tiers(service, 21.0)[FLOW])


@pytest.mark.parametrize(("short_bytes", "served"), [(0, True), (1, False)])
def test_call_whose_largest_step_exceeds_the_budget_is_not_served(short_bytes: int, *, served: bool) -> None:
    """Turns help a call, not a step: what needs two modules at once is refused with one byte less."""
    step_bytes = sum(one.home_bytes for one in modules() if one.module in {T3, FLOW})
    service = SimulatedService(replace(came(), largest_step_bytes=step_bytes))
    service.wish = Wish(budget_bytes=step_bytes - short_bytes)
    waited = service.ask({T3: 1, FLOW: 1}, TOTAL_BYTES, 20.0)

    assert served == (waited is not None)
    assert step_bytes == service.report(20.0, 1020.0).largest_step_bytes


def test_request_within_a_budget_sends_others_away_though_they_are_claimed() -> None:
    """A budget is a bound: what an utterance has an interest in makes room for what a step needs."""
    service = SimulatedService(came())
    service.wish = away(T3, urgency=Urgency.WHEN_UNLEASED)
    service.obey(0, 10.0)
    service.claim({FLOW: 1})
    service.wish = Wish(budget_bytes=max(one.home_bytes for one in modules()))
    waited = service.ask({T3: 1}, TOTAL_BYTES, 20.0)

    assert waited
    assert service.held_bytes <= (service.wish.budget_bytes or 0)


def test_request_for_what_no_budget_holds_finds_no_memory() -> None:
    """It waits until the budget is another, or is refused."""
    service = SimulatedService(came())
    service.wish = Wish(budget_bytes=1)

    assert service.ask({T3: 1}, TOTAL_BYTES, 20.0) is None


def test_request_pushes_the_coldest_idle_module_out_when_there_is_no_room() -> None:
    """A request may always bring back what it needs: its service gives up what it does not use."""
    service = SimulatedService(came())
    service.wish = away(FLOW)
    service.obey(0, 10.0)
    service.wish = Wish()
    service.ask({FLOW: 1}, 0, 20.0)

    assert Tier.HOST == tiers(service, 20.0)[T3]


def test_request_that_finds_no_room_at_all_is_told_so() -> None:
    """When everything else is claimed, a module cannot come home."""
    service = SimulatedService(came())
    service.wish = away(FLOW)
    service.obey(0, 10.0)
    service.claim({one.module: 1 for one in modules()})

    assert service.ask({FLOW: 1}, 0, 20.0) is None


def test_time_below_marks_is_exact() -> None:
    """Without a policy the world is what the trace says: nine seconds below critical, eleven below low."""
    teller = Teller(seed=1)
    teller.service(0, "speech")
    for seconds, gigabytes in ((0, 10), (5, 19.5), (6, 20.5), (15, 19.5), (16, 10), (20, 10)):
        teller.others(seconds, gigabytes)
    found = outcome_of(teller.entries, Nothing())

    assert (pytest.approx(9.0, abs=1e-3), pytest.approx(11.0, abs=1e-3)) == (
        found.below_critical_seconds,
        found.below_low_seconds,
    )


def test_neighbour_who_finds_no_memory_is_counted() -> None:
    """Memory that others want and cannot have is a denial, and lasts until it is given."""
    entries = wave(20.0, low_gigabytes=13, high_gigabytes=22, seconds=40.0, every_seconds=0)
    idle, ours = outcome_of(entries, Nothing()), outcome_of(entries, Governed(GPU_POLICY))

    assert (2, pytest.approx(20.0, abs=0.01)) == (idle.denials, idle.denied_seconds)
    assert ours.denied_seconds < 0.5


@pytest.mark.parametrize(
    "contender", [Nothing(), LongestUnused(policy=GPU_POLICY), IdleTimeout(), Everything(policy=GPU_POLICY)]
)
def test_rival_under_no_pressure_serves_requests(contender: object) -> None:
    """With room to spare no rival makes a request wait, except one that unloads what is idle."""
    teller = Teller(seed=1)
    teller.service(0, "speech")
    teller.others(0, 5)
    teller.talk(1, 50, 8)
    teller.others(60, 5)

    assert 0 == outcome_of(teller.entries, contender).waits


def test_policy_with_room_to_spare_moves_nothing_under_high_load() -> None:
    """Where memory is plenty, everything stays on the device however many requests come."""
    teller = Teller(seed=1)
    teller.service(0, "speech")
    teller.others(0, 5)
    for number in range(400):
        teller.speak(1 + number * 0.25)
    teller.others(110, 5)
    found = outcome_of(sorted(teller.entries, key=lambda entry: entry.unix_seconds), Governed(GPU_POLICY))

    assert (0, 0, 1200) == (found.moves.total, found.waits, found.requests)


@pytest.mark.parametrize("high_gigabytes", [20.0, 20.8], ids=["low", "critical"])
@pytest.mark.parametrize("period_seconds", PERIODS)
def test_square_wave_of_any_period_moves_little_and_less(period_seconds: float, high_gigabytes: float) -> None:
    """A neighbour who takes and gives back, at any pace, causes few moves: one that would cycle comes home later."""
    seconds = max(60.0, 4 * period_seconds)
    entries = wave(period_seconds, low_gigabytes=13, high_gigabytes=high_gigabytes, seconds=seconds, every_seconds=15)
    found = outcome_of(entries, Governed(GPU_POLICY))

    # Whatever comes home leaves once more at most; who calls is nearly always a request.
    assert found.moves.called_home <= calls_maximum(period_seconds)
    assert found.moves.total <= len(modules()) + 2 * (found.moves.brought_home + found.moves.called_home)
    assert found.below_critical_seconds <= 0.05 * seconds


@settings(deadline=None, max_examples=15)
@given(period_seconds=st.sampled_from(PERIODS), seed=st.integers(min_value=0, max_value=99))
def test_noise_of_any_period_moves_little(period_seconds: float, seed: int) -> None:
    """Neighbours who want something else every moment cause few moves, however short the moments are."""
    entries = noise(period_seconds, low_gigabytes=13, high_gigabytes=20.8, seconds=60.0, seed=seed)
    found = outcome_of(entries, Governed(GPU_POLICY))

    assert found.moves.total <= len(modules())


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(min_value=0, max_value=99))
def test_same_trace_gives_the_same_outcome(seed: int) -> None:
    """A simulation reads no clock and throws no dice."""
    entries = noise(2.0, low_gigabytes=13, high_gigabytes=21.5, seconds=60.0, seed=seed)

    assert outcome_of(entries, Governed(GPU_POLICY)) == outcome_of(entries, Governed(GPU_POLICY))


def test_recorded_outcome_tells_what_the_journal_says() -> None:
    """Beside what would have been stands what was: time below marks and requests, as recorded."""
    teller = Teller(seed=1)
    teller.service(0, "speech")
    for seconds, gigabytes in ((0, 10), (5, 20.5), (8, 10), (10, 10)):
        teller.others(seconds, gigabytes)
    teller.speak(1.0)
    entries = sorted(teller.entries, key=lambda entry: entry.unix_seconds)
    found = recorded(entries, GPU, MARKS)

    assert ("recorded", pytest.approx(3.0), 3) == (found.name, found.below_critical_seconds, found.requests)


def test_busiest_minute_slides() -> None:
    """The busiest minute may begin at any moment."""
    assert 3 == busiest_minute([0.0, 50.0, 70.0, 100.0, 200.0])


def test_trace_of_a_journal_takes_governed_modules_off_what_was_free() -> None:
    """What others used is what neither was free nor held by governed modules."""
    held_bytes = sum(one.home_bytes for one in modules())
    teller = Teller(seed=1)
    teller.service(0, "speech")
    teller.write(
        1, Sampled(device=GPU, pressure=Pressure.ROOM, total_bytes=TOTAL_BYTES, free_bytes=TOTAL_BYTES - held_bytes - 7)
    )
    (trace,) = traces_of([replace(entry) for entry in teller.entries])

    assert [7] == [getattr(event, "used_bytes", None) for event in trace.events[-1:]]
