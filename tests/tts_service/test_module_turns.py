"""Turns: which steps of a data path have their modules at home together where the budget does not hold all."""

import pytest

from tests.fakes.situations import situation
from tts_service.residency.turns import largest_step_bytes, module_turns, too_large
from tts_service.types import ModuleName

STEPS = tuple(frozenset(map(ModuleName, names)) for names in ("ad", "bc", "c"))
"""Modules of 10 and 40, of 20 and 30, and one of the latter again: work space that two steps share."""


@pytest.mark.parametrize(
    ("budget", "turns"),
    [(None, ["abcd"]), (100, ["abcd"]), (99, ["ad", "bc"]), (50, ["ad", "bc"]), (49, ["ad", "bc", "c"])],
)
def test_turns_of_steps_that_need_two_modules_keep_them_together(budget: int | None, turns: list[str]) -> None:
    """Each step finds all that it needs in one turn, however little the budget holds."""
    actual = module_turns(situation("", budget=budget), STEPS)

    assert turns == ["".join(sorted(group)) for group in actual]


@pytest.mark.parametrize(("budget", "needed"), [(50, None), (49, 50)])
def test_too_large_is_the_step_that_does_not_fit_alone(budget: int, needed: int | None) -> None:
    """What counts is what a step needs at once, not its largest module."""
    hopeless = too_large(situation("", budget=budget), STEPS)

    assert needed == (None if hopeless is None else hopeless.needed_bytes)


def test_largest_step_is_exactly_the_budget_below_which_speech_fails() -> None:
    """Who hands out budgets is told the smallest that every step fits into; without steps there is none."""
    least = largest_step_bytes(situation(""), STEPS)

    assert (50, 0) == (least, largest_step_bytes(situation(""), ()))
    assert too_large(situation("", budget=least), STEPS) is None
    assert too_large(situation("", budget=least - 1), STEPS) is not None
