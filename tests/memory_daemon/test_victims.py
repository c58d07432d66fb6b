"""Which modules leave, and which one comes home."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.marks import HOST_POLICY
from memory_daemon.orders import Observation, Order, ServiceView, with_orders
from memory_daemon.others import Others
from memory_daemon.restores import next_home
from memory_daemon.types import Authority, ModuleName, ModuleState, ModuleStatus, ServiceName, Tier
from memory_daemon.victims import Victim, batch, candidates, worthwhile
from tests.fakes.memory_views import SPEECH, away, known, module, seen, service, used


def names(observation: Observation, *, critical: bool = False) -> list[str]:
    """Return the modules that may leave, in order."""
    found = candidates(known(observation), observation, residence_seconds=5.0, critical=critical)
    return [victim.status.module for victim in found]


@pytest.mark.parametrize(
    ("status", "low", "critical"),
    [
        pytest.param(module("m"), True, True, id="at rest at home"),
        pytest.param(module("m", pinned=True), False, False, id="pinned"),
        pytest.param(module("m", claims=1), False, True, id="claimed"),
        pytest.param(module("m", leases=1, claims=1), False, True, id="leased: it leaves when the step is done"),
        pytest.param(module("m", tier=Tier.DISK), False, False, id="away already"),
        pytest.param(module("m", 0), False, False, id="weighs nothing"),
        pytest.param(module("m", state=ModuleState.RESTORING), False, False, id="on its way"),
        pytest.param(module("m", state=ModuleState.BROKEN), False, False, id="broken"),
        pytest.param(module("m", authority=Authority.OPERATOR), False, False, id="placed by an operator"),
        pytest.param(module("m", home=Tier.DEVICE, tier=Tier.DEVICE), False, False, id="at home on another device"),
    ],
)
def test_module_may_leave_when(status: ModuleStatus, *, low: bool, critical: bool) -> None:
    """What is wanted, in use by an operator or elsewhere stays; claims protect unless memory is critical."""
    actual = (names(seen(service(status))), names(seen(service(status)), critical=True))

    assert (["m"] if low else [], ["m"] if critical else []) == actual


def test_overridden_module_never_leaves_by_policy() -> None:
    """What an operator has spoken for is not the policy's."""
    observation = seen(service(module("m")), overridden=frozenset({(SPEECH, ModuleName("m"))}))

    assert [] == names(observation, critical=True)


def test_candidates_come_cheapest_first() -> None:
    """Never used before seldom used before often used; claimed ones last; names decide between equals."""
    view = service(
        used("dear", restore_seconds=9.0),
        used("cheap", restore_seconds=0.1),
        module("claimed", claims=1),
        module("never b"),
        module("never a"),
    )

    assert ["never a", "never b", "cheap", "dear", "claimed"] == names(seen(view), critical=True)


def test_candidates_of_equal_cost_leave_longest_unused_first() -> None:
    """Between modules that cost the same, the one that was used last stays."""
    view = service(used("late", ago=1, restore_seconds=0.0), used("early", ago=9, restore_seconds=0.0))

    assert ["early", "late"] == names(seen(view))


def test_module_that_came_home_just_now_stays_unless_critical() -> None:
    """The minimum residence protects from pressure, not from a crisis."""
    before = known(seen(service(module("m", tier=Tier.DISK)), now=100.0))
    observation = seen(service(module("m", restores=1)), now=104.0)
    state = known(observation, before)
    later = seen(service(module("m", restores=1)), now=109.0)

    def count(at: Observation, *, critical: bool) -> int:
        return len(candidates(known(at, state), at, residence_seconds=5.0, critical=critical))

    assert (0, 1, 1) == (
        count(observation, critical=False),
        count(observation, critical=True),
        count(later, critical=False),
    )


