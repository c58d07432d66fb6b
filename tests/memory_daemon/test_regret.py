"""What was called back soon after it had to leave is asked for less easily, and forgotten slowly."""

import pytest

from memory_daemon.orders import DeviceState, Order, with_orders
from memory_daemon.regret import FORGOTTEN_SECONDS, REGRETS_MAXIMUM, Regret, idle_seconds, regretted
from memory_daemon.types import ModuleName, ModuleState, ModuleStatus, Tier
from memory_daemon.victims import candidates
from tests.fakes.memory_views import SPEECH, known, module, seen, service, used

M = ModuleName("m")


def after(*calls: tuple[float, float]) -> int:
    """Return the regrets after modules were called back (time, absence)."""
    regret = Regret()
    for now_seconds, absence_seconds in calls:
        regret = regretted(regret, (absence_seconds,), now_seconds)
    return regret.count


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([], 0, id="nobody called"),
        pytest.param([(100.0, 59.0)], 1, id="soon"),
        pytest.param([(100.0, 60.0)], 0, id="not so soon"),
        pytest.param([(100.0, 1.0), (104.0, 5.0)], 1, id="together"),
        pytest.param([(100.0, 1.0), (105.0, 1.0)], 2, id="twice"),
        pytest.param([(100.0 + 5 * number, 1.0) for number in range(20)], REGRETS_MAXIMUM, id="for ever"),
    ],
)
def test_regrets_after_calls(calls: list[tuple[float, float]], expected: int) -> None:
    """A call soon after the absence began is a regret, those that belong together are one, and there is a most."""
    assert expected == after(*calls)


def test_regrets_are_forgotten_one_by_one() -> None:
    """Five quiet minutes take one regret away, and the next one needs five more."""
    regret, counts = Regret(count=2, at_seconds=0.0), []
    for now_seconds in (FORGOTTEN_SECONDS - 1, FORGOTTEN_SECONDS, FORGOTTEN_SECONDS + 1, 2 * FORGOTTEN_SECONDS):
        regret = regretted(regret, (), now_seconds)
        counts.append(regret.count)

    assert [2, 1, 1, 0] == counts


def test_idleness_that_is_asked_for_grows_with_regrets() -> None:
    """None without a regret, then more than twice as long each time."""
    assert [0, 5, 15, 35, 75] == [idle_seconds(Regret(count=count), 5.0) for count in range(5)]


def recalled(status: ModuleStatus, *, tier: Tier = Tier.DISK) -> DeviceState:
    """Return the state after a module that was away for ten seconds is seen so."""
    order = Order(tier=tier, leaves=True, since_seconds=90.0, moves_before=0, size_bytes=100, obeyed=True)
    away = seen(service(module("m", tier=Tier.DISK, evictions=1)), now=95.0)
    return known(seen(service(status), now=100.0), with_orders(known(away), {(SPEECH, M): order}))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(module("m", tier=Tier.DISK, evictions=1), (True, 0), id="still away"),
        pytest.param(module("m", evictions=1, restores=1), (False, 1), id="home again"),
        pytest.param(
            module("m", tier=Tier.DISK, evictions=1, state=ModuleState.RESTORING), (False, 1), id="on its way home"
        ),
    ],
)
def test_module_that_was_sent_away(status: ModuleStatus, expected: tuple[bool, int]) -> None:
    """Whoever is called back ends its order, on the way already, so that it is not sent away as it arrives."""
    state = recalled(status)

    assert expected == (M in state.services[SPEECH].orders, state.regret.count)


def test_module_on_its_way_from_disk_to_host_memory_is_not_called_back() -> None:
    """Weights that are brought nearer by the policy's own order are no regret, and the order stands."""
    status = module("m", home=Tier.DEVICE, tier=Tier.DISK, evictions=1, state=ModuleState.RESTORING)
    state = recalled(status, tier=Tier.HOST)

    assert (True, 0) == (M in state.services[SPEECH].orders, state.regret.count)


def test_regret_keeps_what_was_used_lately_from_leaving_unless_critical() -> None:
    """After one regret a module must have been idle for its residence; what was idle longer leaves as ever."""
    observation = seen(service(used("fresh", ago=4.0), used("stale", ago=6.0)))
    state = DeviceState(services=known(observation).services, regret=Regret(count=1))

    def names(*, critical: bool) -> set[str]:
        return {one.status.module for one in candidates(state, observation, residence_seconds=5.0, critical=critical)}

    assert ({"stale"}, {"stale", "fresh"}) == (names(critical=False), names(critical=True))
