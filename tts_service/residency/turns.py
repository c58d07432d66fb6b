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


def module_turns(situation: Situation, modules: Sequence[ModuleName]) -> tuple[frozenset[ModuleName], ...]:
    """Cut modules, in the order of the data path, into as few groups as will do of modules that fit together.

    The last group is the largest that can be: what it makes is heard while its turn still lasts. A module that does not
    fit alone makes a group of its own; see `too_large`.
    """
    groups: list[frozenset[ModuleName]] = []
    for module in reversed(modules):
        if groups and fit_together(situation, groups[-1] | {module}):
            groups[-1] |= {module}
        else:
            groups.append(frozenset({module}))
    return tuple(reversed(groups))


def too_large(situation: Situation, modules: Sequence[ModuleName]) -> Hopeless | None:
    """Return the largest of the modules if even alone it does not fit, with the bytes that it would need."""
    kept = pinned(situation.wishes, home=situation.home)
    needed = {module: bytes_of(situation, kept | {module}) for module in modules}
    largest = max(modules, key=needed.__getitem__)
    if fit_together(situation, frozenset({largest})):
        return None
    request = Request(ticket=0, modules=frozenset({largest}), holds=False)
    return Hopeless(request=request, needed_bytes=needed[largest])
