"""Directives, operators' wishes and budgets: what the manager does with them, now and later."""

import pytest

from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tts_service.errors import CallerError, Reason, StartupError
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Authority, Directive, PendingMove, Placement, Tier, Urgency
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
SIZES = {"a": 10, "b": 20, "c": 30}


@pytest.fixture
def modules() -> FakeModules:
    """Three modules of 10, 20 and 30 bytes."""
    return FakeModules(SIZES)


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock()


@pytest.fixture
def manager(modules: FakeModules, clock: ManualClock) -> ResidencyManager:
    """Return a manager with everything at home, which moves when it is told to."""
    manager = fake_residency(modules, clock=clock, stay_seconds=5.0)
    manager.load()
    return manager


def _directive(
    *away: ModuleName,
    home: tuple[ModuleName, ...] = (),
    epoch: int = 1,
    version: int = 1,
    budget: int | None = None,
    urgency: Urgency = Urgency.WHEN_UNCLAIMED,
) -> Directive:
    placements = (
        *(Placement(module=module, tier=Tier.DISK, urgency=urgency) for module in away),
        *(Placement(module=module, tier=Tier.HOST) for module in home),
    )
    return Directive(epoch=epoch, version=version, valid_for_seconds=10, budget_bytes=budget, placements=placements)


def _home(manager: ResidencyManager) -> str:
    return "".join(status.module for status in manager.report().modules if status.tier is Tier.HOST)


def _settle(manager: ResidencyManager) -> str:
    while manager.make_moves():
        pass
    return _home(manager)


def test_directive_is_applied_and_then_reported_as_done(manager: ResidencyManager) -> None:
    """Accepted is not done: the applied version rises when the last module has moved."""
    manager.set_directive(_directive(A, B, version=7))
    accepted = manager.report()
    home = _settle(manager)
    done = manager.report()

    assert (7, 0, "c", 7) == (accepted.accepted_version, accepted.applied_version, home, done.applied_version)


def test_directive_waits_for_leases_and_says_so(manager: ResidencyManager) -> None:
    """What cannot move is pending with its reason, and moves when the lease ends."""
    with manager.lease({A}, timeout_seconds=0):
        manager.set_directive(_directive(A))
        home = _settle(manager)
        report = manager.report()

    assert ("abc", (PendingMove(module=A, tier=Tier.DISK, reason="leased"),), 0) == (
        home,
        report.pending_moves,
        report.applied_version,
    )
    assert ("bc", 1) == (_settle(manager), manager.report().applied_version)


def test_directive_applied_twice_is_harmless(manager: ResidencyManager, modules: FakeModules) -> None:
    """A directive is a level: the same one again moves nothing."""
    manager.set_directive(_directive(A))
    _settle(manager)
    manager.set_directive(_directive(A))

    assert (0, "bc", 1) == (manager.make_moves(), _home(manager), modules.loads["a"])


def test_directive_of_another_epoch_starts_to_count_anew(manager: ResidencyManager) -> None:
    """A version number says nothing about another epoch's."""
    manager.set_directive(_directive(A, version=9))
    _settle(manager)
    manager.set_directive(_directive(B, epoch=2, version=1))
    begun = manager.report().applied_version
    _settle(manager)

    assert (0, 1) == (begun, manager.report().applied_version)


def test_directive_that_asks_for_modules_brings_them_home_in_the_background(manager: ResidencyManager) -> None:
    """What the governor wants at home comes home though nobody asks for it."""
    manager.set_directive(_directive(A, B))
    _settle(manager)
    manager.set_directive(_directive(B, home=(A,), version=2))

    assert ("ac", 2) == (_settle(manager), manager.report().applied_version)


def test_directive_that_ends_leaves_everything_where_it_is(manager: ResidencyManager) -> None:
    """The default keeps what is home at home and restores the rest on demand."""
    manager.set_directive(_directive(A, B))
    _settle(manager)
    manager.set_directive(None)
    home = _settle(manager)
    ready = manager.prepare({A})

    assert ("c", "ac", True, 0) == (home, _settle(manager), ready.done(), manager.report().accepted_version)


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        (_directive(ModuleName("x")), Reason.MODULE_NOT_FOUND),
        (_directive(A, A), Reason.BAD_CONFIG),
        (_directive(A, budget=-1), Reason.BAD_CONFIG),
    ],
    ids=["unknown module", "repeated module", "negative budget"],
)
def test_directive_that_is_refused_changes_nothing(
    manager: ResidencyManager, directive: Directive, reason: Reason
) -> None:
    """A directive applies whole or not at all."""
    with pytest.raises(CallerError) as refused:
        manager.set_directive(directive)

    assert (reason, "abc", 0) == (refused.value.reason, _settle(manager), manager.report().accepted_version)


def test_module_away_by_directive_comes_for_a_request_and_goes_after_its_stay(
    manager: ResidencyManager, clock: ManualClock
) -> None:
    """The governor's word limits what stays, not what is used; a burst of uses reloads nothing."""
    manager.set_directive(_directive(A))
    _settle(manager)
    manager.prepare({A})
    came = _settle(manager)
    clock.advance(4.0)
    with manager.lease({A}, timeout_seconds=0):
        pass
    clock.advance(4.0)
    stayed = _settle(manager)
    clock.advance(1.0)

    assert ("abc", "abc", "bc", 1) == (came, stayed, _settle(manager), manager.report().applied_version)


