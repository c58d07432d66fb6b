"""Host memory beside a GPU: which modules give theirs up while it is short, and when they get it back."""

from dataclasses import replace
from typing import Any

import pytest

from memory_daemon.decision import Decision
from memory_daemon.marks import GPU_POLICY, Mark, Policy
from memory_daemon.orders import DeviceState, HostState, ServiceView
from memory_daemon.policy import decide
from memory_daemon.types import Authority, ModuleName, ModuleState, ModuleStatus, ServiceName, Tier, TierBytes
from memory_daemon.usage import HostReading
from tests.fakes.memory_views import SPEECH, seen, service, used

POLICY = replace(
    GPU_POLICY,
    critical=Mark(size_bytes=10),
    low=Mark(size_bytes=20),
    high=Mark(size_bytes=30),
    host_low=Mark(size_bytes=100),
    host_high=Mark(size_bytes=200),
    background_restore=True,
)
SHORT = HostState(since_seconds=0.0, short=True)


def master(name: str, size: int = 100, *, tier: Tier = Tier.HOST, ago: float = 1000.0, **values: Any) -> ModuleStatus:
    """Return a module of a device that is away from it, with its weights in host memory unless it is on disk."""
    held = () if tier is Tier.DISK else (TierBytes(tier=Tier.HOST, size_bytes=size),)
    known: dict[str, Any] = {"home": Tier.DEVICE, "tier": tier, "held": held, "rest": Tier.DEVICE}
    return used(name, size, ago=ago, **(known | values))


def on_device(*modules: ModuleStatus) -> ServiceView:
    """Return a service on a device."""
    return service(*modules, tier=Tier.DEVICE)


def host(free: int, *, some: float | None = 0.0, full: float | None = 0.0) -> HostReading:
    """Return a reading of 1,000 bytes of host memory."""
    return HostReading(unix_seconds=0.0, total_bytes=1000, free_bytes=free, some_percent=some, full_percent=full)


def shifted(
    view: ServiceView,
    reading: HostReading | None,
    *,
    state: DeviceState | None = None,
    now: float = 100.0,
    policy: Policy = POLICY,
    **values: Any,
) -> tuple[DeviceState, Decision]:
    """Decide as the loop does, with nothing else to do: much of the device is free, but not enough to come home."""
    before = DeviceState(host=SHORT) if state is None else state
    for confirmed in (False, True):
        observation = seen(view, free=50, now=now + confirmed / 1000, host=reading, confirmed=confirmed, **values)
        after, decision = decide(before, observation, policy)
        if not decision.resample:
            break
    return after, decision


def names(named: tuple[tuple[ServiceName, ModuleName], ...]) -> list[str]:
    """Return modules' names."""
    return [module for _, module in named]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(master("a", tier=Tier.DEVICE), id="on its device"),
        pytest.param(master("a", tier=Tier.DISK), id="on disk"),
        pytest.param(master("a", claims=1), id="claimed"),
        pytest.param(master("a", pinned=True), id="pinned"),
        pytest.param(master("a", authority=Authority.OPERATOR), id="placed by an operator"),
        pytest.param(master("a", state=ModuleState.RESTORING), id="on its way"),
        pytest.param(master("a", held=()), id="without host memory"),
        pytest.param(master("a", home=Tier.HOST), id="at home in host memory"),
    ],
)
def test_module_that_is_not_idle_and_away_keeps_its_host_memory(status: ModuleStatus) -> None:
    """Only what is away, idle and nobody else's affair goes to disk."""
    _, decision = shifted(on_device(status), host(50))

    assert () == decision.to_disk