@pytest.mark.parametrize(
    ("sizes", "need", "expected"),
    [
        pytest.param((10, 20, 30), 0, (), id="nothing is needed"),
        pytest.param((10, 20, 30), 10, (10,), id="the cheapest is enough"),
        pytest.param((10, 20, 30), 11, (20,), id="the cheapest turns out needless"),
        pytest.param((10, 20, 30), 31, (10, 30), id="what is needed is kept"),
        pytest.param((10, 20, 30), 99, (10, 20, 30), id="all if it is not enough"),
        pytest.param((), 5, (), id="nobody can leave"),
    ],
)
def test_batch_of_sizes(sizes: tuple[int, ...], need: int, expected: tuple[int, ...]) -> None:
    """A batch gives what is needed with no module too many."""
    observation = seen(service(*(module(f"m{index}", size) for index, size in enumerate(sizes))))
    victims = candidates(known(observation), observation, residence_seconds=0, critical=False)
    actual = tuple(victim.status.home_bytes for victim in batch(victims, need))

    assert expected == actual


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        pytest.param(40, ["small"], id="the smaller one is enough and waits less"),
        pytest.param(90, ["big"], id="only the bigger one is enough"),
        pytest.param(120, ["big", "small"], id="both are needed"),
    ],
)
def test_batch_costs_least_as_a_whole(need: int, expected: list[str]) -> None:
    """The cheapest by the byte is not always the cheapest: what is waited for is a whole module."""
    view = service(used("big", 100, restore_seconds=0.1), used("small", 50, restore_seconds=0.06))
    observation = seen(view)
    victims = candidates(known(observation), observation, residence_seconds=0, critical=False)

    assert expected == sorted(victim.status.module for victim in batch(victims, need))


@pytest.mark.parametrize(
    ("claimed_need", "expected"),
    [
        pytest.param(None, ["idle", "large", "medium"], id="all that is missing"),
        pytest.param(100, ["idle", "medium"], id="a part of it"),
        pytest.param(40, ["idle"], id="what others give already"),
        pytest.param(0, ["idle"], id="nothing of theirs"),
    ],
)
def test_batch_takes_of_claimed_ones_only_what_is_needed_of_them(claimed_need: int | None, expected: list[str]) -> None:
    """What nobody claims gives what it can; what is claimed, no more than it has to."""
    view = service(module("idle", 50), module("medium", 60, claims=1), module("large", 200, claims=1))
    observation = seen(view)
    victims = candidates(known(observation), observation, residence_seconds=0, critical=True)
    chosen = batch(victims, 300, claimed_need_bytes=claimed_need)

    assert expected == sorted(victim.status.module for victim in chosen)


@pytest.mark.parametrize(
    ("sizes", "need", "expected"),
    [
        pytest.param((500, 30, 20), 1000, [500], id="two that give a twentieth"),
        pytest.param((500, 40, 30), 1000, [500, 40], id="two that give more than a sixteenth"),
        pytest.param((500, 30, 20), 550, [500, 30, 20], id="enough with them"),
        pytest.param((30,), 1000, [], id="nothing else"),
        pytest.param((), 1000, [], id="nobody"),
    ],
)
def test_what_gives_next_to_nothing_stays_where_it_is_not_enough(
    sizes: tuple[int, ...], need: int, expected: list[int]
) -> None:
    """A module does not move for a need that is not met anyway and hardly gets smaller."""
    observation = seen(service(*(module(f"m{index}", size) for index, size in enumerate(sizes))))
    victims = candidates(known(observation), observation, residence_seconds=0, critical=False)

    assert expected == [victim.status.home_bytes for victim in worthwhile(victims, need)]


def test_batch_from_two_services_respects_the_floor() -> None:
    """A service keeps its floor whatever is needed; the other gives."""
    observation = seen(
        service(module("a", 60), module("b", 60), floor_bytes=70),
        service(module("c", 50), name=ServiceName("other")),
    )
    victims = candidates(known(observation), observation, residence_seconds=0, critical=True)
    actual = [victim.status.module for victim in batch(victims, 500)]

    assert ["c"] == actual


def test_module_that_never_left_is_not_thought_dearer_than_one_that_came_back_fast() -> None:
    """Without a measurement of its own a module is taken to come home as fast as others beside it did."""
    view = service(
        used("came back", 1000, restore_seconds=0.02, ago=1.0),
        used("never left", 1000, ago=70.0),
    )

    assert ["never left", "came back"] == names(seen(view))


