"""What of the modules the budget holds at once: asked by whoever orders the steps of speech."""

from collections.abc import Collection, Sequence

from tts_service.residency.guard import Guard
from tts_service.residency.turns import fit_together, module_turns, too_large
from tts_service.residency.waiting import hopeless_error
from tts_service.residency.wishes import budget_bytes
from tts_service.types import ModuleName


class Room:
    """The room that modules have at home, whoever is there now. Thread-safe; answers hold until the budget changes."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def turns(self, steps: Sequence[frozenset[ModuleName]]) -> tuple[frozenset[ModuleName], ...]:
        """Return what steps need, in the order of the data path, in groups that fit: one, unless the budget is low.

        Raises ServiceError DEVICE_MEMORY if what a step needs does not fit even alone.
        """
        with self._guard.reading() as register:
            situation = register.situation
        hopeless = too_large(situation, steps)
        if hopeless is not None:
            raise hopeless_error(hopeless, budget_bytes=budget_bytes(situation.wishes) or 0)
        return module_turns(situation, steps)

    def holds(self, modules: Collection[ModuleName]) -> bool:
        """Tell whether modules fit together."""
        with self._guard.reading() as register:
            return fit_together(register.situation, frozenset(modules))

    def is_wanted(self, modules: frozenset[ModuleName]) -> bool:
        """Tell whether some of the modules are wanted away from home and cannot leave, or room is awaited."""
        with self._guard.reading() as register:
            pending, home = register.decision.pending, register.situation.home
            leaving = any(each.module in modules and each.tier is not home for each in pending)
            return leaving or bool(register.situation.growths)

    def __repr__(self) -> str:
        with self._guard.reading() as register:
            return f"<Room of {budget_bytes(register.situation.wishes)} bytes>"
