"""An open utterance's interest in modules, as something to hold and to let go of."""

from types import TracebackType
from typing import Self

from tts_service.residency.guard import Guard
from tts_service.types import ModuleName


class Claim:
    """An open utterance's interest in modules; released once, by whichever thread."""

    def __init__(self, guard: Guard, modules: frozenset[ModuleName]) -> None:
        self._guard = guard
        self._modules = modules
        with guard.changing() as register:
            register.claim(modules)
        self._open = True

    def __repr__(self) -> str:
        return f"<Claim {'on' if self._open else 'released from'} {', '.join(sorted(self._modules))}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """End the interest; more than once does nothing."""
        with self._guard.changing() as register:
            if self._open:
                register.release(self._modules)
            self._open = False