def test_module_home_for_a_request_says_who_brought_it(manager: ResidencyManager) -> None:
    """A report tells whose decision a module's place is."""
    manager.place(B, Tier.DISK, timeout_seconds=0)
    _settle(manager)
    manager.set_directive(_directive(A, B))
    _settle(manager)
    manager.prepare({A})
    _settle(manager)

    assert [Authority.DEMAND, Authority.DIRECTIVE, Authority.DEFAULT] == [
        status.authority for status in manager.report().modules
    ]


def test_budget_that_shrinks_evicts_the_coldest_unclaimed(manager: ResidencyManager, clock: ManualClock) -> None:
    """Of unclaimed modules the one used longest ago leaves; the claimed one stays while that is enough."""
    for module in (C, A, B):
        clock.advance(1.0)
        with manager.lease({module}, timeout_seconds=0):
            pass
    manager.claim({C})
    manager.set_directive(_directive(budget=50))

    assert ("bc", 50) == (_settle(manager), manager.report().home_bytes)


def test_budget_that_cannot_be_met_otherwise_evicts_what_is_claimed(manager: ResidencyManager) -> None:
    """A claim does not keep more than fits."""
    manager.claim({A, B, C})
    manager.set_directive(_directive(budget=0))

    assert ("", 1) == (_settle(manager), manager.report().applied_version)


def test_budget_below_what_is_leased_is_reached_as_leases_end(manager: ResidencyManager) -> None:
    """Leases exceed the budget for as long as they last."""
    with manager.lease({A, B, C}, timeout_seconds=0):
        manager.set_directive(_directive(budget=10))
        during = (_settle(manager), manager.report().applied_version)

    assert (("abc", 0), "a", 1) == (during, _settle(manager), manager.report().applied_version)


def test_budget_of_the_configuration_decides_what_is_kept_at_the_start(
    modules: FakeModules, clock: ManualClock
) -> None:
    """Every module is loaded once; those that fit stay, in the order of the data path, and pinned ones first."""
    manager = fake_residency(modules, clock=clock, budget_bytes=45, pinned={"c"})
    manager.load()

    assert ("ac", {"a": 1, "b": 1, "c": 1}) == (_home(manager), dict(modules.loads))


@pytest.mark.parametrize(("pinned", "budget"), [({"c"}, 20), ({"x"}, None)], ids=["too big", "unknown"])
def test_pins_that_cannot_be_kept_stop_the_start(
    modules: FakeModules, clock: ManualClock, pinned: set[str], budget: int | None
) -> None:
    """A contradiction in the configuration is found before anything is served."""
    with pytest.raises(StartupError, match="pinned"):
        fake_residency(modules, clock=clock, budget_bytes=budget, pinned=pinned).load()


def test_pinned_module_is_left_alone_by_directives_and_budgets(modules: FakeModules, clock: ManualClock) -> None:
    """An operator's word comes before a governor's, which is done without it; what was not done is told."""
    manager = fake_residency(modules, clock=clock, pinned={"a"})
    manager.load()
    manager.set_directive(_directive(A, B, C, budget=0))

    assert ("a", 1, True, (PendingMove(module=A, tier=Tier.DISK, reason="operator"),)) == (
        _settle(manager),
        manager.report().applied_version,
        manager.report().modules[0].pinned,
        manager.report().pending_moves,
    )


def test_place_away_keeps_a_module_away_until_a_directive_comes(manager: ResidencyManager) -> None:
    """What was placed while nobody governed ends when somebody does, who could not take it back otherwise."""
    manager.place(A, Tier.DISK, timeout_seconds=0)
    placed = _settle(manager)
    ended = manager.set_directive(_directive(home=(A,)))
    governed = _settle(manager)

    assert ("bc", (A,), "abc", 1) == (placed, ended, governed, manager.report().applied_version)


def test_place_at_home_does_not_outlast_a_directive_that_sends_away(manager: ResidencyManager) -> None:
    """A module that was restored by hand is the governor's as soon as there is one, renewals included."""
    manager.place(A, Tier.HOST, timeout_seconds=0)
    first = manager.set_directive(_directive(A))
    again = manager.set_directive(_directive(A))

    assert ((A,), (), "bc", False) == (first, again, _settle(manager), manager.report().modules[0].pinned)


def test_place_that_comes_after_a_directive_is_refused_and_changes_nothing(manager: ResidencyManager) -> None:
    """An operator whom a directive overtook is told so, even if nobody governed when the call began."""
    manager.set_directive(_directive())
    with pytest.raises(CallerError) as refused:
        manager.place(A, Tier.DISK, timeout_seconds=0)

    assert (Reason.GOVERNED, "abc") == (refused.value.reason, _settle(manager))