def test_overridden_module_keeps_its_host_memory() -> None:
    """An operator's word stands."""
    _, decision = shifted(on_device(master("a")), host(50), overridden=frozenset({(SPEECH, ModuleName("a"))}))

    assert () == decision.to_disk


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(host(50), ["c", "a"], id="as many as are missing, the cheapest first"),
        pytest.param(host(150), ["c"], id="low was left, high is not reached"),
        pytest.param(host(500, some=30.0), ["c"], id="waited for: one at a time"),
        pytest.param(None, [], id="not read"),
        pytest.param(host(500, some=None, full=None), [], id="enough, and nobody tells the waiting"),
    ],
)
def test_short_host_memory_sends_idle_modules_to_disk(reading: HostReading | None, expected: list[str]) -> None:
    """What costs least to be without goes first, until host_high is free."""
    view = on_device(master("a", ago=500.0), master("b", ago=100.0), master("c", ago=900.0))
    _, decision = shifted(view, reading)

    assert expected == names(decision.to_disk)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([(100.0, host(50))], False, id="low just now"),
        pytest.param([(100.0, host(50)), (101.0, host(50))], True, id="low for the grace"),
        pytest.param([(100.0, host(50)), (100.5, host(150)), (101.0, host(50))], False, id="low with a pause"),
        pytest.param([(100.0, host(900, some=20.0)), (101.0, host(900, some=20.0))], True, id="some wait"),
        pytest.param([(100.0, host(900, full=5.0)), (101.0, host(900, full=5.0))], True, id="all wait"),
        pytest.param([(100.0, host(900, some=19.0)), (101.0, host(900, full=4.9))], False, id="waits are few"),
        pytest.param([(100.0, host(50)), (101.0, host(50)), (102.0, host(150))], True, id="between the marks"),
        pytest.param([(100.0, host(50)), (101.0, host(50)), (102.0, host(200))], False, id="high is free again"),
        pytest.param(
            [(100.0, host(50)), (101.0, host(50)), (102.0, host(200, some=11.0))], True, id="waits sink slowly"
        ),
        pytest.param([(100.0, host(50)), (101.0, None), (102.0, host(50))], False, id="not read meanwhile"),
    ],
)
def test_host_memory_is_short(readings: list[tuple[float, HostReading | None]], *, expected: bool) -> None:
    """It becomes short after the grace, and is so until it has eased in every way."""
    state = DeviceState()
    for now, reading in readings:
        state, _ = shifted(on_device(), reading, state=state, now=now)

    assert expected == state.host.short


def test_rest_follows_a_shift() -> None:
    """What one shift brings is seen before the next."""
    view = on_device(master("a"), master("b"))
    waits = host(500, some=30.0)
    state, _ = shifted(view, waits)
    state, resting = shifted(view, waits, state=state, now=101.0)
    _, rested = shifted(view, waits, state=state, now=102.1)

    assert ([], ["b"]) == (names(resting.to_disk), names(rested.to_disk))


def test_module_comes_back_from_disk_when_there_is_room() -> None:
    """One at a time, the dearest first, whoever sent it there, and only if host_high is free afterwards."""
    view = on_device(
        master("a", tier=Tier.DISK, ago=900.0),
        master("b", tier=Tier.DISK, ago=700.0),
        master("rests there", tier=Tier.DISK, rest=Tier.DISK),
        master("too big", 700, tier=Tier.DISK, ago=650.0),
    )
    _, decision = shifted(view, host(400), state=DeviceState())

    assert ["b"] == names(decision.to_host)


def test_module_on_disk_does_not_come_home_while_host_memory_is_short() -> None:
    """On its way home it would take host memory; a request may do that, the background may not."""
    view = on_device(master("a", 10, tier=Tier.DISK, ago=1.0))
    short = seen(view, free=900, host=host(50), confirmed=True)
    eased = seen(view, free=900, host=host(900), confirmed=True)

    assert ([], ["a"]) == tuple(
        names(decide(DeviceState(host=SHORT), one, POLICY)[1].restore) for one in (short, eased)
    )


def test_order_to_disk_ends_when_a_request_calls_the_module_home() -> None:
    """It has done its work; when the module leaves its device again, it is asked anew."""
    state, _ = shifted(on_device(master("a")), host(50))
    tier = state.services[SPEECH].orders[ModuleName("a")].tier
    state, _ = shifted(on_device(master("a", tier=Tier.DEVICE, restores=1)), host(50), state=state, now=101.0)

    assert (Tier.DISK, {}) == (tier, state.services[SPEECH].orders)


def test_switched_off_relief_leaves_host_memory_alone() -> None:
    """An operator who keeps masters in memory whatever happens can say so."""
    state, decision = shifted(on_device(master("a")), host(50), policy=replace(POLICY, relieve_host=False))

    assert ((), False) == (decision.to_disk, state.host.short)
