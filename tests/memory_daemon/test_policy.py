"""The decision: cases at the marks."""

from dataclasses import replace

import pytest

from memory_daemon.decision import Decision, released_words
from memory_daemon.marks import Mark, Policy
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.policy import decide
from memory_daemon.types import (
    HOST,
    ModuleName,
    ModuleState,
    ModuleStatus,
    PendingMove,
    Pressure,
    Sample,
    SampleFailed,
    Tier,
    Urgency,
)
from tests.fakes.memory_views import SPEECH, away, seen, service, used

POLICY = Policy(
    critical=Mark(size_bytes=100),
    low=Mark(size_bytes=200),
    high=Mark(size_bytes=300),
    grace_seconds=1.0,
    cool_down_seconds=2.0,
    worst_fill_bytes_per_second=1000,
)


def settle(state: DeviceState, seen_first: Observation, policy: Policy = POLICY) -> tuple[DeviceState, Decision]:
    """Decide as the loop does: once more on a second reading where one is asked for."""
    after, decision = decide(state, seen_first, policy)
    if decision.resample:
        again = replace(seen_first.sample, seconds=seen_first.sample.seconds + 0.001)
        return decide(state, replace(seen_first, sample=again, confirmed=True), policy)
    return after, decision


def course(*readings: tuple[float, int], view: ServiceView, policy: Policy = POLICY) -> tuple[DeviceState, Decision]:
    """Return what readings (time, free bytes) come to; at the end nothing was decided if none was due."""
    state = DeviceState()
    decision = Decision(pressure=Pressure.UNKNOWN, next_seconds=0)
    for now, free in readings:
        state, decision = settle(state, seen(view, free=free, now=now), policy)
    return state, decision


def failed(now: float, *, lost: bool = False) -> Sample:
    """Return a reading that failed."""
    return SampleFailed(device=HOST, seconds=now, unix_seconds=0, reason="broken", lost=lost)


MODULES = service(used("small", 60), used("big", 250))


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([(100, 500)], [], id="room"),
        pytest.param([(100, 250)], [], id="steady"),
        pytest.param([(100, 150)], [], id="low just now"),
        pytest.param([(100, 150), (100.9, 150)], [], id="low within the grace"),
        pytest.param([(100, 150), (101, 150)], ["big"], id="low for the grace"),
        pytest.param([(100, 150), (100.5, 200), (101, 150)], [], id="low with a pause"),
        pytest.param([(100, 150), (100.9, 180), (101, 190)], [], id="low and recovering"),
        pytest.param([(100, 150), (100.9, 151), (101, 151.1)], ["big"], id="low and hardly recovering"),
        pytest.param([(100, 110), (101, 160), (102, 185)], [], id="low and recovering for long"),
        pytest.param([(100, 110), (101, 160), (102, 185), (103, 195)], ["big"], id="low and recovering for too long"),
        pytest.param([(100, 50)], ["big"], id="critical just now"),
        pytest.param([(100, 250), (101, 99)], ["big"], id="critical all at once"),
    ],
)
def test_readings_make_modules_leave(readings: list[tuple[float, int]], expected: list[str]) -> None:
    """Low acts after the grace and not into a recovery; critical acts at once."""
    _, decision = course(*readings, view=MODULES)

    assert expected == [name for _, name in decision.evict]


def test_decision_to_act_asks_for_a_second_reading_first() -> None:
    """Nothing is done, and nothing remembered, before a second reading has confirmed it."""
    state = DeviceState()
    after, decision = decide(state, seen(MODULES, free=50), POLICY)

    assert (True, (), state) == (decision.resample, decision.evict, after)


def test_second_reading_that_denies_the_first_stops_the_act() -> None:
    """Memory that came back in between moves nothing."""
    state = DeviceState()
    _, decision = decide(state, seen(MODULES, free=50, now=100.0), POLICY)
    after, decision = decide(state, seen(MODULES, free=500, now=100.001, confirmed=True), POLICY)

    assert (False, (), {}) == (decision.resample, decision.evict, after.services[SPEECH].orders)


def test_reading_that_was_acted_on_is_not_acted_on_again() -> None:
    """The same reading twice decides once."""
    state, _ = settle(DeviceState(), seen(MODULES, free=50))
    same = replace(seen(MODULES, free=50), sample=state.last)
    _, decision = decide(state, same, POLICY)

    assert () == decision.evict


def test_critical_hurries_what_was_asked_politely() -> None:
    """A claimed module that was asked to leave must leave when memory becomes critical."""
    state, _ = course((100, 150), (101, 150), view=MODULES)
    claimed = service(used("small", 60), used("big", 250, claims=1))
    state, decision = settle(state, seen(claimed, free=50, now=101.5))
    order = state.services[SPEECH].orders[ModuleName("big")]

    assert ([(SPEECH, "big")], Urgency.WHEN_UNLEASED) == (list(decision.evict), order.urgency)


