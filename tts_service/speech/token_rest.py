"""A segment's tokens while nobody asks for them: what they hold on the device may wait on the host meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass

from tts_service.speech.resting import Leave
from tts_service.speech.stages import JoinedTokens, TokenBursts
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True)
class TokenRest:
    """`Rest` of a stream; its pages are in `modules`, and `ahead` tokens of it are handed over and no mel yet."""

    bursts: TokenBursts
    stream: JoinedTokens
    modules: frozenset[ModuleName]
    ahead: int

    @property
    def has_pages(self) -> bool:
        """Whether it has pages on the device."""
        return self.stream.has_pages

    @property
    def is_away(self) -> bool:
        """Whether they wait on the host."""
        return self.stream.is_away

    def leave(self) -> Leave:
        """Have them wait on the host."""
        return self.stream.leave()

    @property
    def forget_room(self) -> Callable[[], object]:
        """What gives back the host memory that nobody's pages wait in."""
        return self.bursts.forget_room
