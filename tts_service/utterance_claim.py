"""An open utterance's interest in what speech needs; that in T3 ends for as long as its tokens wait on the host."""

import threading
from collections.abc import Callable

from tts_service.residency.claims import Claim
from tts_service.types import ModuleName


class UtteranceClaim:
    """Claims `modules` from now on. `claim` makes claims, of `tokens` one of its own. For any thread."""

    def __init__(
        self,
        claim: Callable[[frozenset[ModuleName]], Claim],
        modules: frozenset[ModuleName],
        tokens: frozenset[ModuleName],
    ) -> None:
        self._claim = claim
        self._modules = modules & tokens
        self._lock = threading.Lock()
        self._open = True
        others = modules - tokens
        self._others = claim(others) if others else None
        self._tokens: Claim | None = self._claimed()

    def rest(self) -> None:
        """Let go of what makes tokens: they are away."""
        with self._lock:
            self._let_go()

    def resume(self) -> None:
        """Have it again after that."""
        with self._lock:
            if self._open and self._tokens is None:
                self._tokens = self._claimed()

    def release(self) -> None:
        """End the interest; more than once does nothing."""
        with self._lock:
            self._open = False
            self._let_go()
            if self._others is not None:
                self._others.release()

    def _claimed(self) -> Claim | None:
        return self._claim(self._modules) if self._modules else None

    def _let_go(self) -> None:
        tokens, self._tokens = self._tokens, None
        if tokens is not None:
            tokens.release()

    def __repr__(self) -> str:
        return f"<UtteranceClaim of {self._others!r} and {self._tokens!r}>"
