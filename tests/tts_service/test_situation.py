"""What moves leave behind in the situation."""

from dataclasses import replace

import pytest

from tests.fakes.situations import device_situation, directed, situation
from tts_service.residency.reports import bytes_by_tier
from tts_service.residency.situation import (
    RETRY_FIRST_SECONDS,
    RETRY_LONGEST_SECONDS,
    Move,
    Shortage,
    arrive,
    begin_move,
    break_down,
    bytes_of,
    destination,
    fall_short,
    home_bytes,
    occupied_bytes,
    residence_of,
    restored_from,
)
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.types import ModuleName

A = ModuleName("a")
HOMEWARD = Move(module=A, source=Tier.DISK, target=Tier.HOST, authority=Authority.DEMAND)
OUTWARD = Move(module=A, source=Tier.HOST, target=Tier.DISK, authority=Authority.DIRECTIVE)


def test_module_on_its_way_home_occupies_room_before_it_holds_any() -> None:
    """Its bytes count from when it sets out, so that nobody else takes the room."""
    moving = begin_move(situation("b"), HOMEWARD)

    assert (20, 30, ModuleState.RESTORING) == (
        home_bytes(moving),
        occupied_bytes(moving),
        residence_of(moving, A).state,
    )


def test_module_on_its_way_out_occupies_room_until_it_has_left() -> None:
    """Its bytes are free only when they are really given back."""
    moving = begin_move(situation("ab"), OUTWARD)
    gone = arrive(moving, OUTWARD, home_bytes=10, now_seconds=1.0)

    assert (30, 20, Tier.DISK) == (occupied_bytes(moving), occupied_bytes(gone), residence_of(gone, A).tier)


def test_module_that_arrives_at_home_knows_since_when_and_by_whom() -> None:
    """The time at home and the authority of the last move are kept."""
    home = residence_of(arrive(begin_move(situation(""), HOMEWARD), HOMEWARD, home_bytes=11, now_seconds=5.0), A)

    assert (Tier.HOST, ModuleState.RESTING, 11, 5.0, Authority.DEMAND) == (
        home.tier,
        home.state,
        home.home_bytes,
        home.home_since_seconds,
        home.moved_by,
    )


@pytest.mark.parametrize(("wanted_away", "guest"), [("a", True), ("b", False)])
def test_module_that_comes_home_though_it_is_wanted_away_is_a_guest(wanted_away: str, *, guest: bool) -> None:
    """Only somebody's wish to the contrary makes a guest."""
    assert guest is residence_of(begin_move(situation("", wishes=directed(wanted_away)), HOMEWARD), A).guest


def test_module_that_breaks_down_stays_where_it_was() -> None:
    """A broken module is away, and says so."""
    broken = break_down(begin_move(situation(""), HOMEWARD), A)

    assert (Tier.DISK, ModuleState.BROKEN) == (residence_of(broken, A).tier, residence_of(broken, A).state)


def test_shortage_rests_longer_each_time_up_to_a_bound() -> None:
    """Attempts double their distance and never give up for good."""
    short = begin_move(situation("b"), HOMEWARD)
    rests = []
    for _ in range(6):
        short = fall_short(short, A, now_seconds=0.0)
        assert short.shortage is not None
        rests.append(short.shortage.rest_seconds)

    assert (RETRY_FIRST_SECONDS, 2 * RETRY_FIRST_SECONDS, RETRY_LONGEST_SECONDS) == (rests[0], rests[1], rests[-1])


def test_shortage_takes_what_is_at_home_for_all_that_fits() -> None:
    """The ceiling is what was held when there was no more to be had."""
    short = fall_short(begin_move(situation("bc"), HOMEWARD), A, now_seconds=0.0)

    assert short.shortage == Shortage(
        module=A, ceiling_bytes=50, retry_seconds=RETRY_FIRST_SECONDS, rest_seconds=RETRY_FIRST_SECONDS
    )


