"""Which modules of a data path can be at home together, where the budget does not hold all. Pure.

Whoever computes with those that fit in long turns moves each module once a turn. Without turns, two stages that each
need what the other has just sent away would move both at every step.
"""

from collections.abc import Sequence

from tts_service.residency.leases import Request
from tts_service.residency.placement import Hopeless
from tts_service.residency.situation import Situation, bytes_of, fits
from tts_service.residency.wishes import pinned
from tts_service.types import ModuleName


def fit_together(situation: Situation, modules: frozenset[ModuleName]) -> bool:
    """Tell whether the budget in force holds modules beside what an operator keeps at home."""
    return fits(situation, modules | pinned(situation.wishes, home=situation.home))


def module_turns(situation: Situation, steps: Sequence[frozenset[ModuleName]]) -> tuple[frozenset[ModuleName], ...]:
    """Cut the modules of steps, in the order of the data path, into as few groups as will do that fit together.

    A step's own modules share a group: it needs them at once. The last group is the largest that can be: what it makes
    is heard while its turn still lasts. A step that does not fit alone makes a group of its own; see `too_large`.
    """
    groups: list[frozenset[ModuleName]] = []
    for step in reversed(steps):
        if groups and fit_together(situation, groups[-1] | step):
            groups[-1] |= step
        else:
            groups.append(step)
    return tuple(reversed(groups))


def too_large(situation: Situation, steps: Sequence[frozenset[ModuleName]]) -> Hopeless | None:
    """Return the largest of the steps if it does not fit even alone, with the bytes that it would need."""
    kept = pinned(situation.wishes, home=situation.home)
    largest = max(steps, key=lambda step: bytes_of(situation, kept | step))
    if fit_together(situation, largest):
        return None
    request = Request(ticket=0, modules=largest, holds=False)
    return Hopeless(request=request, needed_bytes=bytes_of(situation, kept | largest))


def largest_step_bytes(situation: Situation, steps: Sequence[frozenset[ModuleName]]) -> int:
    """Return what a budget must hold for every step to fit, beside what an operator keeps at home; 0 without steps."""
    kept = pinned(situation.wishes, home=situation.home)
    return max((bytes_of(situation, kept | step) for step in steps), default=0)