def test_module_asked_to_leave_counts_no_more_towards_the_floor() -> None:
    """What a claim still keeps at home leaves soon: another batch must not take its service below the floor then."""
    observation = seen(service(module("asked", 60, claims=1), module("next", 50), floor_bytes=55))
    order = Order(tier=Tier.DISK, leaves=True, since_seconds=0.0, moves_before=0, size_bytes=60)
    state = with_orders(known(observation), {(SPEECH, ModuleName("asked")): order})
    victims = candidates(state, observation, residence_seconds=0, critical=True)

    assert () == batch(victims, 10)


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.integers(min_value=1, max_value=50), max_size=8),
    need=st.integers(min_value=-10, max_value=300),
)
def test_batch_of_any_sizes_is_enough_and_minimal(sizes: list[int], need: int) -> None:
    """The batch covers the need if all together do, and without any one of it it would not."""
    observation = seen(service(*(module(f"m{index}", size) for index, size in enumerate(sizes))))
    victims = candidates(known(observation), observation, residence_seconds=0, critical=False)
    chosen = batch(victims, need)
    given_bytes = sum(victim.status.home_bytes for victim in chosen)

    assert given_bytes >= min(need, sum(sizes))
    assert all(given_bytes - victim.status.home_bytes < need for victim in chosen)


def first_home(view: ServiceView, *, room: int = 1000, **values: object) -> str | None:
    """Return the module that comes home first."""
    observation = seen(view, **values)
    found = next_home(known(observation), observation, room_bytes=room, policy=HOST_POLICY)
    return None if found is None else found.status.module


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(service(away("m")), "m", id="used lately"),
        pytest.param(service(away("m", ago=601)), None, id="not used lately"),
        pytest.param(service(module("m", tier=Tier.DISK)), None, id="never used"),
        pytest.param(service(module("m", tier=Tier.DISK, pinned=True)), "m", id="pinned"),
        pytest.param(service(used("m")), None, id="at home"),
        pytest.param(service(away("m", 1001)), None, id="too big for the room"),
        pytest.param(service(away("m", 0)), None, id="size unknown"),
        pytest.param(service(away("m", state=ModuleState.RESTORING)), None, id="on its way"),
        pytest.param(service(away("m", authority=Authority.OPERATOR)), None, id="put there by an operator"),
        pytest.param(service(away("a", 1001), away("b")), "b", id="the first that fits"),
        pytest.param(
            service(away("cheap", restore_seconds=0.1), away("dear", restore_seconds=9.0)), "dear", id="the dearest"
        ),
        pytest.param(
            service(away("dear", restore_seconds=9.0), module("m", tier=Tier.DISK, pinned=True)), "m", id="pinned first"
        ),
    ],
)
def test_next_home_of_service(view: ServiceView, expected: str | None) -> None:
    """One module comes home: pinned, or used lately and dear to be without."""
    assert expected == first_home(view)


def test_longest_wait_ends_first() -> None:
    """Where there is room for each, the module comes home first that a request would wait for longest."""
    view = service(away("small", 10, restore_seconds=0.01), away("big", 900, restore_seconds=0.1))

    assert ("big", "small") == (first_home(view), first_home(view, room=100))


def test_module_that_left_just_now_stays_away() -> None:
    """The minimum absence holds back the background restore."""
    before = known(seen(service(used("m")), now=100.0))
    observation = seen(service(away("m", evictions=1)), now=101.0)
    state = known(observation, before)
    later = seen(service(away("m", evictions=1)), now=106.0)

    def comes(at: Observation) -> bool:
        return next_home(known(at, state), at, room_bytes=1000, policy=HOST_POLICY) is not None

    assert (False, True) == (comes(observation), comes(later))


def test_victim_of_equal_values_is_one() -> None:
    """Victims are values: the same observation gives the same ones."""
    observation = seen(service(module("m")))
    first, second = (candidates(known(observation), observation, residence_seconds=0, critical=False) for _ in range(2))

    assert first == second
    assert all(isinstance(victim, Victim) for victim in first)


@pytest.mark.parametrize(("claims", "rose_seconds", "found"), [(1, 99.5, {"m"}), (1, 90.0, set()), (0, 90.0, {"m"})])
def test_claimed_module_that_was_called_back_stays_a_while_below_critical_unless_others_take_more(
    claims: int, rose_seconds: float, found: set[str]
) -> None:
    """Its next step would call it back again, and whoever stands still does not ask for its memory."""
    before = known(seen(service(away("m")), now=98.0))
    observation = seen(service(used("m", claims=claims)), now=100.0)
    others = Others(peak_bytes=900, peak_at_seconds=100.0, rose_at_seconds=rose_seconds)
    state = replace(known(observation, before), others=others)
    actual = candidates(state, observation, residence_seconds=5.0, critical=True)

    assert found == {one.status.module for one in actual}