def test_place_at_home_pins_a_module_and_makes_room_for_it(modules: FakeModules, clock: ManualClock) -> None:
    """An operator may ask for a module as a request does, and keep it."""
    manager = fake_residency(modules, clock=clock, budget_bytes=40)
    manager.load()
    status, reason = manager.place(C, Tier.HOST, timeout_seconds=0)
    home = _settle(manager)

    assert ("ac", "budget", Tier.DISK, True) == (home, reason, status.tier, manager.report().modules[2].pinned)


@pytest.mark.parametrize(
    ("tier", "leased", "claimed", "expected"),
    [
        (Tier.DISK, False, True, (Tier.HOST, "claimed")),
        (Tier.DISK, True, False, (Tier.HOST, "leased")),
        (Tier.DISK, False, False, (Tier.HOST, "moving")),
        (Tier.HOST, False, False, (Tier.HOST, "")),
        (None, False, False, (Tier.HOST, "")),
    ],
)
def test_place_says_why_a_module_has_not_moved_yet(
    manager: ResidencyManager, tier: Tier | None, *, leased: bool, claimed: bool, expected: tuple[Tier, str]
) -> None:
    """An operator who cannot be served now is told why, and served later."""
    if claimed:
        manager.claim({A})
    with manager.lease({A if leased else B}, timeout_seconds=0):
        status, reason = manager.place(A, tier, timeout_seconds=0)

    assert expected == (status.tier, reason)


@pytest.mark.parametrize(
    ("module", "tier", "reason"),
    [(ModuleName("x"), Tier.DISK, Reason.MODULE_NOT_FOUND), (A, Tier.DEVICE, Reason.BAD_CONFIG)],
)
def test_place_that_makes_no_sense_is_refused(
    manager: ResidencyManager, module: ModuleName, tier: Tier, reason: Reason
) -> None:
    """Unknown modules and tiers that this machine has not are the caller's mistakes."""
    with pytest.raises(CallerError) as refused:
        manager.place(module, tier, timeout_seconds=0)

    assert reason == refused.value.reason


def test_module_that_rests_away_leaves_after_its_last_use(modules: FakeModules, clock: ManualClock) -> None:
    """It is away from the start, comes for a request, and goes when it has not been used for a while."""
    manager = fake_residency(modules, clock=clock, rest_away={"c"}, linger_seconds=10.0)
    manager.load()
    start = _home(manager)
    manager.prepare({C})
    came = _settle(manager)
    clock.advance(9.0)
    stayed = _settle(manager)
    clock.advance(1.0)

    assert ("ab", "abc", "abc", "ab") == (start, came, stayed, _settle(manager))


def test_module_placed_away_while_others_load_is_not_told_to_be_there_and_leaves(
    modules: FakeModules, clock: ManualClock
) -> None:
    """A module that waits to be loaded is on disk, but not as the operator wants it: it is loaded, and then leaves."""
    manager = fake_residency(modules, clock=clock, stay_seconds=5.0)
    told: list[str] = []

    def place(loading: ModuleName) -> None:
        if loading == B and not told:
            told.extend(manager.place(each, Tier.DISK, timeout_seconds=0)[1] for each in (A, B, C))

    modules.on_load = place
    manager.load()

    assert (["moving"] * 3, "") == (told, _settle(manager))
    assert ["", "", ""] == [manager.place(each, Tier.DISK, timeout_seconds=0)[1] for each in (A, B, C)]


def test_directive_while_modules_load_is_done_without_a_stay(modules: FakeModules, clock: ManualClock) -> None:
    """No request brought the module home, so that nothing keeps it there once everything has been loaded."""
    manager = fake_residency(modules, clock=clock, stay_seconds=5.0)

    def direct(loading: ModuleName) -> None:
        if loading == B:
            manager.set_directive(_directive(B, C))

    modules.on_load = direct
    manager.load()

    assert ("a", 1) == (_settle(manager), manager.report().applied_version)


def test_pinned_module_placed_away_while_it_loads_does_not_end_the_start(
    modules: FakeModules, clock: ManualClock
) -> None:
    """What an operator places counts before the configuration's pin, as it does later."""
    manager = fake_residency(modules, clock=clock, pinned=["a"])

    def place(loading: ModuleName) -> None:
        if loading == A:
            manager.place(A, Tier.DISK, timeout_seconds=0)

    modules.on_load = place
    manager.load()

    assert "bc" == _settle(manager)


def test_module_that_a_request_brought_back_leaves_for_a_new_hurried_directive_and_not_for_the_old_one(
    manager: ResidencyManager, clock: ManualClock
) -> None:
    """Steps that follow each other do not lose it to the word before; the next word ends its stay."""
    manager.set_directive(_directive(A, urgency=Urgency.WHEN_UNLEASED))
    left = _settle(manager)
    manager.prepare({A})
    came = _settle(manager)
    with manager.lease({A}, timeout_seconds=0):
        clock.advance(0.1)
    stayed = _settle(manager)
    manager.set_directive(_directive(A, version=2, urgency=Urgency.WHEN_UNLEASED))

    assert ("bc", "abc", "abc", "bc") == (left, came, stayed, _settle(manager))