def test_critical_counts_what_is_on_its_way() -> None:
    """What was asked a moment ago is not asked of others too."""
    state, _ = course((100, 50), view=MODULES)
    _, decision = settle(state, seen(MODULES, free=60, now=100.1))

    assert () == decision.evict


def test_critical_asks_others_when_the_first_do_not_come() -> None:
    """After two seconds in vain the next module is asked."""
    state, _ = course((100, 50), view=MODULES)
    _, decision = settle(state, seen(MODULES, free=60, now=102.5))

    assert [(SPEECH, "small")] == list(decision.evict)


@pytest.mark.parametrize(
    ("released", "pending", "expected"),
    [
        pytest.param(200, "small", True, id="most of the bytes are back"),
        pytest.param(100, "", True, id="the module has left"),
        pytest.param(100, "big", False, id="too little, and it is still there"),
    ],
)
def test_give_back_is_verified_by_what_the_service_released(*, released: int, pending: str, expected: bool) -> None:
    """What the service reports released ends the check, and rest begins."""
    state, _ = course((100, 150), (101, 150), view=MODULES)
    big = used("big", 250) if pending else away("big", 250, evictions=1)
    view = service(used("small", 60), big)
    view = replace(view, report=replace(view.report, released_bytes=released))
    state, decision = settle(state, seen(view, free=250, now=101.5))

    assert (expected, expected) == (state.check is None, "released" in decision.reason)


def test_cool_down_holds_back_low_but_never_critical() -> None:
    """After an act comes rest, unless memory becomes critical."""
    view = service(away("big", 250, evictions=1), used("small", 60))
    state, _ = course((100, 150), (101, 150), view=MODULES)
    state, _ = settle(state, seen(view, free=150, now=101.5))
    _, low = settle(state, seen(view, free=150, now=103.4))
    _, critical = settle(state, seen(view, free=50, now=103.4))
    _, rested = settle(state, seen(view, free=150, now=103.6))

    assert ([], ["small"], ["small"]) == (
        [name for _, name in low.evict],
        [name for _, name in critical.evict],
        [name for _, name in rested.evict],
    )


def test_room_calls_off_what_has_not_left() -> None:
    """When high is free anyway, a claimed module that was asked to leave may stay."""
    state, _ = course((100, 150), (101, 150), view=MODULES)
    state, _ = settle(state, seen(MODULES, free=250, now=103.5))
    state, decision = settle(state, seen(MODULES, free=400, now=104.0))

    assert ({}, True) == (state.services[SPEECH].orders, "need not leave" in decision.reason)


@pytest.mark.parametrize(
    ("free", "policy", "expected"),
    [
        pytest.param(549, POLICY, [], id="high would not stay free"),
        pytest.param(550, POLICY, ["big"], id="high stays free"),
        pytest.param(900, replace(POLICY, background_restore=False), [], id="switched off"),
    ],
)
def test_room_brings_a_module_home(*, free: int, policy: Policy, expected: list[str]) -> None:
    """A module comes home only if high is free afterwards."""
    _, decision = course((100, free), view=service(away("big", 250)), policy=policy)

    assert expected == [name for _, name in decision.restore]


def test_modules_come_home_one_at_a_time() -> None:
    """While one is on its way, and in the rest after it, no other is called."""
    view = service(away("a", 100), away("b", 100))
    state, first = course((100, 900), view=view)
    state, waiting = settle(state, seen(view, free=900, now=103))
    home = service(used("a", 100, restores=1), away("b", 100))
    _, second = settle(state, seen(home, free=800, now=104))

    assert (["a"], [], ["b"]) == tuple([name for _, name in one.restore] for one in (first, waiting, second))


def test_give_back_ends_calls_home() -> None:
    """A module that was called home and has not come is not wanted any more when memory is short."""
    view = service(away("a", 100), used("b", 100))
    state, _ = course((100, 900), view=view)
    state, decision = settle(state, seen(view, free=50, now=100.5))

    assert ([(SPEECH, "b")], ["b"]) == (list(decision.evict), list(state.services[SPEECH].orders))


@pytest.mark.parametrize(
    ("failures", "expected"),
    [([100.0], 1.0), ([100.0, 101.0], 2.0), ([100.0, 101.0, 103.0], 4.0), ([100.0, 101.0, 103.0, 107.0], 3.0)],
)
def test_failed_readings_back_off(failures: list[float], expected: float) -> None:
    """A second, then twice as long each time; and once when the last directive has run out."""
    state = DeviceState()
    for now in failures:
        state, decision = decide(state, Observation(sample=failed(now)), POLICY)

    assert (expected, Pressure.UNKNOWN) == (decision.next_seconds, decision.pressure)


