"""What becomes of orders as reports come in, and what is remembered of modules."""

from dataclasses import replace

import pytest

from memory_daemon.directives import Issued, issue
from memory_daemon.modules import cost_per_byte
from memory_daemon.orders import DeviceState, Order, ServiceView, open_orders, refused_now, with_orders
from memory_daemon.placements import compose, moves
from memory_daemon.types import (
    ModuleName,
    ModuleStatus,
    Override,
    OverrideKind,
    Placement,
    Refusal,
    Tier,
    Urgency,
    Wish,
)
from tests.fakes.memory_views import SPEECH, known, module, seen, service, used

M = ModuleName("m")
LEAVE = Order(tier=Tier.DISK, leaves=True, since_seconds=100.0, moves_before=0, size_bytes=100)
COME = Order(tier=Tier.HOST, leaves=False, since_seconds=100.0, moves_before=0, size_bytes=100)
AWAY = {"tier": Tier.DISK, "evictions": 1}


def after(order: Order, *reports: ModuleStatus) -> Order | None:
    """Return what became of an order given before these reports, a second apart."""
    state = with_orders(known(seen(service(module("m", tier=Tier(3 - order.leaves))))), {(SPEECH, M): order})
    for number, status in enumerate(reports):
        state = known(seen(service(status), now=101.0 + number), state)
    return state.services[SPEECH].orders.get(M)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param([module("m")], LEAVE, id="not left yet"),
        pytest.param([module("m", **AWAY)], replace(LEAVE, obeyed=True), id="left"),
        pytest.param([module("m", **AWAY), module("m", evictions=1, restores=1)], None, id="home again on demand"),
        pytest.param([module("m", evictions=1, restores=1)], None, id="gone and back between two reports"),
        pytest.param([module("another")], None, id="no such module any more"),
    ],
)
def test_order_to_leave_after_reports(reports: list[ModuleStatus], expected: Order | None) -> None:
    """An order to leave stands until the module has left and a request has called it home."""
    assert expected == after(LEAVE, *reports)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param([module("m", tier=Tier.DISK)], COME, id="not home yet"),
        pytest.param([module("m", restores=1)], replace(COME, obeyed=True), id="home"),
        pytest.param([module("m", restores=1), module("m", tier=Tier.DISK, restores=1)], None, id="left again"),
        pytest.param([module("m", tier=Tier.DISK)] * 11, None, id="waited for in vain"),
    ],
)
def test_order_to_come_after_reports(reports: list[ModuleStatus], expected: Order | None) -> None:
    """An order to come home stands while the module stays, and is not waited for for ever."""
    assert expected == after(COME, *reports)


def test_module_that_was_waited_for_in_vain_is_not_called_at_once() -> None:
    """Its absence counts anew."""
    state = with_orders(known(seen(service(module("m", tier=Tier.DISK)))), {(SPEECH, M): COME})
    state = known(seen(service(module("m", tier=Tier.DISK)), now=110.0), state)

    assert not state.services[SPEECH].modules[M].been_for(5.0, 111.0)


def ordered() -> DeviceState:
    """Return a state with one order obeyed and one not."""
    state = known(seen(service(module("m"), module("gone", **AWAY))))
    return with_orders(state, {(SPEECH, M): LEAVE, (SPEECH, ModuleName("gone")): replace(LEAVE, obeyed=True)})


def test_refused_directive_ends_open_orders_and_leaves_the_service_alone() -> None:
    """What was refused is not wanted any more; what was done stays done."""
    view = service(module("m"), module("gone", **AWAY), refusal=Refusal(version=7, reason="no"))
    state = known(seen(view, now=101.0), ordered())
    again = known(seen(view, now=102.0), state)

    assert (["gone"], 111.0, 111.0) == (
        list(state.services[SPEECH].orders),
        state.services[SPEECH].left_alone_until_seconds,
        again.services[SPEECH].left_alone_until_seconds,
    )


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(service(module("m")), 0, id="none"),
        pytest.param(service(module("m"), refusal=Refusal(version=1, reason="no")), 1, id="a new one"),
        pytest.param(
            service(module("m"), refusal=Refusal(version=1, reason="no"), instance_id="two"), 0, id="another instance's"
        ),
    ],
)
def test_refusals_seen_now(view: ServiceView, expected: int) -> None:
    """A refusal counts once, and only from the service that was asked."""
    actual = len(refused_now(ordered(), seen(view)))

    assert expected == actual


def test_restarted_service_is_forgotten_with_its_orders() -> None:
    """Another instance begins with nothing that was wanted of the one before."""
    state = known(seen(service(module("m"), instance_id="two")), ordered())

    assert {} == open_orders(state, leaves=True)


def test_service_that_is_gone_is_forgotten() -> None:
    """Nothing is remembered of a service that is not governed any more."""
    assert {} == known(seen(), ordered()).services