def test_shortage_is_over_when_the_module_that_met_it_has_come_home() -> None:
    """A success proves that there is memory again; an eviction proves nothing."""
    short = replace(situation("b"), shortage=_short_of(A))
    home = arrive(begin_move(short, HOMEWARD), HOMEWARD, home_bytes=10, now_seconds=1.0)
    gone = arrive(begin_move(replace(home, shortage=short.shortage), OUTWARD), OUTWARD, home_bytes=10, now_seconds=1.0)

    assert (None, short.shortage) == (home.shortage, gone.shortage)


def test_shortage_goes_on_when_another_module_has_come_home() -> None:
    """It only shows how much fits: the one that waits has its rest, or both would send each other away for ever."""
    short = replace(situation("b"), shortage=_short_of(ModuleName("d")))
    home = arrive(begin_move(short, HOMEWARD), HOMEWARD, home_bytes=10, now_seconds=1.0)

    assert replace(_short_of(ModuleName("d")), ceiling_bytes=30) == home.shortage


def _short_of(module: ModuleName) -> Shortage:
    return Shortage(module=module, ceiling_bytes=0, retry_seconds=1.0, rest_seconds=RETRY_FIRST_SECONDS)


def test_bytes_of_modules_do_not_depend_on_where_they_are() -> None:
    """What modules would hold at home is what is planned with."""
    assert 40 == bytes_of(situation("b"), frozenset({A, ModuleName("c")}))


LOADING = Move(module=A, source=Tier.DISK, target=Tier.HOST, authority=Authority.DIRECTIVE)
DROPPING = Move(module=A, source=Tier.HOST, target=Tier.DISK, authority=Authority.DIRECTIVE)


def test_module_that_moves_beside_home_takes_no_room_there_and_is_no_guest() -> None:
    """From disk to the host is a step nearer, not a way home."""
    moving = begin_move(device_situation({"b": Tier.DEVICE}, wishes=directed("a")), LOADING)
    residence = residence_of(moving, A)

    assert (20, ModuleState.RESTORING, Tier.HOST, False) == (
        occupied_bytes(moving),
        residence.state,
        destination(moving, residence),
        residence.guest,
    )


def test_module_that_drops_its_host_memory_holds_nothing() -> None:
    """What is on disk is nowhere else, and the size that was measured is still known."""
    given = device_situation({"a": Tier.HOST})
    moving = begin_move(given, DROPPING)
    gone = arrive(moving, DROPPING, home_bytes=10, now_seconds=1.0)

    assert (ModuleState.EVICTING, {Tier.HOST: 1000}, {}, 1000) == (
        residence_of(moving, A).state,
        bytes_by_tier(moving, residence_of(moving, A)),
        bytes_by_tier(gone, residence_of(gone, A)),
        residence_of(gone, A).host_bytes,
    )


def test_module_on_a_device_holds_its_host_memory_too() -> None:
    """What it was copied from stays."""
    given = device_situation({"a": Tier.DEVICE})

    assert {Tier.DEVICE: 10, Tier.HOST: 1000} == bytes_by_tier(given, residence_of(given, A))


@pytest.mark.parametrize(
    ("reached", "ceiling_bytes"), [(Tier.HOST, 20), (Tier.DISK, None)], ids=["no device memory", "no host memory"]
)
def test_module_that_falls_short_stays_where_it_came_to(reached: Tier, ceiling_bytes: int | None) -> None:
    """Only a device that is full says what fits on it."""
    homeward = replace(HOMEWARD, target=Tier.DEVICE)
    short = fall_short(begin_move(device_situation({"b": Tier.DEVICE}), homeward), A, tier=reached, now_seconds=0.0)
    assert short.shortage is not None

    assert (reached, ModuleState.RESTING, ceiling_bytes) == (
        residence_of(short, A).tier,
        residence_of(short, A).state,
        short.shortage.ceiling_bytes,
    )


def test_module_is_restored_from_where_it_is_or_would_go() -> None:
    """At home, the next restore starts from the tier that it leaves for."""
    given = device_situation({"a": Tier.DEVICE, "b": Tier.HOST})
    sources = [restored_from(given, residence) for residence in given.residences[:3]]

    assert [Tier.HOST, Tier.HOST, Tier.DISK] == sources
