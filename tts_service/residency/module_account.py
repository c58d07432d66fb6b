"""Where a module that grows at home has its bytes booked, and is kept for what is in it."""

from tts_service.residency.guard import Guard
from tts_service.types import ModuleName


class ModuleAccount:
    """`Account` of a scratch space in the manager's books. Thread-safe."""

    def __init__(self, guard: Guard, module: ModuleName) -> None:
        self._guard = guard
        self._module = module

    def __repr__(self) -> str:
        return f"<ModuleAccount of {self._module}>"

    def grow(self, byte_count: int) -> bool:
        """Book so many bytes more if the budget holds them beside what is there; tells whether it does."""
        with self._guard.changing() as register:
            return register.grow(self._module, byte_count)

    def note(self, byte_count: int) -> None:
        """Book a change that has happened."""
        with self._guard.changing() as register:
            register.resize(self._module, byte_count)

    def keep(self, count: int) -> None:
        """Keep the module from leaving on behalf of so many more, or fewer if negative."""
        with self._guard.changing() as register:
            register.keep(self._module, count)
