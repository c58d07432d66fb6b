"""Whose word counts, and which words are refused."""

from collections.abc import Mapping

import pytest

from tts_service.errors import CallerError, Reason
from tts_service.residency.types import Authority, Directive, Placement, Tier, Urgency
from tts_service.residency.wishes import (
    Wish,
    Wishes,
    budget_authority,
    budget_bytes,
    check_directive,
    pinned,
    wish_for,
    with_directive,
    with_placed,
)
from tts_service.types import ModuleName

A, B = ModuleName("a"), ModuleName("b")
TIERS = (Tier.HOST, Tier.DISK)


def _directive(*placements: Placement, budget: int | None = None) -> Directive:
    return Directive(epoch=1, version=1, valid_for_seconds=10, budget_bytes=budget, placements=placements)


def _wishes(
    *,
    static_budget: int | None = None,
    pins: frozenset[ModuleName] = frozenset(),
    placed: Mapping[ModuleName, Tier] | None = None,
    directive: Directive | None = None,
) -> Wishes:
    return Wishes(
        static_budget_bytes=static_budget,
        pins=pins,
        placed=placed or {},
        directive=directive,
        linger_seconds=1.0,
        stay_seconds=1.0,
    )


AWAY = Placement(module=A, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (_wishes(), None),
        (_wishes(directive=_directive(Placement(module=B, tier=Tier.DISK))), None),
        (
            _wishes(directive=_directive(AWAY)),
            Wish(tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED, authority=Authority.DIRECTIVE),
        ),
        (
            _wishes(directive=_directive(AWAY), pins=frozenset({A})),
            Wish(tier=Tier.HOST, urgency=Urgency.WHEN_UNCLAIMED, authority=Authority.OPERATOR),
        ),
        (
            _wishes(directive=_directive(AWAY), placed={A: Tier.HOST}),
            Wish(tier=Tier.HOST, urgency=Urgency.WHEN_UNCLAIMED, authority=Authority.OPERATOR),
        ),
        (
            _wishes(pins=frozenset({A}), placed={A: Tier.DISK}),
            Wish(tier=Tier.DISK, urgency=Urgency.WHEN_UNCLAIMED, authority=Authority.OPERATOR),
        ),
    ],
    ids=["nobody", "another module", "directive", "pin over directive", "place over directive", "place over pin"],
)
def test_wish_for_a_module_is_that_of_the_highest_authority(wishes: Wishes, expected: Wish | None) -> None:
    """An operator's word comes before a directive's, and what was said last before what is configured."""
    actual = wish_for(wishes, A, home=Tier.HOST)

    assert expected == actual


@pytest.mark.parametrize(
    ("static", "directed", "expected"),
    [
        (None, None, (None, Authority.DEFAULT)),
        (100, None, (100, Authority.DEFAULT)),
        (None, 70, (70, Authority.DIRECTIVE)),
        (100, 70, (70, Authority.DIRECTIVE)),
        (100, 0, (0, Authority.DIRECTIVE)),
        (100, 200, (100, Authority.DEFAULT)),
    ],
)
def test_budget_in_force_is_the_lower_one(
    static: int | None, directed: int | None, expected: tuple[int | None, Authority]
) -> None:
    """A directive lowers the operator's bound and never lifts it."""
    wishes = _wishes(static_budget=static, directive=_directive(budget=directed))

    assert expected == (budget_bytes(wishes), budget_authority(wishes))


def test_pinned_modules_are_those_that_an_operator_wants_at_home() -> None:
    """A module placed away is not pinned, whatever the configuration says."""
    wishes = _wishes(pins=frozenset({A}), placed={A: Tier.DISK, B: Tier.HOST})

    assert frozenset({B}) == pinned(wishes, home=Tier.HOST)


def test_placed_module_released_falls_back_to_its_pin() -> None:
    """What an operator takes back leaves what was said before."""
    wishes = with_placed(_wishes(pins=frozenset({A}), placed={A: Tier.DISK}), A, None)

    assert frozenset({A}) == pinned(wishes, home=Tier.HOST)


def test_directive_ends_what_was_placed_and_its_own_end_brings_nothing_back() -> None:
    """A governor cannot take back what an operator placed before it came, so that it does not outlast its coming."""
    placed = _wishes(pins=frozenset({B}), placed={A: Tier.DISK})
    governed = with_directive(placed, _directive())

    assert ({}, frozenset({B}), {}) == (governed.placed, governed.pins, with_directive(governed, None).placed)
    assert {A: Tier.DISK} == with_directive(placed, None).placed


def test_placing_while_a_directive_is_in_force_is_refused() -> None:
    """An operator who comes at the same moment as a directive is told whom to ask instead."""
    with pytest.raises(CallerError) as refused:
        with_placed(_wishes(directive=_directive()), A, Tier.DISK)

    assert (Reason.GOVERNED, {"use": "PolicyService.SetOverride"}) == (refused.value.reason, refused.value.metadata)


@pytest.mark.parametrize(
    ("directive", "reason", "field"),
    [
        (
            _directive(Placement(module=ModuleName("x"), tier=Tier.DISK)),
            Reason.MODULE_NOT_FOUND,
            "placements[0].module",
        ),
        (_directive(AWAY, Placement(module=A, tier=Tier.HOST)), Reason.BAD_CONFIG, "placements[1].module"),
        (_directive(AWAY, Placement(module=B, tier=Tier.DEVICE)), Reason.BAD_CONFIG, "placements[1].tier"),
        (_directive(budget=-1), Reason.BAD_CONFIG, "budget_bytes"),
    ],
    ids=["unknown module", "repeated module", "tier of another machine", "negative budget"],
)
def test_directive_that_makes_no_sense_is_refused_with_the_field(
    directive: Directive, reason: Reason, field: str
) -> None:
    """A refusal says which field is at fault."""
    with pytest.raises(CallerError) as refused:
        check_directive(directive, modules=(A, B), tiers=TIERS)

    assert (reason, field) == (refused.value.reason, refused.value.violations[0].field)


def test_directive_for_known_modules_and_tiers_is_accepted() -> None:
    """A directive may name any modules once, in tiers that they have."""
    check_directive(_directive(AWAY, Placement(module=B, tier=Tier.HOST), budget=0), modules=(A, B), tiers=TIERS)