def test_module_that_cycles_gets_dearer_and_forgets_it() -> None:
    """Leaving soon after a return raises the price of the next absence, each time; a quiet minute at home lowers it."""
    state, costs, at_home = DeviceState(), [], True
    for second in range(0, 40, 5):
        status = used("m", tier=Tier.HOST if at_home else Tier.DISK, restore_seconds=1.0, restores=second)
        state = known(seen(service(status), now=100.0 + second), state)
        history = state.services[SPEECH].modules[M]
        costs.append(round(cost_per_byte(replace(history, calls_per_second=1.0), status), 3))
        at_home = not at_home
    quiet = known(seen(service(used("m", restore_seconds=1.0)), now=300.0), state)
    quiet = known(seen(service(used("m", restore_seconds=1.0)), now=400.0), quiet)
    calm = cost_per_byte(
        replace(quiet.services[SPEECH].modules[M], calls_per_second=1.0), used("m", restore_seconds=1.0)
    )

    assert ([0.01, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03, 0.04], 0.01) == (costs, round(calm, 3))


def test_uses_raise_the_rate_of_a_module() -> None:
    """A module that is always in use would be called back once in an utterance, however many steps use it."""
    state = DeviceState()
    for second in range(120):
        state = known(seen(service(module("m", uses=10 * second)), now=100.0 + second), state)

    assert 0.8 / 5 < state.services[SPEECH].modules[M].calls_per_second < 1.1 / 5


def test_wish_lists_overrides_above_orders_in_the_order_of_the_report() -> None:
    """An override replaces the order for its module; what nobody wants anything of is not listed."""
    modules = (module("pinned"), module("held"), module("sent", tier=Tier.DISK), module("free"), module("m"))
    orders = {M: replace(LEAVE, urgency=Urgency.WHEN_UNLEASED), ModuleName("pinned"): LEAVE}
    overrides = {
        ModuleName(name): Override(service=SPEECH, module=ModuleName(name), kind=kind)
        for name, kind in {
            "pinned": OverrideKind.PIN,
            "held": OverrideKind.HOLD,
            "sent": OverrideKind.EVICT,
            "unknown": OverrideKind.PIN,
        }.items()
    }
    actual = compose(modules, orders, overrides, 42)
    expected = Wish(
        placements=(
            Placement(module=ModuleName("pinned"), tier=Tier.HOST),
            Placement(module=ModuleName("held"), tier=Tier.HOST),
            Placement(module=ModuleName("sent"), tier=Tier.DISK),
            Placement(module=M, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED),
        ),
        budget_bytes=42,
    )

    assert expected == actual


def test_moves_of_a_new_wish_are_those_that_are_elsewhere() -> None:
    """A wish for what is there already moves nothing, and what was wanted before is no news."""
    before = Wish(placements=(Placement(module=M, tier=Tier.DISK),))
    after_wish = Wish(
        placements=(
            Placement(module=M, tier=Tier.DISK),
            Placement(module=ModuleName("new"), tier=Tier.DISK),
            Placement(module=ModuleName("there"), tier=Tier.DISK),
            Placement(module=ModuleName("home"), tier=Tier.HOST),
        )
    )
    modules = (module("m"), module("new"), module("there", tier=Tier.DISK), module("home", tier=Tier.DISK))

    assert (["new"], ["home"]) == moves(before, after_wish, modules)


WISH = Wish(placements=(Placement(module=M, tier=Tier.DISK),))
LAST = Issued(epoch=3, version=5, wish=WISH)
REFUSED = Refusal(version=5, reason="no")


@pytest.mark.parametrize(
    ("last", "wish", "epoch", "refusal", "now", "expected"),
    [
        pytest.param(None, WISH, 3, None, 0.0, 1, id="the first"),
        pytest.param(LAST, WISH, 3, None, 0.0, 5, id="the same again"),
        pytest.param(LAST, Wish(), 3, None, 0.0, 6, id="another wish"),
        pytest.param(LAST, replace(WISH, budget_bytes=1), 3, None, 0.0, 6, id="another budget"),
        pytest.param(LAST, WISH, 4, None, 0.0, 1, id="another reign"),
        pytest.param(LAST, WISH, 3, REFUSED, 0.0, 5, id="refused just now"),
        pytest.param(replace(LAST, refused_seconds=0.0), WISH, 3, REFUSED, 9.9, 5, id="refused and resting"),
        pytest.param(replace(LAST, refused_seconds=0.0), WISH, 3, REFUSED, 10.0, 6, id="refused and rested"),
        pytest.param(LAST, WISH, 3, Refusal(version=4, reason="no"), 0.0, 5, id="an older one was refused"),
    ],
)
def test_version_of_wish(
    *, last: Issued | None, wish: Wish, epoch: int, refusal: Refusal | None, now: float, expected: int
) -> None:
    """Versions rise with what is wanted, within a reign."""
    actual = issue(last, wish, epoch=epoch, refusal=refusal, now_seconds=now).version

    assert expected == actual


def test_order_whose_module_came_back_and_left_between_two_reports_ends() -> None:
    """A request called it meanwhile: an order that stayed would send it away again after every step."""
    observation = seen(service(module("m", evictions=4)))
    order = Order(tier=Tier.DISK, leaves=True, since_seconds=0.0, moves_before=4, size_bytes=100)
    state = with_orders(known(observation), {(SPEECH, ModuleName("m")): order})
    once = known(seen(service(module("m", tier=Tier.DISK, evictions=5))), state)
    twice = known(seen(service(module("m", tier=Tier.DISK, evictions=6))), state)

    assert ([ModuleName("m")], []) == (list(once.services[SPEECH].orders), list(twice.services[SPEECH].orders))