def test_failed_readings_back_off_to_a_minute_at_most() -> None:
    """However often it fails, once a minute somebody looks."""
    state = DeviceState()
    for number in range(40):
        state, decision = decide(state, Observation(sample=failed(100.0 + 60 * number)), POLICY)

    assert decision.next_seconds == 60.0


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        pytest.param(failed(102.0), ["big"], id="one failure changes nothing"),
        pytest.param(failed(102.0, lost=True), [], id="a lost device ends what was wanted"),
    ],
)
def test_unreadable_memory_decides_nothing(sample: Sample, expected: list[str]) -> None:
    """On old data nothing is decided; orders end with the device, or with the life of a directive."""
    state, _ = course((100, 50), view=MODULES)
    state, decision = decide(state, Observation(sample=sample, services=(MODULES,)), POLICY)

    assert (expected, ()) == (list(state.services[SPEECH].orders), decision.evict)


def test_late_release_says_what_still_holds_modules_in_words() -> None:
    """An operator who asked in vain for what his service's configuration pins is told so."""
    pending = tuple(
        PendingMove(module=ModuleName(reason), tier=Tier.DISK, reason=reason)
        for reason in ("leased", "budget", "operator")
    )
    view = service(name=SPEECH)
    view = replace(view, report=replace(view.report, pending_moves=pending))
    words = released_words(seen(view), released_bytes=0, expected_bytes=100, late_seconds=2.0)

    assert words.endswith(
        "leased is leased, budget is out of budget, operator is pinned by its service's configuration"
    )


def test_blindness_longer_than_a_directive_ends_what_was_wanted() -> None:
    """A placement that nobody can judge any more is not renewed."""
    state, _ = course((100, 50), view=MODULES)
    for now in (102.0, 112.0):
        state, decision = decide(state, Observation(sample=failed(now), services=(MODULES,)), POLICY)

    assert ({}, True) == (state.services[SPEECH].orders, "nothing is wanted any more" in decision.reason)


def test_low_after_blindness_waits_for_the_grace_anew() -> None:
    """How long memory was low before it could not be read says nothing."""
    state, _ = course((100, 150), view=MODULES)
    state, _ = decide(state, Observation(sample=failed(100.5), services=(MODULES,)), POLICY)
    _, decision = settle(state, seen(MODULES, free=150, now=101.5))

    assert () == decision.evict


@pytest.mark.parametrize(
    ("free", "least", "most"),
    [
        pytest.param(1000, 0.54, 0.9, id="headroom over the fill rate"),
        pytest.param(150, 0.1, 0.1, id="no shorter than the minimum"),
        pytest.param(20, 0.1, 0.1, id="below critical the minimum"),
    ],
)
def test_period_from_headroom(free: int, least: float, most: float) -> None:
    """The next reading comes before memory can have reached critical."""
    _, decision = decide(DeviceState(), seen(free=free), POLICY)

    assert least <= decision.next_seconds <= most


def test_period_of_steady_memory_differs_from_reading_to_reading() -> None:
    """Readings never keep step with a neighbour who takes and gives back memory at a pace of its own."""
    periods = [
        decide(DeviceState(), seen(free=1000, now=100.0 + second), POLICY)[1].next_seconds for second in range(9)
    ]

    assert len(set(periods)) == len(periods)


def test_period_with_low_memory_ends_with_the_grace() -> None:
    """The reading that may act is not late."""
    policy = replace(POLICY, worst_fill_bytes_per_second=1, grace_seconds=0.5)
    _, decision = decide(DeviceState(), seen(free=150), policy)

    assert decision.next_seconds == pytest.approx(0.5)


CLAIMED = (used("small", 60, claims=1), used("big", 250, claims=1))


@pytest.mark.parametrize(
    ("readings", "modules", "expected"),
    [
        pytest.param([(100, 50)], CLAIMED, {"big"}, id="others not seen before"),
        pytest.param([(100, 250), (101, 50)], CLAIMED, {"big"}, id="others who took more"),
        pytest.param([(100, 45), (102, 50)], CLAIMED, {"small"}, id="others who stand still"),
        pytest.param(
            [(100, 45), (102, 50)],
            (*CLAIMED, away("coming", 50, state=ModuleState.RESTORING, restore_seconds=0.05)),
            set(),
            id="one comes home soon",
        ),
        pytest.param(
            [(100, 45), (102, 50)],
            (*CLAIMED, away("coming", 50, state=ModuleState.RESTORING, restore_seconds=3.0)),
            {"small"},
            id="one comes home late",
        ),
    ],
)
def test_claimed_modules_give_what_critical_needs(
    readings: list[tuple[float, int]], modules: tuple[ModuleStatus, ...], expected: set[str]
) -> None:
    """While others take more, claimed modules leave until `high` is free; else only until `critical` is."""
    policy = replace(POLICY, cool_down_seconds=0.0)
    state = DeviceState()
    for now, free in readings[:-1]:
        state, _ = settle(state, seen(service(*modules), free=free, now=now, frozen=True), policy)
    _, decision = settle(state, seen(service(*modules), free=readings[-1][1], now=readings[-1][0]), policy)

    assert expected == {name for _, name in decision.evict}
